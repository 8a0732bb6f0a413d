"""Bad and odd files as they turn up in real folders: a folder goes in, the files and what each should come to, out.

The scenes of `scenes.py` lend the pictures, so that a duplicate is a true duplicate.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pixtune.verdicts import Code, Outcome
from pixtune_local.demo.scenes import DEFAULT_SEED, JPEG_QUALITY, LANES, draw_scene, scene_seed

ORIENTATION, GPS = 0x0112, 0x8825


@dataclass(frozen=True, slots=True)
class OddFile:
    """A file, what is odd about it, and the verdict to expect: its outcome, its code and, if any, its warning."""

    name: str
    what: str
    expect: Outcome
    code: Code
    warning: Code | None = None


def _jpeg(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    file = io.BytesIO()
    if exif is None:
        image.save(file, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, exif=exif)
    return file.getvalue()


def _half(image: Image.Image) -> bytes:
    whole = _jpeg(image)
    return whole[: len(whole) // 2]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int = 30_000) -> bytes:
    """A valid grey PNG of `side` x `side` pixels in about 100 kB: 900 million pixels once it is decoded."""
    packer = zlib.compressobj(9)
    line = bytes(side // 8 + 1)
    data = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _turned(image: Image.Image) -> bytes:
    """Stored lying on its side, with the note that it must be turned by a quarter (orientation 6)."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif)


def _located(image: Image.Image) -> bytes:
    """With the place where it was taken: 48.8584 N, 2.2945 E."""
    exif = Image.Exif()
    exif[GPS] = {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)}
    return _jpeg(image, exif)


def _sixteen_bits(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L"), dtype=np.uint16) * 257
    return _png(Image.fromarray(grey))


def _animated(images: list[Image.Image], kind: str) -> bytes:
    file = io.BytesIO()
    small = [image.resize((224, 160)) for image in images]
    small[0].save(file, kind, save_all=True, append_images=small[1:], duration=200, loop=0)
    return file.getvalue()


def write_odd_files(folder: Path) -> list[OddFile]:
    """Write the files into `folder`, beside the scenes of the default seed; answers what each should come to."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [draw_scene(scene_seed(DEFAULT_SEED + 1, number), number % 5 + 1) for number in range(9)]
    first_of_all = draw_scene(scene_seed(DEFAULT_SEED, 0), LANES[0])
    waiting = {"prompt": "How many lanes does this road have?", "answer": "3"}
    accepted, fixed, rejected = Outcome.ACCEPTED, Outcome.FIXED, Outcome.REJECTED
    made: list[tuple[OddFile, bytes]] = [
        (
            OddFile("cut-short.jpg", "a JPEG that stops half-way", rejected, Code.TRUNCATED),
            _half(scenes[0]),
        ),
        (
            OddFile("notes.jpg", "text named .jpg", rejected, Code.NOT_AN_IMAGE),
            b"Tuesday: count lanes.\n",
        ),
        (OddFile("empty.jpg", "no bytes at all", rejected, Code.EMPTY_FILE), b""),
        (OddFile("bomb.png", "30,000 x 30,000 pixels in 110 kB", rejected, Code.TOO_MANY_PIXELS), huge_png()),
        (OddFile("moving.png", "an animated PNG", rejected, Code.ANIMATED), _animated(scenes[:3], "PNG")),
        (OddFile("moving.gif", "an animated GIF", rejected, Code.ANIMATED), _animated(scenes[:3], "GIF")),
        (OddFile(".DS_Store", "left behind by a file manager", rejected, Code.JUNK_FILE), b"\0\0\0\1Bud1\0\0\x10\0"),
        (
            OddFile("print.jpg", "a JPEG in CMYK", fixed, Code.CONVERTED),
            _jpeg(scenes[1].convert("CMYK")),
        ),
        (OddFile("deep.png", "a PNG of 16 bits a pixel", fixed, Code.CONVERTED), _sixteen_bits(scenes[2])),
        (OddFile("few-colours.png", "a PNG with a palette", fixed, Code.CONVERTED), _png(scenes[3].quantize(64))),
        (
            OddFile("sideways.jpg", "on its side, EXIF orientation 6", fixed, Code.CONVERTED),
            _turned(scenes[4]),
        ),
        (OddFile("misnamed.jpg", "a PNG named .jpg", fixed, Code.CONVERTED, Code.WRONG_EXTENSION), _png(scenes[5])),
        (OddFile("located.jpg", "tells in EXIF where it was taken", accepted, Code.OK), _located(scenes[6])),
        (OddFile("again.jpg", "the first scene once more", accepted, Code.OK, Code.DUPLICATE), _jpeg(first_of_all)),
        (OddFile("unlabelled.jpg", "a scene that nobody has annotated", accepted, Code.OK), _jpeg(scenes[7])),
        (
            OddFile("ghost.json", "an annotation without a picture", accepted, Code.OK, Code.WAITING_FOR_IMAGE),
            json.dumps(waiting).encode(),
        ),
    ]
    for odd, content in made:
        (folder / odd.name).write_bytes(content)
    return [odd for odd, _ in made]
