"""What crashes and lost events left behind is mended: live runs and tagged jobs in; started executions, settled runs
and cancelled strays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pixtune.providers.limits import Limits
from pixtune.providers.port import JobState, JobView, TrainingProvider
from pixtune.training.approval import answer_decided
from pixtune.training.failure import Failed, record_failure
from pixtune.training.live_jobs import count_out
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunStatus

_UNSTARTED_SECONDS = 120  # from writing a run to starting its execution takes milliseconds

_LOOK_BACK_SECONDS = 60 * 24 * 3600  # longer than any job runs


def mend(
    *,
    now: float,
    runs: TrainingRuns,
    workflow: Workflow,
    provider_named: Callable[[str, str], TrainingProvider],
    limits: Limits,
) -> Mapping[str, Sequence[str]]:
    """All that is mended of runs, by what was done: the ids of the runs that each was done for."""

    def window_of(provider: str, base_model: str) -> float:
        return limits.spec(provider, base_model).quiet_window_seconds

    return {
        "started": start_unstarted(now=now, runs=runs, workflow=workflow),
        "settled": settle_ended(now=now, runs=runs, workflow=workflow, provider_named=provider_named),
        "answered": answer_decided(runs, workflow),
        "counted_out": count_out(now=now, window_of=window_of, runs=runs, provider_named=provider_named),
    }


def start_unstarted(*, now: float, runs: TrainingRuns, workflow: Workflow) -> Sequence[str]:
    """Start the execution of every run that may not have one; it is nothing new for those that have."""
    waiting = [
        run for run in runs.live() if run.status is RunStatus.QUEUED and run.requested_at < now - _UNSTARTED_SECONDS
    ]
    for run in waiting:
        workflow.start(run.run_id, run.attempt)
    return [run.run_id for run in waiting]


def settle_ended(
    *, now: float, runs: TrainingRuns, workflow: Workflow, provider_named: Callable[[str, str], TrainingProvider]
) -> Sequence[str]:
    """Settle every live run whose execution has ended badly: the event that said so was lost.

    provider_named: the provider by its name and base model.
    """

    def provider_of(run: Run) -> TrainingProvider:
        return provider_named(run.settings.provider, run.settings.base_model)

    settled = []
    for run in runs.live():
        how = workflow.ended_badly(run.run_id, run.attempt)
        if how is not None:
            cause = f"The execution {run.run_id}-{run.attempt} ended as {how}."
            failed = Failed(run.run_id, run.attempt, how, cause)
            if record_failure(failed, now=now, runs=runs, provider_of=provider_of):
                settled.append(run.run_id)
    return settled


def is_stray(run: Run, job: JobView) -> bool:
    """Whether a job tagged with this run belongs to nobody: the run has another job, or has ended without one.

    A live run without a job may be about to adopt it.
    """
    return run.provider_job_id != job.job_id and (run.provider_job_id is not None or run.status.ended)


def cancel_strays(*, now: float, window: float, runs: TrainingRuns, provider: TrainingProvider) -> Sequence[JobView]:
    """Cancel the jobs that are tagged with a run of ours which does not record them. A job without our tag, with the
    tag of a run we do not know, or younger than the quiet window (seconds) is never touched. Raises
    ProviderUnavailable and ProviderRefused."""
    cancelled = []
    for job in provider.list_tagged_jobs(now - _LOOK_BACK_SECONDS):
        if job.run_id is None or job.state.ended or job.state is JobState.CANCELLING or job.created_at > now - window:
            continue
        try:
            run = runs.get(job.run_id)
        except KeyError:
            continue
        if is_stray(run, job):
            cancelled.append(provider.cancel(job.job_id))
    return cancelled
