"""The limits table as data: what ships, and a user's own figures over it."""

from __future__ import annotations

import json
from datetime import date

import pytest

from pixtune.errors import LimitsRefused, ProviderRefused
from pixtune.providers.limits import Prices, all_specs, limits_with

AZURE = ("azure", "gpt-4.1-2025-04-14")


def own(*rows: dict[str, object]) -> str:
    return json.dumps({"model": rows})


def test_a_user_overrides_single_figures_and_is_named_as_their_source() -> None:
    text = """
[[model]]
provider = "azure"
base_model = "gpt-4.1-2025-04-14"
read = 2026-11-20
where = "our contract"
images_per_row = 50
prices = {train = 27.5, input = 2.2, output = 8.8}
"""
    spec = limits_with(text).spec(*AZURE)
    before = all_specs()[AZURE]
    assert spec.images_per_row == 50
    assert spec.prices == Prices(27.5, 2.2, 8.8)
    assert (spec.source("prices").where, spec.source("prices").read) == ("user: our contract", date(2026, 11, 20))
    assert spec.source("max_rows") == before.source("max_rows")
    assert spec.max_rows == before.max_rows
    assert limits_with().specs == all_specs()


def test_one_price_can_be_overridden_alone() -> None:
    text = own(
        {"provider": "openai", "base_model": "gpt-4o-2024-08-06", "read": "2026-11-20", "prices": {"train": 20}}
    )
    assert limits_with(text).spec("openai", "gpt-4o-2024-08-06").prices == Prices(20.0, 3.75, 15.0)


def test_a_figure_can_be_taken_back_to_not_stated() -> None:
    text = own({"provider": AZURE[0], "base_model": AZURE[1], "read": "2026-11-20", "train_until": None})
    assert limits_with(text).spec(*AZURE).train_until is None


def test_a_new_model_begins_from_another_one() -> None:
    text = own(
        {"provider": "gateway", "base_model": "vision-9", "like": "openai/gpt-4o-2024-08-06", "read": "2026-11-20"}
    )
    limits = limits_with(text)
    spec = limits.spec("gateway", "vision-9")
    assert spec.title == "gateway/vision-9"
    assert spec.base_model == "vision-9"
    assert spec.source("base_model").where == "user"
    assert limits.default_base_model("gateway") == "vision-9"
    assert list(limits.specs)[:-1] == list(all_specs())


def test_every_wrong_row_and_figure_is_named_at_once() -> None:
    text = own(
        {"provider": "azure", "base_model": AZURE[1], "read": "2026-11-20", "max_rows": "many", "images": 3},
        {"provider": "azure"},
        {"provider": "openai", "base_model": "gpt-4o-2024-08-06", "max_rows": 9},
        {"provider": "x", "base_model": "y", "read": "2026-11-20", "like": "z/z"},
        {"provider": "new", "base_model": "m", "read": "2026-11-20"},
    )
    with pytest.raises(LimitsRefused) as refused:
        limits_with(text, "my.json")
    faults = "\n".join(refused.value.faults)
    assert str(refused.value).startswith(f"my.json has {len(refused.value.faults)} problem(s)")
    assert "azure/gpt-4.1-2025-04-14: max_rows: Input should be a valid integer" in faults
    assert "'many'" in faults
    assert "azure/gpt-4.1-2025-04-14: images: Unexpected keyword argument" in faults
    assert "row 2 (azure/None): it needs provider and base_model" in faults
    assert "row 3 (openai/gpt-4o-2024-08-06): it needs read" in faults
    assert "row 4 (x/y): like names 'z/z'" in faults
    assert "new/m: min_rows: it is missing" in faults


@pytest.mark.parametrize("text", ["{", "[[model", '{"models": []}', '{"model": {}}', "= 3"])
def test_what_is_no_table_is_refused_as_such(text: str) -> None:
    with pytest.raises(LimitsRefused):
        limits_with(text)


def test_an_unknown_provider_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ProviderRefused, match=r"azure.*bedrock.*openai"):
        limits_with().default_base_model("nobody")
