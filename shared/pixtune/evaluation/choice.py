"""Which checkpoint of a run goes on: its checkpoints with their scores in, one of them out."""

from __future__ import annotations

from collections.abc import Sequence

from pixtune.errors import RunFault
from pixtune.training.ports import Runs
from pixtune.training.run import Checkpoint

RULE = "the best test score; of equal ones the lowest full validation loss; of equal ones the latest"


def rank(checkpoint: Checkpoint) -> tuple[float, float, int]:
    """The higher, the better by RULE."""
    score = -1.0 if checkpoint.score is None else checkpoint.score
    return score, -checkpoint.metrics.get("full_valid_loss", float("inf")), checkpoint.step


def best(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """By RULE, among trained checkpoints (step 0 is the base model). One without a score, or without a loss, stands
    behind those that have one; so without a test split the loss decides, and without either the latest wins."""
    return max((checkpoint for checkpoint in checkpoints if checkpoint.step > 0), key=rank, default=None)


def choose_checkpoint(run_id: str, runs: Runs) -> int:
    """Store and answer the chosen step. Raises RunFault when the run has no trained checkpoint."""
    chosen = best(runs.checkpoints(run_id))
    if chosen is None:
        raise RunFault(f"Run {run_id} has no checkpoint to choose from.", "Resume the run: it records them again.")
    runs.update(run_id, {"stage": "ChooseCheckpoint", "chosen_step": chosen.step})
    return chosen.step
