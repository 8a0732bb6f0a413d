"""Loss curves as SVG that any browser draws."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pixtune.evaluation.charts import loss_chart, running_mean, series
from pixtune.pages.page import bar

points = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(1, 100_000).map(float)},
        optional={
            name: st.floats(0, 1e4) | st.just(math.nan) | st.just(math.inf)
            for name in ("train_loss", "valid_loss", "full_valid_loss")
        },
    ),
    max_size=40,
).map(lambda some: sorted(some, key=lambda point: point["step"]))


@given(points, st.none() | st.integers(1, 100_000))
def test_any_metrics_draw_well_formed_svg_with_finite_places(
    some: list[dict[str, float]], chosen: int | None
) -> None:
    drawn = loss_chart(some, chosen)
    ElementTree.fromstring(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_curves_have_a_point_for_each_step_and_a_dot_for_each_full_validation() -> None:
    some = [
        {"step": float(n), "train_loss": 2 / n} | ({"full_valid_loss": 1.0} if n % 4 == 0 else {})
        for n in range(1, 13)
    ]
    svg = ElementTree.fromstring(loss_chart(some, 8))
    (raw,) = [line for line in svg.iter("polyline") if line.get("class") == "train-raw"]
    assert len((raw.get("points") or "").split()) == 12
    assert len(list(svg.iter("circle"))) == 3
    assert [line.get("class") for line in svg.iter("line")].count("chosen") == 1


def test_without_losses_it_says_so() -> None:
    assert "no loss" in loss_chart([], None)
    assert "no loss" in loss_chart([{"step": 1.0, "valid_loss": math.nan}], 1)


def test_the_running_mean_looks_back_only() -> None:
    assert running_mean([(1, 4.0), (2, 2.0), (3, 0.0)], window=2) == [(1, 4.0), (2, 3.0), (3, 1.0)]
    assert series([{"step": 1, "a": 2.0}, {"step": 2}], "a") == [(1, 2.0)]


def test_a_bar_stays_within_its_track_and_its_label_is_escaped() -> None:
    assert "width:100.0%" in bar(1.7)
    assert "width:0.0%" in bar(-1)
    assert "&lt;b&gt;" in bar(0.5, label="<b>")
