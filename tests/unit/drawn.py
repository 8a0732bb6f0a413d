"""Pictures and attacks, drawn in memory for the tests of the image gate."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """Something like a photograph: smooth, with many colours and some edges."""
    picture = Image.merge(
        "RGB",
        (
            Image.linear_gradient("L").resize((width, height)),
            Image.radial_gradient("L").resize((width, height)),
            Image.linear_gradient("L").rotate(90).resize((width, height)),
        ),
    )
    draw = ImageDraw.Draw(picture)
    for step in range(0, width, 24):
        draw.ellipse((step, step // 2, step + 40, step // 2 + 30), fill=(step % 256, 255 - step % 256, 90))
    return picture


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format_, **options)
    return out.getvalue()


def jpeg(picture: Image.Image | None = None, **options: Any) -> bytes:
    return encoded(picture or photo(), "JPEG", **{"quality": 90, **options})


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *extra: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG whose every sample is 0; `extra` chunks stand between IHDR and IDAT."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    line = b"\0" * (1 + (width * bits * channels + 7) // 8)
    press = zlib.compressobj(1)
    body = b"".join(press.compress(line) for _ in range(height)) + press.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def webp_header(width: int, height: int) -> bytes:
    """A WebP that declares a size and holds next to nothing."""
    body = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inner = b"WEBP" + b"VP8X" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def gif_header(width: int, height: int) -> bytes:
    """A GIF that declares a size and holds next to nothing."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\0\0\0" + b"\x2c\0\0\0\0" + size + b"\0" + b"\2\1\x44\0;"


def bmp_header(width: int, height: int) -> bytes:
    """A BMP of run lengths that declares a size and holds next to nothing."""
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 58, 0, 54, 40, width, height, 1, 8, 1, 4, 0, 0, 0, 0) + b"\0\1\0\1"


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def jpeg_markers(data: bytes) -> list[int]:
    """Markers of a JPEG's header, up to its first scan."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        found.append(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def png_chunks(data: bytes) -> set[bytes]:
    at, found = 8, set()
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found.add(name)
        at += 12 + length
    return found


def p3_profile() -> bytes:
    """A small matrix profile with Display P3's primaries (adapted to D50) and gamma 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    name = b"Display P3\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": description + b"\0" * (-len(description) % 4),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, bodies, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for signature, body in tags.items():
        table += signature + struct.pack(">II", at + len(bodies), len(body))
        bodies += body
    header = bytearray(128)
    header[8:12] = b"\x02\x10\0\0"
    header[12:24] = b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = xyz(0.9642, 1.0, 0.8249)[8:]
    profile = bytes(header) + table + bodies
    return struct.pack(">I", len(profile)) + profile[4:]
