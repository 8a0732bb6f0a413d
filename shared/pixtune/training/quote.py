"""What a training would cost before anybody asks for it: rows and a wish in, offers with their savings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pixtune.costs.calibration import calibrated
from pixtune.costs.offers import DAYS_A_MONTH, Calibrate, Offer, Saving, offer, savings
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.limits import Limits, ProviderSpec, Source
from pixtune.training.ports import Bills

_DETAILS = ("high", "low")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to quote. provider, base_model: None is the dataset's own, else the deployment's. n_epochs: None is the
    provider's choice. detail: None is the dataset's own. requests_per_day: to the model, once it is trained."""

    provider: str | None = None
    base_model: str | None = None
    n_epochs: int | None = None
    detail: str | None = None
    requests_per_day: float = 0


@dataclass(frozen=True, slots=True)
class Quote:
    """offer: as asked. by_detail: the same at every detail. savings: what a cheaper setting saves, the most first.
    rows: by split. priced: where the prices come from; None where none are published."""

    rows: Mapping[str, int]
    offer: Offer
    by_detail: Mapping[str, Offer]
    savings: Sequence[Saving]
    priced: Source | None

    def to_json(self) -> dict[str, Any]:
        prices = None
        if self.priced:
            read = self.priced.read.isoformat()
            prices = {"where": self.priced.where, "read": read, "verified": self.priced.verified}
        return {
            "rows_by_split": dict(self.rows),
            "offer": self.offer.to_json(),
            "by_detail": {detail: offer.to_json() for detail, offer in self.by_detail.items()},
            "savings": [saving.to_json() for saving in self.savings],
            "prices": prices,
        }


def quote(
    splits: Mapping[str, Sequence[Row]],
    settings: DatasetSettings,
    asked: Asked,
    *,
    default_provider: str,
    reachable: Sequence[str],
    limits: Limits,
    bills: Bills,
) -> Quote:
    """reachable: the providers this deployment can train at; what they would cost is compared. Raises ProviderRefused
    when nothing is known of the provider or base model."""
    provider = asked.provider or settings.provider or default_provider
    own = settings.base_model if provider == (settings.provider or default_provider) else None
    spec = limits.spec(provider, asked.base_model or own or limits.default_base_model(provider))
    settings = replace(settings, detail=asked.detail or settings.detail)
    per_month = round(asked.requests_per_day * DAYS_A_MONTH)

    def calibrated_for(spec: ProviderSpec) -> Calibrate:
        known = bills.observations(spec.provider, spec.base_model)
        return lambda training: calibrated(training, known)

    by_detail = {
        detail: offer(splits, replace(settings, detail=detail), asked.n_epochs, spec, per_month, calibrated_for(spec))
        for detail in dict.fromkeys((settings.detail, *_DETAILS))
    }
    others = [
        other
        for other in limits.specs.values()
        if other is not spec and other.adapter and other.provider in reachable
    ]
    return Quote(
        rows={split: len(rows) for split, rows in splits.items()},
        offer=by_detail[settings.detail],
        by_detail=by_detail,
        savings=savings(by_detail[settings.detail], splits, settings, spec, others, calibrated_for),
        priced=spec.source("prices") if spec.prices else None,
    )
