"""A training is watched: the provider's present word about a job in, the run's state and a settled wait out.

Whatever wakes a turn (a webhook, a cloud event, the interval), there is one `observe`: it asks the provider, and an
answer moves the run only forward.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pixtune.errors import FenceLost, ProviderRefused, ProviderUnavailable, RunDeadlinePassed
from pixtune.providers.port import JobMessage, JobState, JobView, TrainingProvider
from pixtune.training.pausing import carry_out
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunEvent

_WAITING = (JobState.VALIDATING, JobState.QUEUED)
# A job moves along these; a paused one is queued anew, and an ended one moves no more.
_ORDER = (JobState.VALIDATING, JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)
_OVERLAP_SECONDS = 60.0  # an event may be listed a little later than it happened
_TEXT_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class Turn:
    """What one polling turn found. outcome: ended, running, unreachable, overdue, or superseded (by a newer turn,
    attempt or the run's end). detail: the job's state, or why the provider could not be asked. stuck: this turn
    found that the job has waited in the provider's queue for too long."""

    outcome: str
    detail: str = ""
    stuck: bool = False


def poll(
    run_id: str,
    attempt: int,
    turn: int,
    task_token: str,
    *,
    now: float,
    queue_limit: float,
    runs: TrainingRuns,
    provider: TrainingProvider,
    workflow: Workflow,
) -> Turn:
    """One turn: keep the token where a webhook finds it, ask the provider once, answer the token if all is over.

    An unreachable provider is no error: the task's timeout brings the next turn, until the run's deadline.
    queue_limit: seconds after which a job that waits is called stuck. Raises ProviderRefused, which fails the task.
    """
    run = runs.store_token(run_id, attempt, turn, task_token)
    if run is None:
        return Turn("superseded")
    if run.status.ended:
        workflow.succeed(task_token, {"status": run.status.value})
        return Turn("superseded", run.status.value)
    try:
        seen = observe(run, now=now, queue_limit=queue_limit, runs=runs, provider=provider)
        found = Turn("ended" if seen.state.ended else "running", seen.state.value, seen.stuck)
    except ProviderUnavailable as error:
        found = Turn("unreachable", str(error))
    except FenceLost:
        return Turn("superseded")
    if found.outcome == "ended":
        workflow.succeed(task_token, {"status": found.detail})
    elif now > run.deadline_at:
        workflow.fail(task_token, RunDeadlinePassed.__name__, f"The training did not end in time; {found.detail}.")
        return replace(found, outcome="overdue")
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the run's job stands after an observation. stuck: this observation found it stuck."""

    state: JobState
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What an answer of the provider changes in the run, and what people are told of it."""

    changes: dict[str, Any]
    events: Sequence[RunEvent] = ()


def observe(run: Run, *, now: float, queue_limit: float, runs: TrainingRuns, provider: TrainingProvider) -> Seen:
    """Ask for the run's job; store what is new: its state, its events, its metric points.

    now: when this was begun (Unix seconds); of two answers the one asked for later counts, and none moves an ended
    job. Raises ProviderUnavailable, ProviderRefused, and FenceLost when the run was launched anew or ended meanwhile.
    """
    assert run.provider_job_id is not None, "a run is watched after it was launched"
    view = provider.status(run.provider_job_id)
    done = carry_out(run, view, now, provider)
    fence = run.fence
    while (new := observation(run, done.view, now, queue_limit)) is not None:
        stored = Observation(new.changes | done.changes, [*done.events, *new.events])
        if runs.observe(run.run_id, stored.changes, stored.events, fence=fence, seen=run.observed_at):
            _hear(run, view.job_id, runs, provider)
            return Seen(done.view.state, stuck=stored.changes.get("stuck_at") is not None)
        run = runs.get(run.run_id)  # another turn was faster: does this answer still say something new?
    return Seen(JobState(run.provider_status) if run.provider_status else done.view.state)


def moves(seen: str | None, found: JobState) -> bool:
    """Whether a job that was seen in one state (a `JobState` value) may be found in the other afterwards."""
    if seen is None:
        return True
    before = JobState(seen)
    if before.ended:
        return False
    if found.ended or JobState.PAUSED in (before, found):
        return not (before is JobState.CANCELLING and found is JobState.PAUSED)
    return _ORDER.index(found) >= _ORDER.index(before)


def observation(run: Run, view: JobView, asked_at: float, queue_limit: float) -> Observation | None:
    """What an answer asked for at this moment changes; None: a newer one was stored, or it would move the job back.

    A job that waits is stuck once it was seen to wait for `queue_limit` seconds; that is told once per wait.
    """
    if asked_at <= run.observed_at or not moves(run.provider_status, view.state):
        return None
    waiting = view.state in _WAITING
    since = asked_at if run.waiting_since is None else run.waiting_since
    stuck = waiting and run.stuck_at is None and asked_at - since > queue_limit
    wanted = {
        "stage": "PollTraining",
        "provider_status": view.state.value,
        "trained_tokens": run.trained_tokens if view.trained_tokens is None else view.trained_tokens,
        "waiting_since": since if waiting else None,
        "stuck_at": asked_at if stuck else run.stuck_at if waiting else None,
    }
    changes = {name: value for name, value in wanted.items() if value != getattr(run, name)}
    events = []
    if "provider_status" in changes:
        text = f"The provider job {view.job_id} is {view.state.value}."
        events.append(RunEvent(asked_at, f"job-{view.state.value}", text))
    if stuck:
        text = (
            f"The provider job {view.job_id} has been {view.state.value} for {asked_at - since:,.0f} s, longer than "
            f"the limit of {queue_limit:,.0f} s. It is still waited for, until the run's deadline."
        )
        events.append(RunEvent(asked_at, "job-stuck", text, "warn"))
    return Observation(changes | {"observed_at": asked_at}, events)


def _hear(run: Run, job_id: str, runs: TrainingRuns, provider: TrainingProvider) -> None:
    """Store what the job has said since it was last listened to. It is told beside the state, so what cannot be had
    now is had by the next turn, and fails nothing."""
    try:
        progress = provider.progress(job_id, run.heard_at - _OVERLAP_SECONDS)
    except (ProviderUnavailable, ProviderRefused):
        return
    if progress.points:
        newest = runs.last_metric_step(run.run_id)  # it may have been incomplete when it was stored
        runs.put_metrics(run.run_id, [point for point in progress.points if point["step"] >= newest])
    runs.add_events(run.run_id, [said(message) for message in progress.messages])
    heard_at = max((message.at for message in progress.messages), default=0.0)
    if heard_at > run.heard_at:
        runs.update(run.run_id, {"heard_at": heard_at}, fence=run.fence)


def said(message: JobMessage) -> RunEvent:
    """A provider's message as an event of the run."""
    kind = re.sub(r"[^a-z0-9]+", "-", message.kind.lower()).strip("-")[:40]
    return RunEvent(
        message.at, f"job-{kind or 'message'}", message.text[:_TEXT_CHARACTERS], message.level, message.id
    )
