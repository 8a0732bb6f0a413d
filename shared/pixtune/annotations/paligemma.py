"""PaliGemma's way to say boxes: an answer such as `<loc0012><loc0034><loc0500><loc0600> cat ; ...` in, boxes out.

Four tokens stand for top, left, bottom and right in 1024ths of the picture; the label follows, `;` parts objects
(big_vision's PaliGemma README).
"""

from __future__ import annotations

import re

from pixtune.annotations.reading import BadRow
from pixtune.examples.annotation import Box, Boxes
from pixtune.verdicts import Code

_TOKEN = re.compile(r"<(?:loc\d{4}|seg\d{3})>")
_OBJECT = re.compile(r"\s*" + r"<loc(\d{4})>" * 4 + r"\s*([^<>;]*[^<>;\s])\s*")
_UNIT = 1024


def boxes_of(answer: str) -> Boxes | None:
    """The boxes an answer says, None when it has no such token. Raises BadRow when tokens stand there otherwise."""
    if not _TOKEN.search(answer):
        return None
    boxes = []
    for number, part in enumerate(answer.rstrip(" ;\n").split(";"), 1):
        found = _OBJECT.fullmatch(part)
        if not found:
            raise _bad(f"object {number} ({part.strip()[:60]!r}) is not four <locNNNN> and a label")
        top, left, bottom, right = (int(edge) / _UNIT for edge in found.groups()[:4])
        if not (left < right <= 1 and top < bottom <= 1):
            raise _bad(f"object {number} ({part.strip()[:60]!r}) has no area")
        boxes.append(Box(found[5], left, top, right, bottom))
    return Boxes(tuple(boxes), shares=True)


def _bad(detail: str) -> BadRow:
    return BadRow(
        f"Its answer has PaliGemma tokens, but {detail}.",
        "Write <locTTTT><locLLLL><locBBBB><locRRRR> label, parted by ';', or say it in words.",
        Code.LOCATION_TOKEN,
    )
