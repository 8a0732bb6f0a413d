"""Before a model is asked it must answer, and afterwards it must not bill: a run's checkpoint in, its state out."""

from __future__ import annotations

from dataclasses import replace

from pixtune.errors import FenceLost, RunDeadlinePassed
from pixtune.evaluation.judge import checkpoint_of
from pixtune.providers.port import Activation, TrainingProvider
from pixtune.training.ports import Runs


def activate_model(
    run_id: str, attempt: int, step: int, *, now: float, runs: Runs, provider: TrainingProvider
) -> Activation:
    """Whether the checkpoint's model answers now. RunDeadlinePassed: it does not, and the run has no time left.
    FenceLost: the run has ended, or another attempt goes on with it, so nothing is activated."""
    checkpoint = checkpoint_of(runs, runs.get(run_id), step)
    if not checkpoint.activated:
        runs.put_checkpoint(replace(checkpoint, activated=True))
    # Read after that mark was written: whoever ends the run from here on finds the mark, and takes the model down.
    run = runs.get(run_id)
    if run.status.ended or run.attempt != attempt:
        raise FenceLost(f"{run_id} is {run.status.value} in attempt {run.attempt}; this is attempt {attempt}.")
    activation = provider.activate(checkpoint.model_id)
    if not activation.active and run.deadline_at and now > run.deadline_at:
        raise RunDeadlinePassed(
            f"Model {checkpoint.model_id} (step {step}) does not answer yet, and the run's deadline has passed.",
            "Resume the run: it goes on with the models it has.",
        )
    return activation


def release_model(run_id: str, step: int, *, runs: Runs, provider: TrainingProvider) -> None:
    """Let the provider take the checkpoint's model down, where it was deployed for the evaluation."""
    checkpoint = checkpoint_of(runs, runs.get(run_id), step)
    provider.release(checkpoint.model_id)
    runs.put_checkpoint(replace(checkpoint, activated=False))
