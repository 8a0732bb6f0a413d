"""A training is watched: the provider's present word about a job in, the run's state and a settled wait out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pixtune.errors import FenceLost, ProviderUnavailable, RunDeadlinePassed
from pixtune.providers.port import JobView, TrainingProvider
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunEvent


@dataclass(frozen=True, slots=True)
class Turn:
    """What one polling turn found. outcome: ended, running, unreachable, overdue, or superseded (by a newer turn,
    attempt or the run's end). detail: the job's state, or why the provider could not be asked."""

    outcome: str
    detail: str = ""


def poll(
    run_id: str,
    attempt: int,
    turn: int,
    task_token: str,
    *,
    now: float,
    runs: TrainingRuns,
    provider: TrainingProvider,
    workflow: Workflow,
) -> Turn:
    """One turn: keep the token where a webhook finds it, ask the provider once, answer the token if all is over.

    An unreachable provider is no error: the task's timeout brings the next turn, until the run's deadline. Raises
    ProviderRefused, which fails the task.
    """
    run = runs.store_token(run_id, attempt, turn, task_token)
    if run is None:
        return Turn("superseded")
    if run.status.ended:
        workflow.succeed(task_token, {"status": run.status.value})
        return Turn("superseded", run.status.value)
    try:
        view = observe(run, now=now, runs=runs, provider=provider)
        found = Turn("ended" if view.state.ended else "running", view.state.value)
    except ProviderUnavailable as error:
        found = Turn("unreachable", str(error))
    except FenceLost:
        return Turn("superseded")
    if found.outcome == "ended":
        workflow.succeed(task_token, {"status": found.detail})
    elif now > run.deadline_at:
        workflow.fail(task_token, RunDeadlinePassed.__name__, f"The training did not end in time; {found.detail}.")
        return Turn("overdue", found.detail)
    return found


def observe(run: Run, *, now: float, runs: TrainingRuns, provider: TrainingProvider) -> JobView:
    """Ask for the run's job; store what changed, and the metric points that are new. Raises ProviderUnavailable,
    ProviderRefused, and FenceLost when the run was launched anew or ended meanwhile."""
    assert run.provider_job_id is not None, "a run is watched after it was launched"
    view = provider.status(run.provider_job_id)
    changes: dict[str, Any] = {} if run.stage == "PollTraining" else {"stage": "PollTraining"}
    if view.state.value != run.provider_status:
        changes["provider_status"] = view.state.value
    if view.trained_tokens not in (None, run.trained_tokens):
        changes["trained_tokens"] = view.trained_tokens
    if changes:
        runs.update(run.run_id, changes, fence=run.fence)
    if "provider_status" in changes:
        text = f"The provider job {view.job_id} is {view.state.value}."
        runs.add_event(run.run_id, RunEvent(now, f"job-{view.state.value}", text))
    if not view.state.ended:  # of an ended job, record_checkpoints stores all of them
        # The newest point may have been incomplete when it was stored.
        newest = runs.last_metric_step(run.run_id)
        runs.put_metrics(run.run_id, [point for point in provider.metrics(view.job_id) if point["step"] >= newest])
    return view
