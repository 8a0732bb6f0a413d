"""Tokens and dollars before they are spent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.versions import image, row

from pixtune.costs.bands import Band
from pixtune.costs.epochs import AutoEpochs, auto_epochs, epochs_band
from pixtune.costs.estimate import estimate, training_tokens
from pixtune.costs.tokens import ImageTokenRule, image_band, image_tokens, text_band
from pixtune.datasets.version import DatasetSettings
from pixtune.providers.limits import spec_for

FOUR_O = ImageTokenRule("tiles", base=85, each=170)
FOUR_O_MINI = ImageTokenRule("tiles", base=2833, each=5667)
PATCHES = ImageTokenRule("patches", each=1)
OPENAI = spec_for("openai", "gpt-4o-2024-08-06")
LOCAL = spec_for("local", "local-vision-1")


@pytest.mark.parametrize(
    ("size", "rule", "detail", "tokens"),
    [
        ((1024, 1024), FOUR_O, "high", 765),  # the provider's own examples
        ((2048, 4096), FOUR_O, "high", 1105),
        ((4096, 8192), FOUR_O, "low", 85),
        ((1024, 1024), PATCHES, "high", 1024),
        ((1800, 2400), PATCHES, "high", 1452),
        ((1024, 1024), FOUR_O_MINI, "high", 25501),  # derived from the rule
        ((1024, 1024), FOUR_O_MINI, "low", 2833),
        ((1920, 1080), FOUR_O, "high", 1105),
        ((3000, 300), FOUR_O, "high", 765),
        ((512, 512), FOUR_O, "high", 255),
        ((1, 1), FOUR_O, "auto", 255),
        ((769, 769), FOUR_O, "high", 765),
        ((1024, 1024), ImageTokenRule("patches", each=1.62), "high", 1659),
        ((1024, 1024), ImageTokenRule("patches", each=1.72), "high", 1762),
        ((1800, 2400), ImageTokenRule("patches", each=1.62), "high", 2353),
        ((8000, 500), PATCHES, "high", 256),
        ((1920, 1080), PATCHES, "high", 1508),
    ],
)
def test_an_image_costs_what_the_documentation_says(
    size: tuple[int, int], rule: ImageTokenRule, detail: str, tokens: int
) -> None:
    assert image_tokens(*size, detail, rule) == tokens


def test_the_high_end_reads_the_rule_as_if_small_images_were_enlarged() -> None:
    assert image_band(512, 512, "high", FOUR_O) == Band(255, 255, 765)
    assert image_band(1, 1, "high", FOUR_O) == Band(255, 255, 765)
    assert image_band(3000, 300, "high", FOUR_O).high == 5185
    assert image_band(1024, 1024, "high", FOUR_O) == Band(765, 765, 765)


def test_a_small_image_is_enlarged_first_where_the_rule_says_so() -> None:
    nova = spec_for("bedrock", "amazon.nova-lite-v1:0:300k").image_tokens
    documented = {(900, 450): 800, (900, 900): 1300, (1400, 900): 1800, (1800, 900): 2400, (1300, 1300): 2600}
    for size, tokens in documented.items():
        assert image_tokens(*size, "high", nova) == pytest.approx(tokens, rel=0.15)
    assert image_tokens(8, 8, "high", nova) == image_tokens(896, 896, "high", nova)


@given(st.integers(1, 60_000), st.integers(1, 60_000), st.sampled_from([FOUR_O, FOUR_O_MINI, PATCHES]))
def test_no_size_of_image_breaks_a_rule(width: int, height: int, rule: ImageTokenRule) -> None:
    band = image_band(width, height, "high", rule)
    assert 0 < band.low <= band.mid <= band.high
    if rule.kind == "patches":
        assert band.high <= rule.budget
    else:
        assert image_tokens(width, height, "high", rule) == image_tokens(height, width, "high", rule)


@given(st.text())
def test_text_has_an_ordered_band_and_none_only_when_empty(text: str) -> None:
    band = text_band(text)
    assert band.low <= band.mid <= band.high
    assert (band.low > 0) == bool(text)


@pytest.mark.parametrize(
    ("rows", "epochs"), [(10, 10), (3, 25), (33, 3), (34, 3), (1000, 3), (10_000, 2), (50_000, 1)]
)
def test_the_hosted_default_sees_few_rows_more_often_and_many_less(rows: int, epochs: int) -> None:
    assert auto_epochs(rows, OPENAI.auto_epochs) == epochs


def test_epochs_asked_for_are_exact_and_chosen_ones_a_band() -> None:
    assert epochs_band(1000, 5, OPENAI.auto_epochs) == Band(5, 5, 5)
    assert epochs_band(1000, None, OPENAI.auto_epochs) == Band(2, 3, 4)
    assert epochs_band(84, None, LOCAL.auto_epochs) == Band(4, 4, 4)
    assert epochs_band(0, None, AutoEpochs(target=3)) == Band(3, 3, 3)


def test_a_thousand_square_images_at_three_epochs_cost_what_the_arithmetic_says() -> None:
    rows = [row(f"e{n}", images=[image(str(n), width=1024, height=1024)]) for n in range(1000)]
    high = estimate(rows, [], DatasetSettings(), 3, OPENAI)
    assert high.training_usd
    assert high.training_usd.mid == pytest.approx(57.4, abs=1.5)  # 2.295 M image tokens, plus text
    low = estimate(rows, [], DatasetSettings(detail="low"), 3, OPENAI)
    assert low.training_usd
    assert low.training_usd.mid == pytest.approx(6.4, abs=1.5)
    assert high.evaluation_usd == Band(0, 0, 0)
    assert high.priced == OPENAI.source("prices").read


def test_evaluating_is_part_of_the_estimate_and_training_at_home_is_free() -> None:
    train, test = [row(f"e{n}") for n in range(84)], [row(f"t{n}") for n in range(18)]
    paid = estimate(train, test, DatasetSettings(), None, OPENAI)
    assert paid.training_usd
    assert paid.evaluation_usd
    assert paid.evaluation_usd.low > 0
    assert paid.usd == paid.training_usd + paid.evaluation_usd
    local = estimate(train, test, DatasetSettings(), None, LOCAL)
    assert local.usd == Band(0, 0, 0)
    assert local.trained.mid > 84 * 4 * 255
    assert local.to_json()["tokens"]["mid"] == round(local.trained.mid)


def test_the_datasets_own_system_text_and_prompt_are_counted_where_a_row_states_none() -> None:
    bare = row("e1", question=None)
    plain = training_tokens(bare, DatasetSettings(), OPENAI)
    asked = training_tokens(bare, DatasetSettings(system="You count lanes.", prompt="How many?"), OPENAI)
    assert asked.mid > plain.mid
