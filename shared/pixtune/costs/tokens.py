"""Tokens of images and texts: sizes and a model family's rule in, counts out. No tokenizer and no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pixtune.costs.bands import Band

_TILE, _PATCH = 512, 32
_SHORT_SIDE = 768

# Text is estimated: English runs at about four bytes a token, other scripts and digits at fewer, and word counters
# (the local provider's) at more. Each piece of text is at least one token.
_BYTES_PER_TOKEN = Band(low=7, mid=4, high=2.5)
# What the chat format adds to each message and once to a reply. Low: as if the last message's were the reply's.
_PER_MESSAGE, _PER_REPLY = Band(3, 3, 5), Band(0, 3, 3)


@dataclass(frozen=True, slots=True)
class ImageTokenRule:
    """How a model family counts an image. Source: developers.openai.com/api/docs/guides/images-vision, 2026-07-15.

    tiles: fit in longest x longest, bring the short side down to 768, then `base` + `each` per tile of 512.
    patches: squares of 32 px, at most `budget` of them and `longest` pixels a side, times `each`; an image whose
    longer side has less than `at_least` pixels is enlarged first.
    `low` detail costs `base` where there are tiles; for patches it is not documented, and counts as high.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic when limits.toml is loaded

    kind: Literal["tiles", "patches"]
    each: float
    base: int = 0
    longest: int = 2048
    budget: int = 1536
    at_least: int = 0


def _tiles(width: float, height: float, rule: ImageTokenRule, *, enlarge: bool) -> int:
    fit = min(1.0, rule.longest / max(width, height))
    short = _SHORT_SIDE / (min(width, height) * fit)
    fit *= short if enlarge else min(1.0, short)
    # Rounded first: 1024 * (768 / 1024) must not become 768.0000001 and a tile too many.
    return math.ceil(round(width * fit, 6) / _TILE) * math.ceil(round(height * fit, 6) / _TILE)


def _patches(width: float, height: float, rule: ImageTokenRule) -> int:
    def count(wide: float, high: float) -> int:
        return math.ceil(round(wide, 6) / _PATCH) * math.ceil(round(high, 6) / _PATCH)

    enlarge = max(1.0, rule.at_least / max(width, height))
    width, height = width * enlarge, height * enlarge
    fit = min(1.0, rule.longest / max(width, height))
    if count(width, height) > rule.budget:
        shrink = math.sqrt(_PATCH * _PATCH * rule.budget / (width * height))
        wide, high = width * shrink / _PATCH, height * shrink / _PATCH
        if wide >= 1 and high >= 1:  # then one more step, so that whole patches fit
            shrink *= min(math.floor(wide) / wide, math.floor(high) / high)
        fit = min(fit, shrink)
    return min(count(width * fit, height * fit), rule.budget)


def image_tokens(width: int, height: int, detail: str, rule: ImageTokenRule, *, enlarge: bool = False) -> int:
    """Tokens of one image of width x height pixels. detail: "high", "auto" (counted as high) or "low".

    enlarge: read the tile rule as if small images were enlarged, which the documentation leaves open.
    """
    if rule.kind == "patches":
        return math.ceil(_patches(width, height, rule) * rule.each)
    if detail == "low":
        return rule.base
    return rule.base + int(rule.each) * _tiles(width, height, rule, enlarge=enlarge)


@lru_cache(maxsize=4096)  # converted images have few sizes
def image_band(width: int, height: int, detail: str, rule: ImageTokenRule) -> Band:
    """The common reading, and as its high end the one in which small images are enlarged."""
    common = image_tokens(width, height, detail, rule)
    return Band(common, common, max(common, image_tokens(width, height, detail, rule, enlarge=True)))


def text_bytes(text: str) -> int:
    """Bytes as UTF-8. JSON may hold half a surrogate pair (`\\ud800`), which counts as three."""
    return len(text.encode("utf-8", "surrogatepass"))


def text_band(text: str) -> Band:
    """Tokens of one piece of text, from its UTF-8 bytes: a seventh, a quarter, two fifths. Empty text has none."""
    size = text_bytes(text)
    if not size:
        return Band(0, 0, 0)
    per = _BYTES_PER_TOKEN
    return Band(*(max(1, math.ceil(size / share)) for share in (per.low, per.mid, per.high)))


def framing_band(messages: int) -> Band:
    """What the chat format adds to an exchange of this many messages."""
    return _PER_MESSAGE * messages + _PER_REPLY
