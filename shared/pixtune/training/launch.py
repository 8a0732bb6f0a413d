"""A run's training is launched at the provider: a run in, exactly one provider job or an honest "unknown" out.

The rules (each one holds off a second paid job, and the simulation shows it):
- a training is reserved by one run; a fence, raised by every call, makes writes of an older call fail;
- the intent to create is written before the create is sent, so an unknown outcome is never forgotten;
- after an unknown outcome nothing is created until the provider's quiet window has passed, in which a create still
  under way arrives and a list that lags catches up;
- a job is looked up by its tag before another is created; at a provider that may not keep the tag, a create
  without an answer is the last;
- the create is sent once: the provider's adapter does not retry it;
- the budget is charged, and the run counted among the live jobs, in the transaction that reserves: once for every
  job that may be made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pixtune.errors import LaunchUnknown, ProviderRefused, ProviderUnavailable, RunDeadlinePassed
from pixtune.providers.port import JobRequest, JobState, JobView, TrainingProvider
from pixtune.training.approval import refuse_unapproved
from pixtune.training.budget import Budget, charge_for
from pixtune.training.ports import TrainingRuns
from pixtune.training.run import Run, RunEvent, RunStatus, training_id

# A create is sent within this time of writing its intent, or not at all: a process may be frozen in between.
SEND_WITHIN_SECONDS = 5.0
# What a create and the two writes after it may take; a call with less time left comes back in a fresh one.
CREATE_SECONDS = 90.0
_LOOK_AGAIN_SECONDS = 15  # after a lookup that the provider did not answer
_DEAD = (JobState.FAILED, JobState.CANCELLING, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Launch:
    """launched: the run has its job. joined: another run does this training. unknown: come again in wait_seconds."""

    outcome: Literal["launched", "joined", "unknown"]
    wait_seconds: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LaunchLimits:
    """window: the provider's quiet window. deadline: seconds a training may take, from its first launch on.
    budget: what the deployment allows. finds_jobs: whether the provider is known to find a job by its run; where
    it is not, a create without an answer is not sent again."""

    window: float
    deadline: float
    budget: Budget = field(default_factory=Budget)
    finds_jobs: bool = True


def lives(job_state: str | None) -> bool:
    """Whether a job in this state (a `JobState` value; None: never asked) runs, or has made a model."""
    return job_state not in _DEAD


def holds(run: Run) -> bool:
    """Whether a run that reserved a training keeps it: it is live, succeeded, or its job lives or may exist."""
    if not run.status.ended or run.status is RunStatus.SUCCEEDED:
        return True
    return lives(run.provider_status) if run.provider_job_id is not None else run.intent_at is not None


def adoptable(jobs: Sequence[JobView]) -> JobView | None:
    """The oldest job that has not come to nothing. One that did is why an earlier attempt failed."""
    return min((job for job in jobs if lives(job.state)), key=lambda job: (job.created_at, job.job_id), default=None)


def quiet_seconds_left(run: Run, window: float, now: float) -> float:
    """How long an earlier create may still be under way; 0 when none was sent."""
    return 0.0 if run.intent_at is None else max(0.0, run.intent_at + window - now)


def launch(
    run_id: str,
    attempt: int,
    *,
    limits: LaunchLimits,
    clock: Callable[[], float],
    seconds_left: Callable[[], float],
    runs: TrainingRuns,
    provider: TrainingProvider,
) -> Launch:
    """Bring the run to one provider job; safe to call any number of times, at once too.

    clock: Unix seconds; the budget is charged to its month, in UTC. seconds_left: until this process is killed.
    Raises FenceLost when another call has taken over, RunEnded, ProviderRefused (no job was made), BudgetExceeded,
    TooManyJobs, ApprovalDenied, LaunchUnknown and RunDeadlinePassed.
    """
    run = runs.get(run_id)
    if run.status is RunStatus.JOINED:
        return Launch("joined")
    run = runs.take_fence(run_id, attempt)
    started: dict[str, Any] = {"status": RunStatus.RUNNING.value, "stage": "LaunchTraining"}
    if not run.deadline_at:
        started["deadline_at"] = clock() + limits.deadline
    runs.update(run_id, started, fence=run.fence)
    if run.provider_job_id is not None:
        return Launch("launched")
    if run.deadline_at and clock() > run.deadline_at:
        raise RunDeadlinePassed(
            f"No provider job could be launched within {limits.deadline:,.0f} s.",
            f"Look at the provider's status, then run `pixtune run resume {run_id}`.",
        )
    refuse_unapproved(run, limits.budget)
    if holder := _reserve(run, limits.budget, clock(), runs):
        joined = {"status": RunStatus.JOINED.value, "joined": holder, "ended_at": clock()}
        runs.update(run_id, joined, fence=run.fence)
        return Launch("joined")
    if quiet := quiet_seconds_left(run, limits.window, clock()):
        return Launch("unknown", math.ceil(quiet))
    try:
        job = adoptable(provider.find_jobs(run_id))
    except ProviderUnavailable:
        return Launch("unknown", _LOOK_AGAIN_SECONDS)
    if job is None:
        if run.intent_at is not None and not limits.finds_jobs:
            asked_at = datetime.fromtimestamp(run.intent_at, UTC)
            raise LaunchUnknown(
                f"A job was asked for at {asked_at:%Y-%m-%d %H:%M:%S} UTC, and the provider's answer was lost. None "
                "is listed for this run, but this provider may not keep what a job is looked up by, so no other is "
                "asked for."
            )
        if seconds_left() < CREATE_SECONDS:
            return Launch("unknown", 1)
        job = _create(run, clock, runs, provider)
        if job is None:
            return Launch("unknown", math.ceil(limits.window))
    _record(run, job, clock(), runs)
    return Launch("launched")


def _reserve(run: Run, budget: Budget, now: float, runs: TrainingRuns) -> str | None:
    """Reserve the run's training; the run that holds it already, if one does."""
    assert run.version_digest is not None, "a run is launched after its version was published"
    training = training_id(run.version_digest, run.settings)
    charge = charge_for(run, budget, now)
    while True:
        holder = runs.holder(training)
        held_by = runs.get(holder) if holder else None
        if held_by is not None and held_by.run_id == run.run_id:
            if held_by.reserved_attempt == run.attempt:
                return None
            if run.intent_at is not None:
                charge = None  # an earlier attempt's create has no answer yet: its charge is for the same job
        elif held_by is not None and holds(held_by):
            return held_by.run_id
        if runs.reserve(
            run.run_id,
            training,
            fence=run.fence,
            instead_of=held_by,
            charge=charge,
            max_live=budget.live_jobs,
        ):
            return None


