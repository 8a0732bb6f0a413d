"""Whatever a file does, it gets one verdict and the decoder lives; and nothing rides along in what comes out."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest
from tests.simulation.hostile import good_files, hostile, problem
from tests.unit import drawn

from pixtune.images.convert import convert
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Outcome


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_every_good_file_is_usable_but_the_animation(sandbox: Sandbox) -> None:
    codes = [sandbox.convert(data, Recipe.default()).verdict.code for data in good_files()]
    assert [code for code in codes if code not in (Code.OK, Code.CONVERTED)] == [Code.ANIMATED]


@pytest.mark.parametrize("block", range(6))
def test_hundreds_of_broken_files_get_one_verdict_each(block: int, sandbox: Sandbox) -> None:
    """The bounded form of `make fuzz`; a failure names the number that makes the file again."""
    found = {number: problem(hostile(number), sandbox)[1] for number in range(block * 80, block * 80 + 80)}
    assert {number: wrong for number, wrong in found.items() if wrong} == {}


def cuts(data: bytes) -> Iterator[int]:
    """Where the parts of a file begin: a JPEG's markers, a PNG's chunks, a WebP's chunks."""
    if data.startswith(b"\xff\xd8"):
        yield from (found.start() for found in re.finditer(rb"\xff[\xc0-\xfe]", data) if found.start())
    elif data.startswith(b"\x89PNG"):
        at = 8
        while at < len(data):
            yield at
            at += 12 + struct.unpack_from(">I", data, at)[0]
    elif data.startswith(b"RIFF"):
        at = 12
        while at < len(data):
            yield at
            at += 8 + struct.unpack_from("<I", data, at + 4)[0] + 1 & ~1


@pytest.mark.parametrize("number", range(len(good_files())))
def test_a_file_cut_at_any_of_its_markers_is_rejected(number: int, sandbox: Sandbox) -> None:
    data = good_files()[number]
    last = data.index(b"\xff\xd9") if data.startswith(b"\xff\xd8") else len(data)
    for at in (at for at in cuts(data) if at <= last):
        for length in (at, at + 1, at + 2, at + 5):
            if length < last:
                verdict = sandbox.convert(data[:length], Recipe.default()).verdict
                assert verdict.outcome is Outcome.REJECTED, (at, length)


def test_a_jpeg_whose_end_was_glued_on_is_never_trained_on_silently(sandbox: Sandbox) -> None:
    data = drawn.jpeg(drawn.photo(96, 72), restart_marker_blocks=2)
    scan = data.index(b"\xff\xda")
    for at in range(scan + 20, len(data) - 40, max(1, (len(data) - scan) // 40)):
        converted = sandbox.convert(data[:at] + b"\xff\xd9", Recipe.default())
        flagged = Code.JPEG_WARNING in {note.code for note in converted.verdict.warnings}
        assert converted.verdict.outcome is Outcome.REJECTED or flagged, at


SECRET = b"<script>alert(1)</script><?php system('id') ?>"
PHOTO = drawn.photo(96, 72)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(drawn.jpeg(PHOTO) + b"PK\3\4" + SECRET, id="JPEG and archive"),
        pytest.param(drawn.jpeg(PHOTO, comment=SECRET), id="comment of a JPEG"),
        pytest.param(drawn.jpeg(PHOTO, exif=b"Exif\0\0" + SECRET), id="no EXIF at all"),
        pytest.param(drawn.jpeg(PHOTO, icc_profile=b"\0" * 128 + SECRET), id="no profile at all"),
        pytest.param(drawn.encoded(PHOTO, "PNG") + SECRET, id="behind a PNG"),
        pytest.param(drawn.png(64, 64, drawn.chunk(b"tEXt", b"a\0" + SECRET), colour=2), id="text of a PNG"),
        pytest.param(drawn.png(64, 64, drawn.chunk(b"prVt", SECRET), colour=2), id="a chunk of its own"),
        pytest.param(drawn.encoded(PHOTO, "WEBP", xmp=SECRET), id="XMP of a WebP"),
        pytest.param(drawn.encoded(PHOTO, "GIF", comment=SECRET), id="comment of a GIF"),
        pytest.param(drawn.encoded(PHOTO, "BMP") + SECRET, id="behind a BMP"),
    ],
)
def test_nothing_rides_along_in_a_file_of_two_natures(data: bytes) -> None:
    assert SECRET in data
    converted = convert(data, Recipe.default())
    assert converted.image, converted.verdict
    assert b"script" not in converted.content + converted.thumb


def test_a_file_that_ends_libjpeg_gets_pillows_verdict_and_the_next_one_a_new_worker(sandbox: Sandbox) -> None:
    """A Huffman table that cannot be: fatal to libjpeg, which ends the process that trusted the file."""
    data = bytearray(drawn.jpeg(PHOTO))
    table = data.index(b"\xff\xc4")
    data[table + 5 : table + 21] = b"\xff" * 16
    before = sandbox.worker_pid
    verdict = sandbox.convert(bytes(data), Recipe.default()).verdict
    assert verdict == convert(bytes(data), Recipe.default()).verdict
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.code not in (Code.DECODER_DIED, Code.DECODE_TOO_SLOW)
    assert sandbox.worker_pid != before
    assert sandbox.convert(drawn.jpeg(PHOTO), Recipe.default()).image
