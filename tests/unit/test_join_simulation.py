"""Nothing is lost, stale, resurrected or doubled in any interleaving; and each rule of the join is needed for that.

A failing seed is named; `python -m tests.simulation.soak --seed N` tells its story.
"""

from __future__ import annotations

import os

import pytest
from tests.simulation.rules import RULES, Without
from tests.simulation.world import run

# Whole under `make soak`; else as many as fit into half a minute.
INTERLEAVINGS = 100_000 if os.environ.get("PIXTUNE_SOAK") else 2_400
SIZE = 300  # interleavings of one test case
MOST_SEEDS = 6_000  # in which leaving a rule out must be found


@pytest.mark.parametrize("first", range(0, INTERLEAVINGS, SIZE))
def test_no_interleaving_loses_resurrects_or_doubles_a_row(first: int) -> None:
    problems = [problem for seed in range(first, first + SIZE) for problem in run(seed)]
    assert problems == []


@pytest.mark.parametrize("first", range(0, INTERLEAVINGS // 2, SIZE))
def test_no_interleaving_loses_or_keeps_the_label_of_a_class_folder(first: int) -> None:
    problems = [problem for seed in range(first, first + SIZE) for problem in run(seed, folder="pear")]
    assert problems == []


@pytest.mark.parametrize("first", range(0, INTERLEAVINGS // 8, SIZE))
def test_no_interleaving_loses_a_picture_that_stands_inside_a_file(first: int) -> None:
    problems = [problem for seed in range(first, first + SIZE) for problem in run(seed, inside=True)]
    assert problems == []


@pytest.mark.parametrize("rule", RULES)
def test_leaving_a_rule_out_is_found(rule: str) -> None:
    without: Without = RULES[rule]
    with without.in_force():
        wrong = (run(seed, without.appender, without.table, pair=without.pair) for seed in range(MOST_SEEDS))
        found = next((problems for problems in wrong if problems), None)
    assert found is not None, f"{MOST_SEEDS} interleavings went well without: {rule}"
