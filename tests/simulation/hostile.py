"""Pictures made hostile: bombs and files of two natures by name; and a number in, the file it stands for out.

`make fuzz SECONDS=600` counts up from a seed; a finding names the number, which makes the same file again.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
import zlib
from collections import Counter
from functools import cache

from PIL import Image
from tests.unit import drawn

from pixtune.errors import DecoderNotStarted
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


def _jpeg_segments(*segments: tuple[int, bytes], picture: bytes | None = None) -> bytes:
    """A JPEG with these segments (second byte of the marker, body) before its own."""
    data = picture or drawn.jpeg(drawn.photo(96, 72))
    made = b"".join(b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return data[:2] + made + data[2:]


def _claiming(data: bytes, marker: bytes, at: int, size: bytes) -> bytes:
    place = data.index(marker) + at
    return data[:place] + size + data[place + len(size) :]


def _webp_frames(frames: int) -> bytes:
    extended = b"\x02\0\0\0" + b"\x3f\0\0" * 2
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + extended + (b"ANMF" + struct.pack("<I", 0)) * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


@cache
def header_bombs() -> dict[str, bytes]:
    """Small files whose decoding would cost gigabytes or minutes, and whose headers say so."""
    photo = drawn.photo(96, 72)
    gif = drawn.gif_header(64, 64)
    huge = b"\x89PNG\r\n\x1a\n" + drawn.chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
    return {
        "PNG of 30,000 x 30,000": drawn.png(30_000, 30_000, bits=1),
        "PNG of 12,000 x 12,000 with transparency": drawn.png(12_000, 12_000, colour=6),
        "PNG of 2^31 x 2^31": huge + drawn.chunk(b"IEND", b""),
        "JPEG of 65,500 x 65,500": _claiming(drawn.jpeg(photo), b"\xff\xc0", 5, struct.pack(">HH", 65_500, 65_500)),
        "progressive JPEG of 60 megapixels": _claiming(
            drawn.jpeg(photo, progressive=True), b"\xff\xc2", 5, struct.pack(">HH", 6_000, 10_000)
        ),
        "JPEG of 1,006 scans": drawn.scan_bomb(1_006),
        "WebP of 16,383 x 16,383": drawn.webp_header(16_383, 16_383),
        "GIF of 65,000 x 65,000": drawn.gif_header(65_000, 65_000),
        "BMP of 60,000 x 60,000": drawn.bmp_header(60_000, 60_000),
        "GIF of 5,000 frames": gif[:13] + gif[13:-1] * 5_000 + b";",
        "PNG of a million frames": drawn.png(64, 64, drawn.chunk(b"acTL", struct.pack(">II", 1_000_000, 0))),
        "WebP of 20,000 frames": _webp_frames(20_000),
    }


@cache
def chunk_bombs() -> dict[str, bytes]:
    """Files whose blocks unpack to much, are many, or point at themselves; what they show may be good."""
    zeros = zlib.compress(b"\0" * 200_000_000, 9)
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65_535)
    loop += b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0x014A, 0x0201) * 1_000)
    profile = bytearray(drawn.p3_profile())
    profile[128:132] = b"\xff" * 4
    parts = [(0xE2, b"ICC_PROFILE\0" + bytes([number, 255]) + b"\0" * 65_000) for number in range(1, 256)]
    idat = drawn.png(64, 64).replace(b"IDAT", b"IDAT", 1)
    head, tail = idat[: idat.index(b"IDAT") - 4], idat[idat.index(b"IEND") - 4 :]
    return {
        "PNG text of 200 MB": drawn.png(64, 64, drawn.chunk(b"zTXt", b"a\0\0" + zeros)),
        "PNG international text of 200 MB": drawn.png(64, 64, drawn.chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)),
        "PNG profile of 200 MB": drawn.png(64, 64, drawn.chunk(b"iCCP", b"a\0\0" + zeros)),
        "PNG data of 200 MB for 64 x 64 pixels": head + drawn.chunk(b"IDAT", zeros) + tail,
        "PNG of 50,000 chunks": drawn.png(64, 64, *[drawn.chunk(b"tEXt", b"a\0b")] * 50_000),
        "JPEG of 20,000 comments": _jpeg_segments(*[(0xFE, b"a comment")] * 20_000),
        "JPEG profile of 16 MB": _jpeg_segments(*parts),
        "JPEG profile of 2^32 tags": drawn.jpeg(icc_profile=bytes(profile)),
        "PNG profile of 2^32 tags": drawn.encoded(drawn.photo(64, 64), "PNG", icc_profile=bytes(profile)),
        "EXIF that points at itself": _jpeg_segments((0xE1, b"Exif\0\0" + loop)),
    }


SECRET = b"<script>alert(1)</script><?php system('id') ?>"


@cache
def two_natures() -> dict[str, bytes]:
    """Pictures that another program would read as something else; each holds SECRET and shows a good picture."""
    photo = drawn.photo(96, 72)
    script = drawn.encoded(photo.convert("P"), "GIF", comment=SECRET)
    return {
        "JPEG and archive": drawn.jpeg(photo) + b"PK\3\4" + SECRET,
        "comment of a JPEG": drawn.jpeg(photo, comment=SECRET),
        "no EXIF at all": drawn.jpeg(photo, exif=b"Exif\0\0" + SECRET),
        "no profile at all": drawn.jpeg(photo, icc_profile=b"\0" * 128 + SECRET),
        "JPEG and PDF": _jpeg_segments((0xFE, b"%PDF-1.7 " + SECRET)),
        "behind a PNG": drawn.encoded(photo, "PNG") + SECRET,
        "text of a PNG": drawn.png(64, 64, drawn.chunk(b"tEXt", b"a\0" + SECRET), colour=2),
        "a chunk of its own": drawn.png(64, 64, drawn.chunk(b"prVt", SECRET), colour=2),
        "XMP of a WebP": drawn.encoded(photo, "WEBP", xmp=SECRET),
        "behind a WebP": drawn.encoded(photo, "WEBP") + SECRET,
        "comment of a GIF": script,
        "behind a GIF": drawn.encoded(photo.convert("P"), "GIF") + SECRET,
        "behind a BMP": drawn.encoded(photo, "BMP") + SECRET,
    }


@cache
def _sources() -> tuple[bytes, ...]:
    """What is made hostile further: good files most of the time, and small bombs and two natures."""
    small = [data for data in {**header_bombs(), **chunk_bombs()}.values() if len(data) < 100_000]
    return (*good_files() * 3, *two_natures().values(), *small)


def hostile(number: int) -> bytes:
    """The file that `number` stands for: one of them flipped, cut, stretched, shuffled or joined with another."""
    choose = random.Random(number)
    data = bytearray(choose.choice(_sources()))
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        at = choose.randrange(len(data)) if choose.random() < 0.5 else choose.randrange(min(len(data), 700))
        match choose.randrange(8):
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
            case 6:
                del data[choose.randrange(len(data)) :]
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
    end, number, found, starved, codes = time.monotonic() + arguments.seconds, arguments.first, 0, 0, Counter[str]()
    with Sandbox() as sandbox:
        while time.monotonic() < end:
            try:
                code, wrong = problem(hostile(number), sandbox)
                codes[code.value] += 1
            except DecoderNotStarted:
                starved += 1  # the machine was too busy to start a process within seconds; the file comes again
                continue
            except Exception as error:  # noqa: BLE001  that is what is looked for
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                found += 1
                print(f"file {number}: {wrong}")
            number += 1
    print(f"{number - arguments.first} files, {found} findings; {dict(codes.most_common())}")
    if starved:
        print(f"{starved} times the machine was too busy to start a decoder in time")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
