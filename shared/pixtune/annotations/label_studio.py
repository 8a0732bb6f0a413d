"""Label Studio's JSON and JSON-MIN exports: one task in, its rows out.

A result's x, y, width and height are percent of the picture as people see it, so boxes are kept as shares of the
upright picture (https://labelstud.io/guide/export). A cancelled annotation says nothing; a ground truth outdoes the
others; others that differ are a conflict, shown and held.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pixtune.annotations import boxes
from pixtune.annotations.fields import described
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import Box, Boxes, Part, Turn
from pixtune.keys import has_image_suffix
from pixtune.verdicts import Code

LAYOUT = "a Label Studio export"
_UPLOADED = re.compile(r"/data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?([^/]+)")
_OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "image")
_PERCENT = (100.0, 100.0)

Result = Mapping[str, Any]


def is_task(values: Any) -> bool:
    if not isinstance(values, dict):
        return False
    whole = isinstance(values.get("data"), dict) and isinstance(values.get("annotations"), list)
    return whole or ("image" in values and "annotation_id" in values)


def rows_of(task: Mapping[str, Any], annotation_key: str, bucket: str, where: str) -> list[FoundRow]:
    """A row for each question of each annotation that counts; none for a task nobody answered. Raises BadRow.

    The control's name (from_name) is the question where a task has more than one.
    """
    data = task["data"] if isinstance(task.get("data"), dict) else task
    image = key_of(_path(data), annotation_key, bucket)
    said = [list(_results(found)) for found in _counting(task)] if data is not task else [list(_shortened(task))]
    controls = {name for results in said for name, _ in results}
    return [
        _row(name if len(controls) > 1 else None, group, image, annotation_key, where)
        for results in said
        for name, group in _by_control(results)
    ]


def _counting(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    live: list[Mapping[str, Any]] = [
        found for found in task["annotations"] if isinstance(found, dict) and not found.get("was_cancelled")
    ]
    truths = [found for found in live if found.get("ground_truth")]
    return truths or live


def _results(annotation: Mapping[str, Any]) -> Iterator[tuple[str, Result]]:
    for result in annotation.get("result") or ():
        if isinstance(result, dict) and isinstance(result.get("value"), dict):
            sizes = {name: result.get(name) for name in ("original_width", "original_height")}
            yield str(result.get("from_name")), {**sizes, **result["value"]}


def _shortened(task: Mapping[str, Any]) -> Iterator[tuple[str, Result]]:
    """JSON-MIN: each control is a key, its value the results without their wrapping."""
    for name, value in task.items():
        if name in _OWN:
            continue
        for found in value if isinstance(value, list) else [value]:
            if isinstance(found, str):
                yield name, {"text": [found]}
            elif isinstance(found, dict):
                yield name, {**found, "text": found.get("text", found.get("choices"))}


def _by_control(results: Sequence[tuple[str, Result]]) -> Iterator[tuple[str, list[Result]]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for name, value in results:
        groups[name].append(value)
    yield from groups.items()


def _row(question: str | None, results: list[Result], image: str, annotation_key: str, where: str) -> FoundRow:
    if any("rectanglelabels" in value for value in results):
        answer = Part(boxes=Boxes(tuple(_box(n, value) for n, value in enumerate(results, 1)), shares=True))
    else:
        answer = Part(text=_words(results))
    asked = (Part(text=question),) if question else ()
    turns = (Turn("user", (Part(image=0), *asked)), Turn("assistant", (answer,)))
    return described(turns, None, {}, [image], annotation_key, where)


def _words(results: list[Result]) -> str:
    words: list[str] = []
    for value in results:
        listed = value.get("choices") or value.get("text")
        texts = [text for text in (listed if isinstance(listed, list) else [listed]) if isinstance(text, str)]
        if not texts:
            raise BadRow(
                f"A result has {', '.join(value)[:80]}; expected rectanglelabels, choices or text.",
                "Export boxes, choices or text areas.",
            )
        words += texts
    if not any(word.strip() for word in words):
        raise BadRow("Its answer is blank.", "Give it a text.", Code.EMPTY_ANSWER)
    return "\n".join(words) if any("text" in value and value["text"] for value in results) else ", ".join(words)


def _box(number: int, value: Result) -> Box:
    name = f"result {number}"
    labels = value.get("rectanglelabels")
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise boxes.bad(f"{name} has the labels {str(labels)[:60]}", "Give every box one label.")
    sides = [value.get(side) for side in ("x", "y", "width", "height")]
    left, top, width, height = boxes.numbers(sides, 4, name)
    edges = (left, top, left + width, top + height)
    rotation = value.get("rotation") or 0
    if rotation:
        size = boxes.size_of(value.get("original_width"), value.get("original_height"))
        if size is None or not isinstance(rotation, int | float):
            raise boxes.bad(f"{name} is turned, and the picture's size is not stated", "Export original_width too.")
        edges = _around(left, top, width, height, math.radians(rotation), size)
    box = boxes.box_of(labels[0], edges, name, _PERCENT, slack=math.inf if rotation else 1.0)
    return Box(box.label, *(edge / 100 for edge in (box.left, box.top, box.right, box.bottom)))


def _around(
    left: float, top: float, width: float, height: float, angle: float, size: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The upright box around one that is turned about its upper left corner, all in percent."""
    across, down = width * size[0], height * size[1]
    corners = [(0.0, 0.0), (across, 0.0), (0.0, down), (across, down)]
    xs = [left + (x * math.cos(angle) - y * math.sin(angle)) / size[0] for x, y in corners]
    ys = [top + (x * math.sin(angle) + y * math.cos(angle)) / size[1] for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _path(data: Mapping[str, Any]) -> str:
    """The image of a task: `image`, or the only value that looks like one. Label Studio's own places become paths."""
    given = data.get("image")
    if not isinstance(given, str):
        found = [value for value in data.values() if isinstance(value, str) and has_image_suffix(value)]
        if len(found) != 1:
            raise BadRow("Its data names no image.", 'Expected {"data": {"image": "a.jpg"}}.', Code.BAD_PATH)
        given = found[0]
    if given.startswith("/data/local-files/"):
        return (parse_qs(urlsplit(given).query).get("d") or [given])[0]
    uploaded = _UPLOADED.fullmatch(given)
    return uploaded[1] if uploaded else given
