"""Task templates: a row whose answer is boxes in, the same row with a question and an answer in words out. Pure.

A template's id carries its version: another wording or another form of answer is another id, so that a dataset
version's digest, which covers the id, stands for the very text that was trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.annotation import Boxes, Part, Turn
from pixtune.examples.geometry import SentBox, cut_off, sent
from pixtune.examples.rows import Row

_NAMED = 20  # examples that a note names
NO_CLASSES = "none"  # what classes-1 answers for a picture with nothing on it: an answer is never empty


@dataclass(frozen=True, slots=True)
class Template:
    """question: asked where neither the annotation nor the dataset asks one. answer: of boxes, sorted as below."""

    id: str
    question: str
    answer: Callable[[Sequence[SentBox]], str]


def _boxes_json(boxes: Sequence[SentBox]) -> str:
    found = [{"label": box.label, "box": [box.left, box.top, box.right, box.bottom]} for box in boxes]
    return json.dumps(found, ensure_ascii=False)


def _classes(boxes: Sequence[SentBox]) -> str:
    return ", ".join(box.label for box in boxes) or NO_CLASSES


def _count(boxes: Sequence[SentBox]) -> str:
    return json.dumps(Counter(box.label for box in boxes), ensure_ascii=False)


TEMPLATES: Mapping[str, Template] = {
    template.id: template
    for template in (
        Template(
            "boxes-json-1",
            "Find every object in this image. Answer with a JSON list of "
            '{"label": name, "box": [left, top, right, bottom]}, in pixels of this image.',
            _boxes_json,
        ),
        Template(
            "classes-1",
            f"Name every object in this image, separated by commas, or say {NO_CLASSES}.",
            _classes,
        ),
        Template(
            "count-1",
            'Count the objects in this image. Answer with JSON such as {"name": 2}.',
            _count,
        ),
    )
}


def has_boxes(row: Row) -> bool:
    return row.annotation is not None and bool(row.annotation.boxes())


def boxes_cut_off(rows: Iterable[Row]) -> list[dict[str, str]]:
    """The manifest's note of boxes that a crop left nothing of, naming the first examples; none where it left all."""
    count, examples = 0, []
    for row in rows:
        said = row.annotation.boxes() if row.annotation else ()
        gone = sum(len(cut_off(boxes, row.images[boxes.image].image)) for boxes in said)
        if gone:
            count += gone
            examples.append(row.example_id)
    if not count:
        return []
    detail = (
        f"{count} boxes in {len(examples)} examples lie outside what crop keeps of their picture, and were left out: "
        f"{', '.join(examples[:_NAMED])}{', ...' if len(examples) > _NAMED else ''}."
    )
    return [{"code": "boxes_cut_off", "detail": detail}]


def in_words(row: Row, settings: DatasetSettings, class_names: Mapping[str, Sequence[str]]) -> Row:
    """The row with its boxes as the dataset's template says them, in pixels of the image that is sent.

    class_names: `Boxes.names_from` -> the names of the classes that are numbers there. Boxes are said in the order of
    the settings' `classes`, then by name; of one class from the top down, then from the left. A row without boxes is
    answered as it is.
    """
    if row.annotation is None or not has_boxes(row):
        return row
    template = TEMPLATES[settings.boxes]
    rank = {name: number for number, name in enumerate(settings.classes)}

    def said(boxes: Boxes) -> Part:
        found = sent(boxes, row.images[boxes.image].image)
        if boxes.names_from is not None:
            names = class_names[boxes.names_from]
            found = [replace(box, label=names[int(box.label)]) for box in found]
        found.sort(
            key=lambda box: (rank.get(box.label, len(rank)), box.label, box.top, box.left, box.bottom, box.right)
        )
        return Part(text=template.answer(found))

    turns = [
        Turn(turn.role, tuple(part if part.boxes is None else said(part.boxes) for part in turn.parts))
        for turn in row.annotation.turns
    ]
    if settings.prompt is None and not any(part.text for part in turns[0].parts):
        turns[0] = replace(turns[0], parts=(*turns[0].parts, Part(text=template.question)))
    return replace(row, annotation=replace(row.annotation, turns=tuple(turns)))
