"""The one port to every provider: neutral values in and out, no provider's word beyond it but `provider job`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import IO, Protocol

from pixtune.examples.rows import Row
from pixtune.training.run import Hyperparameters

ReadImage = Callable[[str], bytes]
"""An artifacts key (`images/...`) to the image's bytes."""


class JobState(StrEnum):
    """A provider job's state, folded. What is not known is RUNNING: unknown states are never terminal."""

    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One training to launch. run_id is the tag by which the job can be found again."""

    run_id: str
    base_model: str
    training_file: str
    validation_file: str | None
    hyperparameters: Hyperparameters
    seed: int | None
    suffix: str


@dataclass(frozen=True, slots=True)
class JobView:
    """What the provider says of a job now. raw_state: its own word. created_at: Unix seconds."""

    job_id: str
    state: JobState
    raw_state: str
    created_at: float
    run_id: str | None = None
    model_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    trained_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class JobMessage:
    """Something the provider says about a job: a step taken, a warning, a picture left out, a check of the model.

    id: the provider's, the same however often it is listed. at: Unix seconds. level: info, warn or error.
    kind: the provider's own word ("message", "moderation_checks", ...).
    """

    id: str
    at: float
    level: str
    text: str
    kind: str = "message"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a job has said since a moment: metric points (each with "step") and messages, oldest first."""

    points: Sequence[Mapping[str, float]] = ()
    messages: Sequence[JobMessage] = ()


@dataclass(frozen=True, slots=True)
class ProviderCheckpoint:
    """A checkpoint as the provider lists it; metrics under OpenAI's names, absent ones left out."""

    step: int
    model_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Activation:
    """Whether a model answers now; if not, ask again in `wait_seconds`."""

    active: bool
    wait_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one example, with the tokens it used."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class TrainingProvider(Protocol):
    """Raises ProviderRefused for a terminal refusal and ProviderUnavailable for anything worth another try."""

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        """One training line (with newline). system, prompt: the dataset's, used where the row states none."""
        ...

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Store a training file (seekable) of at most `file_bytes` in one request, under a content-derived name;
        answers its id, also when a file of that name and size is there already."""
        ...

    def find_file(self, name: str, size: int) -> str | None:
        """The id of a whole training file of that name and size, if there is one."""
        ...

    def begin_upload(self, name: str, size: int) -> str:
        """Open an upload of exactly `size` bytes in parts; answers its id. It expires where the provider says so."""
        ...

    def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
        """Send one part (of at most `part_bytes`), in any order and beside others; answers its id. Sent twice, a part
        has two ids, of which a completion names one. Raises UploadGone when the upload takes no more parts."""
        ...

    def complete_upload(self, upload_id: str, part_ids: Sequence[str]) -> str:
        """Join the parts in this order into a file; answers its id. Raises UploadGone as `upload_part` does."""
        ...

    def delete_file(self, file_id: str) -> None:
        """Delete a training file; one that is gone already is success."""
        ...

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        """All jobs tagged with this run, oldest first."""
        ...

    def list_tagged_jobs(self, since: float) -> Sequence[JobView]:
        """All jobs created since then (Unix seconds) that carry a tag of ours; for the sweep."""
        ...

    def launch(self, request: JobRequest) -> JobView:
        """Send exactly one create. No retries inside, ever."""
        ...

    def status(self, job_id: str) -> JobView: ...

    def cancel(self, job_id: str) -> JobView: ...

    def pause(self, job_id: str) -> JobView:
        """Halt the job; one that is paused already is answered as it is. ProviderRefused: it cannot be paused."""
        ...

    def resume(self, job_id: str) -> JobView:
        """Let a paused job go on; one that is not paused is answered as it is."""
        ...

    def progress(self, job_id: str, since: float) -> Progress:
        """What the job said at or after `since` (Unix seconds), while it runs."""
        ...

    def metrics(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """All metric points so far, each with "step"."""
        ...

    def checkpoints(self, job_id: str) -> Sequence[ProviderCheckpoint]:
        """In order of step; the last one is the final model."""
        ...

    def retires_on(self, model_id: str) -> date | None:
        """The day from which the provider says this model answers no more; None: it names none. ProviderRefused:
        this account cannot use the model."""
        ...

    def activate(self, model_id: str) -> Activation: ...

    def release(self, model_id: str) -> None: ...

    def delete_model(self, model_id: str) -> None:
        """Remove a trained model for good; one that is not there is success. ProviderRefused: it stays."""
        ...

    def answer(
        self, model_id: str, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
    ) -> Reply:
        """Ask the model the row's question (its turns up to the last assistant turn), temperature 0."""
        ...
