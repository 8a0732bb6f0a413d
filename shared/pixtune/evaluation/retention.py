"""Which checkpoints of a run are kept to return to: its scored checkpoints and a policy in, a reason for each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pixtune.evaluation.choice import rank
from pixtune.training.run import Checkpoint


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`[checkpoints]` of dataset.toml. The best `keep_least` by score are kept; of the others, up to `keep_most` in
    all, those that improved on every earlier one by more than `min_gain` (of the score, 0 to 1)."""

    keep_least: int = 3
    keep_most: int = 5
    min_gain: float = 0.01

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetentionPolicy:
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})


@dataclass(frozen=True, slots=True)
class Retained:
    """What is done with a checkpoint, and why."""

    step: int
    kept: bool
    reason: str


def retained(checkpoints: Sequence[Checkpoint], policy: RetentionPolicy) -> Sequence[Retained]:
    """One answer for each trained checkpoint (step 0 is the base model), in order of step. Of those not among the
    best, the higher score goes first."""
    trained = sorted((one for one in checkpoints if one.step > 0), key=lambda one: one.step)
    ranked = sorted(trained, key=rank, reverse=True)
    gains = _gains(trained)
    why: dict[int, str] = {}
    for place, one in enumerate(ranked, start=1):
        if place <= policy.keep_least:
            why[one.step] = "the best" if place == 1 else f"number {place} by score; {policy.keep_least} are kept"
        elif len(why) < policy.keep_most and gains[one.step] > policy.min_gain:
            why[one.step] = f"it improved on every earlier one by {gains[one.step]:.1%}"
    return [
        Retained(one.step, one.step in why, why.get(one.step) or _dropped(gains[one.step], policy)) for one in trained
    ]


def _gains(trained: Sequence[Checkpoint]) -> Mapping[int, float]:
    """By how much each checkpoint's score exceeds that of all earlier ones; 0 without a score."""
    gains: dict[int, float] = {}
    best: float | None = None
    for one in trained:
        gains[one.step] = 0.0 if one.score is None or best is None else one.score - best
        if one.score is not None:
            best = one.score if best is None else max(best, one.score)
    return gains


def _dropped(gain: float, policy: RetentionPolicy) -> str:
    if gain > policy.min_gain:
        return f"{policy.keep_most} better ones are kept"
    return f"it did not improve on the earlier ones by more than {policy.min_gain:.1%}"
