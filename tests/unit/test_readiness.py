"""Whether a dataset version may be trained: all problems at once, each with its place and its remedy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import date

import pytest
from tests.fakes.answering import AnsweringProvider
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetNotReady
from pixtune.examples.annotation import Part, Turn
from pixtune.examples.rows import Row
from pixtune.providers.limits import all_specs, limits_with, spec_for
from pixtune.providers.readiness import problems
from pixtune.training.readiness import check_readiness
from pixtune.training.run import Hyperparameters, Run, TrainingSettings

OPENAI = spec_for("openai", "gpt-4o-2024-08-06")
TODAY = date(2026, 11, 22)
SETTINGS = TrainingSettings("openai", "gpt-4o-2024-08-06")
GOOD = [row(f"e{n}") for n in range(10)]


def paths(*rows: Row, training: TrainingSettings = SETTINGS, today: date = TODAY) -> list[str]:
    found = problems({"train": [*GOOD, *rows]}, DatasetSettings(), training, OPENAI, today)
    return [problem.path for problem in found]


def test_a_good_version_has_no_problems() -> None:
    assert paths() == []


def test_each_breach_of_a_limit_is_named() -> None:
    assert paths(row("x", images=[image(str(n)) for n in range(11)])) == ["images"]
    assert paths(row("x", images=[image("big", size=10_000_001)])) == ["images[0].bytes"]
    assert paths(row("x", images=[dataclasses.replace(image("g"), format="gif")])) == ["images[0].format"]
    assert paths(row("x", answer="  ")) == ["turns[-1]"]
    assert paths(row("x", answer="ends <|im_end|>")) == ["text"]
    assert paths(row("x", system="<|endoftext|>")) == ["text"]
    assert paths(row("x", weight=0.5)) == ["weight"]
    assert paths(row("x", question="word " * 60_000)) == ["tokens"]
    assert paths(row("x", turns=(Turn("user", (Part(text="?"),)),))) == ["turns[-1]"]
    backwards = (Turn("assistant", (Part(text="3"),)),)
    assert paths(row("x", turns=backwards)) == ["turns[0].role"]
    shown = (Turn("user", (Part(text="?"),)), Turn("assistant", (Part(text="3"), Part(image=0))))
    assert paths(row("x", turns=shown)) == ["turns[1]"]
    missing = (Turn("user", (Part(image=4),)), Turn("assistant", (Part(text="3"),)))
    assert paths(row("x", turns=missing)) == ["turns[0]"]


def test_dates_and_hyperparameters_are_checked_too() -> None:
    assert paths(today=date(2027, 1, 5)) == []
    assert paths(today=date(2027, 1, 6)) == ["train_until"]
    assert paths(today=date(2027, 1, 14)) == ["train_until", "answer_until"]
    asked = dataclasses.replace(SETTINGS, hyperparameters=Hyperparameters(51, 0, -1.0))
    assert paths(training=asked) == ["n_epochs", "batch_size", "learning_rate_multiplier"]


def test_too_few_and_too_many_rows_are_files_problems() -> None:
    few = problems({"train": GOOD[:9]}, DatasetSettings(), SETTINGS, OPENAI, TODAY)
    assert [(problem.path, problem.found) for problem in few] == [("rows", "9")]
    tight = dataclasses.replace(OPENAI, max_rows=9, upload_bytes=100)
    many = problems({"train": GOOD, "validation": GOOD}, DatasetSettings(), SETTINGS, tight, TODAY)
    assert [problem.where for problem in many] == ["train", "train", "validation", "validation"]


def run_of(manifest_key: str | None, settings: TrainingSettings = SETTINGS) -> Run:
    return Run("run_1", "lanes", settings, 0.0, "api", "k", manifest_key=manifest_key)


def test_a_ready_version_leaves_its_estimate_on_the_run() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    manifest = store_version(artifacts, {"train": GOOD, "test": [row("t1")]})
    runs.records["run_1"] = run_of(manifest.key)
    check_readiness("run_1", runs, artifacts, AnsweringProvider(), limits_with(), TODAY)
    cost = runs.get("run_1").estimate
    assert cost is not None
    assert cost["usd"]["low"] <= cost["usd"]["mid"] <= cost["usd"]["high"]
    assert cost["price_date"] == "2026-11-22"
    assert any("2027-01-14" in note and "53 days" in note for note in cost["notes"])
    assert not any(key.startswith("images/") for key in artifacts.reads)


def test_the_providers_own_date_counts_before_the_tables() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    runs.records["run_1"] = run_of(store_version(artifacts, {"train": GOOD}).key)
    soon = AnsweringProvider(retiring={"gpt-4o-2024-08-06": date(2026, 12, 1)})
    check_readiness("run_1", runs, artifacts, soon, limits_with(), TODAY)
    cost = runs.get("run_1").estimate
    assert cost is not None
    assert cost["retires_on"] == "2026-12-01"
    gone = AnsweringProvider(retiring={"gpt-4o-2024-08-06": TODAY})
    with pytest.raises(DatasetNotReady, match="answer_until is 2026-11-22"):
        check_readiness("run_1", runs, artifacts, gone, limits_with(), TODAY)


def test_up_to_twenty_problems_are_listed_and_all_are_counted() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    bad = [row(f"b{n}", answer=" ") for n in range(30)]
    runs.records["run_1"] = run_of(store_version(artifacts, {"train": bad}).key)
    with pytest.raises(DatasetNotReady) as raised:
        check_readiness("run_1", runs, artifacts, AnsweringProvider(), limits_with(), TODAY)
    message = str(raised.value)
    assert message.count("\n- ") == 20
    assert "30 problem(s)" in message
    assert "10 more" in message
    assert "train line 1 (b0): turns[-1] is no answer, expected an assistant turn with text. Annotate it" in message
    assert runs.get("run_1").estimate is None


def test_every_model_of_the_table_names_the_source_of_each_figure() -> None:
    for spec in all_specs().values():
        assert spec.max_rows is None or spec.min_rows <= spec.max_rows
        assert spec.epochs is None or spec.epochs[0] <= spec.epochs[1]
        assert {"user", "assistant"} <= set(spec.roles)
        assert (spec.row_format == "converse") == (spec.images_as == "s3_uri")
        for figure in dataclasses.fields(spec):
            assert spec.source(figure.name).where
            assert spec.source(figure.name).read <= TODAY


def test_a_figure_that_is_not_stated_limits_nothing() -> None:
    fireworks = spec_for("fireworks", "accounts/fireworks/models/qwen3-vl-8b-instruct")
    huge = row("x", images=[image(str(n), size=50_000_000) for n in range(70)], question="word " * 90_000)
    training = TrainingSettings("fireworks", fireworks.base_model, Hyperparameters(900, 900, 1e-9))
    assert problems({"train": [*GOOD, huge]}, DatasetSettings(), training, fireworks, TODAY) == []
    assert not fireworks.source("images_per_row").verified


def test_a_rate_outside_the_providers_own_range_is_named() -> None:
    nova = spec_for("bedrock", "amazon.nova-lite-v1:0:300k")
    asked = TrainingSettings("bedrock", nova.base_model, Hyperparameters(6, None, 11.0))
    found = problems({"train": GOOD}, DatasetSettings(), asked, nova, TODAY)
    assert [(problem.path, problem.expected) for problem in found] == [
        ("n_epochs", "1 to 5"),
        ("learning_rate_multiplier", "0.1 to 10"),
    ]


def test_words_are_reserved_only_in_the_roles_the_provider_names() -> None:
    nova = spec_for("bedrock", "amazon.nova-lite-v1:0:300k")
    training = TrainingSettings("bedrock", nova.base_model)
    rows = [row("asked", question="User: how many?"), row("answered", answer="User: 3")]
    found = problems({"train": [*GOOD, *rows]}, DatasetSettings(), training, nova, TODAY)
    assert [(problem.where, problem.found) for problem in found] == [
        ("train line 11 (asked)", "the reserved word 'User:'")
    ]


def test_a_provider_without_published_prices_is_estimated_in_tokens_alone() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    training = TrainingSettings("azure", "gpt-4.1-2025-04-14")
    runs.records["run_1"] = run_of(store_version(artifacts, {"train": GOOD}).key, training)
    check_readiness("run_1", runs, artifacts, AnsweringProvider(), limits_with(), TODAY)
    cost = runs.get("run_1").estimate
    assert cost is not None
    assert cost["usd"] is None
    assert cost["tokens"]["mid"] > 0
    assert any("prices of Azure OpenAI gpt-4.1 (2025-04-14) are not published" in note for note in cost["notes"])


def test_a_suffix_is_made_to_fit() -> None:
    assert OPENAI.suffix("Straßen / lanes: v1") == "Stra-en-lanes-v1"
    assert len(OPENAI.suffix("x" * 100)) == 64


def test_checking_needs_neither_the_providers_client_nor_an_image_library() -> None:
    loaded = (
        "import sys, pixtune.training.readiness, pixtune.providers.factory; "
        "print({'openai', 'PIL', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_else_would_train_the_version_is_kept_for_when_the_provider_does_not() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    reserved = row("x", question="User: how many?")
    runs.records["run_1"] = run_of(store_version(artifacts, {"train": [*GOOD, reserved]}).key)
    check_readiness("run_1", runs, artifacts, AnsweringProvider(), limits_with(), TODAY)
    cost = runs.get("run_1").estimate
    assert cost is not None
    assert "azure/gpt-4.1-2025-04-14" in cost["alternatives"]
    providers = {name.partition("/")[0] for name in cost["alternatives"]}
    assert not providers & {"openai", "bedrock", "together", "fireworks"}  # itself, a reserved word, no jobs yet
    with pytest.raises(DatasetNotReady, match=r"keeps the limits of .*azure/gpt-4.1-2025-04-14"):
        check_readiness("run_1", runs, artifacts, AnsweringProvider(), limits_with(), date(2027, 1, 6))