def _create(run: Run, clock: Callable[[], float], runs: TrainingRuns, provider: TrainingProvider) -> JobView | None:
    """Send one create; None when it is not known what became of it."""
    intent_at = clock()
    runs.update(run.run_id, {"intent_at": intent_at}, fence=run.fence)
    request = JobRequest(
        run_id=run.run_id,
        base_model=run.settings.base_model,
        training_file=run.files["training"],
        validation_file=run.files.get("validation"),
        hyperparameters=run.settings.hyperparameters,
        seed=run.settings.seed,
        suffix=f"{run.dataset}-v{run.version}",
    )
    if clock() - intent_at > SEND_WITHIN_SECONDS:
        return None
    try:
        return provider.launch(request)
    except ProviderUnavailable:
        return None
    except ProviderRefused:
        # An answer, and a definite one: nothing was made.
        runs.update(run.run_id, {"intent_at": None}, fence=run.fence)
        raise


def _record(run: Run, job: JobView, now: float, runs: TrainingRuns) -> None:
    runs.record_job(
        run.run_id,
        run.settings.provider,
        job.job_id,
        {"provider_status": job.state.value, "turn": 0, "task_token": None},
        fence=run.fence,
    )
    text = f"The provider job {job.job_id} is {job.state.value}."
    runs.add_event(run.run_id, RunEvent(now, "launched", text))
