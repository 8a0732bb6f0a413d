"""What crashes and lost events left behind is mended: live runs and tagged jobs in; started executions, settled runs
cancelled strays and nothing left behind out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.limits import Limits
from pixtune.providers.port import JobState, JobView, TrainingProvider
from pixtune.training.approval import answer_decided
from pixtune.training.failure import Failed, record_failure
from pixtune.training.live_jobs import count_out
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunStatus
from pixtune.training.tidying import Named, ProviderOfRun, tidy

_UNSTARTED_SECONDS = 120  # from writing a run to starting its execution takes milliseconds

_LOOK_BACK_SECONDS = 60 * 24 * 3600  # longer than any job runs


@dataclass(frozen=True, slots=True)
class Swept:
    """Runs that were started, settled and tidied up after, whose approval was answered and which no longer count as
    having a live job; jobs that were cancelled; why a provider was left out."""

    started: Sequence[str]
    settled: Sequence[str]
    tidied: Sequence[str]
    answered: Sequence[str]
    counted_out: Sequence[str]
    cancelled: Sequence[str]
    left_out: Mapping[str, str]


def sweep(
    *,
    now: float,
    runs: TrainingRuns,
    workflow: Workflow,
    connect: Callable[[str, str], TrainingProvider],
    named: Named,
    providers: Iterable[str],
    limits: Limits,
) -> Swept:
    """Mend everything once. connect: the provider of this name, for a base model."""

    def provider_of(run: Run) -> TrainingProvider:
        return connect(run.settings.provider, run.settings.base_model)

    def window_of(provider: str, base_model: str) -> float:
        return limits.spec(provider, base_model).quiet_window_seconds

    started = start_unstarted(now=now, runs=runs, workflow=workflow)
    settled = settle_ended(now=now, runs=runs, workflow=workflow, provider_of=provider_of, named=named)
    tidied = tidy_up(now=now, runs=runs, provider_of=provider_of, named=named)
    answered = answer_decided(runs, workflow)
    counted_out = count_out(now=now, window_of=window_of, runs=runs, provider_named=connect)
    cancelled: list[str] = []
    left_out = {}
    for name in providers:
        try:
            model = limits.default_base_model(name)
            provider, window = connect(name, model), limits.spec(name, model).quiet_window_seconds
            strays = cancel_strays(now=now, window=window, runs=runs, provider=provider)
            cancelled += [job.job_id for job in strays]
        except (ProviderUnavailable, ProviderRefused) as error:
            left_out[name] = str(error)
    return Swept(started, settled, tidied, answered, counted_out, cancelled, left_out)


def start_unstarted(*, now: float, runs: TrainingRuns, workflow: Workflow) -> Sequence[str]:
    """Start the execution of every run that may not have one; it is nothing new for those that have."""
    waiting = [
        run for run in runs.live() if run.status is RunStatus.QUEUED and run.requested_at < now - _UNSTARTED_SECONDS
    ]
    for run in waiting:
        workflow.start(run.run_id, run.attempt)
    return [run.run_id for run in waiting]


def settle_ended(
    *, now: float, runs: TrainingRuns, workflow: Workflow, provider_of: ProviderOfRun, named: Named
) -> Sequence[str]:
    """Settle every live run whose execution has ended badly: the event that said so was lost."""
    settled = []
    for run in runs.live():
        how = workflow.ended_badly(run.run_id, run.attempt)
        if how is not None:
            cause = f"The execution {run.run_id}-{run.attempt} ended as {how}."
            failed = Failed(run.run_id, run.attempt, how, cause)
            if record_failure(failed, now=now, runs=runs, provider_of=provider_of, named=named):
                settled.append(run.run_id)
    return settled


def tidy_up(*, now: float, runs: TrainingRuns, provider_of: ProviderOfRun, named: Named) -> Sequence[str]:
    """Remove what ended runs could not remove themselves: orphaned files, and models that bill for nobody."""
    found = list(runs.untidy())
    return [run.run_id for run in found if tidy(run, now=now, runs=runs, provider_of=provider_of, named=named)]


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
