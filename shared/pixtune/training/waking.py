"""Somebody says that a provider job has changed: a job's id in, an early wake-up of the run that waits for it out.

What was said is a hint. It says which job to look at, never what state the job is in: the run's next turn asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixtune.training.ports import Requests, TrainingRuns, Workflow


def wake(provider: str, job_id: str, *, runs: TrainingRuns, workflow: Workflow) -> str:
    """`woken`; or nothing was done, because this is an `unknown_job` or its run is `not_waiting`."""
    run_id = runs.run_of_job(provider, job_id)
    if run_id is None:
        return "unknown_job"
    run = runs.get(run_id)
    if run.task_token is None or run.status.ended:
        return "not_waiting"
    workflow.succeed(run.task_token, {"status": "woken"})
    return "woken"


def job_event(
    event: Mapping[str, Any], *, now: float, runs: TrainingRuns, requests: Requests, workflow: Workflow
) -> str:
    """What came of one of EventBridge's "Model Customization Job State Change": as `wake`, or `repeated`.

    Only AWS can send an event whose source is `aws.bedrock`, so it needs no signature; it may come twice. Any: JSON
    of a rule that lets nothing else through.
    """
    if not requests.first_time("event:bedrock", str(event["id"]), now):
        return "repeated"
    return wake("bedrock", str(event["detail"]["jobName"]), runs=runs, workflow=workflow)
