"""A run has failed: what the state machine caught in; a settled run that says why, what it still costs and what to
do out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pixtune.errors import FenceLost, ProviderRefused, ProviderUnavailable, RunEnded
from pixtune.providers.port import JobView
from pixtune.training.launch import adoptable, lives
from pixtune.training.ports import TrainingRuns
from pixtune.training.run import Failure, Run, RunEvent, RunStatus
from pixtune.training.tidying import Named, ProviderOfRun, tidy

_TRIES = 5  # each means that a launch was under way for the same run
_CAUSE_CHARACTERS = 4_000

_RESUME = "`pixtune run resume {run_id}` goes on from what is stored: version, uploaded files, provider job."
_READ_LOG = "Read the log of the function {stage} for {run_id}. " + _RESUME

# Error name -> stable code and what to do. Names are exception classes, Step Functions' own, and execution states.
_KNOWN: Mapping[str, tuple[str, str]] = {
    "UploadsNotSettled": ("uploads_not_settled", "Upload the named files again or delete them. Then: " + _RESUME),
    "DatasetNotReady": (
        "dataset_not_ready",
        "Mend what is listed and ask for a training again: that cuts a version.",
    ),
    "ComplianceFailed": (
        "compliance_failed",
        "Mend or delete the named examples, or change [compliance] in dataset.toml; then ask for a training again: "
        "that cuts a version. Resuming this run would judge the same version.",
    ),
    "DatasetEmpty": ("dataset_empty", "Upload images with annotations, then ask for a training again."),
    "ProviderRefused": ("provider_refused", "Mend what the provider names, or ask again with another provider."),
    "UploadGone": ("upload_gone", "Look at the provider's status page. Then: " + _RESUME),
    "ProviderUnavailable": ("provider_unavailable", "Look at the provider's status page. Then: " + _RESUME),
    "ProviderJobEnded": (
        "provider_job_ended",
        "Mend what the provider names and ask again, or try the same: " + _RESUME,
    ),
    "BudgetExceeded": (
        "budget_exceeded",
        "Raise the budget that is named, or ask for less: `pixtune cost` shows what cheaper settings save. "
        "With a higher budget, or next month: " + _RESUME,
    ),
    "TooManyJobs": ("too_many_jobs", "Wait until another run has ended, or raise MaxLiveJobs. Then: " + _RESUME),
    "LaunchUnknown": (
        "launch_unknown",
        "Look at the provider for a job created at that time. If there is one, cancel it there or use its model; if "
        "there is none, train again: `pixtune run start DATASET --again`.",
    ),
    "ApprovalDenied": (
        "approval_denied",
        "Nothing was charged. Ask for a cheaper training, or ask for approval again: " + _RESUME,
    ),
    "RunDeadlinePassed": ("run_deadline_passed", "Look at the provider's queue. Then: " + _RESUME),
    "LimitsRefused": (
        "limits_refused",
        "Mend the deployment's own limits table (template parameter ProviderLimits). Then: " + _RESUME,
    ),
    "FenceLost": ("fence_lost", "Two executions worked on this run at once, and this one stopped. " + _RESUME),
    "RunEnded": ("run_ended", "The run was ended from outside. " + _RESUME),
    "States.Timeout": ("step_timed_out", _READ_LOG),
    "States.DataLimitExceeded": ("workflow_fault", _READ_LOG),
    "States.QueryEvaluationError": ("workflow_fault", _READ_LOG),
    "Sandbox.Timedout": ("function_timed_out", _READ_LOG),
    "Lambda.Unknown": ("function_died", _READ_LOG),
    "Runtime.ExitError": ("function_died", _READ_LOG),
    "Lambda.TooManyRequestsException": ("functions_throttled", "Raise the account's Lambda concurrency. " + _RESUME),
    "States.ExceedToleratedFailureThreshold": ("upload_failed", "Read the log of upload_part. " + _RESUME),
    "States.ItemReaderFailed": ("workflow_fault", _READ_LOG),
    "ABORTED": ("run_aborted", "Somebody stopped the execution. " + _RESUME),
    "TIMED_OUT": ("execution_timed_out", _RESUME),
}
_MESSAGE = re.compile(r'\{"errorMessage": ("(?:[^"\\]|\\u[0-9a-f]{4}|\\[^u])*)')
_CLOSED = "training_not_available"  # the code of a provider that trains no more for this account
_UNKNOWN = ("internal_error", "This is a fault of pixtune's own. " + _READ_LOG)


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed. error: a name as the state machine catches it; cause: text, or a Lambda's JSON."""

    run_id: str
    attempt: int
    error: str
    cause: str


def failed_of(event: Mapping[str, Any]) -> Failed | None:
    """Read the state machine's own call, or a "Step Functions Execution Status Change" of EventBridge; None for an
    execution that is not named `{run_id}-{attempt}`. Any: an event is outside JSON until it is read here."""
    if "failure" in event:
        failure = event["failure"]
        return Failed(
            event["run_id"], int(event["attempt"]), str(failure.get("Error")), str(failure.get("Cause", ""))
        )
    detail = event["detail"]
    run_id, dash, attempt = str(detail["name"]).rpartition("-")
    if not dash or not attempt.isdigit():
        return None
    error = detail["status"] == "FAILED" and detail.get("error")
    cause = detail.get("cause") or f"The execution {detail['name']} ended as {detail['status']}."
    return Failed(run_id, int(attempt), str(error or detail["status"]), str(cause))


