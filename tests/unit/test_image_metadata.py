"""What a picture carries beside its pixels is told by name, found in every format, and none of it is kept."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.unit import drawn

from pixtune.examples.facts import METADATA, ImageData
from pixtune.images.convert import convert
from pixtune.images.gate import Header, inspect
from pixtune.images.metadata import of_exif
from pixtune.images.recipe import Recipe

XMP = b'<x:xmpmeta><rdf:Description exif:GPSLatitude="52,30N"/></x:xmpmeta>'


def exif(*, gps: bool = False, maker: bool = False) -> Image.Exif:
    block = Image.Exif()
    block[0x010E] = "a title"
    if gps:
        block.get_ifd(0x8825).update({0: b"\2\3\0\0", 1: "N", 2: (52.0, 30.0, 0.0)})
    if maker:
        block.get_ifd(0x8769)[0x927C] = b"made by a maker"
    return block


def metadata(data: bytes) -> tuple[str, ...]:
    header = inspect(data)
    assert isinstance(header, Header), header
    converted = convert(data, Recipe.default())
    assert converted.image
    assert converted.image.metadata == header.metadata
    left = inspect(converted.content)
    assert isinstance(left, Header)
    assert left.metadata == ()
    return header.metadata


def test_a_bare_picture_carries_nothing() -> None:
    for format_ in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        assert metadata(drawn.encoded(drawn.photo(64, 48), format_)) == ()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_place_a_maker_note_and_a_profile_are_found_in_every_format(format_: str) -> None:
    photo = drawn.photo(64, 48)
    loaded = drawn.encoded(photo, format_, exif=exif(gps=True, maker=True), icc_profile=drawn.p3_profile())
    assert metadata(loaded) == ("exif", "gps", "maker_note", "icc")
    assert metadata(drawn.encoded(photo, format_, exif=exif())) == ("exif",)


def test_a_gps_block_that_says_only_its_version_places_nothing() -> None:
    block = exif()
    block.get_ifd(0x8825)[0] = b"\2\3\0\0"
    assert metadata(drawn.jpeg(exif=block)) == ("exif",)


def test_a_place_written_in_xmp_is_a_place() -> None:
    assert metadata(drawn.jpeg(xmp=XMP, comment=b"hello")) == ("gps", "xmp", "comment")
    assert metadata(drawn.encoded(drawn.photo(64, 48), "WEBP", xmp=XMP)) == ("gps", "xmp")


def test_texts_of_a_png_are_told_apart() -> None:
    info = PngInfo()
    info.add_text("Author", "someone")
    info.add_text("Raw profile type iptc", "8BIM")
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    assert metadata(drawn.encoded(drawn.photo(64, 48), "PNG", pnginfo=info)) == ("xmp", "iptc", "comment")


def test_previews_press_notes_and_a_gifs_comment_are_found() -> None:
    data = drawn.jpeg()
    preview = b"JFIF\0\1\1\0\0\1\0\1\1\1\0\0\0"
    with_preview = data[:2] + b"\xff\xe0" + struct.pack(">H", len(preview) + 2) + preview + data[20:]
    assert metadata(with_preview) == ("thumbnail",)
    press = b"Photoshop 3.0\0"
    assert metadata(data[:2] + b"\xff\xed" + struct.pack(">H", len(press) + 2) + press + data[2:]) == ("iptc",)
    assert metadata(drawn.encoded(drawn.photo(64, 48), "GIF", comment=b"hello")) == ("comment",)


def test_an_embedded_thumbnail_of_exif_is_found() -> None:
    entry = struct.pack("<HHII", 0x0201, 4, 1, 0)
    tiff = b"II*\0" + struct.pack("<IHI", 8, 0, 14) + struct.pack("<H", 1) + entry + b"\0" * 4
    assert set(of_exif(tiff)) == {"exif", "thumbnail"}


@given(st.binary(max_size=300))
def test_a_damaged_exif_block_is_still_one_and_nothing_raises(noise: bytes) -> None:
    for start in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        names = set(of_exif(start + noise))
        assert "exif" in names
        assert names <= set(METADATA)


def test_the_names_travel_and_older_images_have_none() -> None:
    image = convert(drawn.jpeg(exif=exif(gps=True)), Recipe.default()).image
    assert image
    assert ImageData.from_json(image.to_json()) == image
    before = {name: value for name, value in image.to_json().items() if name != "metadata"}
    assert ImageData.from_json(before).metadata == ()
    assert "metadata" not in ImageData.from_json(before).to_json()
    with pytest.raises(ValueError, match="names of metadata"):
        ImageData.from_json(image.to_json() | {"metadata": ["<script>"]})


@pytest.mark.skipif("PIXTUNE_PHOTOS" not in os.environ, reason="PIXTUNE_PHOTOS names no folder of photographs")
def test_real_photographs_with_a_place_say_so() -> None:
    files = sorted(Path(os.environ["PIXTUNE_PHOTOS"], "fruit").rglob("*.jpg"))
    for file in files:
        placed = bool(set(Image.open(file).getexif().get_ifd(0x8825)) - {0})
        header = inspect(file.read_bytes())
        assert isinstance(header, Header)
        assert ("gps" in header.metadata) == placed, file
