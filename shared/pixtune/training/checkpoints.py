"""What a training has left behind: a provider job's checkpoints and metrics in, the steps to evaluate out."""

from __future__ import annotations

from collections.abc import Sequence

from pixtune.providers.port import ProviderCheckpoint, TrainingProvider
from pixtune.training.ports import TrainingRuns
from pixtune.training.run import Checkpoint, Run, RunEvent


def record_checkpoints(run_id: str, *, now: float, runs: TrainingRuns, provider: TrainingProvider) -> tuple[int, ...]:
    """Store all checkpoints and metric points; safe to call again. The steps start with 0, the base model."""
    run = runs.get(run_id)
    assert run.provider_job_id is not None, "checkpoints are recorded after the provider job has succeeded"
    view = provider.status(run.provider_job_id)
    runs.put_metrics(run_id, provider.metrics(run.provider_job_id))
    checkpoints = merged(run, provider.checkpoints(run.provider_job_id), runs.checkpoints(run_id))
    for checkpoint in checkpoints:
        runs.put_checkpoint(checkpoint)
    steps = tuple(checkpoint.step for checkpoint in checkpoints)
    runs.update(
        run_id,
        {
            "steps": list(steps),
            "stage": "RecordCheckpoints",
            "provider_status": view.state.value,
            "trained_tokens": view.trained_tokens,
        },
    )
    runs.add_event(run_id, RunEvent(now, "checkpoints", f"{len(steps) - 1} checkpoints to evaluate."))
    return steps


def merged(run: Run, listed: Sequence[ProviderCheckpoint], stored: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
    """The base model and the provider's checkpoints, in order of step, with the scores they have been given."""
    known = {(checkpoint.step, checkpoint.model_id): checkpoint for checkpoint in stored}
    found = [ProviderCheckpoint(0, run.settings.base_model), *listed]
    checkpoints = []
    for item in sorted(found, key=lambda item: item.step):
        before = known.get((item.step, item.model_id))
        checkpoints.append(
            Checkpoint(
                run.run_id,
                item.step,
                item.model_id,
                item.metrics,
                before.score if before else None,
                before.evaluation_key if before else None,
                before.activated if before else False,
            )
        )
    return checkpoints
