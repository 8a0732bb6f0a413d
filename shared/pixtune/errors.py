"""Our own failures. Each class name is part of the workflow's API: `training.asl.json` catches by it.

PixtuneError
├── EventWithoutVersion   an S3 event for a bucket that is not versioned
├── DecoderNotStarted     the sandbox process does not come up
├── StepFailed            a preprocessing step failed on a picture that could be decoded
├── SegmentNotStored      a batch's rows could not be stored; its messages come again
├── TooMuchContention    an item was changed by others each time it was about to be written
├── TableRefused         a table left out a part of a batch, many times
├── QueueRefused          a queue took only a part of a batch
├── BusRefused            the event bus took only a part of a batch
├── FenceLost             another attempt of the same run has taken over
├── RunEnded              the run has ended already: what comes now changes nothing
├── ApprovalNotAwaited    the run does not wait for approval, or was decided about otherwise
├── RunNotResumable       the run succeeded or joined another: there is nothing to resume
├── RunNotPausable        the run has no job that can be paused, or its provider pauses none
├── RequestConflict       a request's key came again with another body
├── RunFault              a training run cannot go on; carries what to do
│   ├── UploadsNotSettled     the deadline passed with uploads that have no verdict
│   ├── DatasetNotReady       the version breaks the provider's limits
│   ├── ComplianceFailed      the version breaks its dataset's own policy
│   ├── DatasetEmpty          no example is ready
│   ├── ProviderRefused       the provider answered with a terminal refusal
│   │   └── UploadGone            an upload in parts takes no more of them: expired, cancelled or completed
│   ├── BudgetExceeded        the training may cost more than its run, or what is left of its month, allows
│   ├── TooManyJobs           as many provider jobs run as the deployment allows
│   ├── LaunchUnknown         a create's answer was lost where a job cannot be looked up
│   ├── ApprovalDenied        nobody approved of paying for it
│   ├── ProviderJobEnded      the provider job failed or was cancelled
│   └── RunDeadlinePassed     the run took longer than its deadline
├── LimitsRefused         a deployment's own limits table is wrong
├── AliasConflict         an alias is not at the version its mover has seen
├── ModelDeploying        a model that an alias is to name does not answer yet
├── AliasRefused          an alias cannot be moved so; carries what to do
├── UnknownModel          a dataset has no model version of that number
└── ProviderUnavailable   the provider did not answer, or asked to come again later
"""

from __future__ import annotations


class PixtuneError(Exception):
    """Anything that is our failure and not an answer about a file."""


class EventWithoutVersion(PixtuneError):
    """An S3 event carries no version id: the uploads bucket must be versioned (protocols: no 'latest' exists)."""


class DecoderNotStarted(PixtuneError):
    """The sandbox's process does not start, so no picture can be judged: our failure, never the picture's."""


class StepFailed(PixtuneError):
    """A step of the recipe raised on a good picture: a defect of the step (one of your own, or ours)."""


class SegmentNotStored(PixtuneError):
    """The rows segment could not be stored."""


class TooMuchContention(PixtuneError):
    """Others were faster, many times in a row; the message comes again."""


class TableRefused(PixtuneError):
    """A batch call answered 200 and named what it left out, each time it was asked again."""


class QueueRefused(PixtuneError):
    """SendMessageBatch answered 200 and named messages it did not take."""


class BusRefused(PixtuneError):
    """PutEvents answered 200 and counted entries it did not take."""


class FenceLost(PixtuneError):
    """The run's fence moved on: a newer attempt owns it, this one must stop without writing."""


class RunEnded(PixtuneError):
    """The run has ended: its status is final until it is resumed."""


class ApprovalNotAwaited(PixtuneError):
    """There is nothing to approve or deny."""


class RunNotResumable(PixtuneError):
    """The run did not fail."""


class RunNotPausable(PixtuneError):
    """The run's job cannot be paused or let go on; the message says why."""


class RequestConflict(PixtuneError):
    """The same request key was used before for something else."""


class RunFault(PixtuneError):
    """A training run cannot go on. `code` is stable, `fix` tells a person what to do."""

    code = "run_fault"

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".strip())
        self.message = message
        self.fix = fix


class UploadsNotSettled(RunFault):
    code = "uploads_not_settled"


class DatasetNotReady(RunFault):
    code = "dataset_not_ready"


class ComplianceFailed(RunFault):
    code = "compliance_failed"


class DatasetEmpty(RunFault):
    code = "dataset_empty"


class ProviderRefused(RunFault):
    code = "provider_refused"


class UploadGone(ProviderRefused):
    """Parts sent so far are lost with it; the file can be sent again in another upload."""

    code = "upload_gone"


class BudgetExceeded(RunFault):
    code = "budget_exceeded"


class TooManyJobs(RunFault):
    code = "too_many_jobs"


class LaunchUnknown(RunFault):
    """A create was sent, its answer was lost, and this provider may not be able to tell whether there is a job."""

    code = "launch_unknown"


class ApprovalDenied(RunFault):
    code = "approval_denied"


class ProviderJobEnded(RunFault):
    code = "provider_job_ended"


class RunDeadlinePassed(RunFault):
    code = "run_deadline_passed"


class ProviderUnavailable(PixtuneError):
    """The provider did not answer, answered 5xx or 429: worth another try, later."""


class LimitsRefused(PixtuneError):
    """A table of limits cannot be used; `faults` has one line for each row and figure that is wrong."""

    def __init__(self, name: str, faults: list[str]) -> None:
        listed = "\n".join(f"- {fault}" for fault in faults)
        super().__init__(f"{name} has {len(faults)} problem(s):\n{listed}")
        self.faults = faults


class AliasConflict(PixtuneError):
    """The alias is at `present` (0: it does not exist), not where the caller has seen it."""

    def __init__(self, dataset: str, alias: str, present: int) -> None:
        super().__init__(f"Alias {alias} of {dataset} is at version {present}; read it again and decide anew.")
        self.present = present


class AliasRefused(PixtuneError):
    """An alias cannot be moved in this way; `fix` tells what can be done."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message} {fix}")
        self.message = message
        self.fix = fix


class ModelDeploying(PixtuneError):
    """The model answers no question yet; its provider deploys it. wait_seconds: when to ask again."""

    def __init__(self, dataset: str, number: int, wait_seconds: int) -> None:
        super().__init__(f"Model version {number} of {dataset} is being deployed. Ask again in {wait_seconds} s.")
        self.wait_seconds = wait_seconds


class UnknownModel(PixtuneError):
    """There is no such model version."""

    def __init__(self, dataset: str, number: int) -> None:
        super().__init__(f"Dataset {dataset} has no model version {number}.")
