"""Whether a version fits into what a provider takes, and what would make it fit."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.byte_budget import Weight, over_budget, proposal, weight_of
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import spec_for
from pixtune.providers.readiness import problems
from pixtune.training.file_plan import plan_file
from pixtune.training.run import TrainingSettings

SPEC = spec_for("openai", "gpt-4o-2024-08-06")
SETTINGS = DatasetSettings(system="You count lanes.")


def photographs(count: int, size: int, kind: str = "jpeg") -> list[Row]:
    return [row(f"e{number}", images=[image(f"p{number}", size=size, format=kind)]) for number in range(count)]


@pytest.mark.parametrize("size", [30_000, 138_000])
def test_the_estimate_is_within_a_percent_of_the_file(size: int) -> None:
    rows = photographs(50, size)
    artifacts = KeptArtifacts()
    manifest = store_version(artifacts, {"train": rows}, settings=SETTINGS)

    def render(one: Row, settings: DatasetSettings, read: object) -> bytes:
        return training_line(one, settings.system, settings.prompt, settings.detail, read)  # type: ignore[arg-type]  # only passed on

    lines = io.BytesIO(artifacts.objects[manifest.files["train"]])
    exact = plan_file(manifest, "train", lines, render, 64_000_000).size
    assert weight_of(rows, SETTINGS, SPEC).total == pytest.approx(exact, rel=0.01)


def fix(size: int, settings: DatasetSettings = SETTINGS, kind: str = "jpeg", count: int = 100) -> str | None:
    """For rows whose pictures weigh so much each, where 16 MB are taken for 100 of them."""
    over = over_budget(photographs(count, size, kind), settings, replace(SPEC, upload_bytes=16_000_000))
    return over.fix if over else None


def test_what_fits_is_no_problem() -> None:
    assert fix(119_000) is None


def test_the_highest_quality_that_fits_is_proposed() -> None:
    assert "quality = 80, keep = false" in str(fix(138_000))
    assert "quality = 75" in str(fix(150_000))
    stated = DatasetSettings(steps=("flatten", "resize", {"name": "encode", "quality": 90}))
    assert "quality = 85" in str(fix(140_000, stated))
    already = DatasetSettings(steps=("flatten", "resize", {"name": "encode", "quality": 75}))
    assert 'detail = "low"' in str(fix(138_000, already))


def test_a_lower_detail_is_proposed_where_no_quality_fits_and_fewer_examples_where_nothing_does() -> None:
    assert 'detail = "low"' in str(fix(300_000))
    assert "at most about 59 of its 100 examples" in str(fix(200_000, DatasetSettings(detail="low")))
    assert "at most about 11 of its 100 examples" in str(fix(1_000_000))


def test_a_drawing_gets_no_smaller_by_the_quality_of_a_photograph() -> None:
    assert "at most about 86 of its 100" in str(fix(138_000, kind="png"))


def test_rows_that_only_refer_to_their_pictures_do_not_weigh_them() -> None:
    refers = replace(SPEC, images_as="s3_uri")
    assert weight_of(photographs(10, 1_000_000), SETTINGS, refers).total < 10_000


def test_readiness_names_the_total_the_limit_and_the_proposal() -> None:
    spec = replace(SPEC, upload_bytes=16_000_000, train_until=None, answer_until=None)
    training = TrainingSettings("openai", SPEC.base_model)
    (found,) = problems({"train": photographs(100, 138_000)}, SETTINGS, training, spec, date(2026, 11, 23))
    assert (found.where, found.path, found.expected) == ("train", "bytes", "at most 16,000,000")
    assert found.found.startswith("about 18,4")
    assert "quality = 80" in found.fix


@given(st.integers(0, 10**10), st.integers(0, 10**9), st.integers(1, 10**10), st.sampled_from(["high", "low"]))
def test_what_is_proposed_is_expected_to_fit(photos: int, rest: int, limit: int, detail: str) -> None:
    weight = Weight(photos, rest)
    if weight.total <= limit:
        return
    said = proposal(weight, 1000, limit, DatasetSettings(detail=detail))
    if "about" in said and "bytes)" in said:
        expected = int(said.split("(about ")[1].split(" bytes")[0].replace(",", ""))
        assert expected <= limit
    else:
        assert "train on at most about" in said
