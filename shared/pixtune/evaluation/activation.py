"""Before a model is asked it must answer, and afterwards it must not bill: a run's checkpoint in, its state out."""

from __future__ import annotations

from pixtune.errors import RunDeadlinePassed
from pixtune.evaluation.judge import checkpoint_of
from pixtune.providers.port import Activation, TrainingProvider
from pixtune.training.ports import Runs


def activate_model(run_id: str, step: int, *, now: float, runs: Runs, provider: TrainingProvider) -> Activation:
    """Whether the checkpoint's model answers now. RunDeadlinePassed: it does not, and the run has no time left."""
    run = runs.get(run_id)
    checkpoint = checkpoint_of(runs, run, step)
    activation = provider.activate(checkpoint.model_id)
    if not activation.active and run.deadline_at and now > run.deadline_at:
        raise RunDeadlinePassed(
            f"Model {checkpoint.model_id} (step {step}) does not answer yet, and the run's deadline has passed.",
            "Resume the run: it goes on with the models it has.",
        )
    return activation


def release_model(run_id: str, step: int, *, runs: Runs, provider: TrainingProvider) -> None:
    """Let the provider take the checkpoint's model down, where it was deployed for the evaluation."""
    provider.release(checkpoint_of(runs, runs.get(run_id), step).model_id)
