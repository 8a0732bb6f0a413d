"""Boxes move with the picture: every orientation, every resize, to the pixel; checked against Pillow's turning."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from pixtune.annotations.layouts import read_file
from pixtune.datasets.tasks import TEMPLATES, boxes_cut_off, in_words
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.annotation import Box, Boxes
from pixtune.examples.facts import ImageData
from pixtune.examples.geometry import Edges, cut_off, misfits, moved, sent, turned, upright
from pixtune.examples.rows import Row, RowImage
from pixtune.images.convert import convert
from pixtune.images.recipe import Recipe
from pixtune.images.steps import fit

ORIENTATIONS = st.integers(1, 8)
BACK = {orientation: orientation for orientation in range(1, 9)} | {6: 8, 8: 6}
SIDE = st.integers(1, 6000)


def image(width: int, height: int, orientation: int = 1, sent_as: tuple[int, int] | None = None) -> ImageData:
    """A picture stored with these sides."""
    wide, high = sent_as or fit(*map(int, upright((width, height), orientation)), long_side=2048, short_side=768)
    return ImageData(
        "0" * 64, "jpeg", wide, high, 1, "0" * 64, "jpeg", width, height, orientation, 0.5, "0" * 16, "r"
    )


@st.composite
def pictures(draw: st.DrawFn) -> tuple[int, int, Edges]:
    """A size and a box inside it."""
    width, height = draw(SIDE), draw(SIDE)
    left, right = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    top, bottom = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    assume(left < right and top < bottom)
    return width, height, (left, top, right, bottom)


@settings(deadline=None)
@given(pictures(), ORIENTATIONS)
def test_a_turn_and_its_opposite_leave_a_box_where_it_was(drawn: tuple[int, int, Edges], orientation: int) -> None:
    width, height, edges = drawn
    there = turned(edges, (width, height), orientation)
    assert turned(there, upright((width, height), orientation), BACK[orientation]) == edges


@settings(deadline=None)
@given(pictures(), ORIENTATIONS)
def test_a_box_stays_in_its_picture_and_keeps_its_share_of_it(
    drawn: tuple[int, int, Edges], orientation: int
) -> None:
    width, height, edges = drawn
    picture = image(width, height, orientation)
    ((left, top, right, bottom),) = moved(Boxes((Box("x", *edges),)), picture)
    assert -1e-6 <= left < right <= picture.width + 1e-6
    assert -1e-6 <= top < bottom <= picture.height + 1e-6
    share = (edges[2] - edges[0]) * (edges[3] - edges[1]) / (width * height)
    assert (right - left) * (bottom - top) / (picture.width * picture.height) == pytest.approx(share)
    (whole,) = sent(Boxes((Box("x", *edges),)), picture)
    assert 0 <= whole.left < whole.right <= picture.width
    assert 0 <= whole.top < whole.bottom <= picture.height


@settings(deadline=None)
@given(pictures(), ORIENTATIONS, st.sampled_from([0.5, 2, 3]))
def test_it_is_the_same_box_however_the_annotation_wrote_it(
    drawn: tuple[int, int, Edges], orientation: int, scale: float
) -> None:
    """Pixels of the stored picture, of one at another scale, or shares of the upright one."""
    width, height, edges = drawn
    picture = image(width, height, orientation)
    (expected,) = moved(Boxes((Box("x", *edges),)), picture)
    scaled = Box("x", *(edge * scale for edge in edges))
    assert moved(Boxes((scaled,), size=(width * scale, height * scale)), picture)[0] == pytest.approx(expected)
    left, top, right, bottom = turned(edges, (width, height), orientation)
    wide, high = upright((width, height), orientation)
    shares = Box("x", left / wide, top / high, right / wide, bottom / high)
    assert moved(Boxes((shares,), shares=True), picture)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_lies_where_pillow_puts_its_pixels(orientation: int) -> None:
    stored = Image.new("L", (60, 40))
    ImageDraw.Draw(stored).rectangle((10, 5, 29, 14), fill=255)  # the last pixel counts: edges 10, 5, 30, 15
    stored.getexif()[274] = orientation
    shown = ImageOps.exif_transpose(stored)
    picture = image(60, 40, orientation, shown.size)
    (box,) = sent(Boxes((Box("x", 10, 5, 30, 15),), size=(60, 40)), picture)
    assert (box.left, box.top, box.right, box.bottom) == shown.getbbox()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_upright_picture_are_not_turned_again(orientation: int) -> None:
    picture = image(600, 400, orientation)
    (box,) = sent(Boxes((Box("x", 10, 20, 30, 40),), size=(400, 600)), picture)
    assert (box.left, box.top, box.right, box.bottom) == (10, 20, 30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("recipe", [Recipe.default(), Recipe.low()])
def test_the_shipped_conversion_moves_pixels_to_where_the_boxes_go(orientation: int, recipe: Recipe) -> None:
    photo = Image.new("RGB", (2400, 1600), "black")
    ImageDraw.Draw(photo).rectangle((300, 200, 899, 599), fill="white")
    exif = Image.Exif()
    exif[274] = orientation
    body = BytesIO()
    photo.save(body, "JPEG", quality=95, exif=exif)
    converted = convert(body.getvalue(), recipe)
    assert converted.image is not None
    (box,) = sent(Boxes((Box("x", 300, 200, 900, 600),), size=(2400, 1600)), converted.image)
    seen = Image.open(BytesIO(converted.content)).convert("L").point(lambda value: 255 if value > 127 else 0)
    found = seen.getbbox()
    assert found is not None
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx(found, abs=1)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any order of turning, cropping and resizing; a crop, or the turning, may be left out."""
    shares = st.floats(0.3, 1)
    crop = {"name": "crop", "share_x": draw(shares), "share_y": draw(shares)}
    crop |= {"at_x": draw(st.floats(0, 1)), "at_y": draw(st.floats(0, 1))}
    resize = {"name": "resize", "long_side": draw(st.integers(64, 400)), "short_side": 300}
    steps = [step for step, kept in (("orient", draw(st.booleans())), (crop, draw(st.booleans()))) if kept]
    return Recipe.of(["flatten", *draw(st.permutations([*steps, resize])), "encode"])


