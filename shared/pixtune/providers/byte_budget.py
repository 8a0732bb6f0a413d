"""Does a training file fit what the provider takes? Rows in; if not, the total and what would fit out. Pure.

What a smaller picture weighs is told from what pictures weigh on average, so a proposal is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pixtune.costs.tokens import text_bytes
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import asked_turns, text_of
from pixtune.providers.limits import ProviderSpec

# Bytes of a converted photograph against those at JPEG quality 85: the mean over 12 photographs at detail high was
# 178, 138, 116 and 101 kB for 90, 85, 80 and 75.
_BY_QUALITY = {90: 1.29, 85: 1.0, 80: 0.84, 75: 0.73}
_AT_LOW = 0.28  # of detail low against high at quality 85: 24 photographs of at least 768 pixels a side, 25 and 88 kB
_STANDARD_QUALITY = 85
_PER_PICTURE = 100  # bytes of JSON around a picture
_PER_ROW = 150  # bytes of JSON around the texts


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of a training file. photos: pictures that a lower quality or detail makes smaller; rest: all else."""

    photos: int = 0
    rest: int = 0

    @property
    def total(self) -> int:
        return self.photos + self.rest


def weight_of(rows: Sequence[Row], settings: DatasetSettings, spec: ProviderSpec) -> Weight:
    """About what the rows weigh as a training file: within a percent where pictures make up most of it."""
    photos = rest = 0
    for row in rows:
        turns = asked_turns(row, settings.prompt)
        rest += _PER_ROW + sum(text_bytes(text_of(turn)) for turn in turns)
        system = row.annotation.system if row.annotation else None
        rest += text_bytes(system or settings.system or "")
        for number in (part.image for turn in turns for part in turn.parts if part.image is not None):
            if not 0 <= number < len(row.images):
                continue  # another problem of this row
            rest += _PER_PICTURE
            picture = row.images[number].image
            encoded = 4 * -(-picture.size // 3) if spec.images_as == "data_url" else 0
            if picture.format == "jpeg":
                photos += encoded
            else:
                rest += encoded
    return Weight(photos, rest)


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A file that the provider would not take: about its bytes, the most that it may have, and what to do."""

    total: int
    limit: int
    fix: str


def over_budget(rows: Sequence[Row], settings: DatasetSettings, spec: ProviderSpec) -> OverBudget | None:
    """None where the rows fit in one file, or the provider states no limit."""
    limit = spec.upload_bytes or spec.file_bytes
    weight = weight_of(rows, settings, spec)
    if limit is None or weight.total <= limit:
        return None
    return OverBudget(weight.total, limit, proposal(weight, len(rows), limit, settings))


def proposal(weight: Weight, rows: int, limit: int, settings: DatasetSettings) -> str:
    """What to set in dataset.toml so that the file fits: the highest quality of JPEG that does, else detail low, else
    how many examples would."""
    now = _quality(settings)
    for quality in (90, 85, 80, 75):
        fits = weight.photos * _BY_QUALITY[quality] / _ratio(now) + weight.rest
        if quality < now and fits <= limit:
            return (
                f'Set {{ name = "encode", quality = {quality}, keep = false }} as the last of its steps in '
                f"dataset.toml (about {fits:,.0f} bytes), and train again."
            )
    low = weight.photos * _AT_LOW * _BY_QUALITY[_STANDARD_QUALITY] / _ratio(now) + weight.rest
    if settings.detail == "high" and low <= limit:
        return f'Set detail = "low" in dataset.toml (about {low:,.0f} bytes), and train again.'
    fewer = int(rows * limit / weight.total)
    return f"No quality or detail is expected to fit: train on at most about {fewer:,} of its {rows:,} examples."


def _quality(settings: DatasetSettings) -> int:
    """The JPEG quality that the dataset's own steps state."""
    for step in settings.steps or ():
        if not isinstance(step, str) and step.get("name") == "encode":
            return int(step.get("quality", _STANDARD_QUALITY))
    return _STANDARD_QUALITY


def _ratio(quality: int) -> float:
    """Of the nearest quality that was measured."""
    return _BY_QUALITY[min(_BY_QUALITY, key=lambda measured: abs(measured - quality))]
