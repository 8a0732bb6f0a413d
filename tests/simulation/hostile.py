"""Pictures made hostile: a number in, the file it stands for out; and a run of the gate over as many as time allows.

`make fuzz SECONDS=600` counts up from a seed; a finding names the number, which makes the same file again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from functools import cache

from PIL import Image
from tests.unit import drawn

from pixtune.images.gate import inspect
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Outcome

OURS = frozenset({Code.DECODER_DIED, Code.DECODE_TOO_SLOW})  # a decoder that dies or hangs is a finding
_INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\0",
    b"\xff\xd9",
    b"\xff\xda",
)


@cache
def good_files() -> tuple[bytes, ...]:
    """Small pictures of every format that is read and of most of their forms."""
    photo = drawn.photo(96, 72)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        drawn.jpeg(photo),
        drawn.jpeg(photo, progressive=True),
        drawn.jpeg(photo, restart_marker_blocks=2, subsampling=0),
        drawn.jpeg(photo.convert("CMYK")),
        drawn.jpeg(photo.convert("L"), exif=exif),
        drawn.jpeg(photo, icc_profile=drawn.p3_profile(), exif=exif, comment=b"a comment"),
        drawn.encoded(photo, "MPO", save_all=True, append_images=[photo]),
    ]
    modes = ("RGB", "RGBA", "L", "LA", "P", "1")
    files += [drawn.encoded(photo.convert(mode), "PNG") for mode in modes]
    files.append(drawn.encoded(photo.convert("P"), "PNG", transparency=3, icc_profile=drawn.p3_profile()))
    files.append(drawn.png(40, 30, bits=16, colour=2))
    files.append(drawn.encoded(photo, "PNG", save_all=True, append_images=[photo.rotate(90)]))
    files += [
        drawn.encoded(photo.convert(mode), "WEBP", lossless=lossless) for mode, lossless in (("RGB", 0), ("RGBA", 1))
    ]
    files += [drawn.encoded(photo.convert(mode), "GIF") for mode in ("P", "1")]
    files.append(drawn.encoded(photo, "GIF", interlace=1))
    files += [drawn.encoded(photo.convert(mode), "BMP") for mode in ("RGB", "P", "1")]
    return tuple(files)


def hostile(number: int) -> bytes:
    """The file that `number` stands for: a good one flipped, cut, stretched, shuffled or joined with another."""
    choose = random.Random(number)
    data = bytearray(choose.choice(good_files()))
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        at = choose.randrange(len(data)) if choose.random() < 0.5 else choose.randrange(min(len(data), 700))
        match choose.randrange(7):
            case 0:
                data[at] ^= 1 << choose.randrange(8)
            case 1:
                data[at] = choose.randrange(256)
            case 2:
                value = choose.choice(_INTERESTING)
                data[at : at + len(value)] = value
            case 3:
                del data[at : at + choose.choice((1, 2, 8, 100))]
            case 4:
                data[at:at] = data[at : at + choose.choice((1, 4, 64, 1000))]
            case 5:
                data[at:at] = choose.randbytes(choose.choice((1, 2, 16)))
            case _:
                other = choose.choice(good_files())
                data[at:] = other[choose.randrange(len(other)) :] if choose.random() < 0.3 else data[at:]
        if not data:
            break
    return bytes(data)


def problem(data: bytes, sandbox: Sandbox) -> tuple[Code, str | None]:
    """The verdict's code on a file, and what is wrong with the way it was come to (None: nothing)."""
    inspect(data)
    converted = sandbox.convert(data, Recipe.default())
    verdict, image = converted.verdict, converted.image
    if verdict.code in OURS:
        return verdict.code, f"the decoder failed: {verdict.detail}"
    if (verdict.outcome is Outcome.REJECTED) != (image is None):
        return verdict.code, "a rejected file has a picture, or a usable one has none"
    if image is not None and drawn.decoded(converted.content).size != (image.width, image.height):
        return verdict.code, "the picture has not the size that was promised"
    return verdict.code, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    arguments = parser.parse_args()
    end, number, found, codes = time.monotonic() + arguments.seconds, arguments.first, 0, Counter[str]()
    with Sandbox() as sandbox:
        while time.monotonic() < end:
            try:
                code, wrong = problem(hostile(number), sandbox)
                codes[code.value] += 1
            except Exception as error:  # noqa: BLE001  that is what is looked for
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                found += 1
                print(f"file {number}: {wrong}")
            number += 1
    print(f"{number - arguments.first} files, {found} findings; {dict(codes.most_common())}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
