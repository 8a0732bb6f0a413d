"""What a training would cost here and elsewhere, and what its model would cost in use: rows and specs in, offers with
what each cheaper setting saves out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pixtune.costs.bands import ZERO, Band
from pixtune.costs.estimate import Estimate, estimate, question_tokens
from pixtune.costs.tokens import text_band
from pixtune.datasets.version import DatasetSettings
from pixtune.evaluation.sample import sampled
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import question_and_answer
from pixtune.providers.limits import ProviderSpec

DAYS_A_MONTH = 30
_MILLION = 1_000_000
Splits = Mapping[str, Sequence[Row]]
Calibrate = Callable[[Estimate], Estimate]
"""What earlier bills make of an estimate (costs.calibration)."""


@dataclass(frozen=True, slots=True)
class Inference:
    """The model in use: questions like the dataset's own. asked, answered: tokens of one request."""

    requests_per_month: int
    images_per_request: float
    asked: Band
    answered: Band
    usd_per_request: Band | None

    @property
    def usd_per_month(self) -> Band | None:
        return self.usd_per_request * self.requests_per_month if self.usd_per_request else None

    def to_json(self) -> dict[str, Any]:
        return {
            "requests_per_month": self.requests_per_month,
            "images_per_request": round(self.images_per_request, 2),
            "tokens_per_request": (self.asked + self.answered).to_json(),
            "usd_per_1000_requests": self.usd_per_request and (self.usd_per_request * 1000).to_json(4),
            "usd_per_month": self.usd_per_month and self.usd_per_month.to_json(4),
        }


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to train: provider, base model, detail and epochs, with what it costs to train and to use."""

    detail: str
    training: Estimate
    inference: Inference

    def to_json(self) -> dict[str, Any]:
        return {"detail": self.detail, **self.training.to_json(), "inference": self.inference.to_json()}


@dataclass(frozen=True, slots=True)
class Saving:
    """One cheaper setting, everything else as asked. usd: what training then costs (the middle), evaluation included.
    saves, saves_per_month: by how much less training, and a month of use, costs; negative: more."""

    setting: str
    usd: float
    saves: float
    saves_per_month: float

    def to_json(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            "usd": round(self.usd, 4),
            "saves_usd": round(self.saves, 4),
            "saves_usd_per_month": round(self.saves_per_month, 4),
        }


def inference(rows: Sequence[Row], settings: DatasetSettings, spec: ProviderSpec, per_month: int) -> Inference:
    """A month of requests that are like these rows: their mean of images, questions and answers."""
    asked = answered = ZERO
    images = 0
    for row in rows:
        question, expected = question_and_answer(row, settings.prompt)
        asked += question_tokens(row, question, settings, spec)
        answered += text_band(expected)
        images += sum(part.image is not None for turn in question for part in turn.parts)
    share = 1 / max(1, len(rows))
    asked, answered = asked * share, answered * share
    prices = spec.prices
    dollars = asked * (prices.input / _MILLION) + answered * (prices.output / _MILLION) if prices else None
    return Inference(per_month, images * share, asked, answered, dollars)


def offer(
    splits: Splits,
    settings: DatasetSettings,
    n_epochs: int | None,
    spec: ProviderSpec,
    per_month: int,
    calibrate: Calibrate = lambda training: training,
) -> Offer:
    """n_epochs: None is the provider's own choice. per_month: requests to the model."""
    training = estimate(splits.get("train", ()), sampled(splits.get("test", ())), settings, n_epochs, spec)
    every = [row for rows in splits.values() for row in rows]
    return Offer(settings.detail, calibrate(training), inference(every, settings, spec, per_month))


def savings(
    asked: Offer,
    splits: Splits,
    settings: DatasetSettings,
    spec: ProviderSpec,
    others: Sequence[ProviderSpec],
    calibrated_for: Callable[[ProviderSpec], Calibrate] = lambda _: lambda training: training,
) -> list[Saving]:
    """What low detail, fewer epochs and another provider (`others`) would save, the most first; only what saves at
    training or in use. Empty where the asked offer has no price. An image that costs the same at low detail saves
    nothing: that is so for patch models, whose rule for it is not published."""
    if asked.training.usd is None or asked.inference.usd_per_month is None:
        return []
    n_epochs = round(asked.training.epochs.mid) if asked.training.epochs_asked else None
    per_month = asked.inference.requests_per_month
    found = []
    for setting, other in _cheaper(asked, splits, settings, n_epochs, spec, others, per_month, calibrated_for):
        usd, use = other.training.usd, other.inference.usd_per_month
        if usd is None or use is None:
            continue
        saves, saves_per_month = asked.training.usd.mid - usd.mid, asked.inference.usd_per_month.mid - use.mid
        if saves > 0 or saves_per_month > 0:
            found.append(Saving(setting, usd.mid, saves, saves_per_month))
    return sorted(found, key=lambda saving: -(saving.saves + saving.saves_per_month))


def _cheaper(
    asked: Offer,
    splits: Splits,
    settings: DatasetSettings,
    n_epochs: int | None,
    spec: ProviderSpec,
    others: Sequence[ProviderSpec],
    per_month: int,
    calibrated_for: Callable[[ProviderSpec], Calibrate],
) -> Iterator[tuple[str, Offer]]:
    own = calibrated_for(spec)
    if settings.detail != "low":
        low = replace(settings, detail="low")
        yield "detail low", offer(splits, low, n_epochs, spec, per_month, own)
    planned = round(asked.training.epochs.mid)
    for fewer in sorted({planned - 1, planned // 2} - {0, planned}, reverse=True):
        if fewer > 0:
            yield f"epochs {fewer}", offer(splits, settings, fewer, spec, per_month, own)
    for other in others:
        name = f"provider {other.provider}, {other.base_model}"
        yield name, offer(splits, settings, n_epochs, other, per_month, calibrated_for(other))
