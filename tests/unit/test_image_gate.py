"""The gate refuses from headers alone: quickly, without memory, and with a reason."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import drawn

from pixtune.images.gate import MAX_PIXELS, MAX_UPLOAD_BYTES, Header, inspect, named, refuse
from pixtune.images.recipe import Recipe
from pixtune.images.steps import fit
from pixtune.verdicts import Code, Outcome, Verdict, accepted


def code_of(data: bytes) -> Code:
    found = inspect(data)
    assert isinstance(found, Verdict), found
    assert found.outcome is Outcome.REJECTED
    assert found.detail
    assert found.fix
    return found.code


def test_the_header_says_what_the_picture_is() -> None:
    assert inspect(drawn.jpeg()) == Header("jpeg", 640, 480)
    assert inspect(drawn.jpeg(progressive=True)) == Header("jpeg", 640, 480, progressive=True)
    assert inspect(drawn.encoded(drawn.photo(), "PNG")) == Header("png", 640, 480)
    assert inspect(drawn.encoded(drawn.photo(), "WEBP")) == Header("webp", 640, 480)
    assert inspect(drawn.encoded(drawn.photo(), "WEBP", lossless=True)) == Header("webp", 640, 480)
    assert inspect(drawn.encoded(drawn.photo(), "GIF")) == Header("gif", 640, 480)
    assert inspect(drawn.encoded(drawn.photo(), "BMP")) == Header("bmp", 640, 480)


@pytest.mark.parametrize(
    ("format_", "name"),
    [("TIFF", "TIFF"), ("JPEG2000", "JPEG 2000"), ("AVIF", "AVIF"), ("PPM", "PNM")],
)
def test_another_format_is_refused_by_its_name(format_: str, name: str) -> None:
    verdict = inspect(drawn.encoded(drawn.photo(64, 48), format_))
    assert isinstance(verdict, Verdict)
    assert verdict.code is Code.UNSUPPORTED_FORMAT
    assert f"This is {name}," in verdict.detail
    assert "JPEG, PNG or WebP" in verdict.fix


@pytest.mark.parametrize(
    "start",
    [b"\0\0\0\x18ftypheic", b"<?xml version='1.0'?>\n<svg xmlns=''>", b"%PDF-1.7", b"8BPS\0\1", b"%!PS-Adobe"],
)
def test_formats_no_library_here_writes_are_known_by_their_first_bytes(start: bytes) -> None:
    assert code_of(start + b"\0" * 64) is Code.UNSUPPORTED_FORMAT


def test_what_is_no_picture_is_called_so() -> None:
    assert code_of(b"hello, world, this is a text") is Code.NOT_AN_IMAGE
    assert code_of(b"\0") is Code.NOT_AN_IMAGE
    assert code_of(b"") is Code.EMPTY_FILE


def test_name_and_size_are_refused_before_a_byte_is_read() -> None:
    refusals = {key: refuse(key, size) for key, size in [("a/.DS_Store", 5), ("a/b.jpg", 0), ("a/._b.jpg", 9)]}
    assert [verdict and verdict.code for verdict in refusals.values()] == [
        Code.JUNK_FILE,
        Code.EMPTY_FILE,
        Code.JUNK_FILE,
    ]
    too_large = refuse("a/b.jpg", MAX_UPLOAD_BYTES + 1)
    assert too_large
    assert too_large.code is Code.FILE_TOO_LARGE
    assert refuse("a/b.jpg", MAX_UPLOAD_BYTES) is None


@pytest.mark.parametrize(
    ("bomb", "code"),
    [
        (lambda: drawn.png(30_000, 30_000, bits=1), Code.TOO_MANY_PIXELS),
        (lambda: drawn.png(12_000, 12_000, colour=6), Code.TOO_MANY_PIXELS),
        (lambda: drawn.webp_header(16_383, 16_383), Code.TOO_MANY_PIXELS),
        (lambda: drawn.scan_bomb(1_006), Code.TOO_MANY_SCANS),
        (lambda: drawn.gif_header(65_000, 65_000), Code.TOO_MANY_PIXELS),
        (lambda: drawn.bmp_header(60_000, 60_000), Code.TOO_MANY_PIXELS),
    ],
    ids=["png 30000²", "png 12000² RGBA", "webp 16383²", "1006 scans", "gif 65000²", "bmp 60000²"],
)
def test_a_bomb_is_refused_in_milliseconds_and_without_memory(bomb: object, code: Code) -> None:
    assert callable(bomb)
    data = bomb()
    tracemalloc.start()
    fastest = 1.0
    for _ in range(3):
        begun = time.process_time()
        assert code_of(data) is code
        fastest = min(fastest, time.process_time() - begun)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fastest < 0.05
    assert peak < 2_000_000


def test_a_progressive_jpeg_with_as_many_scans_as_encoders_write_passes() -> None:
    assert isinstance(inspect(drawn.scan_bomb(40)), Header)


def test_animations_are_refused_and_a_single_frame_is_not() -> None:
    frames = [drawn.photo(64, 64), drawn.photo(64, 64).rotate(90)]
    for format_ in ("PNG", "WEBP", "GIF"):
        assert code_of(drawn.encoded(frames[0], format_, save_all=True, append_images=frames[1:])) is Code.ANIMATED
        assert isinstance(inspect(drawn.encoded(frames[0], format_)), Header)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_file_cut_short_anywhere_is_never_passed(format_: str) -> None:
    data = drawn.encoded(drawn.photo(120, 90), format_)
    for length in range(1, len(data) - 1, max(1, len(data) // 200)):
        assert code_of(data[:length]) in (Code.TRUNCATED, Code.NOT_AN_IMAGE, Code.CORRUPT), length


def test_a_png_chunk_with_a_wrong_checksum_is_corrupt() -> None:
    data = bytearray(drawn.encoded(drawn.photo(64, 64), "PNG"))
    data[data.index(b"IDAT") + 20] ^= 1
    assert code_of(bytes(data)) is Code.CORRUPT


def test_a_picture_too_small_to_learn_from_is_refused() -> None:
    assert code_of(drawn.png(15, 400)) is Code.TOO_SMALL
    assert isinstance(inspect(drawn.png(16, 400)), Header)


def test_every_pixel_cap_fits_the_decoders_memory() -> None:
    bytes_a_pixel = {"jpeg": 2, "progressive": 8, "png": 8, "webp": 19, "gif": 8, "bmp": 8}
    for kind, cap in MAX_PIXELS.items():
        assert cap * bytes_a_pixel[kind] < 800_000_000, kind


@given(st.binary(max_size=400))
def test_no_bytes_make_the_gate_raise(noise: bytes) -> None:
    for start in (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8X",
        b"GIF89a",
        b"BM" + b"\0" * 12 + b"\x28\0\0\0",
    ):
        inspect(start + noise)


def test_a_name_that_claims_another_format_is_a_repair() -> None:
    verdict = named(accepted(), "a/photo.PNG", "jpeg")
    assert (verdict.outcome, verdict.code) == (Outcome.FIXED, Code.CONVERTED)
    assert [note.code for note in verdict.warnings] == [Code.WRONG_EXTENSION]
    assert verdict.detail == "read as the JPEG it is"


def test_a_name_that_claims_nothing_or_the_truth_is_none() -> None:
    for key in ("a/photo.jpeg", "a/photo.JFIF", "a/photo", "a/photo.v2"):
        assert named(accepted(), key, "jpeg") == accepted()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4000, 3000), (1024, 768)), ((3000, 4000), (768, 1024)), ((6000, 1000), (2048, 341)), ((640, 480), (640, 480))],
)
def test_high_detail_fits_2048_and_768(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Recipe.default().draft_size(*size, orientation=1) == expected


@given(st.integers(16, 40_000), st.integers(16, 40_000), st.sampled_from([(2048, 768), (512, 512)]))
def test_a_fitted_picture_is_never_enlarged_and_always_in_the_box(
    width: int, height: int, box: tuple[int, int]
) -> None:
    fitted = fit(width, height, long_side=box[0], short_side=box[1])
    assert 1 <= fitted[0] <= width
    assert 1 <= fitted[1] <= height
    assert max(fitted) <= box[0]
    assert min(fitted) <= box[1]
