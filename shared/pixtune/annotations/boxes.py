"""Boxes of any layout as one row: labels and edges in, a row whose answer is those boxes out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from pixtune.annotations.fields import described
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import Box, Boxes, Part, Turn
from pixtune.verdicts import Code


def box_of(
    label: str, edges: Sequence[float], name: str, size: tuple[float, float] | None, *, slack: float = 1.0
) -> Box:
    """A box, its edges in order and inside a picture of `size`, if that is known. Raises BadRow.

    slack: how far outside is still rounding (a pixel; less where edges are shares), which is cut off later.
    """
    if not label.strip():
        raise bad(f"{name} has no label", "Name its class.")
    left, top, right, bottom = (round(edge, 7) for edge in edges)
    if not all(map(math.isfinite, (left, top, right, bottom))) or left >= right or top >= bottom:
        raise bad(f"{name} ({label}) has the edges {left:g}, {top:g}, {right:g}, {bottom:g}", "Give it an area.")
    width, height = size or (math.inf, math.inf)
    if left < -slack or top < -slack or right > width + slack or bottom > height + slack:
        raise bad(
            f"{name} ({label}) with the edges {left:g}, {top:g}, {right:g}, {bottom:g} leaves the picture"
            + (f" of {width:g} x {height:g}" if size else ""),
            "Correct it, or the width and height that the file states.",
        )
    return Box(label, left, top, right, bottom)


def bad(detail: str, fix: str) -> BadRow:
    return BadRow(f"{detail}.", fix, Code.BAD_BOX)


def numbers(values: Iterable[Any], count: int, name: str) -> list[float]:
    """`count` finite numbers, or BadRow."""
    given = list(values) if isinstance(values, list | tuple) else []
    found = [float(value) for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(given) != count or len(found) != count or not all(map(math.isfinite, found)):
        raise bad(f"{name} is not {count} numbers", "Write them as numbers, such as [299, 6, 377, 260].")
    return found


def size_of(width: Any, height: Any) -> tuple[float, float] | None:
    """A stated size; None where it is missing, or 0 as some exporters write when they did not know."""
    known = [isinstance(side, int | float) and not isinstance(side, bool) and side > 0 for side in (width, height)]
    return (float(width), float(height)) if all(known) else None


def row_of(boxes: Boxes, image: str, annotation_key: str, where: str) -> FoundRow:
    """The row of one image's boxes; its question is the task template's or the dataset's. Raises BadRow."""
    turns = (Turn("user", (Part(image=0),)), Turn("assistant", (Part(boxes=boxes),)))
    return described(turns, None, {}, [image], annotation_key, where)
