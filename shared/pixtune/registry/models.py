"""Model versions, the moves of their aliases, and warnings of their end. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A usable model of a dataset, with all that made it.

    number: 1, 2, ... within the dataset; 0 until it is registered. step: the checkpoint of its run. version,
    version_digest, manifest_key: what it was trained on. recipe: how pictures are to be prepared for it. score: share
    of test examples answered exactly, None where there was no test split. retires_on: ISO date from which the base
    model, and so this one, answers no more. created_at: Unix seconds.
    """

    dataset: str
    number: int
    run_id: str
    step: int
    provider: str
    base_model: str
    model_id: str
    version: int
    version_digest: str
    manifest_key: str
    recipe: str
    created_at: float
    score: float | None = None
    evaluation_key: str | None = None
    retires_on: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelVersion:
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One entry of an alias's history; the last one says what the alias names now.

    alias_version: 1, 2, ... without gaps. model_version: the model it names from here on; previous: the one before.
    by: who moved it. run_id: the run whose outcome it is, if any. returns_to: the alias version that a roll back
    brought back, None for a promotion. moved_at: Unix seconds.
    """

    dataset: str
    alias: str
    alias_version: int
    model_version: int
    previous: int | None
    reason: str
    by: str
    moved_at: float
    run_id: str | None = None
    returns_to: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AliasMove:
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True)
class Retiring:
    """An alias whose model answers no more from `retires_on` (ISO date) on, in `days_left` days. instead: providers
    and base models whose limits the model's dataset version keeps as it is; `pixtune run start {dataset}@{version}
    --provider ...` trains it there, on the same splits."""

    dataset: str
    alias: str
    model_version: int
    version: int
    provider: str
    base_model: str
    retires_on: str
    days_left: int
    instead: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"instead": list(self.instead)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Retiring:
        values = {name: data[name] for name in cls.__slots__}
        return cls(**values | {"instead": tuple(data["instead"])})
