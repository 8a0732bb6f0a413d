"""A dataset version: a frozen, numbered, content-addressed cut of a dataset, and the settings it was cut under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pixtune.compliance.policy import CompliancePolicy
from pixtune.evaluation.retention import RetentionPolicy


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """What `dataset.toml` (or the API) says; applied when a version is published, never baked into rows.

    system: system text for rows that state none. prompt: asked where an annotation has no question.
    detail: "high" or "low". provider, base_model: None means the deployment's default.
    validation_share, test_share: of the examples that state no split. boxes: id of the task template that makes
    answers of boxes. classes: the order in which it says classes. class_folders: whether an image that nothing else
    speaks for is labelled by its folder. compliance: what is checked before a training. checkpoints: which of a
    run's are kept. reject: warnings of the gate
    whose examples are left out of the version. steps: how pictures are preprocessed, names or tables as
    images.recipe.Recipe.of takes them; None means the standard steps.
    """

    system: str | None = None
    prompt: str | None = None
    detail: str = "high"
    provider: str | None = None
    base_model: str | None = None
    validation_share: float = 0.1
    test_share: float = 0.1
    boxes: str = "boxes-json-1"
    classes: tuple[str, ...] = ()
    class_folders: bool = True
    compliance: CompliancePolicy = field(default_factory=CompliancePolicy)
    checkpoints: RetentionPolicy = field(default_factory=RetentionPolicy)
    reject: tuple[str, ...] = ()
    steps: tuple[str | Mapping[str, Any], ...] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"compliance": self.compliance.to_json(), "checkpoints": self.checkpoints.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetSettings:
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        read = {
            "classes": tuple(values.get("classes", ())),
            "compliance": CompliancePolicy.from_json(data.get("compliance") or {}),
            "checkpoints": RetentionPolicy.from_json(data.get("checkpoints") or {}),
            "reject": tuple(values.get("reject", ())),
            "steps": tuple(values["steps"]) if values.get("steps") is not None else None,
        }
        return cls(**values | read)


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One example of a version. images: SHA-256 of the converted pictures, in order."""

    example_id: str
    revision: int
    digest: str
    split: str
    images: tuple[str, ...]


_ENTRY = tuple(item.name for item in fields(ManifestEntry))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version holds and where. It lies beside the rows as `manifest.json`.

    files: split -> artifacts key of its JSONL (a split without rows has no file). counts: split -> rows.
    recipe: id of the preprocessing recipe, which has to be applied at inference too. repaired: rows the log lacked.
    notes: things a person should know (code and detail), such as components with two stated splits. class_names:
    folder of label files that say numbers -> the names of their classes.
    attribution: each licence, source and author, with the number of its examples (compliance.attribution).
    """

    dataset: str
    version: int
    digest: str
    created_at: float
    settings: DatasetSettings
    recipe: str
    counts: Mapping[str, int]
    files: Mapping[str, str]
    examples: tuple[ManifestEntry, ...]
    repaired: int = 0
    notes: tuple[Mapping[str, str], ...] = field(default_factory=tuple)
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attribution: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)

    @property
    def folder(self) -> str:
        return f"versions/{self.dataset}/{self.version}-{self.digest[:16]}"

    @property
    def key(self) -> str:
        return f"{self.folder}/manifest.json"

    @property
    def card_key(self) -> str:
        """The dataset card for people; `card.json` beside it says the same to programs."""
        return f"{self.folder}/card.html"

    def to_json(self) -> dict[str, Any]:
        entries = [{name: getattr(entry, name) for name in _ENTRY} for entry in self.examples]
        # Not by asdict, which copies every value of every entry.
        return asdict(replace(self, examples=())) | {"examples": entries}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        values = dict(data)
        values["settings"] = DatasetSettings.from_json(values["settings"])
        values["examples"] = tuple(
            ManifestEntry(**(entry | {"images": tuple(entry["images"])})) for entry in values["examples"]
        )
        values["notes"] = tuple(values["notes"])
        values["attribution"] = tuple(values.get("attribution", ()))
        return cls(**values)
