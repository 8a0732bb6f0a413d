"""The gate over the test pictures of other projects (PIXTUNE_CORPORA) and real photographs (PIXTUNE_PHOTOS)."""

from __future__ import annotations

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.unit import drawn

from pixtune.images.check import check_folder, summarise
from pixtune.images.converted import Converted
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Outcome, accepted

CORPORA = os.environ.get("PIXTUNE_CORPORA")
PHOTOS = os.environ.get("PIXTUNE_PHOTOS")
corpora = pytest.mark.skipif(not CORPORA, reason="PIXTUNE_CORPORA names no folder")
photos = pytest.mark.skipif(not PHOTOS, reason="PIXTUNE_PHOTOS names no folder")


@pytest.fixture(scope="module")
def answers() -> list[tuple[dict[str, Any], Converted]]:
    """Every file of the corpora with what is expected of it and what became of it."""
    root = Path(CORPORA or "")
    rows = [json.loads(line) for line in (root / "expectations.jsonl").read_text().splitlines()]
    with Sandbox() as one, Sandbox() as two, ThreadPoolExecutor(2) as pool:

        def half(sandbox: Sandbox, part: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Converted]]:
            return [(row, sandbox.convert((root / row["file"]).read_bytes(), Recipe.default())) for row in part]

        halves = pool.map(half, (one, two), (rows[::2], rows[1::2]))
        return [answer for part in halves for answer in part]


@corpora
def test_every_file_gets_one_verdict_and_no_decoder_dies(answers: list[tuple[dict[str, Any], Converted]]) -> None:
    codes = Counter(converted.verdict.code for _, converted in answers)
    assert codes.total() == len(answers) > 1_700
    assert not codes[Code.DECODER_DIED]
    assert not codes[Code.DECODE_TOO_SLOW]
    for row, converted in answers:
        rejected = converted.verdict.outcome is Outcome.REJECTED
        assert rejected == (converted.image is None), row["file"]
        assert not rejected or (converted.verdict.detail and converted.verdict.fix), row["file"]


@corpora
def test_verdicts_are_as_expected(answers: list[tuple[dict[str, Any], Converted]]) -> None:
    wrong = []
    for row, converted in answers:
        usable = converted.verdict.outcome is not Outcome.REJECTED
        warned = Code.JPEG_WARNING in {note.code for note in converted.verdict.warnings}
        expected = {
            "must_accept": usable,
            "must_reject": not usable,
            "accept_only_with_warning_or_reject": not usable or warned,
            "verdict_only": True,
        }[row["expect"]]
        if not expected:
            wrong.append((row["file"], converted.verdict))
    assert not wrong


@corpora
def test_warnings_are_exactly_those_of_a_strict_decoder(answers: list[tuple[dict[str, Any], Converted]]) -> None:
    usable = [(row, converted) for row, converted in answers if row["strict_jpeg"] and converted.image]
    assert len(usable) > 350
    for row, converted in usable:
        warned = Code.JPEG_WARNING in {note.code for note in converted.verdict.warnings}
        assert warned == (row["strict_jpeg"] != "ok"), row["file"]


@corpora
def test_every_output_is_small_rgb_and_bare(answers: list[tuple[dict[str, Any], Converted]]) -> None:
    usable = [converted for _, converted in answers if converted.image]
    assert len(usable) > 1_000
    for converted in usable:
        assert_bare(converted.content)


@corpora
@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_photographs_in_all_orientations_come_out_as_one_picture(
    answers: list[tuple[dict[str, Any], Converted]], shape: str
) -> None:
    images = [c.image for row, c in answers if f"exif-orientation/{shape}_" in row["file"] and c.image]
    assert len(images) >= 8
    assert {(image.width > image.height) for image in images} == {shape == "Landscape"}
    hashes = [int(image.dhash, 16) for image in images]
    assert max((one ^ hashes[0]).bit_count() for one in hashes) <= 6


@photos
def test_real_photographs_leave_without_their_place(tmp_path: Path) -> None:
    files = sorted((Path(PHOTOS or "") / "fruit").rglob("*.jpg"))
    placed = sum(bool(Image.open(file).getexif().get_ifd(0x8825)) for file in files)
    assert placed, "none of these photographs says where it was taken"
    with Sandbox() as sandbox:
        for file in files:
            converted = sandbox.convert(file.read_bytes(), Recipe.default())
            assert converted.image, (file, converted.verdict)
            assert_bare(converted.content)
            assert_bare(converted.thumb)


@photos
def test_every_real_photograph_is_usable() -> None:
    with Sandbox() as one, Sandbox() as two:
        summary = summarise(check_folder(Path(PHOTOS or ""), [one, two], lambda _: accepted()))
    assert summary.files > 100
    assert set(summary.codes) <= {"ok", "converted", "not_an_image"}
    assert summary.codes.get("not_an_image", 0) <= 1  # the page that names their sources


def assert_bare(content: bytes) -> None:
    """RGB, in a format providers take, within their bytes, and without any metadata."""
    picture = Image.open(BytesIO(content))
    assert picture.mode == "RGB"
    assert picture.format in ("JPEG", "PNG")
    assert len(content) <= 10_000_000
    assert not picture.getexif()
    assert not {"exif", "xmp", "comment", "icc_profile", "photoshop"} & set(picture.info)
    if picture.format == "JPEG":
        # Adobe's APP14 (0xEE) says how colours are stored; a file whose pixels are kept needs it.
        assert not ({0xFE, *range(0xE1, 0xF0)} - {0xEE}) & set(drawn.jpeg_markers(content))
    else:
        assert drawn.png_chunks(content) == {b"IHDR", b"IDAT", b"IEND"}
