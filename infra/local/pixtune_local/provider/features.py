"""What the small model sees: a 120 x 160 picture goes in, named blocks of numbers come out.

No block knows any task. `strokes` (angles of strong lines, whatever the light) and `crossings` (how many light and
dark runs a line of pixels crosses) read structure, `hog` local shape, `thumb` layout, `colours` and `palette` colour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import sobel, uniform_filter
from skimage.feature import hog

from pixtune_local.provider.rows import SIZE, Pixels

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BLOCKS = ("strokes", "crossings", "hog", "thumb", "colours", "palette")
JITTERED_VIEWS = 4
_BORDER = 20
_GREY = np.array([0.299, 0.587, 0.114])


def _angles(turn: Matrix, strength: Matrix, bins: int) -> Vector:
    """Histogram of undirected angles (`turn` in 0..1 of half a circle), shared linearly between two bins, rooted."""
    place = turn.ravel() * bins
    low = np.floor(place).astype(int)
    share = place - low
    weight = strength.ravel()
    counts = np.bincount(low % bins, weight * (1 - share), bins) + np.bincount((low + 1) % bins, weight * share, bins)
    return np.asarray(np.sqrt(counts / (counts.sum() + 1e-9)))


def _strokes(_rgb: Matrix, grey: Matrix) -> Vector:
    down, across = sobel(grey, axis=0) / 4, sobel(grey, axis=1) / 4
    magnitude = np.hypot(down, across)
    turn = np.mod(np.arctan2(down, across), np.pi) / np.pi
    strength = np.maximum(np.minimum(magnitude / (uniform_filter(magnitude, 15) + 0.02), 4) - 1, 0)
    half = grey.shape[0] // 2
    top, bottom = _angles(turn[:half], strength[:half], 36), _angles(turn[half:], strength[half:], 36)
    waves = [np.abs(np.fft.rfft(histogram))[1:] / 6 for histogram in (top, bottom)]
    return np.concatenate([_angles(turn, strength, 24), top, bottom, *waves])


def _crossings(_rgb: Matrix, grey: Matrix) -> Vector:
    found: list[Vector] = []
    for width in (9, 17):
        above = grey - uniform_filter(grey, width)
        spread = np.sqrt(uniform_filter(above**2, 4 * width + 1)) + above.std() + 1e-4
        for sign in (1, -1):
            for threshold in (0.8, 1.6):
                on = sign * above / spread > threshold / 2
                for lines in (on, on.T):
                    runs = lines[:, 0] + (lines[:, 1:] & ~lines[:, :-1]).sum(axis=1)
                    bands = runs.reshape(5, -1)
                    found += [bands.mean(axis=1), np.percentile(bands, 80, axis=1)]
    return np.asarray(np.sqrt(np.concatenate(found)))


def _hog(_rgb: Matrix, grey: Matrix) -> Vector:
    cells = hog(grey, 9, (20, 20), (1, 1), block_norm="L1", feature_vector=False)
    return np.asarray(np.sqrt(cells)).ravel()


def _thumb(_rgb: Matrix, grey: Matrix) -> Vector:
    small = grey.reshape(12, 10, 16, 10).mean(axis=(1, 3))
    return np.asarray((small - small.mean()) / (small.std() + 1e-4)).ravel()


def _colours(rgb: Matrix, _grey: Matrix) -> Vector:
    return np.asarray(rgb.reshape(6, 20, 8, 20, 3).mean(axis=(1, 3))).ravel()


def _palette(rgb: Matrix, _grey: Matrix) -> Vector:
    red, green, blue = np.minimum(rgb * 4, 3).astype(int).reshape(-1, 3).T
    return np.sqrt(np.bincount(red * 16 + green * 4 + blue, minlength=64) / red.size)


_MAKERS = {
    "strokes": _strokes,
    "crossings": _crossings,
    "hog": _hog,
    "thumb": _thumb,
    "colours": _colours,
    "palette": _palette,
}


def look(pixels: Pixels, blocks: tuple[str, ...] = BLOCKS) -> dict[str, Vector]:
    """The named blocks of one picture."""
    rgb = pixels / 255.0
    grey = rgb @ _GREY
    return {block: _MAKERS[block](rgb, grey) for block in blocks}


def look_at_all(pictures: list[Pixels], blocks: tuple[str, ...] = BLOCKS) -> dict[str, Vector]:
    """The named blocks of a question with any number of pictures: their mean; none is an even grey."""
    seen = [look(pixels, blocks) for pixels in pictures or [np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)]]
    return {block: np.mean([one[block] for one in seen], axis=0) for block in blocks}


def mirror(pixels: Pixels) -> Pixels:
    return pixels[:, ::-1]


def jitter(pixels: Pixels, rng: np.random.Generator, *, may_mirror: bool) -> Pixels:
    """The same scene a little turned, scaled, shifted, lighter or darker; what leaves the frame is reflected in."""
    if may_mirror and rng.random() < 0.5:
        pixels = mirror(pixels)
    padded = np.pad(pixels, ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="reflect")
    height, width = padded.shape[:2]
    turn, scale = np.deg2rad(rng.normal(0, 2)), np.exp(rng.normal(0, 0.06))
    aspect = np.exp(rng.normal(0, 0.05) / 2)
    across, down = np.cos(turn) / scale, np.sin(turn) / scale
    move = rng.normal(0, 0.04, 2) * SIZE
    middle_x, middle_y = width / 2, height / 2
    a, b, d, e = across * aspect, down / aspect, -down * aspect, across / aspect
    affine = (
        a, b, middle_x - a * middle_x - b * middle_y + move[0],
        d, e, middle_y - d * middle_x - e * middle_y + move[1],
    )  # fmt: skip
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    values = np.asarray(moved)[_BORDER:-_BORDER, _BORDER:-_BORDER].astype(float)
    mean = values.mean()
    values = (values - mean) * np.exp(rng.normal(0, 0.15)) + mean + rng.normal(0, 0.05) * 255
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
