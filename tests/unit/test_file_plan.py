"""Planning a training file without reading a picture, and writing any part of it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.examples.annotation import Part as Said
from pixtune.examples.annotation import Turn
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import training_line
from pixtune.providers.port import ReadImage
from pixtune.training.file_plan import FilePlan, Picture, cut, pieces_of, plan_file, write_part

SETTINGS = DatasetSettings(system="Answer with one word.", prompt="What is it?")


def render(row: Row, settings: DatasetSettings, read_image: ReadImage) -> bytes:
    return training_line(row, settings.system, settings.prompt, settings.detail, read_image)


def unread(key: str) -> bytes:
    raise AssertionError(f"{key} was read")


def stored(rows: list[Row], pictures: dict[str, bytes]) -> tuple[KeptArtifacts, Manifest]:
    artifacts = KeptArtifacts()
    manifest = store_version(artifacts, {"train": rows}, settings=SETTINGS)
    artifacts.objects |= pictures
    return artifacts, manifest


def planned(artifacts: KeptArtifacts, manifest: Manifest, part_bytes: int) -> FilePlan:
    lines = io.BytesIO(artifacts.objects[manifest.files["train"]])
    return plan_file(manifest, "train", lines, render, part_bytes)


@st.composite
def versions(draw: st.DrawFn) -> tuple[list[Row], dict[str, bytes]]:
    """Rows of any text with up to three pictures of any size, shown in any order and any number of times."""
    pictures: dict[str, bytes] = {}
    rows = []
    for number in range(draw(st.integers(1, 6))):
        bodies = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=3))
        facts = [image(sha256(body).hexdigest(), size=len(body)) for body in bodies]
        pictures |= {fact.key: body for fact, body in zip(facts, bodies, strict=True)}
        shown = draw(st.lists(st.integers(0, len(facts) - 1), max_size=4)) if facts else []
        text = draw(st.text(max_size=20))
        turns = (
            Turn("user", (*(Said(image=n) for n in shown), Said(text=text))),
            Turn("assistant", (Said(text=text),)),
        )
        rows.append(row(f"e{number}", turns=turns, images=facts))
    return rows, pictures


@settings(max_examples=40, deadline=None)  # each part starts threads
@given(versions(), st.integers(60, 1000))
def test_the_parts_of_a_plan_are_the_rendered_file(
    drawn: tuple[list[Row], dict[str, bytes]], part_bytes: int
) -> None:
    rows, pictures = drawn
    artifacts, manifest = stored(rows, pictures)
    plan = FilePlan.from_json(json.loads(json.dumps(planned(artifacts, manifest, part_bytes).to_json())))
    whole = b"".join(render(one, SETTINGS, pictures.__getitem__) for one in rows)
    parts = []
    for part in plan.parts:
        lines = io.BytesIO(artifacts.get_range(plan.rows_key, *part.lines))
        parts.append(write_part(plan, part, lines, render, pictures.__getitem__))
    assert b"".join(parts) == whole
    assert plan.size == len(whole)
    assert [len(part) for part in parts[:-1]] == [part_bytes] * (len(parts) - 1)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 90)), min_size=1), st.integers(1, 100))
def test_parts_cover_every_byte_of_every_line_once(lengths: list[tuple[int, int]], part_bytes: int) -> None:
    where = [(line, byte) for line, (_, rendered) in enumerate(lengths) for byte in range(rendered)]
    starts = [sum(stored for stored, _ in lengths[:line]) for line in range(len(lengths) + 1)]
    covered: list[tuple[int, int]] = []
    for part in cut(lengths, part_bytes):
        begin, end = (starts.index(at) for at in part.lines)
        within = [(line, byte) for line in range(begin, end) for byte in range(lengths[line][1])]
        covered += within[part.skip : part.skip + part.length]
        assert within[part.skip][0] == begin, "no line is read in vain"
        assert within[part.skip + part.length - 1][0] == end - 1
    assert covered == where


def test_a_part_reads_only_the_pictures_whose_bytes_are_in_it() -> None:
    rows = [row(f"e{number}") for number in range(20)]
    artifacts, manifest = stored(rows, {})
    plan = planned(artifacts, manifest, 1000)
    asked: list[str] = []

    def read(key: str) -> bytes:
        asked.append(key)
        return artifacts.objects[key]

    lines = io.BytesIO(artifacts.get_range(plan.rows_key, *plan.parts[3].lines))
    write_part(plan, plan.parts[3], lines, render, read)
    length = plan.size / 20
    assert 1000 / length - 1 <= len(asked) <= 1000 / length + 2


def test_planning_reads_no_picture_and_the_name_follows_from_all_that_the_bytes_do() -> None:
    def name(answer: str = "3", system: str = "Count.", picture: str = "a", detail: str = "high") -> str:
        artifacts = KeptArtifacts()
        settings = DatasetSettings(system=system, detail=detail)
        rows = [row("e1", answer, images=[image(picture)])]
        manifest = store_version(artifacts, {"train": rows}, settings=settings)
        lines = io.BytesIO(artifacts.objects[manifest.files["train"]])
        artifacts.objects.clear()
        return plan_file(manifest, "train", lines, render, 1000).name

    assert name() == name()
    assert len({name(), name(answer="4"), name(system="Say."), name(picture="b"), name(detail="low")}) == 5
    assert name().endswith(".jsonl")


def test_the_part_size_changes_the_parts_and_not_the_name() -> None:
    artifacts, manifest = stored([row("e1"), row("e2")], {})
    small, large = planned(artifacts, manifest, 100), planned(artifacts, manifest, 1000)
    assert small.name == large.name
    assert len(small.parts) > len(large.parts)


def test_a_text_that_looks_like_the_mark_of_a_picture_is_a_text() -> None:
    marked = base64.b64encode(b"a picture's bytes stand here, no 00").decode()
    one = row("e1", question=f"What is {marked}?")
    text, picture, rest = pieces_of(one, SETTINGS, render)
    assert picture == Picture(one.images[0].image.key, one.images[0].image.size)
    assert isinstance(rest, bytes)
    assert marked.encode() in rest
    assert isinstance(text, bytes)


def test_a_provider_that_refers_to_its_pictures_has_lines_of_text_alone() -> None:
    def refers(row: Row, _: DatasetSettings, read_image: ReadImage) -> bytes:
        return f'{{"image": "s3://bucket/{row.images[0].image.key}"}}\n'.encode()

    (text,) = pieces_of(row("e1"), SETTINGS, refers)
    assert isinstance(text, bytes)
    assert b"s3://bucket/images/" in text


def test_a_provider_that_does_something_else_to_its_pictures_cannot_be_planned() -> None:
    def hexed(row: Row, _: DatasetSettings, read_image: ReadImage) -> bytes:
        return read_image(row.images[0].image.key).hex().encode()

    with pytest.raises(ValueError, match="The line of e1"):
        pieces_of(row("e1"), SETTINGS, hexed)


def test_a_picture_of_another_size_than_its_row_says_is_a_fault_that_names_it() -> None:
    one = row("e1", images=[dataclasses.replace(image("a"), size=5)])
    artifacts, manifest = stored([one], {})
    plan = planned(artifacts, manifest, 10_000)
    lines = io.BytesIO(artifacts.objects[plan.rows_key])
    with pytest.raises(ValueError, match=r"images/.* has \d+ bytes, its rows say 5"):
        write_part(plan, plan.parts[0], lines, render, artifacts.objects.__getitem__)
