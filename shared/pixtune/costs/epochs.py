"""How often a training goes over its rows: what was asked and the provider's own default in, a band of epochs out."""

from __future__ import annotations

from dataclasses import dataclass

from pixtune.costs.bands import Band, exactly


@dataclass(frozen=True, slots=True)
class AutoEpochs:
    """A provider's choice when nothing is asked: `target`, more often for few rows, less often for many.

    fewest_seen, most_seen: examples times epochs is brought between these. most: never more epochs than this.
    spread: by how many epochs the provider's choice may differ from this rule, as it is not published as a promise.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic when limits.toml is loaded

    target: int
    fewest_seen: int = 0
    most_seen: int = 1_000_000_000
    most: int = 50
    spread: int = 0


def auto_epochs(rows: int, rule: AutoEpochs) -> int:
    """The number of epochs the rule chooses for this many training rows (at least 1)."""
    epochs = rule.target
    if rows and rows * epochs < rule.fewest_seen:
        epochs = rule.fewest_seen // rows
    elif rows * epochs > rule.most_seen:
        epochs = rule.most_seen // rows
    return max(1, min(rule.most, epochs))


def epochs_band(rows: int, asked: int | None, rule: AutoEpochs) -> Band:
    """Exactly what was asked; otherwise the rule's choice with its spread."""
    if asked is not None:
        return exactly(asked)
    chosen = auto_epochs(rows, rule)
    return Band(max(1, chosen - rule.spread), chosen, min(rule.most, chosen + rule.spread))