@settings(deadline=None, max_examples=80)
@given(
    st.tuples(st.integers(80, 300), st.integers(80, 300)),
    st.tuples(*[st.floats(0, 1)] * 4),
    ORIENTATIONS,
    recipes(),
)
def test_a_box_is_where_its_pixels_are_after_any_turn_crop_and_resize(
    size: tuple[int, int], shares: tuple[float, float, float, float], orientation: int, recipe: Recipe
) -> None:
    (wide, high), (x, y, w, h) = size, shares
    width, height = 30 + round(w * (wide - 30)), 30 + round(h * (high - 30))
    left, top = round(x * (wide - width)), round(y * (high - height))
    photo = Image.new("RGB", size, "black")
    ImageDraw.Draw(photo).rectangle((left, top, left + width - 1, top + height - 1), fill="white")
    exif = Image.Exif()
    exif[274] = orientation
    body = BytesIO()
    photo.save(body, "PNG", exif=exif)
    picture = convert(body.getvalue(), recipe)
    assert picture.image is not None
    assert ImageData.from_json(json.loads(json.dumps(picture.image.to_json()))) == picture.image
    edges = (left, top, left + width, top + height)
    boxes = Boxes((Box("x", *edges),), size=size)
    seen = Image.open(BytesIO(picture.content)).convert("L").point(lambda value: 255 if value > 127 else 0).getbbox()
    for box in sent(boxes, picture.image):
        found = (box.left, box.top, box.right, box.bottom)
        assert 0 <= box.left < box.right <= picture.image.width
        assert 0 <= box.top < box.bottom <= picture.image.height
        if seen is not None or min(box.right - box.left, box.bottom - box.top) > 1:
            assert found == pytest.approx(seen, abs=1)
    if cut_off(boxes, picture.image) and seen is not None:  # less than a pixel may still be seen as one
        assert min(seen[2] - seen[0], seen[3] - seen[1]) == 1
    assert len(sent(boxes, picture.image)) + len(cut_off(boxes, picture.image)) == 1
    # The same box as a tool writes it that shows pictures upright, in shares:
    upright_edges, (across, down) = turned(edges, size, orientation), upright(size, orientation)
    lying = [edge / side for edge, side in zip(upright_edges, (across, down) * 2, strict=True)]
    assert moved(Boxes((Box("x", *lying),), shares=True), picture.image)[0] == pytest.approx(
        moved(boxes, picture.image)[0], abs=1e-6
    )


