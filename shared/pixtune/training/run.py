"""A training run: our record of one training, its settings and what is known of it so far. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pixtune.examples.rows import canonical


class RunStatus(StrEnum):
    """JOINED: another run already does, or did, exactly this training; `joined` names it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    JOINED = "joined"

    @property
    def ended(self) -> bool:
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """None: the provider's own default."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012  # read by pydantic at the doors

    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a training may be paid for; nothing here changes what is trained.

    max_usd: what it may cost at most, by the high end of its estimate. approval_above_usd: from this estimate on a
    person has to approve it. A deployment's own limits count as well, whichever is stricter. accept_retirement: train
    even though the base model stops answering soon.
    """

    max_usd: float | None = None
    approval_above_usd: float | None = None
    accept_retirement: bool = False


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What to train, as asked for. again: train even though the same training was done before.

    defaulted: of provider and base_model those that the request left open; what stands there is the deployment's
    default, and the dataset's own settings may still decide otherwise when its version is published.
    version: the published version to train; None: the dataset as it is when the run publishes it.
    """

    provider: str
    base_model: str
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    seed: int | None = None
    again: bool = False
    nonce: str = ""  # with `again`: what makes this training another one (the request's key)
    defaulted: tuple[str, ...] = ()
    version: int | None = None
    terms: Terms = field(default_factory=Terms)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingSettings:
        read = {
            "hyperparameters": Hyperparameters(**data["hyperparameters"]),
            "defaulted": tuple(data.get("defaulted", ())),
            "terms": Terms(**data.get("terms", {})),
        }
        return cls(**{**data, **read})

    def decided(
        self, provider: str | None, base_model: str | None, default: Callable[[str], str]
    ) -> TrainingSettings:
        """With what was left open filled in from a dataset's own settings. default: a provider's base model.

        A base model counts for the provider it was chosen for only.
        """
        chosen = provider if provider and "provider" in self.defaulted else self.provider
        model = self.base_model
        if "base_model" in self.defaulted:
            own = base_model if chosen == (provider or self.provider) else None
            model = own or (default(chosen) if chosen != self.provider else self.base_model)
        return replace(self, provider=chosen, base_model=model, defaulted=())

    def digest(self) -> str:
        """Equal settings, equal digest (32 hex digits)."""
        told = self.to_json()
        for name, default in (("version", None), ("terms", asdict(Terms()))):
            if told[name] == default:  # these came later, and must not make other trainings of earlier ones
                del told[name]
        return sha256(canonical(told).encode()).hexdigest()[:32]


def training_id(version_digest: str, settings: TrainingSettings) -> str:
    """What is trained on what, and how: version digest, provider, base model, hyperparameters, seed."""
    # Who decided, how the version was named and who pays make no difference to what is trained.
    told = replace(settings, defaulted=(), version=None, terms=Terms()).digest()
    return "trn_" + sha256(f"{version_digest}\n{told}".encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed. code: stable (an error class's `code`); cause: what happened; fix: what to do."""

    code: str
    cause: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One training run. Times are Unix seconds (float); digests hex; money in US dollars.

    requested_at: when the newest of the requests it serves came; uploads up to then are awaited.
    stage: the state-machine state it was last seen in. fence: rises with every launch attempt; writes about the
    launch are conditional on it. deadline_at: set by the first launch of an attempt, 0 before.
    intent_at: when a create was last about to be sent; set and no provider_job_id means the outcome is unknown.
    provider_status: the provider job's state when last asked, as a `JobState` value.
    files: "training" / "validation" -> the provider's file id. uploads: the same -> a file on its way there in parts
    (a `files.OpenUpload` as JSON).
    steps: checkpoints to evaluate, 0 being the base model. estimate: tokens and cost, low, mid, high.
    reenqueued_at: when SettleUploads last sent uploads again.
    turn, task_token: the polling turn that waits now. promotion: what promote_model decided and why.
    observed_at: when the newest answer about the job that counts was asked for. heard_at: up to when the provider's
    own events are stored. waiting_since: since when the job has been seen to wait in the provider's queue; stuck_at:
    when that was found to be too long. asked: "pause" or "unpause", until a polling turn has done it.
    untidy: ended, and files or deployed models of it may still lie at the provider.
    reserved_attempt: the last attempt that reserved the training, and so charged what it was about to start.
    approval, approval_token: whether a person lets it be paid for (training.approval), and the task that waits.
    reconciled: the provider's bill beside the estimate (training.reconcile).
    """

    run_id: str
    dataset: str
    settings: TrainingSettings
    requested_at: float
    door: str  # "api", "event" or "marker"
    request_key: str
    attempt: int = 1
    status: RunStatus = RunStatus.QUEUED
    stage: str = "Requested"
    deadline_at: float = 0.0
    reenqueued_at: float | None = None
    version: int | None = None
    version_digest: str | None = None
    manifest_key: str | None = None
    training_id: str | None = None
    reserved_attempt: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fence: int = 0
    intent_at: float | None = None
    provider_job_id: str | None = None
    provider_status: str | None = None
    trained_tokens: int | None = None
    joined: str | None = None
    steps: tuple[int, ...] = ()
    chosen_step: int | None = None
    model_version: int | None = None
    promotion: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    report_key: str | None = None
    turn: int = 0
    task_token: str | None = None
    failure: Failure | None = None
    ended_at: float | None = None
    observed_at: float = 0.0
    heard_at: float = 0.0
    waiting_since: float | None = None
    stuck_at: float | None = None
    asked: str | None = None
    untidy: bool = False
    approval: Mapping[str, Any] | None = None
    approval_token: str | None = None
    reconciled: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "settings": self.settings.to_json(),
            "status": self.status.value,
            "files": dict(self.files),
            "uploads": {purpose: dict(upload) for purpose, upload in self.uploads.items()},
            "steps": list(self.steps),
            "failure": asdict(self.failure) if self.failure else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        """Unknown names are left out, so that an item may carry keys of its own."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["settings"] = TrainingSettings.from_json(values["settings"])
        values["status"] = RunStatus(values["status"])
        values["steps"] = tuple(values.get("steps") or ())
        if values.get("failure"):
            values["failure"] = Failure(**values["failure"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model saved on the way. step 0 is the untrained base model, kept here to be evaluated like the others.

    metrics: OpenAI's metric names (train_loss, valid_loss, full_valid_loss, ...); any may be missing.
    score: share of test examples answered exactly, 0 to 1; None before it is evaluated.
    evaluation_key: where the answers and slice scores lie in the artifacts bucket.
    activated: the provider was asked to let it answer, and not yet to take it down: it may bill.
    kept: whether it can be returned to, with kept_because; None before that is decided, at the end of its run.
    """

    run_id: str
    step: int
    model_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    evaluation_key: str | None = None
    activated: bool = False
    kept: bool | None = None
    kept_because: str = ""

    def to_json(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something a person following the run wants to know. name: stable, in kebab-case; at: Unix seconds.

    level: info, warn or error. id: the provider's own, where it said so: storing it again changes nothing.
    """

    at: float
    name: str
    text: str
    level: str = "info"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Which run a door's key got. body_hash: of what was asked; shared: the run was there already."""

    door: str
    key: str
    run_id: str
    body_hash: str
    shared: bool


@dataclass(frozen=True, slots=True)
class Charge:
    """What a training takes out of a budget when it is reserved: dollars, of `limit` (None: of any sum) for `month`
    (2026-11)."""

    month: str
    dollars: float
    limit: float | None


def open_to_requests(changes: Mapping[str, Any]) -> bool:
    """Whether a run changed so may still take in further requests for the same dataset and settings.

    It may until its version is being cut: what is dropped later would not be in it.
    """
    return (
        changes.get("version") is None
        and changes.get("stage", "Requested") in ("Requested", "SettleUploads")
        and not RunStatus(changes.get("status", RunStatus.QUEUED)).ended
    )
