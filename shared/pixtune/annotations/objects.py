"""Hugging Face's detection rows: `objects` with `bbox` and `categories` in a metadata file in, a row of boxes out.

https://huggingface.co/docs/datasets/image_dataset#object-detection. Edges are left, top, width and height in pixels;
categories are names, or numbers that a file of class names beside or above names as it does YOLO's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixtune.annotations import boxes
from pixtune.annotations.fields import ANSWERS, PROMPTS, described
from pixtune.annotations.reading import FoundRow
from pixtune.examples.annotation import Boxes, Part, Turn

LAYOUT = "image folder metadata with boxes"
FIELD = "objects"


def are_the_answer(values: Mapping[str, Any]) -> bool:
    """Whether a row says boxes, and nothing in words that would be its answer instead."""
    found = values.get(FIELD)
    return isinstance(found, dict) and "bbox" in found and not any(values.get(name) for name in ANSWERS)


def row_of(values: Mapping[str, Any], image: str, annotation_key: str, where: str, used: list[str]) -> FoundRow:
    """The row of the one image's boxes; its question is the row's, if it states one. Raises BadRow."""
    found = values[FIELD]
    edges, labels = found["bbox"], found.get("categories", found.get("category"))
    if not isinstance(edges, list) or not isinstance(labels, list) or len(edges) != len(labels):
        raise boxes.bad("'objects' has not as many categories as bbox", "Give every box its category.")
    numbered = bool(labels) and all(isinstance(label, int) and label >= 0 for label in labels)
    if not numbered and not all(isinstance(label, str) for label in labels):
        raise boxes.bad("'objects' has categories that are neither all names nor all numbers", "Write them alike.")
    size = boxes.size_of(values.get("width"), values.get("height"))
    drawn = []
    for number, (label, sides) in enumerate(zip(labels, edges, strict=True)):
        name = f"objects.bbox[{number}]"
        left, top, width, height = boxes.numbers(sides, 4, name)
        drawn.append(boxes.box_of(str(label), (left, top, left + width, top + height), name, size))
    folder = annotation_key.rpartition("/")[0] if numbered else None
    asked = next((values[name] for name in PROMPTS if isinstance(values.get(name), str)), None)
    question = (Part(text=asked),) if asked else ()
    turns = (
        Turn("user", (Part(image=0), *question)),
        Turn("assistant", (Part(boxes=Boxes(tuple(drawn), size=size, names_from=folder)),)),
    )
    rest = {
        name: value
        for name, value in values.items()
        if name not in (*used, FIELD, "width", "height", *PROMPTS) and value not in (None, "")
    }
    return described(turns, None, rest, [image], annotation_key, where)
