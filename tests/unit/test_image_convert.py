"""Conversion gives small, upright, sRGB pictures that hold pixels and nothing else."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat
from PIL.PngImagePlugin import PngInfo
from tests.unit import drawn

from pixtune.images import libjpeg
from pixtune.images.convert import convert
from pixtune.images.converted import Converted
from pixtune.images.gate import inspect
from pixtune.images.recipe import Recipe
from pixtune.images.steps import MAX_PNG_BYTES
from pixtune.verdicts import Code, Outcome

RECIPE = Recipe.default()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def usable(data: bytes, recipe: Recipe = RECIPE) -> Converted:
    converted = convert(data, recipe)
    assert converted.image, converted.verdict
    return converted


def pixels(data: bytes, recipe: Recipe = RECIPE) -> Image.Image:
    picture = drawn.decoded(usable(data, recipe).content)
    assert picture.mode == "RGB"
    return picture


def close(found: object, expected: tuple[int, ...], tolerance: int = 6) -> bool:
    return isinstance(found, tuple) and all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


def test_a_photograph_is_shrunk_encoded_and_accepted() -> None:
    converted = usable(drawn.jpeg(drawn.photo(4000, 3000)))
    image = converted.image
    assert image
    assert (converted.verdict.outcome, converted.verdict.code) == (Outcome.ACCEPTED, Code.OK)
    assert (image.width, image.height, image.format, image.recipe) == (1024, 768, "jpeg", RECIPE.id)
    assert (image.source_width, image.source_height, image.source_format, image.orientation) == (
        4000,
        3000,
        "jpeg",
        1,
    )
    assert image.size == len(converted.content)
    assert drawn.decoded(converted.content).size == (1024, 768)
    assert drawn.decoded(converted.thumb).size == (256, 192)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_picture_stays_the_same_picture(format_: str) -> None:
    source = drawn.photo(1600, 1200)
    found = pixels(drawn.encoded(source, format_, quality=95))
    expected = source.resize((1024, 768), Image.Resampling.LANCZOS)
    assert max(ImageStat.Stat(ImageChops.difference(found, expected)).mean) < 3


@pytest.mark.parametrize("size", [(2000, 1500), (1999, 1501)])
def test_a_jpeg_shrunk_by_its_decoder_to_no_whole_number_of_pixels_is_as_near_as_any(size: tuple[int, int]) -> None:
    """Five eighths of 1,500 lines are 937.5: the last of 938 lines shows half of what the others show."""
    texture = Image.effect_noise((size[0] // 3, size[1] // 3), 90).resize(size, Image.Resampling.BICUBIC)
    source = drawn.decoded(drawn.jpeg(texture.convert("RGB"), quality=95))
    found = pixels(drawn.jpeg(texture.convert("RGB"), quality=95))
    best = source.resize(found.size, Image.Resampling.LANCZOS)

    def distance(picture: Image.Image) -> float:
        return ImageStat.Stat(ImageChops.difference(picture, best)).rms[0]

    assert distance(found) < 1.1 * distance(drawn.decoded(drawn.jpeg(best, quality=85)))


def test_low_detail_fits_the_512_box() -> None:
    assert pixels(drawn.jpeg(drawn.photo(4000, 3000)), Recipe.low()).size == (512, 384)


def test_a_photographic_png_and_a_webp_become_jpeg_and_a_drawing_stays_png() -> None:
    assert usable(drawn.encoded(drawn.photo(1600, 1200), "PNG")).content.startswith(b"\xff\xd8")
    assert usable(drawn.encoded(drawn.photo(), "WEBP")).content.startswith(b"\xff\xd8")
    drawing = Image.new("RGB", (300, 200), WHITE)
    drawing.paste(RED, (50, 50, 90, 90))
    kept = usable(drawn.encoded(drawing, "PNG"))
    assert drawn.decoded(kept.content).tobytes() == drawing.tobytes()
    assert kept.image
    assert (kept.image.format, kept.image.key[-4:]) == ("png", ".png")
    assert len(kept.content) < MAX_PNG_BYTES


# Which side of the scene EXIF says the stored first row and first column are (CIPA DC-008, tag 0x0112).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
SCENE = {("top", "left"): RED, ("top", "right"): GREEN, ("bottom", "left"): BLUE, ("bottom", "right"): WHITE}
OPPOSITE = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}


def stored(orientation: int) -> Image.Image:
    """The scene of four colours, 3:2 when upright, as a camera stores it under this orientation."""
    row0, column0 = SIDES[orientation]
    size = (240, 160) if orientation < 5 else (160, 240)
    picture = Image.new("RGB", size)
    for row in (0, 1):
        for column in (0, 1):
            sides = {row0 if row == 0 else OPPOSITE[row0], column0 if column == 0 else OPPOSITE[column0]}
            colour = next(colour for corner, colour in SCENE.items() if set(corner) == sides)
            left, top = column * size[0] // 2, row * size[1] // 2
            picture.paste(colour, (left, top, left + size[0] // 2, top + size[1] // 2))
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_comes_out_upright(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    converted = usable(drawn.encoded(stored(orientation), format_, exif=exif, quality=95))
    found = drawn.decoded(converted.content)
    assert found.size == (240, 160)
    corners = [found.getpixel(place) for place in [(20, 20), (220, 20), (20, 140), (220, 140)]]
    assert all(close(corner, colour) for corner, colour in zip(corners, SCENE.values(), strict=True)), corners
    assert converted.image
    assert converted.image.orientation == orientation
    assert converted.verdict.outcome is (Outcome.ACCEPTED if orientation == 1 else Outcome.FIXED)


def test_an_orientation_that_makes_no_sense_is_none() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert usable(drawn.jpeg(exif=exif)).image.orientation == 1  # type: ignore[union-attr]  # usable has looked


def test_cmyk_becomes_rgb() -> None:
    converted = usable(drawn.jpeg(Image.new("CMYK", (64, 64), (0, 255, 255, 0))))
    assert converted.verdict.outcome is Outcome.FIXED
    assert "CMYK" in converted.verdict.detail
    assert close(drawn.decoded(converted.content).getpixel((30, 30)), RED)


def grey16(value: int, *chunks: bytes) -> bytes:
    line = b"\0" + struct.pack(">H", value) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 16, 0, 0, 0, 0)
    parts = (drawn.chunk(b"IHDR", header), *chunks, drawn.chunk(b"IDAT", zlib.compress(line * 64)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + drawn.chunk(b"IEND", b"")


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1000, 3), (32768, 128), (65535, 255)])
def test_16_bit_grey_is_scaled_and_not_clipped(value: int, expected: int) -> None:
    converted = usable(grey16(value))
    assert converted.verdict.outcome is Outcome.FIXED
    assert close(drawn.decoded(converted.content).getpixel((30, 30)), (expected,) * 3, 1)


def test_the_transparent_shade_of_a_16_bit_picture_shows_the_background() -> None:
    assert pixels(grey16(1000, drawn.chunk(b"tRNS", struct.pack(">H", 1000)))).getpixel((9, 9)) == WHITE


def test_16_bit_colour_is_scaled() -> None:
    line = b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    parts = (drawn.chunk(b"IHDR", header), drawn.chunk(b"IDAT", zlib.compress(line * 64)), drawn.chunk(b"IEND", b""))
    converted = usable(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert "16 bits" in converted.verdict.detail
    assert drawn.decoded(converted.content).getpixel((9, 9)) == (255, 128, 0)


def test_a_palette_is_resolved() -> None:
    source = drawn.photo(200, 150).quantize(16)
    converted = usable(drawn.encoded(source, "PNG"))
    assert "palette" in converted.verdict.detail
    assert drawn.decoded(converted.content).tobytes() == source.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_colour_hidden_under_transparency_never_shows(mode: str) -> None:
    if mode == "P":
        source = Image.new("P", (100, 80), 0)
        source.putpalette([255, 0, 0, 0, 0, 255])
        source.paste(1, (0, 0, 50, 80))
        data = drawn.encoded(source, "PNG", transparency=0)
    else:
        source = Image.new(mode, (100, 80), (255, 0, 0, 0) if mode == "RGBA" else (90, 0))
        source.paste((0, 0, 255, 255) if mode == "RGBA" else (29, 255), (0, 0, 50, 80))
        data = drawn.encoded(source, "PNG")
    converted = usable(data)
    found = drawn.decoded(converted.content)
    assert "transparency" in converted.verdict.detail
    assert found.getpixel((90, 40)) == WHITE
    assert found.getpixel((10, 40)) == ((29, 29, 29) if mode == "LA" else BLUE)


def test_a_still_gif_lies_on_white_and_stays_a_drawing() -> None:
    drawing = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    drawing.paste((*BLUE, 255), (0, 0, 40, 80))
    converted = usable(drawn.encoded(drawing, "GIF"))
    found = drawn.decoded(converted.content)
    assert converted.image
    assert (converted.image.source_format, converted.image.format) == ("gif", "png")
    assert (found.getpixel((20, 40)), found.getpixel((90, 40))) == (BLUE, WHITE)


def test_half_transparency_mixes_with_white() -> None:
    found = pixels(drawn.encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 128)), "PNG"))
    assert close(found.getpixel((30, 30)), (255, 127, 127), 1)


def test_transparent_webp_lies_on_white_too() -> None:
    assert close(pixels(drawn.encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "WEBP")).getpixel((9, 9)), WHITE, 2)


def test_an_alpha_channel_that_hides_nothing_is_no_repair() -> None:
    assert usable(drawn.encoded(drawn.photo(64, 64).convert("RGBA"), "PNG")).verdict.outcome is Outcome.ACCEPTED


def srgb_of_p3(*rgb: int) -> tuple[int, ...]:
    """Display P3 (gamma 2.2) to sRGB by the published matrix, without any colour library."""
    linear = [(value / 255) ** 2.2 for value in rgb]
    matrix = [(1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)]
    mixed = [sum(a * b for a, b in zip(row, linear, strict=True)) for row in matrix]
    curve = [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in mixed]
    return tuple(round(255 * min(1.0, max(0.0, value))) for value in curve)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_display_p3_is_turned_into_srgb(format_: str) -> None:
    colour = (200, 120, 100)
    data = drawn.encoded(Image.new("RGB", (64, 64), colour), format_, icc_profile=drawn.p3_profile(), quality=95)
    converted = usable(data)
    expected = srgb_of_p3(*colour)
    assert not close(expected, colour, 8)
    assert close(drawn.decoded(converted.content).getpixel((30, 30)), expected, 5)
    assert "Display P3" in converted.verdict.detail


def test_an_srgb_profile_is_dropped_without_a_change() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    converted = usable(drawn.jpeg(icc_profile=profile))
    assert converted.verdict.outcome is Outcome.ACCEPTED
    assert converted.content == usable(drawn.jpeg()).content


def test_a_profile_that_cannot_be_read_is_ignored_and_said() -> None:
    converted = usable(drawn.jpeg(icc_profile=b"\0" * 200))
    assert "unreadable colour profile" in converted.verdict.detail


def test_nothing_but_pixels_leaves() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    exif.get_ifd(0x8825)[1] = "N"
    loaded = drawn.jpeg(exif=exif, comment=b"a secret", xmp=b"<x:xmpmeta>a secret</x:xmpmeta>")
    assert b"a secret" in loaded
    drawing = Image.new("RGB", (64, 64), RED)
    text = PngInfo()
    text.add_text("secret", "a secret")
    for data in (loaded, drawn.encoded(drawing, "PNG", exif=exif, pnginfo=text, dpi=(72, 72))):
        converted = usable(data)
        for out in (converted.content, converted.thumb):
            assert b"a secret" not in out
            if out.startswith(b"\xff\xd8"):
                assert not {0xFE, *range(0xE1, 0xF0)} & set(drawn.jpeg_markers(out))
            else:
                assert drawn.png_chunks(out) == {b"IHDR", b"IDAT", b"IEND"}


def test_the_first_picture_of_an_mpo_is_taken() -> None:
    data = drawn.encoded(drawn.photo(), "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480), RED)])
    converted = usable(data)
    assert "first picture of several" in converted.verdict.detail
    assert not close(drawn.decoded(converted.content).getpixel((320, 240)), RED)


def test_two_sizes_of_one_picture_have_nearly_one_fingerprint_and_another_picture_has_not() -> None:
    def fingerprint(picture: Image.Image, **options: int) -> int:
        image = usable(drawn.jpeg(picture, **options)).image
        assert image
        return int(image.dhash, 16)

    one = fingerprint(drawn.photo(1600, 1200))
    assert (one ^ fingerprint(drawn.photo(1600, 1200).resize((800, 600)))).bit_count() <= 4
    assert (one ^ fingerprint(drawn.photo(1600, 1200), quality=60)).bit_count() <= 4
    assert (one ^ fingerprint(drawn.photo(1600, 1200).rotate(90))).bit_count() > 12


@pytest.mark.parametrize(
    ("shade", "code"), [(0, Code.TOO_DARK), (255, Code.TOO_BRIGHT), (128, None)], ids=["black", "white", "grey"]
)
def test_nearly_black_and_nearly_white_are_noted(shade: int, code: Code | None) -> None:
    converted = usable(drawn.jpeg(Image.new("L", (64, 64), shade)))
    shades = [note.code for note in converted.verdict.warnings if note.code is not Code.LOW_INFORMATION]
    assert shades == ([code] if code else [])
    assert converted.image
    assert converted.image.brightness == pytest.approx(shade / 255, abs=0.01)


def test_libjpegs_warnings_can_be_had_here() -> None:
    assert libjpeg.available()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 8}, {"subsampling": 0}])
def test_a_jpeg_that_lost_a_piece_of_its_data_is_flagged_or_refused(options: dict[str, int]) -> None:
    data = drawn.jpeg(drawn.photo(), **options)
    header = inspect(data)
    assert not libjpeg.warnings(data, header)  # type: ignore[arg-type]  # it is a header
    middle = len(data) // 2
    for damaged in (data[:middle] + data[middle + 100 :], data[:middle] + data[middle - 100 :]):
        verdict = convert(damaged, RECIPE).verdict
        flagged = [note.code for note in verdict.warnings] == [Code.JPEG_WARNING]
        assert verdict.outcome is Outcome.REJECTED or flagged, verdict


def test_a_decompression_bomb_in_a_text_chunk_costs_little() -> None:
    bomb = zlib.compress(b"\0" * 200_000_000, 9)
    for name, head in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0")):
        verdict = convert(drawn.png(64, 64, drawn.chunk(name, head + bomb)), RECIPE).verdict
        assert verdict.code in (Code.CORRUPT, Code.OK, Code.CONVERTED)


def test_converted_survives_json() -> None:
    for data in (drawn.jpeg(), b"no picture"):
        converted = convert(data, RECIPE)
        assert Converted.from_json(converted.to_json(), converted.content, converted.thumb) == converted
