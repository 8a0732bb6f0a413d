"""What the examples table holds about an upload and about an example: items in, values out, and back. No IO.

What a digest covers is stored as the text that was hashed: a table may write the number 1.0 as 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from pixtune.events.s3 import Generation
from pixtune.examples.annotation import Annotation
from pixtune.examples.facts import ImageData
from pixtune.examples.rows import canonical
from pixtune.verdicts import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class UploadItem:
    """One upload. kind: `image`, `file` (an annotation file) or `object` (what an image's metadata say).

    version_id, sequencer: the generation it shows; both empty while only a lifecycle rule has spoken. archived: the
    sequencer of a lifecycle rule's delete marker. rows: examples a source speaks about. annotated: the image carries
    metadata that are a source. reading, stems, resolved, because, settings: as in SourceFact.
    """

    kind: str
    dataset: str
    key: str
    version_id: str = ""
    sequencer: str = ""
    deleted: bool = False
    archived: str = ""
    size: int = 0
    verdict: Verdict | None = None
    image: ImageData | None = None
    annotated: bool = False
    rows: int = 0
    reading: str = ""
    stems: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    because: str = ""
    settings: Mapping[str, Any] | None = None
    v: int = 0

    @property
    def generation(self) -> Generation:
        return Generation(self.version_id, self.sequencer)

    @property
    def live(self) -> bool:
        """Whether the upload exists (or a lifecycle rule alone has removed it, which changes no example)."""
        return bool(self.version_id) and not self.deleted

    @property
    def is_archived(self) -> bool:
        return self.archived > self.sequencer

    @property
    def token(self) -> str:
        """What differs whenever what is known of the upload does; empty when it does not exist."""
        if not self.live:
            return ""
        made_by = self.reading if self.kind != "image" else self.image.recipe if self.image else ""
        return f"{self.version_id}~{made_by}"

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "verdict": self.verdict.to_json() if self.verdict else None,
            "image": canonical(self.image.to_json()) if self.image else None,
            "stems": list(self.stems),
            "resolved": list(self.resolved),
            "settings": canonical(dict(self.settings)) if self.settings is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UploadItem:
        values = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        values["verdict"] = Verdict.from_json(data["verdict"]) if data["verdict"] else None
        values["image"] = ImageData.from_json(json.loads(data["image"])) if data["image"] else None
        values["stems"], values["resolved"] = tuple(data["stems"]), tuple(data["resolved"])
        values["settings"] = json.loads(data["settings"]) if data["settings"] else None
        return cls(**values)

    @property
    def rejected(self) -> bool:
        return self.verdict is not None and self.verdict.outcome is Outcome.REJECTED


class State(StrEnum):
    """READY: it has a row. WAITING: for an image. HELD: its sources disagree. DELETED: no source speaks of it."""

    READY = "ready"
    WAITING = "waiting"
    HELD = "held"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Slot:
    """What one source said about an example, and at which generation. No annotation: it took it back."""

    type: str
    key: str
    version_id: str
    order: str
    reading: str
    images: tuple[str, ...]
    annotations: tuple[Annotation, ...]
    where: str

    @property
    def token(self) -> str:
        return f"{self.version_id}~{self.reading}"

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "images": list(self.images),
            "annotations": canonical([annotation.to_json() for annotation in self.annotations]),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        values = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        values["images"] = tuple(data["images"])
        values["annotations"] = tuple(Annotation.from_json(said) for said in json.loads(data["annotations"]))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ExampleItem:
    """One example. slots: by source id. seen: sort key -> token of each image and source as last reconciled.

    For people: waiting_for has {"key", "reason"} for each missing image, conflict has {"key", "where", "reason",
    "images", "says"} for each source. line: its current row or tombstone as one line of JSONL, empty while it never
    was ready. digest: of that row; revision: rises when the digest does.
    """

    dataset: str
    example_id: str
    slots: Mapping[str, Slot] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)
    state: State = State.DELETED
    waiting_for: tuple[Mapping[str, str], ...] = ()
    conflict: tuple[Mapping[str, str], ...] = ()
    line: str = ""
    digest: str = ""
    revision: int = 0
    v: int = 0

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "slots": {name: slot.to_json() for name, slot in self.slots.items()},
            "seen": dict(self.seen),
            "state": self.state.value,
            "waiting_for": [dict(entry) for entry in self.waiting_for],
            "conflict": [dict(entry) for entry in self.conflict],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExampleItem:
        """Only `slots` and `state` must be there."""
        values = {item.name: data[item.name] for item in fields(cls) if item.name in data}
        values["slots"] = {name: Slot.from_json(slot) for name, slot in data["slots"].items()}
        values["state"] = State(data["state"])
        values["waiting_for"] = tuple(data.get("waiting_for", ()))
        values["conflict"] = tuple(data.get("conflict", ()))
        return cls(**values)
