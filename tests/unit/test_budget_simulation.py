"""Whatever dies, is lost or comes twice: never more live jobs than allowed, every job paid for, no charge left over.

PIXTUNE_SIMULATIONS and PIXTUNE_SEED as in test_launch_simulation; a seed here is three trainings.
"""

from __future__ import annotations

import os

import pytest
from tests.fakes.simulated_budgets import PRICE, MoneyRules, MoneyWorld

SEEDS = int(os.environ.get("PIXTUNE_SIMULATIONS", "10000")) // 100
FIRST = int(os.environ.get("PIXTUNE_SEED", "0"))


def live(seed: int, rules: MoneyRules) -> MoneyWorld:
    world = MoneyWorld(seed, rules)
    world.live_through()
    return world


def wrong(world: MoneyWorld) -> list[str]:
    """What must not be, after all failed runs were resumed until nothing was left to do."""
    jobs, charges = len(world.jobs.jobs), world.charged / PRICE
    # A job that a sweep or a failure cancelled as a stray shares the charge of the job that replaced it.
    found = {
        "more jobs at once than allowed": world.too_many > 0,
        "a training was never done": bool(world.left_over()),
        "a run counts as live that is over": bool(world.store.live_jobs()),
        "a job was not charged": charges < jobs - world.cancelled,
        "a charge has no job": charges > jobs + len(world.abandoned),
    }
    return [what for what, true in found.items() if true]


def test_money_is_counted_right_whatever_happens() -> None:
    crashes = 0
    for seed in range(FIRST, FIRST + SEEDS):
        world = live(seed, MoneyRules())
        assert not wrong(world), f"seed {seed}: {wrong(world)}"
        crashes += world.crashes
    assert crashes >= SEEDS


@pytest.mark.parametrize(
    ("rule", "shows"),
    [
        ("limit", "more jobs at once than allowed"),
        ("keep", "more jobs at once than allowed"),
        ("sweep", "a training was never done"),
        ("charge_again", "a job was not charged"),
        ("give_back", "a charge has no job"),
    ],
)
def test_leaving_a_rule_out_is_seen_in_the_money(rule: str, shows: str) -> None:
    rules = MoneyRules(**{rule: False})
    assert any(shows in wrong(live(seed, rules)) for seed in range(1000)), f"nothing shows that {rule} is needed"
