"""What a converted picture is like: the luma of its thumbnail in, figures and warnings about it out.

Measured on the thumbnail, so that pictures of all sizes compare and measuring costs a hundredth of converting.
Thresholds are set where photographs of cards, fruit and roads are never warned about, and the same photographs
blurred beyond recognition of their texture (a Gaussian of 8 pixels on 1,024) always are.
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageFilter

from pixtune.verdicts import Code, Note

BLURRY = 8.0  # sharp photographs measure 80 and more, the same ones blurred 2 to 7
LITTLE_INFORMATION = 0.35  # bits: one thin line on a page measures 0.3, a page of text 2, photographs 5 to 7
ODD_ASPECT = 4.0  # long side to short side; scaled to a provider's longest side, 4:1 still keeps 512 pixels
SMALL_SIDE = 64  # pixels of the upload; two of the 32-pixel patches that models read pictures by
_COARSE = 64  # pixels a side at which noise no longer counts as content

_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


def brightness(luma: Image.Image) -> float:
    """Mean luma from 0 (black) to 1 (white)."""
    counts = luma.histogram()
    return round(sum(value * count for value, count in enumerate(counts)) / (255 * sum(counts)), 4)


def dhash(luma: Image.Image) -> str:
    """A 64-bit difference hash, 16 hex digits: is each of 9 × 8 cells brighter than the one to its right?"""
    cells = luma.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (cells[row * 9 + column] > cells[row * 9 + column + 1])
    return f"{bits:016x}"


def sharpness(luma: Image.Image) -> float:
    """The variance of the Laplacian; 0 for one colour, about 2 for a blur."""
    if min(luma.size) < 3:
        return 0.0  # too thin to have an edge within
    edges = luma.filter(_LAPLACIAN).crop((1, 1, luma.width - 1, luma.height - 1))
    counts = edges.histogram()
    total = sum(counts)
    mean = sum(value * count for value, count in enumerate(counts)) / total
    return round(sum(count * (value - mean) ** 2 for value, count in enumerate(counts)) / total, 1)


def information(luma: Image.Image) -> float:
    """The entropy of the brightness of at most 64 × 64 cells, in bits: 0 for one colour, at most 8."""
    cells = luma.resize((min(_COARSE, luma.width), min(_COARSE, luma.height)), Image.Resampling.BOX, reducing_gap=1.0)
    return round(abs(cells.entropy()), 2)


def warnings(sharp: float, bits: float, width: int, height: int) -> Iterator[Note]:
    """What deserves a look. width, height: pixels of the upload."""
    if bits < LITTLE_INFORMATION:
        yield Note(Code.LOW_INFORMATION, f"Its brightness carries {bits:.2f} bits; photographs carry 5 to 7.")
    elif sharp < BLURRY:
        yield Note(Code.TOO_BLURRY, f"Its sharpness is {sharp:.1f}; sharp photographs measure 80 and more.")
    if max(width, height) > ODD_ASPECT * min(width, height):
        yield Note(Code.ODD_ASPECT, f"Its sides are {width} × {height} pixels, more than {ODD_ASPECT:.0f} to 1.")
    if min(width, height) < SMALL_SIDE:
        yield Note(Code.SMALL_IMAGE, f"It has {width} × {height} pixels; below {SMALL_SIDE} a model sees little.")
