"""A failed run is taken up again: its id in, the next attempt out, with version, files and provider job adopted."""

from __future__ import annotations

from typing import Any

from pixtune.errors import ProviderRefused, RunNotResumable
from pixtune.training.launch import lives
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunStatus


def resume(run_id: str, *, now: float, runs: TrainingRuns, workflow: Workflow) -> Run:
    """Begin the next attempt of a failed or cancelled run; a live run only has its execution started, if need be.

    Safe to call again. Raises KeyError for an unknown run, RunNotResumable for one that succeeded or joined.
    """
    run = runs.get(run_id)
    if run.status in (RunStatus.SUCCEEDED, RunStatus.JOINED):
        raise RunNotResumable(f"{run_id} {run.status.value}: only a failed or cancelled run can be resumed.")
    if run.status.ended:
        runs.begin_attempt(run_id, run.attempt, next_attempt(run, now))  # False: somebody else resumed it just now
        run = runs.get(run_id)
    workflow.start(run_id, run.attempt)
    return run


def next_attempt(run: Run, now: float) -> dict[str, Any]:
    """What changes in the run. A job that came to nothing is forgotten; one that lives, or may exist, is kept."""
    changes: dict[str, Any] = {
        "attempt": run.attempt + 1,
        "fence": run.fence + 1,
        "status": RunStatus.QUEUED.value,
        "stage": "Requested",
        "deadline_at": 0.0,
        "failure": None,
        "ended_at": None,
        "turn": 0,
        "task_token": None,
        "waiting_since": None,
        "stuck_at": None,
        "asked": None,
        "untidy": False,
    }
    refused = run.failure is not None and run.failure.code == ProviderRefused.code
    if refused and run.provider_job_id is None and run.intent_at is None:
        changes |= {"files": {}, "uploads": {}}  # they are deleted or about to be; uploading finds those that are not
    if run.version is None:
        changes["requested_at"] = now  # it will publish what is there now
    if run.provider_job_id is not None and not lives(run.provider_status):
        changes |= {"provider_job_id": None, "provider_status": None, "intent_at": None}
    return changes
