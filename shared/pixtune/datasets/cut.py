"""The cut of a version: a dataset's examples in, the rows it may hold and what the log of rows lacks out. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pixtune.examples.folders import folder_label, that_count
from pixtune.examples.items import ExampleItem, State
from pixtune.examples.rows import Row


@dataclass(frozen=True, slots=True)
class Cut:
    """What the table showed: rows with the line each is stored as, by example id, and the log's lacking lines.

    class_names, notes: as in the manifest.
    """

    rows: Mapping[str, Row]
    lines: Mapping[str, str]
    missing: Sequence[str]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[Mapping[str, str]] = ()


def read_cut(examples: Iterable[ExampleItem], log: set[tuple[str, int, str]], class_folders: bool = True) -> Cut:
    """Sorted by example id. Tombstones are no rows of a version, but the log must have them too."""
    every = sorted(examples, key=lambda example: example.example_id)
    folders = {example.example_id: folder_label(example) for example in every}
    counting = {example.example_id for example in that_count(every, class_folders)}
    rows: dict[str, Row] = {}
    lines: dict[str, str] = {}
    missing: list[str] = []
    for example in every:
        if example.line and (example.example_id, example.revision, example.digest) not in log:
            missing.append(example.line)
        if example.state is State.READY and example.example_id in counting:
            rows[example.example_id] = Row.from_json(json.loads(example.line))
            lines[example.example_id] = example.line
    labelled = [(name, label) for name, label in folders.items() if label]
    used = [label for name, label in labelled if name in counting]
    notes = []
    if used:
        detail = f"{len(used)} examples are labelled by their folder: {', '.join(sorted(set(used))[:20])}."
        notes.append({"code": "class_folders", "detail": detail})
    elif labelled and not rows:
        detail = f"{len(labelled)} images lie in folders that are no classes, or one only."
        notes.append({"code": "class_folders", "detail": detail})
    return Cut(rows, lines, missing, notes=notes)
