"""An estimate learns from the bills that came: no bill is ever left outside its band, and more of them narrow it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import row

from pixtune.costs.bands import Band
from pixtune.costs.calibration import REMEMBERED, Observation, calibrated, calibrated_band, remembered
from pixtune.costs.estimate import estimate
from pixtune.datasets.version import DatasetSettings
from pixtune.providers.limits import spec_for
from pixtune.training.reconcile import reconcile
from pixtune.training.run import Run, TrainingSettings

RATIOS = st.floats(0.01, 100)
RAW = st.tuples(st.floats(1, 1e9), st.floats(1, 10), st.floats(1, 10)).map(
    lambda drawn: Band(drawn[0] / drawn[1], drawn[0], drawn[0] * drawn[2])
)
ABOUT = 1 + 1e-9  # floating point


@given(RAW, st.lists(RATIOS, min_size=1, max_size=REMEMBERED))
def test_no_bill_that_came_is_left_outside_the_band(raw: Band, ratios: list[float]) -> None:
    band = calibrated_band(raw, ratios)
    assert band.low <= raw.mid * min(ratios) * ABOUT
    assert band.high * ABOUT >= raw.mid * max(ratios)
    assert band.low <= band.mid * ABOUT
    assert band.mid <= band.high * ABOUT


@given(RAW, RATIOS)
def test_bills_that_agree_draw_the_band_to_themselves_one_by_one(raw: Band, ratio: float) -> None:
    def off(bills: int) -> tuple[float, float]:
        band = calibrated_band(raw, [ratio] * bills)
        return abs(band.mid / raw.mid - ratio), band.high - band.low

    before = off(0)
    for bills in range(1, REMEMBERED + 1):
        now = off(bills)
        assert now[0] <= before[0] * ABOUT + 1e-9
        if bills > 1:  # the first one may lie outside of what the rules said
            assert now[1] <= before[1] * ABOUT + 1e-6
        before = now
    assert before[0] <= abs(1 - ratio) / REMEMBERED + 1e-9


def test_without_a_bill_the_rules_stand_alone() -> None:
    assert calibrated_band(Band(1, 2, 3), []) == Band(1, 2, 3)
    assert calibrated_band(Band(0, 0, 0), [2.0]) == Band(0, 0, 0)


def test_dollars_follow_the_tokens_and_what_the_rules_said_is_shown_beside() -> None:
    raw = estimate(
        [row(f"e{n}") for n in range(20)], [], DatasetSettings(), 3, spec_for("openai", "gpt-4o-2024-08-06")
    )
    learned = calibrated(raw, [Observation("run_1", 1000.0, 1200), Observation("run_2", 1000.0, 1100)])
    assert learned.trained.mid == pytest.approx(raw.trained.mid * (1 + 1.15 * 2) / 3)
    assert learned.training_usd is not None
    assert learned.training_usd.mid == pytest.approx(learned.trained.mid * 25 / 1e6)
    said = learned.to_json()
    assert (said["observed"], said["raw_tokens"]) == (2, raw.trained.to_json())
    assert said["tokens"] == learned.trained.to_json()
    assert calibrated(raw, []).to_json()["raw_tokens"] == raw.to_json()["tokens"]


def test_a_run_counts_once_and_old_bills_are_forgotten() -> None:
    known: list[Observation] = []
    for number in range(30):
        known = remembered(known, Observation(f"run_{number}", 10.0, 10))
    known = remembered(known, Observation("run_29", 10.0, 12))
    assert [bill.run_id for bill in known] == [f"run_{number}" for number in range(10, 30)]
    assert known[-1].ratio == 1.2


def billed(trained: int | None, **estimate: Any) -> FakeRuns:
    run = Run("run_1", "plants", TrainingSettings("local", "tiny"), 1.0, "api", "k", trained_tokens=trained)
    runs = FakeRuns({"run_1": run})
    if estimate:
        runs.update("run_1", {"estimate": estimate})
    return runs


SHOWN = {"tokens": {"low": 80, "mid": 110, "high": 120}, "raw_tokens": {"low": 50, "mid": 100, "high": 200}}


def test_a_bill_is_kept_beside_the_estimate_and_teaches_the_next_one() -> None:
    runs = billed(121, **SHOWN)
    found = reconcile("run_1", runs)
    assert found == {
        "billed": 121, "estimated": 110, "raw": 100, "ratio": 1.1, "raw_ratio": 1.21, "within": False
    }  # fmt: skip
    assert reconcile("run_1", runs) == found
    assert runs.get("run_1").reconciled == found
    assert runs.observations("local", "tiny") == [Observation("run_1", 100.0, 121)]


@pytest.mark.parametrize(
    "runs", [billed(None, **SHOWN), billed(0, **SHOWN), billed(9), billed(9, tokens={"low": 0, "mid": 0, "high": 0})]
)
def test_where_nothing_was_billed_or_estimated_nothing_is_learned(runs: FakeRuns) -> None:
    assert reconcile("run_1", runs) is None
    assert not runs.bills
