"""Promoting and rolling back: an alias and a target in, one more entry of its history out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from pixtune.errors import AliasConflict, AliasRefused, UnknownModel
from pixtune.registry.models import AliasMove, ModelVersion
from pixtune.registry.ports import Models

ALIAS = re.compile(r"[a-z][a-z0-9-]{0,39}")

Ready = Callable[[ModelVersion], None]
"""Raises while an alias must not name the model, because it does not answer yet."""


def answers(_model: ModelVersion) -> None:
    """For a model that was just asked."""


def promote(
    models: Models,
    dataset: str,
    alias: str,
    number: int,
    *,
    expected: int | None,
    by: str,
    reason: str,
    at: float,
    run_id: str | None = None,
    ready: Ready = answers,
) -> AliasMove:
    """Let the alias name this model version. expected: the alias version the caller has seen (0: no such alias).

    None takes whatever is there. Raises AliasConflict when it is another one, UnknownModel, or AliasRefused when the
    name is none, the model has retired, or the alias names it already; and what `ready` raises.
    """
    if not ALIAS.fullmatch(alias):
        raise AliasRefused(
            f"{alias!r} is no alias.", "Use up to 40 lower-case letters, digits and hyphens, a letter first."
        )
    present = _seen(models, dataset, alias, expected)
    model = models.model(dataset, number)
    if model is None:
        raise UnknownModel(dataset, number)
    if present and present.model_version == number:
        raise AliasRefused(f"{alias} of {dataset} names model version {number} already.", "Nothing is to be done.")
    if model.retires_on and datetime.fromtimestamp(at, UTC).date().isoformat() >= model.retires_on:
        raise AliasRefused(
            f"Model version {number} of {dataset} retired on {model.retires_on}.",
            "Train the dataset on another base model.",
        )
    ready(model)
    return _move(models, present, AliasMove(dataset, alias, 0, number, None, reason, by, at, run_id))


def roll_back(
    models: Models,
    dataset: str,
    alias: str,
    *,
    expected: int | None,
    by: str,
    at: float,
    reason: str = "",
    ready: Ready = answers,
) -> AliasMove:
    """Let the alias name again what it named before; a second roll back goes one further back.

    Raises AliasConflict as `promote` does, AliasRefused when there is nothing earlier, and what `ready` raises.
    """
    present = _seen(models, dataset, alias, expected)
    stood = {move.alias_version: move for move in models.history(dataset, alias)}
    # What was brought back by an earlier roll back counts as standing where it first stood.
    here = (present.returns_to or present.alias_version) if present else 0
    before = stood.get(here - 1)
    if present is None or before is None:
        raise AliasRefused(
            f"{alias} of {dataset} has nothing earlier to return to.", "Promote a model version instead."
        )
    if model := models.model(dataset, before.model_version):
        ready(model)
    target = before.returns_to or before.alias_version
    told = reason or f"rolled back to alias version {target}, model version {before.model_version}"
    move = AliasMove(dataset, alias, 0, before.model_version, None, told, by, at, returns_to=target)
    return _move(models, present, move)


def _seen(models: Models, dataset: str, alias: str, expected: int | None) -> AliasMove | None:
    present = models.alias(dataset, alias)
    version = present.alias_version if present else 0
    if expected is not None and expected != version:
        raise AliasConflict(dataset, alias, version)
    return present


def _move(models: Models, present: AliasMove | None, move: AliasMove) -> AliasMove:
    placed = replace(
        move,
        alias_version=present.alias_version + 1 if present else 1,
        previous=present.model_version if present else None,
    )
    models.move(placed)
    return placed