def test_what_a_crop_cuts_off_a_box_is_cut_off_and_a_box_it_leaves_nothing_of_is_left_out() -> None:
    half = replace(image(400, 300, sent_as=(200, 300)), shown=(0.5, 0.0, 1.0, 1.0))
    names = ("left", "across", "sliver", "tiny", "right")
    edges = ((0, 0, 150, 9), (150, 10, 250, 20), (150, 30, 200.7, 40), (300, 50, 300.2, 50.2), (210, 60, 390, 300))
    boxes = Boxes(tuple(Box(name, *found) for name, found in zip(names, edges, strict=True)))
    assert [(box.label, box.left, box.top, box.right, box.bottom) for box in sent(boxes, half)] == [
        ("across", 0, 10, 50, 20),
        ("tiny", 100, 50, 101, 51),
        ("right", 10, 60, 190, 300),
    ]
    assert [box.label for box in cut_off(boxes, half)] == ["left", "sliver"]
    row = row_with(*boxes.boxes)
    row = replace(row, images=(replace(row.images[0], image=half),))
    assert list(misfits(row.annotation, [half])) == []  # type: ignore[arg-type]  # row_with annotates
    assert boxes_cut_off([row, row_with(Box("whole", 1, 1, 9, 9))]) == [
        {
            "code": "boxes_cut_off",
            "detail": "2 boxes in 1 examples lie outside what crop keeps of their picture, and were left out: x.",
        }
    ]


def test_boxes_that_cannot_be_of_this_picture_are_said_so() -> None:
    def found(boxes: Boxes) -> list[str]:
        row = read_file("ds/x.jsonl", b'{"file_name": "a.jpg", "text": "x"}', "u").rows[0].annotation
        turns = (row.turns[0], type(row.turns[1])("assistant", (type(row.turns[1].parts[0])(boxes=boxes),)))
        return list(misfits(type(row)(turns), [image(600, 400)]))

    assert found(Boxes((Box("x", 1, 1, 9, 9),), size=(800, 600))) == [
        "its boxes were drawn on 800 x 600 pixels, but the picture has 600 x 400"
    ]
    assert found(Boxes((Box("x", 700, 1, 900, 9),))) == ["the box of 'x' at 700, 1 lies outside the picture"]
    assert found(Boxes((Box("x", 1, 1, 9, 9),), size=(1200, 800))) == []


# ------------------------------------------------------------------------------ real photographs

PHOTOS = os.environ.get("PIXTUNE_PHOTOS")
needs_photos = pytest.mark.skipif(not PHOTOS, reason="PIXTUNE_PHOTOS names no folder of photographs")


def rows_of(folder: Path, annotations: Path, recipe: Recipe) -> Iterator[tuple[str, Row, bytes]]:
    """Each image of an annotation file as the row it becomes, with the converted picture."""
    reading = read_file(f"ds/{annotations.name}", annotations.read_bytes(), "uploads")
    assert reading.problems == ()
    for found in reading.rows:
        name = found.images[0].rpartition("/")[2]
        converted = convert((folder / name).read_bytes(), recipe)
        assert converted.image is not None
        shown = RowImage(found.images[0], "v1", converted.image)
        yield name, Row("ds", name, 1, (shown,), found.annotation), converted.content


def answer(row: Row) -> str:
    assert row.annotation is not None
    return row.annotation.turns[-1].parts[0].text or ""


@needs_photos
@pytest.mark.parametrize("recipe", [Recipe.default(), Recipe.low()], ids=["as it is", "resized"])
def test_the_boxes_of_real_photographs_are_right_to_the_pixel(recipe: Recipe) -> None:
    """With PIXTUNE_DRAWN, a folder, the pictures are left there with their boxes drawn, for people to look at."""
    folder = Path(PHOTOS or "") / "fruit-coco"
    stated = json.loads((folder / "_annotations.coco.json").read_text())
    names = {category["id"]: category["name"] for category in stated["categories"]}
    drawn_at = os.environ.get("PIXTUNE_DRAWN")
    count = 0
    for (name, row, content), entry in zip(
        rows_of(folder, folder / "_annotations.coco.json", recipe), stated["images"], strict=True
    ):
        picture = row.images[0].image
        own = [box for box in stated["annotations"] if box["image_id"] == entry["id"]]
        said = json.loads(answer(in_words(row, DatasetSettings(), {})))
        expected = []
        for box in own:
            left, top, wide, high = box["bbox"]
            edges = (left, top, left + wide, top + high)
            across, down = picture.width / entry["width"], picture.height / entry["height"]
            scaled = [edge * scale for edge, scale in zip(edges, (across, down) * 2, strict=True)]
            expected.append((names[box["category_id"]], scaled))
        for found in said:
            label, scaled = min(
                (one for one in expected if one[0] == found["label"]),
                key=lambda one: sum(abs(a - b) for a, b in zip(one[1], found["box"], strict=True)),
            )
            assert found["box"] == pytest.approx(scaled, abs=0.5 + 1e-6), (name, label)
            count += 1
        assert len(said) == len(own)
        if drawn_at:
            seen = Image.open(BytesIO(content))
            for found in said:
                ImageDraw.Draw(seen).rectangle(tuple(found["box"]), outline="red", width=3)
                ImageDraw.Draw(seen).text(found["box"][:2], found["label"], fill="red", font_size=24)
            seen.save(Path(drawn_at) / f"{recipe.id}-{name}")
    assert count == len(stated["annotations"])


