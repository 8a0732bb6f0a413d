"""Announcing what was stored: changes of table items in, CloudEvents on the bus out.

The tables' streams are the outbox: what is not stored is not announced, and what is stored is announced at least
once, under the same ids each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pixtune.events.announced import (
    AliasMoved,
    ApprovalRequested,
    CheckpointRecorded,
    DatasetPublished,
    ExampleChanged,
    ModelRetiring,
    RunChanged,
    RunFailed,
    RunStuck,
    UploadJudged,
    Warned,
)
from pixtune.events.cloud_events import CloudEvent
from pixtune.examples.items import ExampleItem, State, UploadItem
from pixtune.registry.models import AliasMove, Retiring
from pixtune.training.run import Checkpoint, Run, RunStatus

Item = Mapping[str, Any]
"""A table's item as plain JSON values."""

Said = list[tuple[str, str, Any]]
"""Event type, subject, and an instance of the class that `announced.DATA` names for the type."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One record of a table's stream. id: the same however often it is delivered. position: its sequence number.
    at: Unix seconds. old, new: the item before and after; None: there was none, or is none any more."""

    id: str
    position: str
    at: float
    old: Item | None
    new: Item | None


@dataclass(frozen=True, slots=True)
class Announced:
    """events: how many were published. stuck_at: position of the first change that cannot be read, with its error;
    nothing from there on was published."""

    events: int
    stuck_at: str | None = None
    error: Exception | None = None


class Publisher(Protocol):
    """A bus. Raises unless every event was taken."""

    def publish(self, events: Sequence[CloudEvent]) -> None: ...


def announce(changes: Iterable[ItemChange], bus: Publisher) -> Announced:
    """Publish what the changes mean, in their order. What `bus` raises goes through: the whole batch comes again.

    A change that cannot be read (a fault of ours) stops the batch there, so that it is retried alone, ends in the
    dead-letter queue, and holds up nothing before it.
    """
    events: list[CloudEvent] = []
    stuck: tuple[str, Exception] | None = None
    for change in changes:
        try:
            events += events_for(change)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one item, the others must not wait for it
            stuck = (change.position, error)
            break
    bus.publish(events)
    return Announced(len(events), *(stuck or ()))


def events_for(change: ItemChange) -> list[CloudEvent]:
    """What a change of an item means to others: none, one or several events. Pure."""
    if change.new is None:
        return []
    for prefix, meaning in _MEANINGS.items():
        if change.new["sk"].startswith(prefix):
            said = meaning(change.old, change.new)
            return [
                CloudEvent(f"{change.id}-{number}", event_type, subject, change.at, asdict(data))
                for number, (event_type, subject, data) in enumerate(said)
            ]
    return []


def _run(old: Item | None, new: Item) -> Said:
    return _status(old, new) + _stuck(old, new) + _approval(old, new)


def _approval(old: Item | None, new: Item) -> Said:
    approval = new.get("approval")
    if not approval or approval["state"] != "asked" or (old or {}).get("approval") == approval:
        return []
    run = Run.from_json(new)
    dollars = (run.estimate or {}).get("usd") or {}
    data = ApprovalRequested(
        run_id=run.run_id,
        dataset=run.dataset,
        attempt=run.attempt,
        provider=run.settings.provider,
        base_model=run.settings.base_model,
        version=run.version,
        usd_low=dollars.get("low"),
        usd_mid=dollars.get("mid"),
        usd_high=approval["usd"],
    )
    return [("pixtune.run.approval_requested.v1", f"run/{run.run_id}", data)]


def _stuck(old: Item | None, new: Item) -> Said:
    if old is None or old.get("stuck_at") or not new.get("stuck_at"):
        return []
    run = Run.from_json(new)
    data = RunStuck(
        run_id=run.run_id,
        dataset=run.dataset,
        attempt=run.attempt,
        provider=run.settings.provider,
        base_model=run.settings.base_model,
        provider_job_id=run.provider_job_id,
        provider_status=run.provider_status,
        waited_seconds=round((run.stuck_at or 0.0) - (run.waiting_since or 0.0)),
    )
    return [("pixtune.run.stuck.v1", f"run/{run.run_id}", data)]


def _status(old: Item | None, new: Item) -> Said:
    if old is not None and (old["status"], old["attempt"]) == (new["status"], new["attempt"]):
        return []
    run = Run.from_json(new)
    failure = RunFailed(run.failure.code, run.failure.cause, run.failure.fix) if run.failure else None
    data = RunChanged(
        run_id=run.run_id,
        dataset=run.dataset,
        status=run.status.value,
        attempt=run.attempt,
        door=run.door,
        provider=run.settings.provider,
        base_model=run.settings.base_model,
        version=run.version,
        provider_job_id=run.provider_job_id,
        joined=run.joined,
        model_version=run.model_version,
        failure=failure,
    )
    return [(f"pixtune.run.{_RUN_WORDS[run.status]}.v1", f"run/{run.run_id}", data)]


