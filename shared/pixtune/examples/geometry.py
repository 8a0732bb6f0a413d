"""Boxes as an annotation drew them in, boxes in pixels of the picture that is sent out. Pure.

A picture is turned upright and then resized, never cropped; boxes go the same way by what its item records of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor

from pixtune.examples.annotation import Annotation, Box, Boxes
from pixtune.examples.facts import ImageData

Size = tuple[float, float]
Edges = tuple[float, float, float, float]  # left, top, right, bottom

# Where a point of the stored picture lies in the upright one, by EXIF's orientation (tag 274; 1 is upright already).
_TURNED: dict[int, Callable[[float, float, float, float], tuple[float, float]]] = {
    1: lambda x, y, _w, _h: (x, y),
    2: lambda x, y, w, _h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, _w, h: (x, h - y),
    5: lambda x, y, _w, _h: (y, x),
    6: lambda x, y, _w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, _h: (y, w - x),
}


@dataclass(frozen=True, slots=True)
class SentBox:
    """A box in whole pixels of the sent picture: 0 <= left < right <= its width, and so for its height."""

    label: str
    left: int
    top: int
    right: int
    bottom: int


def turned(edges: Edges, size: Size, orientation: int) -> Edges:
    """A box of the stored picture of this size, in the upright one."""
    turn = _TURNED[orientation]
    (x0, y0), (x1, y1) = turn(edges[0], edges[1], *size), turn(edges[2], edges[3], *size)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def upright(size: Size, orientation: int) -> Size:
    """A stored picture's size after it was turned upright; orientations 5 to 8 swap the sides."""
    return (size[1], size[0]) if orientation >= 5 else size


def moved(boxes: Boxes, image: ImageData) -> list[Edges]:
    """The boxes' edges in pixels of the sent picture, not rounded and not cut off at its edges."""
    stored = (float(image.source_width), float(image.source_height))
    if boxes.shares:
        size, orientation = (1.0, 1.0), 1
    elif boxes.size and not _alike(boxes.size, stored) and _alike(boxes.size, upright(stored, image.orientation)):
        size, orientation = boxes.size, 1  # drawn by a tool that shows pictures upright
    else:
        size, orientation = boxes.size or stored, image.orientation
    width, height = upright(size, orientation)
    across, down = image.width / width, image.height / height
    lying = [turned((box.left, box.top, box.right, box.bottom), size, orientation) for box in boxes.boxes]
    return [(left * across, top * down, right * across, bottom * down) for left, top, right, bottom in lying]


def sent(boxes: Boxes, image: ImageData) -> list[SentBox]:
    """The boxes in the sent picture: edges to the nearest pixel, cut off at the picture's, one pixel at least."""
    return [_whole(box, edges, image) for box, edges in zip(boxes.boxes, moved(boxes, image), strict=True)]


def misfits(annotation: Annotation, images: Sequence[ImageData]) -> Iterator[str]:
    """Why boxes cannot be those of the pictures they stand for: drawn on another shape, or lying outside."""
    for boxes in annotation.boxes():
        image = images[boxes.image]
        stored = (image.source_width, image.source_height)
        if boxes.size and not any(_alike(boxes.size, size) for size in (stored, upright(stored, image.orientation))):
            yield (
                f"its boxes were drawn on {boxes.size[0]:g} x {boxes.size[1]:g} pixels, "
                f"but the picture has {stored[0]} x {stored[1]}"
            )
            continue
        for box, (left, top, right, bottom) in zip(boxes.boxes, moved(boxes, image), strict=True):
            if left >= image.width or top >= image.height or right <= 0 or bottom <= 0:
                yield f"the box of {box.label!r} at {box.left:g}, {box.top:g} lies outside the picture"


def _alike(one: Size, other: Size) -> bool:
    """Whether one is the other at another scale, but for the pixel that rounding a side may cost."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _whole(box: Box, edges: Edges, image: ImageData) -> SentBox:
    left, right = _span(edges[0], edges[2], image.width)
    top, bottom = _span(edges[1], edges[3], image.height)
    return SentBox(box.label, left, top, right, bottom)


def _span(first: float, last: float, end: int) -> tuple[int, int]:
    start = min(max(floor(first + 0.5), 0), end - 1)
    return start, max(min(floor(last + 0.5), end), start + 1)