@needs_photos
def test_playing_cards_give_the_same_examples_from_boxes_as_from_their_metadata() -> None:
    cards = Path(PHOTOS or "") / "cards"
    ranks = ("nine", "ten", "jack", "queen", "king", "ace")
    compared = 0
    for split in ("train", "test"):
        lines = (cards / split / "metadata.jsonl").read_bytes()
        wanted = {row.images: row.annotation for row in read_file(f"ds/{split}/metadata.jsonl", lines, "u").rows}
        settings = DatasetSettings(boxes="classes-1", classes=ranks)
        for file in sorted((Path(PHOTOS or "") / "cards-voc" / split).glob("*.xml")):
            reading = read_file(f"ds/{split}/{file.name}", file.read_bytes(), "u")
            (found,) = reading.rows
            said = wanted[found.images]
            with Image.open(cards / split / found.images[0].rpartition("/")[2]) as photo:
                shown = RowImage(found.images[0], "v1", image(*photo.size))
            asked = said.question()
            row = in_words(Row("ds", "x", 1, (shown,), found.annotation), settings, {})
            assert row.annotation is not None
            assert answer(row) == said.turns[-1].parts[0].text
            assert row.annotation.split == said.split
            assert asked  # dataset.toml states it as `prompt` for the boxes
            compared += 1
    assert compared == 140


# ------------------------------------------------------------------------------ task templates


def row_with(*boxes: Box, names_from: str | None = None) -> Row:
    reading = read_file("ds/a.jpg.json", b'{"answer": "x"}', "u").rows[0].annotation
    part = type(reading.turns[1].parts[0])(boxes=Boxes(boxes, names_from=names_from))
    turns = (reading.turns[0], type(reading.turns[1])("assistant", (part,)))
    return Row("ds", "x", 1, (RowImage("ds/a.jpg", "v1", image(4000, 3000)),), type(reading)(turns))


@pytest.mark.parametrize(
    ("template", "said", "nothing"),
    [
        (
            "boxes-json-1",
            '[{"label": "cat", "box": [26, 51, 51, 102]}, {"label": "cat", "box": [0, 256, 26, 282]}, '
            '{"label": "dog", "box": [0, 0, 1024, 768]}]',
            "[]",
        ),
        ("classes-1", "cat, cat, dog", "none"),
        ("count-1", '{"cat": 2, "dog": 1}', "{}"),
    ],
)
def test_each_template_says_boxes_in_its_own_way(template: str, said: str, nothing: str) -> None:
    settings = DatasetSettings(boxes=template)
    row = row_with(Box("dog", 0, 0, 4000, 3000), Box("cat", 0, 1000, 100, 1100), Box("cat", 100, 200, 200, 400))
    words = in_words(row, settings, {})
    assert answer(words) == said
    assert words.annotation is not None
    assert words.annotation.question() == TEMPLATES[template].question
    assert answer(in_words(row_with(), settings, {})) == nothing


def test_the_datasets_own_prompt_and_order_of_classes_come_before_the_templates() -> None:
    settings = DatasetSettings(prompt="Which?", boxes="classes-1", classes=("dog", "cat"))
    words = in_words(row_with(Box("cat", 0, 0, 9, 9), Box("dog", 5, 5, 9, 9)), settings, {})
    assert answer(words) == "dog, cat"
    assert words.annotation is not None
    assert words.annotation.question() == ""  # the prompt is filled in when a row is rendered for a provider


def test_class_numbers_are_said_by_their_names() -> None:
    row = row_with(Box("1", 0, 0, 9, 9), names_from="ds/labels")
    assert answer(in_words(row, DatasetSettings(boxes="classes-1"), {"ds/labels": ["cat", "dog"]})) == "dog"


def test_every_template_can_be_chosen_and_no_other() -> None:
    for name in TEMPLATES:
        assert read_file("ds/dataset.toml", f'boxes = "{name}"'.encode(), "u").settings == {"boxes": name}
    refusal = read_file("ds/dataset.toml", b'boxes = "boxes-json-2"', "u").refusal
    assert refusal is not None
    assert "boxes-json-1" in refusal.detail
