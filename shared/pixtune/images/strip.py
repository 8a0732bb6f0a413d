"""A JPEG, PNG or WebP in, the same file with nothing but what its pixels need out; compressed data stay as they are.

Sources: ITU-T T.81 annex B and T.871 (JFIF); the Adobe APP14 marker says how colours are stored and has to stay;
W3C PNG specification, third edition; RFC 9649 (WebP).
"""

from __future__ import annotations

import struct

from pixtune.images.gate import AFTER_SCAN

# Baseline, extended and progressive frames with Huffman coding: what every reader has. Tables, scans, line counts.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - _FRAMES - {0xC4}
_KEPT = _FRAMES | {0xC4, 0xDA, 0xDB, 0xDC, 0xDD}
_PNG_KEPT = frozenset({b"IHDR", b"IDAT", b"IEND"})


def strip(data: bytes, format_: str) -> bytes | None:
    """`data` without metadata, comments, embedded previews or anything behind its end; None when it has to be
    encoded again (another format, a coding that few readers know, or a structure that does not add up)."""
    match format_:
        case "jpeg":
            return _jpeg(data)
        case "png":
            return _png(data)
        case "webp":
            return _webp(data)
    return None


def _jpeg(data: bytes) -> bytes | None:
    parts, at, end = [b"\xff\xd8"], 2, len(data)
    while at + 2 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xD9:
            return b"".join((*parts, b"\xff\xd9"))
        if marker in _OTHER_FRAMES or at + 4 > end:
            return None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body, after = data[at + 4 : at + 2 + length], at + 2 + length
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
            parts.append(b"\xff\xe0\0\x10" + body[:12] + b"\0\0")  # no thumbnail
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            parts.append(b"\xff\xee\0\x0e" + body[:12])
        elif marker in _KEPT:
            parts.append(data[at:after])
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return None
        at = after
        if marker == 0xDA:
            scan_end = AFTER_SCAN.search(data, at)
            if not scan_end:
                return None
            parts.append(data[at : scan_end.start()])
            at = scan_end.start()
    return None


def _png(data: bytes) -> bytes | None:
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        after = at + 12 + length
        if name in _PNG_KEPT:
            parts.append(data[at:after])
        if name == b"IEND":
            return b"".join(parts)
        at = after
    return None


def _webp(data: bytes) -> bytes | None:
    """The picture's own chunk in the simple container. For a picture without transparency: that lies in another."""
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name in (b"VP8 ", b"VP8L"):
            chunk: bytes = data[at : at + 8 + length] + b"\0" * (length & 1)
            return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
        at += 8 + length + (length & 1)
    return None
