"""The benchmark's pictures: photographs out of an installed package, made as large as a camera's, as files.

scikit-learn brings two photographs (a flower, a temple) of 640 x 427 pixels. Doubled, they have a camera's detail
per pixel (1 to 2 bits a pixel as JPEG); mirrored at their edges, its size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pixtune.images.recipe import BOXES
from pixtune.images.steps import fit

if TYPE_CHECKING:
    import numpy

MEGAPIXELS = {1: (1152, 864), 3: (2000, 1500), 12: (4000, 3000), 24: (6000, 4000)}
SAVED: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 1},
    "WEBP": {"quality": 85, "method": 0},
}
PHOTOGRAPHS = ("flower", "china")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to convert. detail: "high" or "low". kept: what `encode` is told where the file is kept as it is."""

    file: Path
    name: str
    detail: str
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def box(self) -> dict[str, int]:
        return {side: int(value) for side, value in BOXES[self.detail].items()}

    @property
    def target(self) -> tuple[int, int]:
        with Image.open(self.file) as picture:
            return fit(*picture.size, **self.box)

    @property
    def pixels(self) -> int:
        with Image.open(self.file) as picture:
            return picture.width * picture.height


@cache
def _doubled(name: str) -> numpy.ndarray[Any, Any]:
    import numpy  # here: engines, whose memory is measured, import this module too
    from sklearn.datasets import load_sample_image

    picture = Image.fromarray(load_sample_image(f"{name}.jpg"))
    return numpy.asarray(picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC))


def photograph(name: str, width: int, height: int) -> Image.Image:
    import numpy

    pixels = _doubled(name)[:height, :width]
    missing = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    mirrored = numpy.pad(pixels, missing, mode="symmetric")
    return Image.fromarray(mirrored)


def file_of(folder: Path, name: str, format_: str, size: tuple[int, int]) -> Path:
    path = folder / f"{name}-{size[0]}.{format_.lower()}"
    if not path.exists():
        photograph(name, *size).save(path, format_, **SAVED[format_])
    return path


def own_photographs(most: int = 12) -> list[Path]:
    """Some of the JPEGs below PIXTUNE_PHOTOS, spread over the folder; none when it is not set."""
    root = os.environ.get("PIXTUNE_PHOTOS")
    files = sorted(Path(root).rglob("*.jpg")) if root else []
    return files[:: max(1, len(files) // most)][:most]


def cases(folder: Path, quick: bool) -> Iterator[tuple[str, list[Job]]]:
    """Each case's name and files; the files are written when the case is reached."""
    sizes = {"JPEG": (1, 12), "PNG": (1,), "WEBP": (1,)} if quick else dict.fromkeys(SAVED, tuple(MEGAPIXELS))
    for format_, megapixels in sizes.items():
        names = PHOTOGRAPHS if format_ == "JPEG" and not quick else PHOTOGRAPHS[:1]
        for detail in ("high",) if quick else ("high", "low"):
            for size in megapixels:
                case = f"{format_} {size} MP {detail}"
                yield case, [Job(file_of(folder, n, format_, MEGAPIXELS[size]), case, detail) for n in names]
    own = own_photographs()
    if own and not quick:
        yield "own JPEGs, low", [Job(path, "own", "low") for path in own]


def kept(folder: Path, width: int = 1024, height: int = 768) -> Iterator[tuple[str, list[Job]]]:
    """Pictures that need nothing, and are kept as they are."""
    for format_, told in (("JPEG", {}), ("PNG", {}), ("WEBP", {"keep_webp": True})):
        path = folder / f"kept.{format_.lower()}"
        picture = photograph("flower", width, height)
        picture.save(path, format_, **({} if format_ == "PNG" else {"quality": 85}))
        case = f"{format_} kept"
        yield case, [Job(path, case, "high", {"keep_bytes": 10_000_000, **told})]
