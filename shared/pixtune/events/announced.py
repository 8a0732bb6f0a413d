"""What each event says: one dataclass per shape of `data`, and `DATA`, which names the shape of every type.

The JSON Schemas beside this module are made from these classes (`python -m pixtune.events.schema_files`). A field
may be added within a version; anything else is a new version of the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pixtune.training.order import REQUESTED, TrainingWish


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning beside a verdict. code: stable."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class UploadJudged:
    """An upload got its verdict. code: stable, why. fix: what to do about it.

    sha256, width, height: of the converted picture; null for a rejected one and for an annotation file.
    rows: how many examples an annotation file speaks about; null for a picture.
    """

    dataset: str
    key: str
    version_id: str
    verdict: str
    code: str
    detail: str
    fix: str
    warnings: tuple[Warned, ...]
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class ExampleChanged:
    """An example came into a state. revision: rises with every change of its content. reason: why it is held or
    waits. images: the upload keys it shows, in order."""

    dataset: str
    example_id: str
    state: str
    revision: int
    images: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DatasetPublished:
    """A version was cut. digest: of its content; the same content is the same version. counts: split -> rows.
    manifest_key: of the artifacts bucket; it names the version's files."""

    dataset: str
    version: int
    digest: str
    counts: Mapping[str, int]
    manifest_key: str


@dataclass(frozen=True, slots=True)
class RunFailed:
    """Why a run failed. code: stable."""

    code: str
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A training run came into a status. joined: the run that does, or did, exactly this training."""

    run_id: str
    dataset: str
    status: str
    attempt: int
    door: str
    provider: str
    base_model: str
    version: int | None = None
    provider_job_id: str | None = None
    joined: str | None = None
    model_version: int | None = None
    failure: RunFailed | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """A run waits until a person approves of what it may cost, or until the deployment's patience ends, which denies
    it. usd_high: what is approved, in US dollars; usd_low, usd_mid: what is more likely. null: no price is known."""

    run_id: str
    dataset: str
    attempt: int
    provider: str
    base_model: str
    version: int | None
    usd_low: float | None
    usd_mid: float | None
    usd_high: float | None


@dataclass(frozen=True, slots=True)
class RunStuck:
    """A run's provider job waits in the provider's queue for longer than the deployment's limit. The run goes on.

    provider_status: validating or queued.
    """

    run_id: str
    dataset: str
    attempt: int
    provider: str
    base_model: str
    provider_job_id: str | None
    provider_status: str | None
    waited_seconds: int


@dataclass(frozen=True, slots=True)
class CheckpointRecorded:
    """A model was saved on the way. metrics: under OpenAI's metric names."""

    run_id: str
    step: int
    model_id: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AliasMoved:
    """An alias names another model version now. previous: the model version it named before; null: none.
    by: who moved it. run_id: the run whose outcome it is, if any."""

    dataset: str
    alias: str
    alias_version: int
    model_version: int
    previous: int | None
    reason: str
    by: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRetiring:
    """The base model under an alias answers no more from retires_on (a date) on. instead: "provider/base_model" whose
    limits the model's dataset version keeps as it is. version: that dataset version."""

    dataset: str
    alias: str
    model_version: int
    version: int
    provider: str
    base_model: str
    retires_on: str
    days_left: int
    instead: tuple[str, ...]


DATA: Mapping[str, type] = {
    "pixtune.image.accepted.v1": UploadJudged,
    "pixtune.image.fixed.v1": UploadJudged,
    "pixtune.image.rejected.v1": UploadJudged,
    "pixtune.annotations.accepted.v1": UploadJudged,
    "pixtune.annotations.rejected.v1": UploadJudged,
    "pixtune.example.ready.v1": ExampleChanged,
    "pixtune.example.held.v1": ExampleChanged,
    "pixtune.example.waiting.v1": ExampleChanged,
    "pixtune.example.deleted.v1": ExampleChanged,
    "pixtune.dataset.published.v1": DatasetPublished,
    "pixtune.run.requested.v1": RunChanged,
    "pixtune.run.started.v1": RunChanged,
    "pixtune.run.succeeded.v1": RunChanged,
    "pixtune.run.failed.v1": RunChanged,
    "pixtune.run.cancelled.v1": RunChanged,
    "pixtune.run.joined.v1": RunChanged,
    "pixtune.run.approval_requested.v1": ApprovalRequested,
    "pixtune.run.stuck.v1": RunStuck,
    "pixtune.checkpoint.recorded.v1": CheckpointRecorded,
    "pixtune.model.promoted.v1": AliasMoved,
    "pixtune.model.rolled_back.v1": AliasMoved,
    "pixtune.model.retiring.v1": ModelRetiring,
    REQUESTED: TrainingWish,
}
"""Event type -> the class of its data. The last one is not ours to send: it is what others ask with."""
