"""A training is paused, let go on, or called off: a person's wish in, a run that a polling turn acts upon out.

The wish stands on the run until the provider has done it; so it outlives a crash and an unreachable provider. The
run's deadline goes on while its job is paused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pixtune.errors import ProviderRefused, RunNotPausable
from pixtune.providers.port import JobState, JobView, TrainingProvider
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunEvent

PAUSE, UNPAUSE = "pause", "unpause"


def ask(run_id: str, wish: str, *, now: float, can_pause: bool, runs: TrainingRuns, workflow: Workflow) -> Run:
    """Have the run's job paused or unpaused at the next polling turn, which is woken; safe to repeat.

    can_pause: whether the run's provider pauses at all. Raises KeyError for an unknown run, RunNotPausable, and
    FenceLost when the run ended this moment.
    """
    run = runs.get(run_id)
    refused = why_not(run, can_pause)
    if refused:
        raise RunNotPausable(refused)
    # An answer asked for before this moment knows nothing of the wish, and so must not clear it.
    runs.update(run_id, {"asked": wish, "observed_at": now}, fence=run.fence)
    if run.task_token is not None:
        workflow.succeed(run.task_token, {"status": "woken"})
    return runs.get(run_id)


def why_not(run: Run, can_pause: bool) -> str | None:
    """Why the run's job cannot be paused or let go on; None: it can."""
    if not can_pause:
        return f"Provider {run.settings.provider} does not pause jobs of {run.settings.base_model}."
    if run.status.ended:
        return f"{run.run_id} has ended: {run.status.value}."
    if run.provider_job_id is None:
        return f"{run.run_id} has no provider job yet: it is in {run.stage}."
    if run.provider_status is not None and JobState(run.provider_status).ended:
        return f"The training of {run.run_id} has ended: {run.provider_status}."
    return None


@dataclass(frozen=True, slots=True)
class Done:
    """The job after a wish was carried out, and what to store of that."""

    view: JobView
    changes: dict[str, Any] = field(default_factory=dict)
    events: Sequence[RunEvent] = ()


def carry_out(run: Run, view: JobView, now: float, provider: TrainingProvider) -> Done:
    """Do what is asked of the job, if it is not so already. Raises ProviderUnavailable: it stays asked."""
    if run.asked is None:
        return Done(view)
    try:
        if run.asked == PAUSE and not view.state.ended and view.state is not JobState.PAUSED:
            view = provider.pause(view.job_id)
        elif run.asked == UNPAUSE and view.state is JobState.PAUSED:
            view = provider.resume(view.job_id)
    except ProviderRefused as refusal:
        text = f"The provider refused to {run.asked} job {view.job_id}: {refusal}"
        return Done(view, {"asked": None}, [RunEvent(now, f"job-{run.asked}-refused", text, "warn")])
    return Done(view, {"asked": None})


def cancel(run_id: str, *, runs: TrainingRuns, workflow: Workflow) -> Run:
    """Call the run off: its execution is stopped, and what listens to stopped executions settles the run and cancels
    its provider job. A run that has ended is answered as it is. Raises KeyError for an unknown run."""
    run = runs.get(run_id)
    if not run.status.ended:
        workflow.start(run_id, run.attempt)  # only a run with an execution can be called off, and is settled
        workflow.stop(run_id, run.attempt, "called off by a person")
    return runs.get(run_id)
