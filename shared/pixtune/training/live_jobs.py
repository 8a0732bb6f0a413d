"""The count of live provider jobs is kept true: runs that ended while their job may have gone on in; those of which
nothing runs any more, counted out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.port import TrainingProvider
from pixtune.training.ports import TrainingRuns
from pixtune.training.run import Run


def count_out(
    *,
    now: float,
    window_of: Callable[[str, str], float],
    runs: TrainingRuns,
    provider_named: Callable[[str, str], TrainingProvider],
) -> Sequence[str]:
    """Count out every ended run whose provider job has ended too, or of which no job has appeared within the quiet
    window. window_of, provider_named: by a provider's name and base model; the window in seconds. A provider that
    does not answer leaves the count as it is: rather one launch too few than one too many."""
    counted_out = []
    for run_id in sorted(runs.live_jobs()):
        run = runs.get(run_id)
        if not run.status.ended:
            continue
        asked = run.settings.provider, run.settings.base_model
        try:
            if not may_run(run, provider_named(*asked), window_of(*asked), now):
                runs.no_job_runs(run_id, run.attempt)
                counted_out.append(run_id)
        except (ProviderUnavailable, ProviderRefused):
            continue
    return counted_out


def may_run(run: Run, provider: TrainingProvider, window: float, now: float) -> bool:
    """Whether a job of this run runs, or may yet appear. Raises ProviderUnavailable and ProviderRefused."""
    if run.intent_at is not None and now < run.intent_at + window:
        return True
    jobs = list(provider.find_jobs(run.run_id))
    if run.provider_job_id is not None and all(job.job_id != run.provider_job_id for job in jobs):
        jobs.append(provider.status(run.provider_job_id))
    return any(not job.state.ended for job in jobs)
