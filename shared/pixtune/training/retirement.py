"""How long a model would answer: a base model's dates in; whether training it is worth paying for, and what else the
same version could be trained on, out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.limits import Limits, ProviderSpec
from pixtune.providers.readiness import Problem, breaches
from pixtune.training.run import TrainingSettings


def too_short_lived(
    spec: ProviderSpec, today: date, least_days: int, accepted: bool, instead: Sequence[str]
) -> Iterator[Problem]:
    """A problem when a model trained today would answer for fewer days than a deployment asks for, unless whoever
    asks accepts that. instead: what the version could be trained on otherwise."""
    if spec.answer_until is None or accepted:
        return
    left = (spec.answer_until - today).days
    if 0 < left < least_days:  # on the day itself and later, the dates are a problem that nobody can accept
        others = f" This version keeps the limits of {', '.join(instead)}." if instead else ""
        yield Problem(
            f"{spec.provider}/{spec.base_model}",
            "answer_until",
            f"{spec.answer_until.isoformat()}, in {left} days",
            f"{least_days} days or more from {today.isoformat()}",
            f"Train elsewhere, or accept it (`--accept-retirement`, accept_retirement).{others}",
        )


def satisfied(
    splits: Mapping[str, Sequence[Row]], settings: DatasetSettings, limits: Limits, today: date, least_days: int
) -> list[str]:
    """The providers and base models ("provider/base_model") that this version could be trained on as it is, where a
    job can be launched and a model would answer for `least_days` or more. Which of them this deployment has keys for
    is not looked at."""
    found = []
    for (provider, base_model), spec in limits.specs.items():
        asked = TrainingSettings(provider, base_model)
        lives = spec.answer_until is None or (spec.answer_until - today).days >= least_days
        if spec.adapter and lives and next(breaches(splits, settings, asked, spec, today), None) is None:
            found.append(f"{provider}/{base_model}")
    return found
