"""Class numbers of boxes: a cut in; the cut with their names, and without the rows that lack one, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from pixtune.datasets.cut import Cut
from pixtune.keys import NAMES_FILES


def with_class_names(cut: Cut, names_of: Callable[[str], Sequence[str]]) -> Cut:
    """The cut with the names of the class numbers its boxes have, and without rows that have a number without one."""
    said = {name: row.annotation.boxes() for name, row in cut.rows.items() if row.annotation}
    folders = sorted({boxes.names_from for every in said.values() for boxes in every if boxes.names_from is not None})
    class_names = {folder: names_of(folder) for folder in folders}
    nameless: dict[str, list[str]] = defaultdict(list)
    for name, every in said.items():
        for boxes in every:
            known = len(class_names.get(boxes.names_from or "", ()))
            if boxes.names_from is not None and any(int(box.label) >= known for box in boxes.boxes):
                nameless[boxes.names_from].append(name)
    notes = [
        {
            "code": "class_names_missing",
            "detail": f"{len(names)} examples have class numbers that nothing names, and were left out. "
            f"Write one name a line in {folder}/{NAMES_FILES[0]}.",
        }
        for folder, names in nameless.items()
    ]
    left_out = {name for names in nameless.values() for name in names}
    return replace(cut.without(left_out), class_names=class_names, notes=[*cut.notes, *notes])
