"""What a picture's file carries beside its pixels: one of its blocks in, the names of what lies in it out.

Everything named here is left out of the converted picture; the names are told, so that a dataset can count what was
found. Pure, bounded, and never raises: the blocks come from outside. Sources: CIPA DC-008 (EXIF 3.0), ITU-T T.871,
XMP specification part 3, W3C PNG specification, RFC 9649, GIF89a.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pixtune.examples.facts import METADATA

_EXIF_IFD, _GPS_IFD, _MAKER_NOTE, _PREVIEW = 0x8769, 0x8825, 0x927C, 0x0201
_GPS_VERSION = 0  # the only tag of a GPS block that places nothing
_MAX_ENTRIES = 512  # of a directory; ordinary ones have a few dozen
_RAW_PROFILES = {b"exif": "exif", b"APP1": "exif", b"iptc": "iptc", b"8bim": "iptc", b"xmp": "xmp", b"icc": "icc"}


def in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in METADATA if name in names)


def of_jpeg(marker: int, body: bytes) -> Iterator[str]:
    """marker: its second byte. body: the segment without marker and length."""
    if marker == 0xFE:
        yield "comment"
    elif marker == 0xE0 and (body.startswith(b"JFXX\0") or (body.startswith(b"JFIF\0") and any(body[12:14]))):
        yield "thumbnail"
    elif marker == 0xE1 and body.startswith(b"Exif\0"):
        yield from of_exif(body[6:])
    elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/x"):
        yield from of_xmp(body)
    elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        yield "icc"
    elif marker == 0xED:
        yield "iptc"


def of_chunk(name: bytes, body: bytes) -> Iterator[str]:
    """A chunk of a PNG or a WebP."""
    if name in (b"eXIf", b"EXIF"):
        yield from of_exif(body.removeprefix(b"Exif\0\0"))
    elif name in (b"iCCP", b"ICCP"):
        yield "icc"
    elif name == b"XMP " or (name == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0")):
        yield from of_xmp(body)
    elif name in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, raw = body.split(b"\0", 1)[0], b"Raw profile type "
        yield _RAW_PROFILES.get(keyword.removeprefix(raw), "comment") if keyword.startswith(raw) else "comment"


def of_gif(kind: int, identifier: bytes) -> Iterator[str]:
    """An extension of a GIF: its kind, and what its first block begins with."""
    if kind == 0xFE:
        yield "comment"
    elif kind == 0xFF:
        yield from {b"XMP DataXMP": ("xmp",), b"ICCRGBG1012": ("icc",)}.get(identifier, ())


def of_xmp(body: bytes) -> Iterator[str]:
    yield "xmp"
    if b"GPSLatitude" in body or b"GPSLongitude" in body:
        yield "gps"


def of_exif(tiff: bytes) -> Iterator[str]:
    """tiff: the block behind its `Exif` identifier. One that is damaged is still "exif"."""
    yield "exif"
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return
    first, preview = _directory(tiff, 4, order)
    detail = _directory(tiff, first[_EXIF_IFD], order)[0] if _EXIF_IFD in first else {}
    place = _directory(tiff, first[_GPS_IFD], order)[0] if _GPS_IFD in first else {}
    if place.keys() - {_GPS_VERSION}:
        yield "gps"
    if _MAKER_NOTE in detail:
        yield "maker_note"
    if _PREVIEW in _directory(tiff, preview, order)[0]:
        yield "thumbnail"


def _directory(tiff: bytes, pointer_at: int, order: str) -> tuple[dict[int, int], int]:
    """The directory that the 4 bytes at `pointer_at` point to: tag -> place of its value; where its successor's
    pointer stands. Empty when there is none, or none that can be read."""
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, pointer_at)
        (count,) = struct.unpack_from(f"{order}H", tiff, at) if at else (0,)
        tags = {
            struct.unpack_from(f"{order}H", tiff, at + 2 + 12 * entry)[0]: at + 10 + 12 * entry
            for entry in range(min(count, _MAX_ENTRIES))
        }
        return tags, at + 2 + 12 * count if at else len(tiff)
    except struct.error:
        return {}, len(tiff)