_RUN_WORDS = {status: status.value for status in RunStatus} | {
    RunStatus.QUEUED: "requested",
    RunStatus.RUNNING: "started",
}


def _checkpoint(old: Item | None, new: Item) -> Said:
    point = Checkpoint.from_json(new)
    if old is not None or point.step == 0:  # step 0 is the base model, which nobody saved
        return []
    data = CheckpointRecorded(point.run_id, point.step, point.model_id, point.metrics)
    return [("pixtune.checkpoint.recorded.v1", f"run/{point.run_id}", data)]


def _upload(old: Item | None, new: Item) -> Said:
    before, upload = UploadItem.from_json(old) if old else None, UploadItem.from_json(new)
    verdict = upload.verdict
    seen = before is not None and (before.version_id, before.verdict) == (upload.version_id, verdict)
    if verdict is None or not upload.live or seen or upload.kind == "object":
        return []
    image = upload.image
    data = UploadJudged(
        dataset=upload.dataset,
        key=upload.key,
        version_id=upload.version_id,
        verdict=verdict.outcome.value,
        code=verdict.code.value,
        detail=verdict.detail,
        fix=verdict.fix,
        warnings=tuple(Warned(note.code.value, note.detail) for note in verdict.warnings),
        sha256=image.sha256 if image else None,
        width=image.width if image else None,
        height=image.height if image else None,
        rows=upload.rows if upload.kind == "file" else None,
    )
    noun = "annotations" if upload.kind == "file" else "image"
    return [(f"pixtune.{noun}.{verdict.outcome.value}.v1", f"dataset/{upload.dataset}/upload/{upload.key}", data)]


def _example(old: Item | None, new: Item) -> Said:
    before, example = ExampleItem.from_json(old) if old else None, ExampleItem.from_json(new)
    if before is not None and (before.state, before.revision) == (example.state, example.revision):
        return []
    if before is None and example.state is State.DELETED:
        return []  # a tombstone for what never was
    reasons = example.conflict if example.state is State.HELD else example.waiting_for
    data = ExampleChanged(
        dataset=example.dataset,
        example_id=example.example_id,
        state=example.state.value,
        revision=example.revision,
        images=tuple(dict.fromkeys(key for slot in example.slots.values() for key in slot.images)),
        reason="; ".join(f"{entry['key']}: {entry['reason']}" for entry in reasons),
    )
    subject = f"dataset/{example.dataset}/example/{example.example_id}"
    return [(f"pixtune.example.{example.state.value}.v1", subject, data)]


def _version(old: Item | None, new: Item) -> Said:
    # A version gets its number first; it is published when its manifest lies there.
    if "manifest_key" not in new or (old is not None and "manifest_key" in old):
        return []
    data = DatasetPublished(
        dataset=new["dataset"],
        version=new["version"],
        digest=new["digest"],
        counts=new["counts"],
        manifest_key=new["manifest_key"],
    )
    return [("pixtune.dataset.published.v1", f"dataset/{data.dataset}", data)]


def _alias(old: Item | None, new: Item) -> Said:
    if old is not None:
        return []
    move = AliasMove.from_json(new)
    data = AliasMoved(
        dataset=move.dataset,
        alias=move.alias,
        alias_version=move.alias_version,
        model_version=move.model_version,
        previous=move.previous,
        reason=move.reason,
        by=move.by,
        run_id=move.run_id,
    )
    word = "promoted" if move.returns_to is None else "rolled_back"
    return [(f"pixtune.model.{word}.v1", f"dataset/{move.dataset}/alias/{move.alias}", data)]


def _retiring(old: Item | None, new: Item) -> Said:
    if old is not None:
        return []
    data = ModelRetiring(**Retiring.from_json(new).to_json() | {"instead": tuple(new["instead"])})
    return [("pixtune.model.retiring.v1", f"dataset/{data.dataset}/alias/{data.alias}", data)]


# Which items mean something to others, by the beginning of their sort key.
_MEANINGS: Mapping[str, Callable[[Item | None, Item], Said]] = {
    "IMAGE#": _upload,
    "SOURCE#": _upload,
    "EXAMPLE#": _example,
    "VERSION#": _version,
    "RUN": _run,
    "CHECKPOINT#": _checkpoint,
    "HISTORY#": _alias,
    "RETIRING#": _retiring,
}
