"""What callers may send, as pydantic models: JSON bodies in, checked values out; unknown fields are refused."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from pixtune.keys import DATASET, READY_MARKER, is_junk
from pixtune.training.order import TrainingWish
from pixtune.training.run import Hyperparameters

MAX_UPLOAD_BYTES = 50 * 1024 * 1024
_KEY_BYTES = 1024  # S3's limit on a whole key; the dataset and its slash take up to 64 of them
_METADATA_BYTES = 2048  # S3's limit on all user metadata of an object
Dataset = Annotated[str, StringConstraints(pattern=f"^{DATASET.pattern}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


class UploadMetadata(_Body):
    """An annotation that travels with the picture, as `x-amz-meta-pixtune-*`. label: short for an answer."""

    prompt: str | None = Field(default=None, min_length=1)
    answer: str | None = Field(default=None, min_length=1)
    label: str | None = Field(default=None, min_length=1)
    split: Annotated[str, StringConstraints(pattern="^(train|validation|test)$")] | None = None

    def fields(self) -> dict[str, str]:
        """The form fields, safe as headers: S3 answers other text as RFC 2047 words, so it is sent as such."""
        return {
            f"x-amz-meta-pixtune-{name}": _as_header(value)
            for name, value in self.model_dump(exclude_none=True).items()
        }


def _as_header(text: str) -> str:
    if text.isascii() and text.isprintable() and text == text.strip() and "=?" not in text:
        return text
    return f"=?utf-8?b?{b64encode(text.encode()).decode()}?="


class UploadBody(_Body):
    """filename: where the file goes within the dataset; it may have folders."""

    filename: str = Field(min_length=1)
    content_type: str | None = Field(default=None, pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=100)
    size: int | None = Field(default=None, ge=1, le=MAX_UPLOAD_BYTES)
    metadata: UploadMetadata = UploadMetadata()

    @field_validator("filename")
    @classmethod
    def _is_a_key(cls, filename: str) -> str:
        segments = filename.split("/")
        if any(segment in ("", ".", "..") for segment in segments):
            raise ValueError("must be a relative path without empty, '.' or '..' folders, such as cats/1.jpg")
        if any(ord(character) < 32 or ord(character) == 127 for character in filename):
            raise ValueError("must not have control characters")
        if len(filename.encode()) > _KEY_BYTES - 64:
            raise ValueError(f"must not have more than {_KEY_BYTES - 64} bytes")
        if segments[-1] == READY_MARKER:
            raise ValueError(f"{READY_MARKER} starts a run; use POST /v1/runs")
        if is_junk(filename):
            raise ValueError("is a file an operating system leaves behind; it would be rejected")
        return filename

    @field_validator("metadata")
    @classmethod
    def _fits_in_headers(cls, metadata: UploadMetadata) -> UploadMetadata:
        fields = metadata.fields().items()
        weight = sum(len(name.removeprefix("x-amz-meta-")) + len(value) for name, value in fields)
        if weight > _METADATA_BYTES:
            raise ValueError(f"has {weight} bytes, S3 takes {_METADATA_BYTES}; upload a sidecar file instead")
        return metadata


class HyperparametersBody(_Body):
    n_epochs: int | None = Field(default=None, ge=1, le=50)
    batch_size: int | None = Field(default=None, ge=1, le=256)
    learning_rate_multiplier: float | None = Field(default=None, gt=0, le=100)


class RunBody(_Body):
    """provider, base_model: left out, the dataset's own, else the deployment's. again: train even though the same
    training was done before. version: train this published version and cut none. max_usd, approval_above_usd,
    accept_retirement: as in training.run.Terms."""

    dataset: Dataset
    provider: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    base_model: str | None = Field(default=None, min_length=1, max_length=256)
    hyperparameters: HyperparametersBody = HyperparametersBody()
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    again: bool = False
    version: int | None = Field(default=None, ge=1)
    max_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    approval_above_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    accept_retirement: bool = False

    def wish(self) -> TrainingWish:
        return TrainingWish(
            self.dataset,
            self.provider,
            self.base_model,
            Hyperparameters(**self.hyperparameters.model_dump()),
            self.seed,
            self.again,
            self.version,
            self.max_usd,
            self.approval_above_usd,
            self.accept_retirement,
        )


class EstimateBody(_Body):
    """version: a published one; left out, the dataset as it is now. The others as in training.quote.Asked."""

    dataset: Dataset
    version: int | None = Field(default=None, ge=1)
    provider: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    base_model: str | None = Field(default=None, min_length=1, max_length=256)
    n_epochs: int | None = Field(default=None, ge=1, le=50)
    detail: Annotated[str, StringConstraints(pattern="^(low|high)$")] | None = None
    requests_per_day: float = Field(default=0, ge=0, le=1e9, allow_inf_nan=False)


class DecisionBody(_Body):
    """why: what is said with an approval or a denial."""

    why: str = Field(default="", max_length=500)


class MoveBody(_Body):
    """reason: why, for the history."""

    reason: str = Field(default="", max_length=500)


class PromoteBody(MoveBody):
    """Either a model version, or a kept checkpoint of a run, which becomes one."""

    model_version: int | None = Field(default=None, ge=1)
    run_id: str | None = Field(default=None, min_length=1, max_length=100)
    step: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_one_model(self) -> PromoteBody:
        if (self.model_version is None) is (self.run_id is None) or (self.run_id is None) is not (self.step is None):
            raise ValueError("must have either model_version, or run_id and step")
        return self
