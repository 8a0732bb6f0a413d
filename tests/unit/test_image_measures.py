"""The gate measures sharpness and content, warns about what deserves a look, and rejects nothing for it."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter
from tests.unit import drawn

from pixtune.examples.facts import ImageData
from pixtune.images.convert import convert
from pixtune.images.measures import information, sharpness
from pixtune.images.recipe import Recipe
from pixtune.verdicts import IMAGE_WARNINGS, Code, Outcome

RECIPE = Recipe.default()


def codes(picture: Image.Image) -> list[Code]:
    verdict = convert(drawn.jpeg(picture), RECIPE).verdict
    assert verdict.outcome is not Outcome.REJECTED
    return [note.code for note in verdict.warnings]


def test_a_sharp_picture_is_not_warned_about_and_its_blurred_copy_is() -> None:
    sharp = drawn.photo(1024, 768)
    assert codes(sharp) == []
    assert codes(sharp.filter(ImageFilter.GaussianBlur(12))) == [Code.TOO_BLURRY]


def test_the_more_a_picture_is_blurred_the_less_sharp_it_measures() -> None:
    luma = drawn.photo(256, 192).convert("L")
    found = [sharpness(luma.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 0.5, 1, 2)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


def test_the_same_picture_measures_alike_at_high_and_at_low_detail() -> None:
    data = drawn.jpeg(drawn.photo(2000, 1500))
    high, low = (convert(data, recipe).image for recipe in (RECIPE, Recipe.low()))
    assert high
    assert low
    assert low.sharpness == pytest.approx(high.sharpness, rel=0.4)
    assert low.information == pytest.approx(high.information, rel=0.1)


def test_one_colour_carries_little_information_and_is_not_called_blurry_too() -> None:
    assert codes(Image.new("RGB", (640, 480), (90, 120, 90))) == [Code.LOW_INFORMATION]


def test_a_page_of_text_carries_enough() -> None:
    page = Image.new("RGB", (800, 1000), "white")
    for line in range(60, 940, 30):
        ImageDraw.Draw(page).text((60, line), "one two three four five six seven eight nine ten " * 2, fill=0)
    assert codes(page) == []
    assert information(page.convert("L")) > 1


def test_a_strip_and_a_stamp_deserve_a_look() -> None:
    assert codes(drawn.photo(1300, 300)) == [Code.ODD_ASPECT]
    assert codes(drawn.photo(1200, 300)) == []
    assert codes(drawn.photo(60, 60)) == [Code.SMALL_IMAGE]


@pytest.mark.parametrize("size", [(16, 16), (16, 5000), (5000, 17), (1, 1), (3, 2)])
def test_pictures_of_any_size_can_be_measured(size: tuple[int, int]) -> None:
    luma = Image.linear_gradient("L").resize(size)
    assert sharpness(luma) >= 0
    assert 0 <= information(luma) <= 8


def test_every_warning_of_the_gate_is_one_a_dataset_may_reject() -> None:
    assert {Code.TOO_BLURRY, Code.LOW_INFORMATION, Code.ODD_ASPECT, Code.SMALL_IMAGE} <= set(IMAGE_WARNINGS)


def test_an_image_from_before_the_measures_keeps_its_json_and_so_its_rows_their_digests() -> None:
    image = convert(drawn.jpeg(), RECIPE).image
    assert image
    assert ImageData.from_json(image.to_json()) == image
    before = {name: value for name, value in image.to_json().items() if name not in ("sharpness", "information")}
    assert ImageData.from_json(before).to_json() == before


@pytest.mark.skipif("PIXTUNE_PHOTOS" not in os.environ, reason="PIXTUNE_PHOTOS names no folder of photographs")
def test_real_photographs_are_not_warned_about_and_their_blurred_copies_are() -> None:
    photos = sorted(Path(os.environ["PIXTUNE_PHOTOS"], "fruit").rglob("*.jpg"))
    assert photos
    for path in photos:
        converted = convert(path.read_bytes(), RECIPE)
        assert Code.TOO_BLURRY not in [note.code for note in converted.verdict.warnings], path
        picture = Image.open(BytesIO(converted.content)).convert("RGB")
        blurred = picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 128))
        assert Code.TOO_BLURRY in codes(blurred), path
