"""What an ended run leaves at its provider and nobody needs is removed: a job that runs on, files no job took, models
that bill."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from pixtune.errors import FenceLost, ProviderRefused, ProviderUnavailable
from pixtune.providers.port import JobState, TrainingProvider
from pixtune.training.ports import TrainingRuns
from pixtune.training.run import Checkpoint, Run, RunEvent

Named = Callable[[str], Collection[str]]
"""A dataset to the ids of the models that its aliases name: those stay."""

ProviderOfRun = Callable[[Run], TrainingProvider]

IN_FLIGHT_SECONDS = 900.0  # no function lives longer
GIVE_UP_SECONDS = 7 * 24 * 3600  # a key that was taken away does not come back by being tried for ever


def orphans(run: Run, live: Iterable[Run]) -> set[str]:
    """The uploaded files of a run that was refused, and of which nobody knows a use.

    Files are found again by their content, so another run may name the same ones; one that trains the same version
    there may be about to, and then they all stay. Only a definite refusal lets them go: any other failure is resumed
    with them, and a job that may exist may read them.
    """
    refused = run.failure is not None and run.failure.code == ProviderRefused.code
    if not refused or run.provider_job_id is not None or run.intent_at is not None:
        return set()
    others = [other for other in live if other.run_id != run.run_id]
    if any(_trains_the_same(run, other) and not other.files for other in others):
        return set()
    return set(run.files.values()) - {file_id for other in others for file_id in other.files.values()}


def _trains_the_same(run: Run, other: Run) -> bool:
    return (run.version_digest, run.settings.provider) == (other.version_digest, other.settings.provider)


def tidy(run: Run, *, now: float, runs: TrainingRuns, provider_of: ProviderOfRun, named: Named) -> bool:
    """Remove what an untidy run left behind; whether all of it is gone. Safe to repeat; a resumed run is left alone.

    What a provider refuses to remove is tried for a week by the sweep, then given up and told. A model is released
    once more when no function that was activating it as the run ended can be at work any more.
    """
    run = runs.get(run.run_id)  # who lists the untidy may list one that was resumed since
    if not (run.status.ended and run.untidy):
        return False
    try:
        provider = provider_of(run)
        job = provider.cancel(run.provider_job_id) if run.provider_job_id and _may_run(run) else None
        waste = orphans(run, runs.live())
        for file_id in sorted(waste):
            provider.delete_file(file_id)
        bills = _that_bill(run, runs, named)
        for checkpoint in bills:
            provider.release(checkpoint.model_id)
    except (ProviderUnavailable, ProviderRefused) as error:
        return _leave(run, now, str(error), runs)
    if (job and not job.state.ended) or (bills and now - (run.ended_at or 0.0) < IN_FLIGHT_SECONDS):
        return False
    for checkpoint in bills:
        runs.put_checkpoint(replace(checkpoint, activated=False))
    files = {purpose: file_id for purpose, file_id in run.files.items() if file_id not in waste}
    status = job.state.value if job else run.provider_status
    return _settle(run, {"untidy": False, "files": files, "provider_status": status}, runs)


def _may_run(run: Run) -> bool:
    return run.provider_status is None or not JobState(run.provider_status).ended


def _that_bill(run: Run, runs: TrainingRuns, named: Named) -> list[Checkpoint]:
    """The run's checkpoints that may be deployed though no alias names them."""
    found = [checkpoint for checkpoint in runs.checkpoints(run.run_id) if checkpoint.activated]
    kept = named(run.dataset) if found else ()
    return [checkpoint for checkpoint in found if checkpoint.model_id not in kept]


def _leave(run: Run, now: float, reason: str, runs: TrainingRuns) -> bool:
    if run.ended_at is None or now - run.ended_at < GIVE_UP_SECONDS:
        return False
    text = f"Files or models of this run may still lie at the provider, and bill there; it says: {reason}"
    runs.add_event(run.run_id, RunEvent(now, "left-behind", text, "error"))
    return _settle(run, {"untidy": False}, runs)


def _settle(run: Run, changes: dict[str, object], runs: TrainingRuns) -> bool:
    try:
        runs.update(run.run_id, changes, fence=run.fence)
    except FenceLost:
        return False  # resumed meanwhile
    return True
