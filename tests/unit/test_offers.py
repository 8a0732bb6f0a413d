"""What a training and its model would cost, here and elsewhere, and what each cheaper setting saves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import image, row

from pixtune.costs.bands import Band
from pixtune.costs.calibration import Observation
from pixtune.costs.estimate import estimate
from pixtune.costs.offers import inference, offer, savings
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import ProviderRefused
from pixtune.providers.limits import limits_with
from pixtune.training.quote import Asked, Quote, quote

LIMITS = limits_with()
OPENAI = LIMITS.spec("openai", "gpt-4o-2024-08-06")
LOCAL = LIMITS.spec("local", "local-vision-1")
HALF = replace(OPENAI, provider="half", prices=replace(OPENAI.prices, train=12.5))  # type: ignore[type-var]
SPLITS = {
    "train": [row(f"e{n}", images=[image(f"e{n}", width=1024, height=1024)]) for n in range(40)],
    "test": [row(f"t{n}", images=[image(f"t{n}", width=1024, height=1024)] * 2) for n in range(10)],
}
SETTINGS = DatasetSettings()


def quoted(asked: Asked, **more: object) -> Quote:
    runs = FakeRuns()
    return quote(
        SPLITS, replace(SETTINGS, **more), asked,  # type: ignore[arg-type]
        default_provider="local", reachable=["local", "openai"], limits=LIMITS, bills=runs,
    )  # fmt: skip


def test_a_month_of_use_costs_what_its_requests_cost_which_are_like_the_dataset_s() -> None:
    found = inference([row for rows in SPLITS.values() for row in rows], SETTINGS, OPENAI, 30_000)
    assert found.images_per_request == pytest.approx(1.2)  # 40 rows with one image, 10 with two
    assert found.asked.mid == pytest.approx(1.2 * 765, rel=0.02)
    assert found.usd_per_month is not None
    assert found.usd_per_month.mid == pytest.approx(30_000 * (found.asked.mid * 3.75 + found.answered.mid * 15) / 1e6)
    assert inference([], SETTINGS, OPENAI, 10).usd_per_month == Band(0, 0, 0)


def test_an_offer_trains_as_its_estimate_says() -> None:
    made = offer(SPLITS, SETTINGS, 3, OPENAI, 0)
    assert made.training == estimate(SPLITS["train"], SPLITS["test"], SETTINGS, 3, OPENAI)


def test_what_is_cheaper_is_named_with_what_it_saves_the_most_first() -> None:
    asked = offer(SPLITS, SETTINGS, 4, OPENAI, 3000)
    found = savings(asked, SPLITS, SETTINGS, OPENAI, [LOCAL, HALF])
    saved = {saving.setting: saving for saving in found}
    assert [saving.setting for saving in found][:2] == ["provider local, local-vision-1", "detail low"]
    assert set(saved) >= {"epochs 3", "epochs 2", f"provider half, {HALF.base_model}"}
    assert asked.training.usd is not None
    assert asked.training.training_usd is not None
    low, fewer, half = saved["detail low"], saved["epochs 2"], saved[f"provider half, {HALF.base_model}"]
    assert low.usd + low.saves == pytest.approx(asked.training.usd.mid)
    assert low.saves > 0.8 * asked.training.usd.mid
    assert low.saves_per_month > 0
    assert fewer.saves_per_month == 0
    assert half.saves == pytest.approx(asked.training.training_usd.mid / 2)
    total = [saving.saves + saving.saves_per_month for saving in found]
    assert total == sorted(total, reverse=True)


def test_what_saves_nothing_is_not_named() -> None:
    low = replace(SETTINGS, detail="low")
    asked = offer(SPLITS, low, 1, OPENAI, 0)
    dearer = replace(OPENAI, provider="dear", prices=replace(OPENAI.prices, train=99.0))  # type: ignore[type-var]
    assert savings(asked, SPLITS, low, OPENAI, [dearer]) == []
    assert savings(offer(SPLITS, SETTINGS, 3, LOCAL, 10), SPLITS, SETTINGS, LOCAL, [OPENAI]) == []


def test_without_prices_an_offer_says_tokens_only() -> None:
    nameless = replace(OPENAI, prices=None)
    asked = offer(SPLITS, SETTINGS, 3, nameless, 1000)
    said = asked.to_json()
    assert (said["usd"], said["inference"]["usd_per_month"]) == (None, None)
    assert said["tokens"]["mid"] > 40 * 3 * 765
    assert savings(asked, SPLITS, SETTINGS, nameless, [OPENAI]) == []


def test_a_quote_is_of_what_was_asked_then_of_what_the_dataset_says_then_of_the_deployment() -> None:
    def chosen(asked: Asked, **own: str) -> tuple[str, str, str]:
        found = quoted(asked, **own).offer
        return found.training.provider, found.training.base_model, found.detail

    assert chosen(Asked()) == ("local", "local-vision-1", "high")
    assert chosen(Asked(), provider="openai", detail="low") == ("openai", OPENAI.base_model, "low")
    assert chosen(Asked(provider="openai"), detail="low") == ("openai", OPENAI.base_model, "low")
    assert chosen(Asked("local", detail="low"), provider="openai") == ("local", "local-vision-1", "low")
    with pytest.raises(ProviderRefused):
        chosen(Asked("openai", "gpt-9"))


def test_a_quote_shows_both_details_its_prices_source_and_only_reachable_providers() -> None:
    said = quoted(Asked("openai", n_epochs=3, requests_per_day=100)).to_json()
    assert said["offer"] == said["by_detail"]["high"]
    assert said["by_detail"]["low"]["usd"]["mid"] < said["offer"]["usd"]["mid"]
    assert said["offer"]["inference"]["requests_per_month"] == 3000
    assert said["prices"]["read"] == OPENAI.source("prices").read.isoformat()
    assert {saving["setting"] for saving in said["savings"] if "provider" in saving["setting"]} == {
        "provider local, local-vision-1"
    }
    assert said["rows_by_split"] == {"train": 40, "test": 10}


def test_a_quote_learns_from_earlier_bills_and_shows_what_the_rules_alone_say() -> None:
    bills = FakeRuns()
    bills.remember_bill("openai", OPENAI.base_model, Observation("run_1", 100.0, 150))
    found = quote(
        SPLITS, SETTINGS, Asked("openai", n_epochs=3), default_provider="local", reachable=[], limits=LIMITS,
        bills=bills,
    )  # fmt: skip
    said = found.to_json()["offer"]
    assert said["observed"] == 1
    assert said["tokens"]["mid"] == pytest.approx(said["raw_tokens"]["mid"] * 1.25, rel=1e-4)
