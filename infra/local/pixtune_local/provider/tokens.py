"""Nominal token counts: text and image sizes in, tokens out.

There is no tokenizer here: words and signs are counted. Images follow gpt-4o's tile rule as documented on
developers.openai.com/api/docs/guides/images-vision (2026-07-15): fit in 2048x2048, bring the short side down to
768, count tiles of 512.
"""

from __future__ import annotations

import math
import re

PER_MESSAGE = 3
PER_REPLY = 3
_PIECE = re.compile(r"\w+|[^\w\s]")
_LOW_DETAIL, _PER_TILE = 85, 170


def pieces(text: str) -> list[str]:
    """The text as the small model reads and counts it: words and single signs."""
    return _PIECE.findall(text)


def text_tokens(text: str) -> int:
    return len(pieces(text))


def image_tokens(width: int, height: int, detail: str = "auto") -> int:
    """Tokens of one image of `width` x `height` pixels. `auto` counts as `high`; small images are not enlarged."""
    if detail == "low":
        return _LOW_DETAIL
    fit = min(1.0, 2048 / max(width, height))
    fit = min(fit, 768 / min(width, height))
    tiles = math.ceil(round(width * fit, 6) / 512) * math.ceil(round(height * fit, 6) / 512)
    return _LOW_DETAIL + _PER_TILE * tiles
