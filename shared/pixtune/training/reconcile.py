"""After a training: its estimate and what the provider billed in; both on the run, and the next estimate's lesson."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pixtune.costs.calibration import Observation
from pixtune.training.ports import Bills, Runs


class BilledRuns(Runs, Bills, Protocol):
    """Run records, and what was learned from their bills."""


def reconcile(run_id: str, runs: BilledRuns) -> Mapping[str, Any] | None:
    """Store and answer how the bill compares with the estimate; None where the provider tells no tokens, or nothing
    was estimated. Safe to call again: a run counts once.

    billed: the provider's trained tokens. estimated: the estimate's middle, calibrated as it was shown; raw: by the
    rules alone. ratio: billed to estimated; raw_ratio: billed to raw. within: whether the shown band held it.
    """
    run = runs.get(run_id)
    shown = (run.estimate or {}).get("tokens")
    if not shown or not run.trained_tokens:
        return None
    assert run.estimate is not None
    raw = run.estimate.get("raw_tokens", shown)
    if shown["mid"] <= 0 or raw["mid"] <= 0:
        return None
    bill = Observation(run_id, float(raw["mid"]), run.trained_tokens)
    runs.remember_bill(run.settings.provider, run.settings.base_model, bill)
    found = {
        "billed": run.trained_tokens,
        "estimated": shown["mid"],
        "raw": raw["mid"],
        "ratio": round(run.trained_tokens / shown["mid"], 4),
        "raw_ratio": round(bill.ratio, 4),
        "within": shown["low"] <= run.trained_tokens <= shown["high"],
    }
    runs.update(run_id, {"reconciled": found})
    return found
