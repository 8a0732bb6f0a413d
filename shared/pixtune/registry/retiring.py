"""Which names will stop answering soon: every alias with its model in; those whose base model is about to be switched
off, with what the same dataset version could be trained on instead, out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from pixtune.datasets.reading import read_manifest, read_split
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.limits import Limits
from pixtune.providers.port import TrainingProvider
from pixtune.registry.models import AliasMove, ModelVersion, Retiring
from pixtune.training.ports import ArtifactStore
from pixtune.training.retirement import satisfied


class Aliases(Protocol):
    """What the check reads and keeps; `aws.models_table` implements it."""

    def every_alias(self) -> Iterable[AliasMove]:
        """All aliases of all datasets, where they stand."""
        ...

    def model(self, dataset: str, number: int) -> ModelVersion | None: ...

    def warn(self, retiring: Retiring) -> bool:
        """Keep the warning, which announces it; False when one of this alias, model and date is kept already."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """warned: what is announced now. retiring: all that retire within the warning time. soonest: the fewest days that
    any alias has left; None when no date is known of any."""

    warned: Sequence[Retiring]
    retiring: Sequence[Retiring]
    soonest: int | None


def check_retirement(
    models: Aliases,
    artifacts: ArtifactStore,
    connect: Callable[[str, str], TrainingProvider],
    limits: Limits,
    today: date,
    *,
    warn_days: int,
    least_days: int,
) -> Checked:
    """Look at every alias once. The provider's own word counts before the table's, and that before the date the model
    was trained under; a provider that does not answer, or that nobody has a key for, is not waited for. connect: the
    provider of this name, for a base model. warn_days: how long ahead. least_days: how long a model has to answer for
    its provider to be worth naming."""
    told: dict[tuple[str, str], date | None] = {}
    warned, retiring, left = [], [], []
    for move in models.every_alias():
        model = models.model(move.dataset, move.model_version)
        if model is None:
            continue
        base = model.provider, model.base_model
        if base not in told:
            told[base] = _announced(*base, connect, limits)
        day = told[base] or (date.fromisoformat(model.retires_on) if model.retires_on else None)
        if day is None:
            continue
        days = (day - today).days
        left.append(days)
        if days > warn_days:
            continue
        manifest = read_manifest(artifacts, model.manifest_key)
        splits = {split: read_split(artifacts, manifest, split) for split in manifest.files}
        instead = satisfied(splits, manifest.settings, limits, today, least_days)
        found = Retiring(
            move.dataset,
            move.alias,
            model.number,
            model.version,
            model.provider,
            model.base_model,
            day.isoformat(),
            days,
            tuple(name for name in instead if name != "/".join(base)),
        )
        retiring.append(found)
        if models.warn(found):
            warned.append(found)
    return Checked(warned, retiring, min(left, default=None))


def _announced(
    provider: str, base_model: str, connect: Callable[[str, str], TrainingProvider], limits: Limits
) -> date | None:
    try:
        if day := connect(provider, base_model).retires_on(base_model):
            return day
    except (ProviderRefused, ProviderUnavailable):
        pass  # a refusal says nothing of a date, and the table may know one
    spec = limits.specs.get((provider, base_model))
    return spec.answer_until if spec else None
