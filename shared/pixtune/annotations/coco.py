"""COCO files of boxes, outlines or captions (also Roboflow's `_annotations.coco.json`): a JSON object in, rows out.

Format: https://cocodataset.org/#format-data. Ids may count from 0 or 1, as they only refer to each other. An image
that is listed without annotations is one with nothing on it; an image that is not listed is unlabelled, and so is one
without a caption where the file has captions only. The box of an outline is the smallest one around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pixtune.annotations import boxes, fields
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow, Problem, Reading
from pixtune.examples.annotation import Boxes
from pixtune.verdicts import Code, Note

LAYOUT = "COCO boxes"
CAPTIONS = "COCO captions"


def is_coco(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("images"), list) and isinstance(values.get("annotations"), list)


def read(key: str, values: Mapping[str, Any], bucket: str) -> Reading:
    """Every image's row; problems with the image they belong to, or with the annotation that belongs to none."""
    problems: list[Problem] = []
    notes: list[Note] = []
    names = _names(values.get("categories"))
    said: dict[Any, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    crowds = 0
    listed = {_id(image.get("id")) for image in values["images"] if isinstance(image, dict)}
    for number, found in enumerate(values["annotations"]):
        if not isinstance(found, dict) or _id(found.get("image_id")) not in listed:
            fix = "Give it the id of an entry of images."
            problems.append(
                Problem(f"annotations[{number}]", "It belongs to no image of the file.", fix, Code.BAD_BOX)
            )
        elif found.get("iscrowd"):
            crowds += 1
        else:
            said[_id(found["image_id"])].append((number, found))
    captions_only = not any(_is_box(found) for every in said.values() for _, found in every) and any(said.values())
    if crowds:
        notes.append(Note(Code.FIELD_IGNORED, f"{crowds} annotations with iscrowd mark regions, not objects."))
    rows: list[FoundRow] = []
    seen: set[Any] = set()
    for number, image in enumerate(values["images"]):
        where = f"images[{number}]"
        try:
            if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
                raise BadRow("It has no file_name.", 'Write {"id": 1, "file_name": "a.jpg"}.', Code.BAD_PATH)
            if _id(image.get("id")) in seen:
                raise BadRow(f"The id {image.get('id')!r} was used before.", "Give every image an id of its own.")
            seen.add(_id(image.get("id")))
            where = f"images[{number}] ({image['file_name'][:100]})"
            size = boxes.size_of(image.get("width"), image.get("height"))
            upload = key_of(image["file_name"], key, bucket)
            own = said[_id(image.get("id"))]
            rows += _captions([one for one in own if not _is_box(one[1])], upload, key, where)
            if not captions_only and (not own or any(_is_box(found) for _, found in own)):
                found_boxes = tuple(_box(n, found, names, size) for n, found in own if _is_box(found))
                rows.append(boxes.row_of(Boxes(found_boxes, size=size), upload, key, where))
        except BadRow as problem:
            problems.append(problem.at(where))
    return Reading(CAPTIONS if captions_only else LAYOUT, tuple(rows), tuple(problems), tuple(notes))


def _is_box(annotation: Mapping[str, Any]) -> bool:
    return "caption" not in annotation


def _captions(said: Sequence[tuple[int, Mapping[str, Any]]], image: str, key: str, where: str) -> list[FoundRow]:
    """A row a caption. Several of one image are no contradiction: each is an example with an id of its own."""
    rows = []
    for number, found in said:
        values = {"caption": found["caption"]}
        if len(said) > 1:
            values["id"] = f"{image} caption {found.get('id', number)}"
        rows.append(fields.row_of(values, [image], key, f"{where} annotations[{number}]"))
    return rows


def _box(number: int, found: Mapping[str, Any], names: Mapping[Any, str], size: tuple[float, float] | None) -> Any:
    name = f"annotations[{number}]"
    category = _id(found.get("category_id"))
    if category not in names:
        known = ", ".join(f"{known_id}" for known_id in list(names)[:10]) or "none"
        raise boxes.bad(f"{name} has the category {category!r}, not one of {known}", "Add it to categories.")
    if not found.get("bbox") and found.get("segmentation"):
        return boxes.box_of(names[category], _around(found["segmentation"], f"{name}.segmentation"), name, size)
    left, top, width, height = boxes.numbers(found.get("bbox", ()), 4, f"{name}.bbox")
    return boxes.box_of(names[category], (left, top, left + width, top + height), name, size)


def _around(outlines: Any, name: str) -> tuple[float, float, float, float]:
    """The smallest box around outlines, each a list x, y, x, y and so on."""
    if isinstance(outlines, dict):
        raise BadRow(
            f"{name} is a run-length encoded mask, and no bbox stands beside it.",
            "Export bbox too, or outlines as lists of points.",
            Code.MASK_ENCODED,
        )
    if not isinstance(outlines, list):
        raise boxes.bad(f"{name} is {type(outlines).__name__}, expected outlines", "Write [[x1, y1, x2, y2, ...]].")
    xs: list[float] = []
    ys: list[float] = []
    for number, outline in enumerate(outlines):
        points = outline if isinstance(outline, list) else []
        if len(points) < 6 or len(points) % 2:
            fix = "An outline has three points or more, x and y of each."
            raise boxes.bad(f"{name}[{number}] has {len(points)} numbers", fix)
        sides = boxes.numbers(points, len(points), f"{name}[{number}]")
        xs += sides[::2]
        ys += sides[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _names(categories: Any) -> dict[Any, str]:
    listed = categories if isinstance(categories, list) else []
    return {
        _id(found.get("id")): found["name"]
        for found in listed
        if isinstance(found, dict) and isinstance(found.get("name"), str)
    }


def _id(value: Any) -> Any:
    """An id that can be looked up; some exporters write numbers as text."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int | str) else None
