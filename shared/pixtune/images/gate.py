"""The gate: a file's bytes in, what its header says or a rejecting verdict out. Pure; nothing is decoded here.

Every refusal that can be made without decoding is made here, in milliseconds and without memory: unknown and
unsupported formats, pixel bombs, scan bombs, animations, files that end too early, damaged PNG chunks.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pixtune.images.metadata import in_order, of_chunk, of_gif, of_jpeg
from pixtune.keys import is_junk
from pixtune.verdicts import Code, Note, Outcome, Verdict, rejected

MAX_UPLOAD_BYTES = 64 * 1024 * 1024
_MAX_METADATA = 1024 * 1024  # of one block is looked at
MIN_SIDE = 16  # pixels; below one encoder block there is nothing to learn from
MAX_SCANS = 64  # ordinary progressive files have at most 12, a deliberate one 20; 1,006 scans cost 6 s of CPU

# Pixels that can be decoded within the function's memory (1,769 MB, of which the decoder gets 500 MB less),
# from what one source pixel was measured to cost: baseline JPEG 2 bytes (it is decoded at a reduced scale),
# progressive up to 8 (every coefficient is kept), PNG 5 and again 3 when it is flattened, WebP 16 and again 3.
MAX_PIXELS = {"jpeg": 100_000_000, "progressive": 50_000_000, "png": 50_000_000, "webp": 24_000_000}
MAX_PIXELS |= {"gif": 50_000_000, "bmp": 50_000_000}  # a palette and RGB, and again 3 when flattened
READ_HERE = "JPEG, PNG or WebP"

# What a file begins with, for every other format a user may send; the names are for people.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"II\*\0|MM\0\*|II\+\0\x08|MM\0\+\0\x08", "TIFF"),
    (rb".{4}ftyp(?:avif|avis)", "AVIF"),
    (rb".{4}ftyp(?:hei[cxms]|hev[cmx]|mif1|msf1)", "HEIC"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"\0\0[\1\2]\0.\0", "ICO"),
    (rb"8BPS", "Photoshop"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF-", "PDF"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,800}?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg\b", "SVG"),
    (rb"P[1-6]\s", "PNM"),
    (rb"SIMPLE  =", "FITS"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"#\?RADIANCE|#\?RGBE", "Radiance HDR"),
    (rb"DDS ", "DDS"),
    (rb"qoif", "QOI"),
)
_OTHER_FORMATS = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _SIGNATURES)

_EXTENSIONS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "jpeg"),
    **dict.fromkeys((".png", ".apng"), "png"),
    ".webp": "webp",
    ".gif": "gif",
    ".bmp": "bmp",
    **dict.fromkeys((".tif", ".tiff"), "tiff"),
    **dict.fromkeys((".heic", ".heif"), "heic"),
    ".avif": "avif",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says. format: "jpeg", "png", "webp", "gif" or "bmp". width, height: pixels as stored.

    progressive: JPEG whose coefficients are all kept until the end. whole_lines: JPEG whose entropy coding can
    only be read by decoding it (lossless). bits: per channel. more_pictures: further views follow the first (MPO).
    bad_icc: the JPEG's colour profile does not fit together. metadata: what lies beside the pixels, by name.
    """

    format: str
    width: int
    height: int
    progressive: bool = False
    whole_lines: bool = False
    bits: int = 8
    more_pictures: bool = False
    bad_icc: bool = False
    metadata: tuple[str, ...] = ()


def refuse(key: str, size: int) -> Verdict | None:
    """The verdict that a name and a number of bytes alone earn, or None; asked before a byte is read."""
    if is_junk(key):
        return rejected(
            Code.JUNK_FILE, f"{key.rsplit('/', 1)[-1]} is a file an operating system leaves behind.", "Leave it out."
        )
    return _refuse_size(size)


def _refuse_size(size: int) -> Verdict | None:
    if size == 0:
        return rejected(Code.EMPTY_FILE, "The file has 0 bytes.", "Upload the picture again.")
    if size > MAX_UPLOAD_BYTES:
        return rejected(
            Code.FILE_TOO_LARGE,
            f"The file has {size:,} bytes; at most {MAX_UPLOAD_BYTES:,} are read.",
            "Save it smaller: nothing beyond 2048 pixels on the long side is used.",
        )
    return None


def named(verdict: Verdict, key: str, source_format: str) -> Verdict:
    """The verdict on a usable picture of `source_format`, given its name: one that claims another format is noted.

    Apart from the rest of the verdict, which follows from the bytes and is kept under their hash.
    """
    claimed = _claimed_format(key)
    if claimed is None or claimed == source_format:
        return verdict
    repair = f"read as the {source_format.upper()} it is"
    note = Note(Code.WRONG_EXTENSION, f"The name claims {claimed}, the content is {source_format}.")
    return replace(
        verdict,
        outcome=Outcome.FIXED,
        code=Code.CONVERTED,
        detail="; ".join(filter(None, (verdict.detail, repair))),
        warnings=(*verdict.warnings, note),
    )


