"""Preprocessing steps of your own: one registered function each, chosen by its name in a dataset's dataset.toml.

A step gets a picture (8 bits; "RGB", or "L" or "CMYK" where `to_srgb` has not run) and returns one of the same size.
Its parameters need defaults and are part of the recipe; raise the step's version when the same parameters give other
pixels, and the datasets that use it are converted again. docs/preprocessing.md shows it from end to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixtune.images.steps import own_step

if TYPE_CHECKING:
    from PIL import Image


@own_step(version=1, radius=(0.1, 20), percent=(1, 500))
def sharpen(picture: Image.Image, *, radius: float = 2.0, percent: int = 80) -> Image.Image:
    """Edges made clearer: an unsharp mask of `radius` pixels. Worn print and screenshots of text gain by it."""
    from PIL import ImageFilter

    return picture.filter(ImageFilter.UnsharpMask(radius, percent, threshold=2))
