"""What a training may cost: a run's estimate and the limits in, the charge it takes or BudgetExceeded out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pixtune.errors import BudgetExceeded
from pixtune.training.run import Charge, Run, Terms


@dataclass(frozen=True, slots=True)
class Budget:
    """What a deployment allows, in US dollars; None: no limit. A training counts with its estimate's high end.

    per_run: one training. per_month: what trainings may reserve in a calendar month (UTC). live_jobs: how many runs
    may have a provider job at a time. approval_from: from this estimate on a person is asked before anything is paid.
    """

    per_run: float | None = None
    per_month: float | None = None
    live_jobs: int | None = None
    approval_from: float | None = None


def strictest(*limits: float | None) -> float | None:
    """The lowest of the limits that are set; None when none is."""
    return min((limit for limit in limits if limit is not None), default=None)


def priced(estimate: Mapping[str, Any] | None) -> float | None:
    """The high end of an estimate in US dollars, training and evaluation; None where it says no price."""
    dollars = (estimate or {}).get("usd")
    return float(dollars["high"]) if dollars else None


def check_run_budget(dollars: float | None, terms: Terms, budget: Budget) -> None:
    """Raises BudgetExceeded when the training may cost more than one may, or has no price to hold to a limit."""
    limit = strictest(budget.per_run, terms.max_usd)
    if dollars is None:
        if strictest(limit, budget.per_month) is not None:
            raise BudgetExceeded(
                "What this training costs is not known, so it cannot be held to a budget.",
                "Add the prices of this base model to the deployment's table of limits, or train elsewhere.",
            )
    elif limit is not None and dollars > limit:
        whose = "the request's max_usd" if limit == terms.max_usd else "the deployment's MaxRunUsd"
        raise BudgetExceeded(
            f"The training may cost {dollars:.2f} USD; {whose} allows {limit:.2f} USD a run.",
            "Ask for fewer epochs, low detail or another provider (`pixtune cost` compares), or raise the limit.",
        )


def charge_for(run: Run, budget: Budget, now: float) -> Charge | None:
    """What the run's training takes out of its month. None: no price is known, and no limit needs one."""
    dollars = priced(run.estimate)
    check_run_budget(dollars, run.settings.terms, budget)
    if dollars is None:
        return None
    return Charge(f"{datetime.fromtimestamp(now, UTC):%Y-%m}", dollars, budget.per_month)