def _claimed_format(key: str) -> str | None:
    name = key.lower()
    return next((format_ for suffix, format_ in _EXTENSIONS.items() if name.endswith(suffix)), None)


def inspect(data: bytes) -> Header | Verdict:
    """Read the header of `data`: either what it says, or why the file is rejected. Never raises."""
    refusal = _refuse_size(len(data))
    if refusal:
        return refusal
    try:
        if data.startswith(b"\xff\xd8\xff"):
            found = _jpeg(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            found = _png(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            found = _webp(data)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            found = _gif(data)
        elif _BMP.match(data):
            found = _bmp(data)
        else:
            return _other(data)
    except (struct.error, IndexError):
        return _truncated("its header")
    return _within_limits(found) if isinstance(found, Header) else found


def _other(data: bytes) -> Verdict:
    start = data[:1024]
    for pattern, name in _OTHER_FORMATS:
        if pattern.match(start):
            return rejected(
                Code.UNSUPPORTED_FORMAT, f"This is {name}, which is not read here.", f"Save it as {READ_HERE}."
            )
    return rejected(
        Code.NOT_AN_IMAGE,
        f"The file begins with {data[:8].hex(' ')}, which is no picture format known here.",
        f"Upload {READ_HERE}.",
    )


def _truncated(where: str) -> Verdict:
    return rejected(
        Code.TRUNCATED, f"The file ends in the middle of {where}.", "Upload it again; a transfer was cut short."
    )


def _corrupt(what: str) -> Verdict:
    return rejected(Code.CORRUPT, what, "Export the picture again from its source.")


def _animated(frames: str) -> Verdict:
    return rejected(
        Code.ANIMATED, f"An animation with {frames} frames; one picture is expected.", "Save the frame that matters."
    )


def _within_limits(header: Header) -> Header | Verdict:
    width, height = header.width, header.height
    if width == 0 or height == 0:
        return _corrupt(f"The header says {width} × {height} pixels.")
    cap = MAX_PIXELS["progressive" if header.progressive else header.format]
    if width * height > cap:
        kind = "progressive JPEG" if header.progressive else header.format.upper()
        return rejected(
            Code.TOO_MANY_PIXELS,
            f"The header says {width} × {height} = {width * height:,} pixels; a {kind} may have {cap:,}.",
            "Save it smaller: nothing beyond 2048 pixels on the long side is used.",
        )
    if min(width, height) < MIN_SIDE:
        return rejected(
            Code.TOO_SMALL,
            f"The picture has {width} × {height} pixels; each side needs {MIN_SIDE}.",
            "Upload the picture in its original size.",
        )
    return header


# JPEG (ITU-T T.81, annex B)

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG, DAC
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_LOSSLESS = frozenset({0xC3, 0xCB})
_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # the next marker that is neither stuffing nor a restart


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Markers of a JPEG up to the first EOI: (marker, payload start, payload end). Ends early where data does."""
    at, end = 2, len(data)
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            return
        while at < end and data[at] == 0xFF:
            at += 1
        if at >= end:
            return
        marker = data[at]
        at += 1
        if marker == 0xD9:
            yield marker, at, at
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if at + 2 > end:
            return
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > end:
            return
        yield marker, at + 2, at + length
        at += length
        if marker == 0xDA:
            scan_end = AFTER_SCAN.search(data, at)
            if not scan_end:
                return
            at = scan_end.start()


def _jpeg(data: bytes) -> Header | Verdict:
    sof, width, height, bits, scans, ended, pictures = 0, 0, 0, 8, 0, False, False
    profile: list[tuple[int, int]] = []
    names: set[str] = set()
    for marker, start, stop in _jpeg_segments(data):
        names.update(of_jpeg(marker, data[start:stop]) if marker >= 0xE0 else ())
        if marker in _SIZE_MARKERS:
            if sof:
                return _corrupt("A JPEG with more than one frame header.")
            sof = marker
            bits, height, width = struct.unpack_from(">BHH", data, start)
        elif marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                return rejected(
                    Code.TOO_MANY_SCANS,
                    f"More than {MAX_SCANS} scans; an ordinary progressive JPEG has about ten.",
                    "Save the picture again as an ordinary JPEG.",
                )
        elif marker == 0xE2 and data[start : start + 12] == b"ICC_PROFILE\0":
            profile.append((data[start + 12], data[start + 13]) if stop - start >= 14 else (0, 0))
        elif marker == 0xE2 and data[start : start + 4] == b"MPF\0":
            pictures = True
        elif marker == 0xD9:
            ended = True
    if not sof:
        return _truncated("the JPEG's header") if not ended else _corrupt("A JPEG without a frame header.")
    if not ended or not scans:
        return _truncated("the picture: its end marker is missing")
    if sof in _HIERARCHICAL or bits != 8:
        kind = "hierarchical JPEG" if sof in _HIERARCHICAL else f"JPEG with {bits} bits per channel"
        return rejected(
            Code.UNSUPPORTED_FORMAT, f"This is a {kind}, which is not read here.", "Save it as an ordinary JPEG."
        )
    expected = {(number, len(profile)) for number in range(1, len(profile) + 1)}
    return Header(
        "jpeg",
        width,
        height,
        progressive=sof in _PROGRESSIVE or scans > 1,
        whole_lines=sof in _LOSSLESS,
        more_pictures=pictures,
        bad_icc=set(profile) != expected or len(profile) != len(expected),
        metadata=in_order(names),
    )


# PNG (W3C PNG specification, third edition)


def _png(data: bytes) -> Header | Verdict:
    at, header, frames, framed = 8, None, 0, False
    names: set[str] = set()
    while True:
        if at + 8 > len(data):
            return _truncated("the picture: its end marker is missing" if header else "its header")
        length, name = struct.unpack_from(">I4s", data, at)
        body, after = at + 8, at + 12 + length
        if after > len(data):
            return _truncated(f"its {name.decode('latin-1')} chunk")
        # A flag bit in the first letter says whether a reader may do without the chunk.
        needed, stated_sum = not name[0] & 0x20, int.from_bytes(data[after - 4 : after], "big")
        if needed and zlib.crc32(memoryview(data)[at + 4 : after - 4]) != stated_sum:
            return _corrupt(f"The checksum of the PNG's {name.decode('latin-1')} chunk does not match its data.")
        if header is None:
            if name != b"IHDR" or length != 13:
                return _corrupt("A PNG whose first chunk is no IHDR.")
            width, height, bits = struct.unpack_from(">IIB", data, body)
            header = Header("png", width, height, bits=bits)
        elif name == b"acTL" and length == 8:
            (stated,) = struct.unpack_from(">I", data, body)
            frames = stated if stated < 2**31 else 0  # as the specification says; a reader then sees one picture
        elif name == b"fcTL":
            framed = True
        elif name == b"fdAT" and frames and not framed:
            return _corrupt("An animated PNG with frame data that no frame header describes.")
        elif name == b"IEND":
            break
        elif not needed:
            names.update(of_chunk(name, data[body : min(after - 4, body + _MAX_METADATA)]))
        at = after
    return _animated(f"{frames:,}") if frames > 1 else replace(header, metadata=in_order(names))


# WebP (RFC 9649)

_WEBP_METADATA = frozenset({b"EXIF", b"XMP ", b"ICCP"})


def _webp(data: bytes) -> Header | Verdict:
    (declared,) = struct.unpack_from("<I", data, 4)
    if declared + 8 > len(data):
        return _truncated(f"the picture: {declared + 8:,} bytes are declared and {len(data):,} are there")
    kind, names = data[12:16], set[str]()
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            return _corrupt("The WebP's frame header is damaged.")
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        frames = 0
        for name, start, stop in _webp_chunks(data):
            frames += name == b"ANMF"
            if name in _WEBP_METADATA:
                names.update(of_chunk(name, data[start : min(stop, start + _MAX_METADATA)]))
        if frames > 1:
            return _animated(f"{frames:,}")
    else:
        return _corrupt(f"A WebP whose first chunk is {kind!r}.")
    return Header("webp", width, height, metadata=in_order(names))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Chunks of a WebP: (name, payload start, payload end)."""
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, at + 8 + length
        at += 8 + length + (length & 1)


# GIF (Graphics Interchange Format 89a, CompuServe)


def _gif(data: bytes) -> Header | Verdict:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames, names = 13 + _palette_bytes(flags), 0, set[str]()
    while (kind := data[at]) != 0x3B:
        if kind == 0x21:
            names.update(of_gif(data[at + 1], data[at + 3 : at + 14]))
            at += 2
        elif kind == 0x2C:
            frames += 1
            at += 11 + _palette_bytes(data[at + 9])  # with the byte that says how codes begin
        else:
            return _corrupt(f"A GIF with a block of kind 0x{kind:02x}, which there is not.")
        while length := data[at]:
            at += 1 + length
        at += 1
    if frames > 1:
        return _animated(f"{frames:,}")
    header = Header("gif", width, height, metadata=in_order(names))
    return header if frames else _corrupt("A GIF without a picture.")


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# BMP (Microsoft Windows, bitmap storage)

_BMP = re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
_BMP_PLAIN, _BMP_CODED = frozenset({0, 3, 6}), frozenset({1, 2})  # rows as they are; run lengths


def _bmp(data: bytes) -> Header | Verdict:
    pixels_at, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
        coding = 0
    else:
        width, height, planes, bits, coding = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: rows from the top
    if width <= 0 or planes != 1 or bits not in (1, 2, 4, 8, 16, 24, 32):
        return _corrupt(f"The BMP's header says {width} pixels across, {planes} planes, {bits} bits.")
    if coding not in _BMP_PLAIN | _BMP_CODED:
        return rejected(
            Code.UNSUPPORTED_FORMAT,
            f"This is BMP with compression {coding}, which is not read here.",
            "Save it as PNG.",
        )
    if coding in _BMP_PLAIN and pixels_at + (width * bits + 31) // 32 * 4 * height > len(data):
        return _truncated("the picture")
    return Header("bmp", width, height)
