"""Whatever dies, is lost, comes late or comes twice: a training gets exactly one provider job.

PIXTUNE_SIMULATIONS says how many seeds are tried, from PIXTUNE_SEED on. A failing seed is named; it is replayed
by itself as PIXTUNE_SEED and one simulation.
"""

from __future__ import annotations

import os

import pytest
from tests.fakes.simulated_launches import Rules, World

SEEDS = int(os.environ.get("PIXTUNE_SIMULATIONS", "10000"))
PARTS = 4  # for workers side by side
FIRST = int(os.environ.get("PIXTUNE_SEED", "0"))


def live(seed: int, rules: Rules) -> World:
    world = World(seed, rules)
    world.live_through()
    return world


@pytest.mark.parametrize("part", range(PARTS))
def test_no_training_is_launched_twice_and_none_never(part: int) -> None:
    seeds = range(FIRST + part, FIRST + SEEDS, PARTS)
    crashes = launches = 0
    for seed in seeds:
        world = live(seed, Rules())
        assert world.jobs.doubles == 0, f"seed {seed}: two jobs at once"
        assert not world.unserved(), f"seed {seed}: {world.unserved()}"
        crashes += world.crashes
        launches += len(world.jobs.launches)
    assert crashes >= len(seeds) // 2
    assert launches >= len(seeds)


@pytest.mark.parametrize("rule", ["fence", "window", "intent", "lookup", "reservation"])
def test_leaving_a_rule_out_launches_a_training_twice(rule: str) -> None:
    rules = Rules(**{rule: False})
    assert any(live(seed, rules).jobs.doubles for seed in range(2000)), f"nothing shows that {rule} is needed"