def read_cause(cause: str) -> str:
    """What a person should read of a cause: of a failed Lambda's JSON, also cut short, the message; else the text."""
    try:
        parsed = json.loads(cause)
    except ValueError:
        message = _MESSAGE.match(cause)
        return json.loads(message[1] + '"', strict=False) if message else cause[:_CAUSE_CHARACTERS]
    if isinstance(parsed, dict) and parsed.get("errorMessage"):
        return str(parsed["errorMessage"])[:_CAUSE_CHARACTERS]
    return cause[:_CAUSE_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the provider job. job: as the provider shows it now, if it does. may_cost: it runs, or may."""

    text: str = ""
    job: JobView | None = None
    may_cost: bool = False


def failure_of(run: Run, failed: Failed, fate: Fate) -> Failure:
    """The failure a person reads. A job that may still cost money comes first in what to do."""
    code, fix = _KNOWN.get(failed.error, _UNKNOWN)
    cause = read_cause(failed.cause)
    if failed.error == "ProviderJobEnded" and fate.job and fate.job.error_message:
        cause += f" The provider says: {fate.job.error_message}"
        cause += f" ({fate.job.error_code})" if fate.job.error_code else ""
    if code == "internal_error":
        cause = f"{failed.error}: {cause}"
    advice = [fate.text if fate.may_cost else "", fix.format(run_id=run.run_id, stage=run.stage)]
    if _CLOSED in cause and (others := (run.estimate or {}).get("alternatives")):
        command = f"`pixtune run start {run.dataset}@{run.version} --provider PROVIDER --base-model MODEL`"
        advice.append(f"This version keeps the limits of {', '.join(others)}: {command} trains it there.")
    return Failure(
        code,
        f"{cause} {'' if fate.may_cost else fate.text}".strip(),
        " ".join(part for part in advice if part),
    )


def record_failure(
    failed: Failed, *, now: float, runs: TrainingRuns, provider_of: ProviderOfRun, named: Named
) -> Failure | None:
    """End the run as failed (as cancelled when its execution was aborted), cancel its provider job, and tidy up.

    Does nothing to a run that has ended or has a newer attempt, and answers the failure it shows; None when it shows
    none, or there is no such run. What cannot be tidied up now, or is not for a crash, the sweep does.
    """
    for _ in range(_TRIES):
        try:
            # What is read with a new fence stays true until it is settled: an older launch cannot write any more.
            run = runs.take_fence(failed.run_id, failed.attempt)
        except (RunEnded, FenceLost):
            return runs.get(failed.run_id).failure
        except KeyError:
            return None
        fate = _end_job(run, provider_of)
        failure = failure_of(run, failed, fate)
        cancelled = failed.error == "ABORTED"
        changes: dict[str, Any] = {
            "status": (RunStatus.CANCELLED if cancelled else RunStatus.FAILED).value,
            "failure": asdict(failure),
            "ended_at": now,
            "task_token": None,
            # Settled first: whoever activates a model after that sees that the run has ended, and lets it be.
            "untidy": bool(run.files or run.steps or fate.may_cost),
        }
        if fate.job is not None:
            changes |= {"provider_job_id": fate.job.job_id, "provider_status": fate.job.state.value}
        # What an earlier attempt was charged was for a job that it made.
        never_made = run.provider_job_id is None and run.intent_at is None and run.reserved_attempt == run.attempt
        if runs.settle(run.run_id, changes, fence=run.fence, release=never_made, job_may_run=fate.may_cost):
            text = f"{failure.code}: {failure.cause}"
            runs.add_event(run.run_id, RunEvent(now, f"run-{changes['status']}", text, "error"))
            if changes["untidy"]:
                tidy(runs.get(run.run_id), now=now, runs=runs, provider_of=provider_of, named=named)
            return failure
    raise FenceLost(f"{failed.run_id}: launches kept taking over while its failure was recorded.")


def _end_job(run: Run, provider_of: ProviderOfRun) -> Fate:
    """Cancel the run's provider job, if it has or may have one, so that a failed run costs nothing more."""
    if run.provider_job_id is None and run.intent_at is None:
        return Fate()
    name = f"provider job {run.provider_job_id}" if run.provider_job_id else "a provider job of this run"
    resume = f"`pixtune run resume {run.run_id}` adopts it."
    try:
        provider = provider_of(run)
        if run.provider_job_id is not None:
            job: JobView | None = provider.status(run.provider_job_id)
        else:
            job = adoptable(provider.find_jobs(run.run_id))
        if job is None:
            text = f"It is not known whether {name} was made; should one appear, the sweep cancels it. {resume}"
            return Fate(text, may_cost=True)
        if not job.state.ended:
            job = provider.cancel(job.job_id)
    except (ProviderUnavailable, ProviderRefused) as error:
        text = (
            f"It could not be cancelled, so {name} may still run and cost: {error}. The sweep tries again; {resume}"
        )
        return Fate(text, may_cost=True)
    if not lives(job.state):
        return Fate(f"The provider job {job.job_id} is {job.state.value}.", job)
    if job.state.ended:
        return Fate(f"The provider job {job.job_id} has succeeded; {resume}", job)
    text = f"The provider job {job.job_id} was asked to stop, is {job.state.value}, and may still cost; {resume}"
    return Fate(text, job, may_cost=True)
