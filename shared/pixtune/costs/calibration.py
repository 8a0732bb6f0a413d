"""What past bills teach about the next one: observed ratios of billed to estimated tokens in, a better band out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pixtune.costs.bands import Band

if TYPE_CHECKING:
    from pixtune.costs.estimate import Estimate

REMEMBERED = 20  # bills; older ones are of other prompts, prices and rules


@dataclass(frozen=True, slots=True)
class Observation:
    """One bill. estimated: the middle of the estimate by the rules alone; billed: the provider's trained tokens."""

    run_id: str
    estimated: float
    billed: int

    @property
    def ratio(self) -> float:
        return self.billed / self.estimated

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def remembered(known: Sequence[Observation], new: Observation) -> list[Observation]:
    """The newest REMEMBERED bills, one a run, the new one last. A run's later bill takes the place of its earlier."""
    return [*(one for one in known if one.run_id != new.run_id), new][-REMEMBERED:]


def calibrated_band(raw: Band, ratios: Sequence[float]) -> Band:
    """The band as the ratios of earlier bills to their raw estimates' middles suggest it.

    Each end moves from where the rules put it to the outermost ratio seen, and the middle to their mean, the faster
    the more bills there are: n of them count n times what the rules count. No ratio seen is ever left outside.
    """
    if not ratios or raw.mid <= 0:
        return raw
    rules = 1 / (len(ratios) + 1)

    def between(rule: float, seen: float) -> float:
        return rules * rule + (1 - rules) * seen

    lowest, highest = min(ratios), max(ratios)
    band = Band(
        low=min(lowest, between(raw.low / raw.mid, lowest)),
        mid=between(1.0, sum(ratios) / len(ratios)),
        high=max(highest, between(raw.high / raw.mid, highest)),
    )
    return band * raw.mid


def calibrated(estimate: Estimate, known: Sequence[Observation]) -> Estimate:
    """The estimate with its training tokens and dollars calibrated; what the rules alone said is kept in `raw`."""
    if not known or estimate.trained.mid <= 0:
        return estimate
    trained = calibrated_band(estimate.trained, [one.ratio for one in known])
    per_token = estimate.training_usd.mid / estimate.trained.mid if estimate.training_usd else None
    return replace(
        estimate,
        trained=trained,
        training_usd=None if per_token is None else trained * per_token,
        raw=estimate.trained,
        observed=len(known),
    )
