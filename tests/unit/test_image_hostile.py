"""Whatever a file does, it gets one verdict and the decoder lives; and nothing rides along in what comes out."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulation.hostile import SECRET, chunk_bombs, good_files, header_bombs, hostile, problem, two_natures
from tests.unit import drawn

from pixtune.images.convert import convert
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Outcome, Verdict


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


@pytest.mark.parametrize("name", two_natures())
def test_nothing_rides_along_in_a_file_of_two_natures(name: str) -> None:
    data = two_natures()[name]
    assert SECRET in data
    converted = convert(data, Recipe.default())
    assert converted.image, converted.verdict
    assert b"script" not in converted.content + converted.thumb


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def cost(sandbox: Sandbox, data: bytes) -> tuple[Verdict, float, float]:
    """The verdict on a file, and what it cost the decoder's process: seconds of CPU, MB at its peak."""

    def spent() -> tuple[float, float]:
        process = Path(f"/proc/{sandbox.worker_pid}")
        resident = (process / "status").read_text().split("VmHWM:")[1].split()[0]
        return int((process / "schedstat").read_text().split()[0]) / 1e9, int(resident) / 1000

    sandbox.convert(drawn.jpeg(drawn.photo(96, 72)), Recipe.default())
    (Path(f"/proc/{sandbox.worker_pid}") / "clear_refs").write_text("5")  # the peak begins anew
    before = spent()
    verdict = sandbox.convert(data, Recipe.default()).verdict
    after = spent()
    return verdict, after[0] - before[0], after[1] - before[1]


@linux
@pytest.mark.parametrize("name", header_bombs())
def test_a_bomb_whose_header_says_so_is_refused_within_50_ms_and_40_mb(name: str, sandbox: Sandbox) -> None:
    data = header_bombs()[name]
    tries = [cost(sandbox, data) for _ in range(3)]
    assert {verdict.code for verdict, _, _ in tries} <= {Code.TOO_MANY_PIXELS, Code.TOO_MANY_SCANS, Code.ANIMATED}
    assert min(seconds for _, seconds, _ in tries) < 0.05
    assert max(peak for _, _, peak in tries) < 40


@linux
@pytest.mark.parametrize("name", chunk_bombs())
def test_a_bomb_in_a_block_costs_half_a_second_and_100_mb_at_most(name: str, sandbox: Sandbox) -> None:
    verdict, seconds, peak = cost(sandbox, chunk_bombs()[name])
    assert verdict.code not in (Code.DECODER_DIED, Code.DECODE_TOO_SLOW)
    assert seconds < 0.5
    assert peak < 100


def test_a_file_that_ends_libjpeg_gets_pillows_verdict_and_the_next_one_a_new_worker(sandbox: Sandbox) -> None:
    """A Huffman table that cannot be: fatal to libjpeg, which ends the process that trusted the file."""
    data = bytearray(drawn.jpeg(drawn.photo(96, 72)))
    table = data.index(b"\xff\xc4")
    data[table + 5 : table + 21] = b"\xff" * 16
    before = sandbox.worker_pid
    verdict = sandbox.convert(bytes(data), Recipe.default()).verdict
    assert verdict == convert(bytes(data), Recipe.default()).verdict
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.code not in (Code.DECODER_DIED, Code.DECODE_TOO_SLOW)
    assert sandbox.worker_pid != before
    assert sandbox.convert(drawn.jpeg(drawn.photo(96, 72)), Recipe.default()).image
