"""A figure that is not known exactly: its low, middle and high reading, added and multiplied as one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """low <= mid <= high, all of one unit."""

    low: float
    mid: float
    high: float

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def __mul__(self, other: Band | float) -> Band:
        """By a number, or by another band of numbers that are not negative."""
        by = other if isinstance(other, Band) else Band(other, other, other)
        return Band(self.low * by.low, self.mid * by.mid, self.high * by.high)

    def to_json(self, digits: int = 0) -> dict[str, float]:
        """Rounded to `digits`; whole numbers as int."""
        values = {"low": self.low, "mid": self.mid, "high": self.high}
        return {name: round(value, digits) if digits else round(value) for name, value in values.items()}


ZERO = Band(0, 0, 0)


def exactly(value: float) -> Band:
    return Band(value, value, value)
