"""Boxes as an annotation drew them in, boxes in pixels of the picture that is sent out. Pure.

A picture is turned upright, cropped and resized, as its recipe says; boxes go the same way by what its item records.
What a crop cuts off a box is cut off, and a box of which it leaves less than a pixel is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
_BACK = {orientation: orientation for orientation in range(1, 9)} | {6: 8, 8: 6}
_ROUNDING = 1e-6  # pixels that sums of shares may be off


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
        size, drawn_upright = (1.0, 1.0), True
    else:
        size = boxes.size or stored
        # Drawn by a tool that shows pictures upright, where that is another shape.
        drawn_upright = not _alike(size, stored) and _alike(size, upright(stored, image.orientation))
    if image.as_stored:
        orientation = _BACK[image.orientation] if drawn_upright else 1
    else:
        orientation = 1 if drawn_upright else image.orientation
    width, height = upright(size, orientation)
    x0, y0, x1, y1 = image.shown or (0.0, 0.0, 1.0, 1.0)
    across, down = image.width / (width * (x1 - x0)), image.height / (height * (y1 - y0))
    x, y = width * x0 * across, height * y0 * down
    lying = [turned((box.left, box.top, box.right, box.bottom), size, orientation) for box in boxes.boxes]
    return [
        (left * across - x, top * down - y, right * across - x, bottom * down - y)
        for left, top, right, bottom in lying
    ]


def sent(boxes: Boxes, image: ImageData) -> list[SentBox]:
    """The boxes in the sent picture: edges to the nearest pixel, cut off at the picture's, one pixel at least."""
    every = zip(boxes.boxes, moved(boxes, image), strict=True)
    return [_whole(box, edges, image) for box, edges in every if not _is_cut_off(edges, image)]


def cut_off(boxes: Boxes, image: ImageData) -> list[Box]:
    """The boxes that a crop left less than a pixel of: the sent picture does not show them."""
    every = zip(boxes.boxes, moved(boxes, image), strict=True)
    return [box for box, edges in every if _is_cut_off(edges, image)]


def _is_cut_off(edges: Edges, image: ImageData) -> bool:
    if image.shown is None:
        return False
    across = min(edges[2], image.width) - max(edges[0], 0.0)
    down = min(edges[3], image.height) - max(edges[1], 0.0)
    # A thing smaller than a pixel may be shown whole.
    return across < min(1.0, edges[2] - edges[0]) - _ROUNDING or down < min(1.0, edges[3] - edges[1]) - _ROUNDING


def misfits(annotation: Annotation, images: Sequence[ImageData]) -> Iterator[str]:
    """Why boxes cannot be those of the pictures they stand for: drawn on another shape, or lying outside."""
    for boxes in annotation.boxes():
        image = replace(images[boxes.image], shown=None)  # what a crop cuts off lies in the picture
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
