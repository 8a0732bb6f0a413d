"""`dataset.toml`, a dataset's settings: its text in, the settings or every problem with them out."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from pixtune.annotations.reading import Reading
from pixtune.compliance import own_checks as own_checks  # registers them
from pixtune.compliance.own import OWN_CHECKS
from pixtune.images.recipe import Recipe
from pixtune.images.steps import Parameter
from pixtune.keys import SETTINGS_FILE
from pixtune.verdicts import IMAGE_WARNINGS, Code, rejected

_LAYOUT = "dataset settings"
_Warning = Annotated[str, StringConstraints(pattern=f"^({'|'.join(IMAGE_WARNINGS)})$")]


_Level = Literal["off", "warn", "refuse"]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Compliance(BaseModel):
    """The names of compliance.policy.CompliancePolicy; a test holds the two together."""

    model_config = ConfigDict(strict=True, extra="forbid")
    licence: _Level = "off"
    privacy: _Level = "warn"
    content: _Level = "off"
    skips: _Level = "off"
    required_fields: list[_Name] = Field(["license", "source"], max_length=20)
    allowed_licences: list[_Name] = Field([], max_length=100)
    national_ids: list[Literal["es", "fr", "us"]] = []
    own: dict[str, _Level] = {}

    @field_validator("own")
    @classmethod
    def _are_registered(cls, own: dict[str, _Level]) -> dict[str, _Level]:
        if unknown := sorted(own.keys() - OWN_CHECKS.keys()):
            raise ValueError(f"no such checks: {', '.join(unknown)}; registered are {', '.join(sorted(OWN_CHECKS))}")
        return own


class _Checkpoints(BaseModel):
    """The names of evaluation.retention.RetentionPolicy; a test holds the two together."""

    model_config = ConfigDict(strict=True, extra="forbid")
    keep_least: int = Field(3, ge=1, le=5)
    keep_most: int = Field(5, ge=1, le=5)
    min_gain: float = Field(0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> _Checkpoints:
        if self.keep_least > self.keep_most:
            raise ValueError(f"keep_least is {self.keep_least}, more than keep_most, which is {self.keep_most}")
        return self


class _Settings(BaseModel):
    """The names of datasets.version.DatasetSettings; a test holds the two together."""

    model_config = ConfigDict(strict=True, extra="forbid")
    system: str | None = Field(None, min_length=1, max_length=20_000)
    prompt: str | None = Field(None, min_length=1, max_length=20_000)
    detail: Literal["high", "low"] = "high"
    provider: str | None = Field(None, pattern=r"[a-z0-9-]{1,40}")
    base_model: str | None = Field(None, min_length=1, max_length=200)
    validation_share: float = Field(0.1, ge=0, le=0.5)
    test_share: float = Field(0.1, ge=0, le=0.5)
    boxes: Literal["boxes-json-1", "classes-1", "count-1"] = "boxes-json-1"
    classes: list[str] = Field([], max_length=10_000)
    class_folders: bool = True
    compliance: _Compliance = _Compliance()
    checkpoints: _Checkpoints = _Checkpoints()
    reject: list[_Warning] = []
    steps: list[str | dict[str, int | float | str | bool]] | None = None

    @field_validator("steps")
    @classmethod
    def _make_a_recipe(
        cls, steps: list[str | dict[str, Parameter]] | None
    ) -> list[str | dict[str, Parameter]] | None:
        if steps is not None:
            Recipe.of(steps)  # its ValueError names every problem
        return steps


def read(key: str, text: str) -> Reading:
    """The settings in the file, those stated only."""
    if key.count("/") != 1:
        where = key.partition("/")[0]
        return _refused(
            f"{key!r} is not in the dataset's own folder.", f"Put it at {where}/{SETTINGS_FILE}: one per dataset."
        )
    try:
        stated = _Settings.model_validate(tomllib.loads(text)).model_dump(exclude_unset=True)
    except tomllib.TOMLDecodeError as error:
        return _refused(f"It is not TOML: {error}.", 'Write lines such as: prompt = "What is this?"')
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        return _refused("; ".join(problems) + ".", f"Known settings: {', '.join(_Settings.model_fields)}.")
    return Reading(_LAYOUT, settings=stated)


def _refused(detail: str, fix: str) -> Reading:
    return Reading(_LAYOUT, refusal=rejected(Code.BAD_SETTINGS, detail, fix))
