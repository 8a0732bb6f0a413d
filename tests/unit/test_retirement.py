"""A base model's end is known before it is paid for, and before the names that stand on it stop answering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from tests.fakes.answering import AnsweringProvider
from tests.fakes.models import FakeModels
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.errors import DatasetNotReady, ProviderRefused, ProviderUnavailable
from pixtune.providers.limits import limits_with
from pixtune.providers.port import TrainingProvider
from pixtune.registry.aliases import promote
from pixtune.registry.models import ModelVersion
from pixtune.registry.retiring import Checked, check_retirement
from pixtune.training.readiness import check_readiness
from pixtune.training.run import Run, Terms, TrainingSettings

LIMITS = limits_with()
TODAY = date(2026, 11, 23)  # 52 days before the hosted base model's end
BASE = "gpt-4o-2024-08-06"
OPENAI, LOCAL = TrainingSettings("openai", BASE), TrainingSettings("local", "local-vision-1")
ROWS = {"train": [row(f"e{n}") for n in range(12)], "test": [row(f"t{n}") for n in range(3)]}


def check(settings: TrainingSettings, least_days: int, provider: AnsweringProvider | None = None) -> FakeRuns:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    manifest = store_version(artifacts, ROWS)
    runs.records["run_1"] = Run("run_1", "lanes", settings, 0.0, "api", "k", manifest_key=manifest.key)
    asked = provider or AnsweringProvider()
    check_readiness("run_1", runs, artifacts, asked, LIMITS, TODAY, least_days=least_days)
    return runs


def test_a_model_that_would_answer_for_too_few_days_is_refused_naming_where_the_version_could_go() -> None:
    with pytest.raises(DatasetNotReady) as refused:
        check(OPENAI, 60)
    told = str(refused.value)
    assert "2027-01-14, in 52 days, expected 60 days or more from 2026-11-23" in told
    assert "--accept-retirement" in told
    assert "local/local-vision-1" in told
    check(OPENAI, 52)
    check(LOCAL, 60)


def test_whoever_accepts_it_trains_all_the_same_until_the_day_itself() -> None:
    accepted = replace(OPENAI, terms=Terms(accept_retirement=True))
    assert check(accepted, 60).get("run_1").estimate is not None
    with pytest.raises(DatasetNotReady, match="answer_until"):
        check(accepted, 60, AnsweringProvider(retiring={BASE: TODAY}))


def test_the_provider_s_own_word_counts_before_the_table_s() -> None:
    soon = AnsweringProvider(retiring={"local-vision-1": date(2026, 12, 1)})
    with pytest.raises(DatasetNotReady, match="in 8 days"):
        check(LOCAL, 60, soon)


# the daily look at every name


class Desk:
    """Two datasets, each with a champion; the version lies in the artifacts."""

    def __init__(self, **picture: Any) -> None:
        self.models, self.artifacts = FakeModels(), KeptArtifacts()
        rows = {split: [replace(one) for one in rows] for split, rows in ROWS.items()}
        if picture:
            rows["train"] = [row(f"e{n}", images=[image(f"e{n}", **picture)]) for n in range(12)]
        self.manifest = store_version(self.artifacts, rows)
        self.name("lanes", "openai", BASE)

    def name(self, dataset: str, provider: str, base_model: str, retires_on: str | None = None) -> None:
        made = self.models.register(
            ModelVersion(
                dataset,
                0,
                f"run_{dataset}",
                1,
                provider,
                base_model,
                f"ft:{dataset}",
                1,
                "d",
                self.manifest.key,
                "r1",
                1.0,
                retires_on=retires_on,
            )
        )
        promote(self.models, dataset, "champion", made.number, expected=0, by="t", reason="", at=1.0)

    def look(
        self, today: date, connect: Callable[[str, str], TrainingProvider] = lambda *_: AnsweringProvider()
    ) -> Checked:
        return check_retirement(self.models, self.artifacts, connect, LIMITS, today, warn_days=30, least_days=60)


def test_a_name_is_warned_about_once_a_month_ahead_with_what_its_version_could_be_trained_on() -> None:
    desk = Desk()
    desk.name("cards", "local", "local-vision-1")
    early = desk.look(date(2026, 12, 14))
    assert (early.retiring, early.warned, early.soonest) == ([], [], 31)
    first, second = desk.look(date(2026, 12, 15)), desk.look(date(2026, 12, 16))
    (warned,) = first.warned
    assert (warned.dataset, warned.alias, warned.retires_on, warned.days_left) == (
        "lanes", "champion", "2027-01-14", 30
    )  # fmt: skip
    assert "local/local-vision-1" in warned.instead
    assert f"openai/{BASE}" not in warned.instead
    assert (second.warned, second.soonest, len(second.retiring)) == ([], 29, 1)


def test_another_date_is_another_warning() -> None:
    desk = Desk()
    desk.look(date(2026, 12, 20))
    sooner = desk.look(date(2026, 12, 20), lambda *_: AnsweringProvider(retiring={BASE: date(2027, 1, 1)}))
    assert [warned.retires_on for warned in sooner.warned] == ["2027-01-01"]


@pytest.mark.parametrize("away", [ProviderUnavailable("503"), ProviderRefused("no key")])
def test_a_provider_that_cannot_be_asked_leaves_the_table_s_word_and_then_the_model_s_own(away: Exception) -> None:
    def connect(*_: str) -> TrainingProvider:
        raise away

    desk = Desk()
    desk.name("cards", "elsewhere", "old-1", retires_on="2026-12-24")
    found = desk.look(date(2026, 12, 20), connect)
    assert {one.dataset: one.days_left for one in found.warned} == {"lanes": 25, "cards": 4}
    assert found.soonest == 4


def test_a_provider_whose_limits_the_version_breaks_is_not_named() -> None:
    desk = Desk(size=10_000_001)
    (warned,) = desk.look(date(2026, 12, 20)).warned
    assert "local/local-vision-1" not in warned.instead


def test_where_no_name_has_a_date_there_is_nothing_to_measure() -> None:
    desk = Desk()
    desk.models = FakeModels()
    assert desk.look(TODAY) == Checked([], [], None)
