"""A dataset chooses, orders and parameterises the steps its pictures go through; what it chose is the recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.unit import drawn

from pixtune.annotations import dataset_toml
from pixtune.datasets.settings import recipe_of
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import StepFailed
from pixtune.events.s3 import Generation, parse, reconcile_message
from pixtune.examples.annotation import Box, Boxes
from pixtune.examples.facts import ImageData
from pixtune.examples.geometry import moved
from pixtune.images import steps
from pixtune.images.convert import convert
from pixtune.images.recipe import STANDARD, Recipe, RecipeRefused
from pixtune.images.sandbox import Sandbox
from pixtune.images.steps import MAX_PNG_BYTES
from pixtune.verdicts import Code, Outcome

CARDS = """
prompt = "Which card is this?"

[[steps]]
name = "flatten"
background = "#000000"

[[steps]]
name = "crop"
share_x = 0.5
at_x = 0

[[steps]]
name = "resize"
long_side = 512
short_side = 256

[[steps]]
name = "sharpen"
percent = 120

[[steps]]
name = "encode"
"""


def recipe_in(text: str) -> Recipe:
    """The recipe that a dataset.toml comes to, on the way it takes: read, kept as JSON, read again."""
    reading = dataset_toml.read("cards/dataset.toml", text)
    assert reading.refusal is None, reading.refusal
    stated = json.loads(json.dumps(reading.settings))
    return recipe_of(DatasetSettings.from_json(stated))


def pixels(data: bytes, recipe: Recipe) -> Image.Image:
    converted = convert(data, recipe)
    assert converted.image, converted.verdict
    assert converted.image.recipe == recipe.id
    return drawn.decoded(converted.content)


def test_a_dataset_that_states_nothing_gets_the_standard_steps() -> None:
    assert recipe_in('prompt = "What is it?"') == Recipe.default() == Recipe.of(STANDARD)
    assert recipe_in('detail = "low"') == Recipe.low()


def test_a_dataset_chooses_orders_and_parameterises_its_steps() -> None:
    recipe = recipe_in(CARDS)
    assert [step.name for step in recipe.steps] == ["flatten", "crop", "resize", "sharpen", "encode"]
    source_ = Image.new("RGBA", (800, 600), (0, 0, 0, 0))
    source_.paste((255, 0, 0, 255), (0, 0, 100, 600))
    found = pixels(drawn.encoded(source_, "PNG"), recipe)
    assert found.size == (256, 384)
    assert found.getpixel((200, 200)) == (0, 0, 0)  # the background it states


def test_a_simple_list_of_names_will_do_and_detail_gives_the_box() -> None:
    text = 'detail = "low"\nsteps = ["flatten", "orient", "greyscale", "resize", {name = "encode", quality = 70}]'
    recipe = recipe_in(text)
    assert dict(recipe.steps[3].parameters) == {"long_side": 512, "short_side": 512}
    found = pixels(drawn.jpeg(drawn.photo(1600, 1200)), recipe)
    assert (found.size, found.mode) == ((512, 384), "RGB")
    assert all(band.tobytes() == found.getchannel(0).tobytes() for band in found.split())


def test_autocontrast_uses_the_whole_range() -> None:
    dull = drawn.photo(320, 240).convert("L").point([100 + value // 8 for value in range(256)])
    recipe = Recipe.of(["flatten", "resize", "to_srgb", "orient", "autocontrast", "encode"])
    lowest, highest = pixels(drawn.encoded(dull, "PNG"), recipe).convert("L").getextrema()
    assert lowest < 12  # type: ignore[operator]  # one band: two numbers
    assert highest > 243  # type: ignore[operator]


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        (["flatten", "resize", "blurr", "encode"], "steps[3]: no step is called 'blurr'"),
        (["flatten", {"name": "resize", "long_side": 9000}, "encode"], "long_side lies between 16 and 4096"),
        (["flatten", {"name": "resize", "longside": 512}, "encode"], "takes no 'longside'"),
        (["flatten", "resize", {"name": "encode", "quality": "best"}], "quality is a int such as 85"),
        ([{"name": "flatten", "background": "white"}, "resize", "encode"], "background is a text such as '#ffffff'"),
        (["flatten", "encode"], "resize is missing"),
        (["encode", "flatten", "resize"], "encode comes last"),
        (["crop", "flatten", "resize", "encode"], "only orient may come before flatten"),
        (["flatten", "resize", "resize", "encode"], "resize stands there 2 times"),
        (["flatten", "resize", {"quality": 3}, "encode"], "no step is called None"),
        ([], "flatten is missing"),
    ],
)
def test_steps_that_make_no_recipe_are_refused_with_their_place(stated: list[object], problem: str) -> None:
    with pytest.raises(RecipeRefused) as refused:
        Recipe.of(stated)  # type: ignore[arg-type]  # as read from a file
    assert problem in str(refused.value)


def test_a_dataset_toml_with_bad_steps_is_refused_with_all_its_problems() -> None:
    refusal = dataset_toml.read("cards/dataset.toml", 'detail = "medium"\nsteps = ["blurr", "crop!"]').refusal
    assert refusal
    assert refusal.code is Code.BAD_SETTINGS
    for part in ("detail", "'blurr'", "'crop!'", "sharpen"):
        assert part in refusal.detail


def test_recipes_survive_json_and_their_ids_tell_them_apart() -> None:
    names = list(STANDARD)
    recipes = [
        Recipe.default(),
        Recipe.low(),
        Recipe(Recipe.default().steps, version=1),
        Recipe.of([*names[:-1], {"name": "encode", "quality": 80}]),
        Recipe.of([*names[:-1], {"name": "encode", "keep": False}]),
        Recipe.of([*names[:-1], "greyscale", "encode"]),
        Recipe.of(["orient", *(name for name in names if name != "orient")]),
        recipe_in(CARDS),
    ]
    assert len({recipe.id for recipe in recipes}) == len(recipes)
    for recipe in recipes:
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    whole = Recipe.of(["flatten", {"name": "crop", "at_x": 0}, "resize", "encode"])
    assert whole.id == Recipe.of(["flatten", {"name": "crop", "at_x": 0.0}, "resize", "encode"]).id


def test_steps_are_checked_without_loading_pillow() -> None:
    code = "import sys, pixtune.annotations.dataset_toml; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_step_of_ones_own_runs_in_the_sandbox() -> None:
    """The example of docs/preprocessing.md: `sharpen` of images/own_steps.py."""
    blurred = drawn.jpeg(drawn.photo(400, 300).resize((100, 75)).resize((400, 300)))
    stated: list[Any] = [
        "flatten",
        "resize",
        "to_srgb",
        "orient",
        {"name": "sharpen", "radius": 3, "percent": 300},
        "encode",
    ]
    with Sandbox() as sandbox:
        plain = sandbox.convert(blurred, Recipe.default())
        sharp = sandbox.convert(blurred, Recipe.of(stated))
    assert sharp.image

    def contrast(data: bytes) -> int:
        line = drawn.decoded(data).convert("L").crop((0, 150, 400, 151)).tobytes()
        return sum(abs(a - b) for a, b in pairwise(line))

    assert contrast(sharp.content) > 1.1 * contrast(plain.content)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEPS", steps.STEPS)
    for name in ("halve", "stumble"):
        monkeypatch.setitem(steps.STEPS, name, steps.STEPS["sharpen"])
        monkeypatch.delitem(steps.STEPS, name)

    @steps.own_step()
    def halve(picture: Image.Image) -> Image.Image:
        return picture.reduce(2)

    @steps.own_step()
    def stumble(picture: Image.Image) -> Image.Image:
        raise KeyError("blue")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("name", "said"), [("halve", "a step keeps the size"), ("stumble", "KeyError: 'blue'")])
def test_a_step_with_a_defect_is_a_fault_of_ours_and_never_a_verdict_on_the_picture(name: str, said: str) -> None:
    with pytest.raises(StepFailed, match=f"The step {name} failed") as failed:
        convert(drawn.jpeg(), Recipe.of(["flatten", "resize", name, "encode"]))
    assert said in str(failed.value)


@pytest.mark.usefixtures("own")
def test_a_failed_step_leaves_the_sandbox_as_a_fault_and_the_next_picture_unharmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from pixtune.images.steps import own_step\n\n\n"
        "@own_step()\ndef stumble(picture):\n    raise KeyError('blue')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))  # the worker begins with our path
    with Sandbox() as sandbox:
        with pytest.raises(StepFailed, match="stumble failed: KeyError"):
            sandbox.convert(drawn.jpeg(), Recipe.of(["flatten", "resize", "stumble", "encode"]))
        before = sandbox.worker_pid
        assert sandbox.convert(drawn.jpeg(), Recipe.default()).image
        assert sandbox.worker_pid == before


def test_a_parameter_without_a_default_and_a_name_that_is_taken_are_refused() -> None:
    with pytest.raises(TypeError, match="default"):

        @steps.own_step()
        def needs(picture: Image.Image, amount: int) -> Image.Image:
            return picture

    with pytest.raises(TypeError, match="already"):

        @steps.own_step()
        def crop(picture: Image.Image) -> Image.Image:
            return picture


def test_a_new_version_of_a_step_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.of(["flatten", "resize", "sharpen", "encode"])
    before, kind = recipe.id, steps.STEPS["sharpen"]
    newer = steps.StepKind(kind.apply, kind.parameters, kind.limits, version=2)
    monkeypatch.setitem(steps.STEPS, "sharpen", newer)
    assert recipe.id != before


def test_a_changed_dataset_toml_asks_for_its_images_again_and_they_come_out_under_it() -> None:
    """Settings to queue message to conversion; settle_uploads sends the message (test_settle_uploads)."""
    wanted = recipe_in(CARDS)
    body = json.dumps(reconcile_message("uploads", "cards/a.jpg", Generation("v1", "00"), wanted.to_json()))
    event = parse(body)
    assert event.recipe is not None
    again = Recipe.from_json(event.recipe)
    assert again == wanted
    image = convert(drawn.jpeg(), again).image
    assert image
    assert image.recipe == wanted.id != Recipe.default().id


ORDERS = (
    STANDARD,
    ("orient", "flatten", "resize", "to_srgb", "encode"),
    (
        "flatten",
        "to_srgb",
        "orient",
        {"name": "crop", "share_x": 0.7, "share_y": 0.8, "at_x": 0.2},
        "resize",
        "encode",
    ),
    ("flatten", "resize", "orient", {"name": "crop", "share_x": 0.7, "at_y": 1.0}, "encode"),
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ORDERS, ids=["standard", "orient first", "crop before", "crop after"])
def test_a_box_lies_where_its_thing_is_after_every_step(order: tuple[object, ...], orientation: int) -> None:
    recipe = Recipe.of(order)  # type: ignore[arg-type]  # names and tables
    box = (600, 500, 900, 620)
    picture = Image.new("RGB", (1600, 1200), (0, 0, 255))
    ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    converted = convert(drawn.encoded(picture, "PNG", exif=exif), recipe)
    assert converted.image
    found = drawn.decoded(converted.content)
    red = found.getchannel(0).point([255 * (value > 127) for value in range(256)]).getbbox()
    (placed,) = moved(Boxes((Box("red", *box),), size=(1600, 1200)), converted.image)
    assert red
    assert all(abs(a - b) <= 1 for a, b in zip(red, placed, strict=True)), (red, placed)
    view = recipe.view(1600, 1200, orientation)
    assert (view.width, view.height) == found.size == (converted.image.width, converted.image.height)


@pytest.mark.parametrize("order", ORDERS[:3], ids=["standard", "orient first", "crop before"])
@pytest.mark.parametrize("size", [(2000, 1500), (1999, 1501), (1152, 864), (3000, 1000), (901, 1601)])
def test_a_jpeg_comes_out_as_large_as_any_other_format(size: tuple[int, int], order: tuple[object, ...]) -> None:
    """Its decoder shrinks it first; the size still follows from that of the file."""
    recipe = Recipe.of(order)  # type: ignore[arg-type]  # names and tables
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [drawn.encoded(drawn.photo(*size), format_, exif=exif) for format_ in ("JPEG", "PNG")]
    (one, other) = (convert(data, recipe) for data in files)
    assert one.image
    assert other.image
    assert (one.image.width, one.image.height) == (other.image.width, other.image.height)
    assert drawn.decoded(one.content).size == (one.image.width, one.image.height)


@given(
    st.integers(16, 5000),
    st.integers(16, 5000),
    st.integers(1, 8),
    st.sampled_from([Recipe.of(order) for order in ORDERS[:3]]),
)
def test_a_jpeg_is_never_decoded_smaller_than_it_is_needed(
    width: int, height: int, orientation: int, recipe: Recipe
) -> None:
    size = recipe.draft_size(width, height, orientation)
    assert size
    view = recipe.view(width, height, orientation)
    share = 0.56 if len(recipe.steps) > 5 else 1.0
    assert size[0] * size[1] * share >= 0.95 * (view.width * view.height) - width - height


# Pass-through

AGAIN = Recipe.of([*STANDARD[:-1], {"name": "encode", "keep": False}])


def test_a_jpeg_that_needs_nothing_keeps_its_pixels_and_loses_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    source_ = drawn.photo(640, 480)
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}, {"keep_rgb": True}):
        data = drawn.jpeg(source_, exif=exif, comment=b"a secret", xmp=b"<x>a secret</x>", **options)
        converted = convert(data + b"PK\3\4 and an archive", Recipe.default())
        assert converted.image
        assert converted.verdict.outcome is Outcome.ACCEPTED
        assert drawn.decoded(converted.content).tobytes() == drawn.decoded(data).tobytes(), options
        assert len(converted.content) < len(data)
        assert b"secret" not in converted.content + converted.thumb
        assert converted.content.endswith(b"\xff\xd9")
        assert not {0xFE, *range(0xE1, 0xEE), 0xEF} & set(drawn.jpeg_markers(converted.content))
        assert (converted.image.width, converted.image.height) == (640, 480)
        assert converted.image.size == len(converted.content)


def test_a_png_that_needs_nothing_keeps_its_pixels() -> None:
    source_ = drawn.photo(160, 120)  # more colours than a drawing has
    data = drawn.encoded(source_, "PNG", dpi=(300, 300), comment="a secret")
    converted = convert(data, Recipe.default())
    assert drawn.decoded(converted.content).tobytes() == source_.tobytes()
    assert drawn.png_chunks(converted.content) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: drawn.jpeg(drawn.photo(1600, 1200)), id="too large"),
        pytest.param(lambda: drawn.jpeg(drawn.photo(), icc_profile=drawn.p3_profile()), id="other colours"),
        pytest.param(lambda: drawn.jpeg(drawn.photo().convert("L")), id="grey"),
        pytest.param(lambda: drawn.jpeg(drawn.photo().convert("CMYK")), id="CMYK"),
        pytest.param(lambda: drawn.jpeg(Image.effect_noise((900, 700), 90).convert("RGB")), id="too many bytes"),
        pytest.param(lambda: drawn.encoded(drawn.photo(), "WEBP"), id="no format every provider takes"),
        pytest.param(lambda: drawn.jpeg()[:3000] + drawn.jpeg()[3100:], id="damaged"),
    ],
)
def test_a_file_that_needs_something_is_encoded_again(data: object) -> None:
    assert callable(data)
    file = data()
    assert convert(file, Recipe.default()).content == convert(file, AGAIN).content


KEEPS_WEBP = Recipe.of([*STANDARD[:-1], {"name": "encode", "keep_webp": True}])


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_that_needs_nothing_is_kept_where_the_dataset_says_so(lossless: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    data = drawn.encoded(drawn.photo(320, 240), "WEBP", lossless=lossless, exif=exif, xmp=b"<x>a secret</x>")
    converted = convert(data + b"PK\3\4", KEEPS_WEBP)
    assert converted.image
    assert (converted.image.format, converted.image.key[-5:]) == ("webp", ".webp")
    assert drawn.decoded(converted.content).tobytes() == drawn.decoded(data).tobytes()
    assert b"secret" not in converted.content
    assert len(converted.content) < len(data)
    assert ImageData.from_json(converted.image.to_json()) == converted.image
    with Sandbox() as sandbox:
        assert sandbox.convert(data, KEEPS_WEBP).content == convert(data, KEEPS_WEBP).content


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(lambda: drawn.photo(320, 240).convert("RGBA").rotate(20), id="transparent"),
        pytest.param(lambda: drawn.photo(1600, 1200), id="too large"),
    ],
)
def test_a_webp_that_needs_something_becomes_a_jpeg_all_the_same(picture: Callable[[], Image.Image]) -> None:
    converted = convert(drawn.encoded(picture(), "WEBP"), KEEPS_WEBP)
    assert converted.image
    assert converted.image.format == "jpeg"


def test_how_large_a_file_may_be_kept_is_a_choice() -> None:
    data = drawn.encoded(Image.effect_noise((400, 300), 90).convert("RGB"), "PNG")
    assert len(data) > MAX_PNG_BYTES
    whole = Recipe.of([*STANDARD[:-1], {"name": "encode", "keep_bytes": 2_000_000}])
    formats = [image.format for recipe in (Recipe.default(), whole) if (image := convert(data, recipe).image)]
    assert formats == ["jpeg", "png"]


def test_keeping_is_a_choice() -> None:
    data = drawn.jpeg(quality=95)
    assert Image.open(BytesIO(convert(data, AGAIN).content)).quantization != Image.open(BytesIO(data)).quantization  # type: ignore[attr-defined]  # of a JpegImageFile


def test_an_embedded_preview_is_not_kept() -> None:
    data = drawn.jpeg()
    preview = b"JFIF\0\1\1\0\0\1\0\1" + b"\4\4" + b"s" * 48
    data = data[:2] + b"\xff\xe0" + (len(preview) + 2).to_bytes(2, "big") + preview + data[20:]
    converted = convert(data, Recipe.default())
    assert b"ssss" not in converted.content
    assert drawn.decoded(converted.content).tobytes() == drawn.decoded(data).tobytes()
