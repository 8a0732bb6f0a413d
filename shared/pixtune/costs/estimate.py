"""What training and evaluation will cost: rows, settings and a spec in, bands of tokens and of dollars out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pixtune.costs.bands import ZERO, Band
from pixtune.costs.epochs import epochs_band
from pixtune.costs.tokens import framing_band, image_band, text_band, text_bytes
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.annotation import Turn
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import asked_turns, question_and_answer
from pixtune.providers.limits import ProviderSpec

_MILLION = 1_000_000
REPLY_MARGIN = 256  # tokens a model may answer beyond the bytes of the expected answer; adapters cut it there


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens and US dollars, low, mid and high. trained: billable training tokens, epochs included.

    asked, answered: tokens of the evaluation's questions and answers, over all models evaluated. *_usd: None where
    the provider publishes no prices. priced: the day the prices were read. epochs_asked: whether the number of epochs
    was asked for, or is the provider's own choice. raw: the training tokens by the rules alone, where `observed`
    earlier bills have calibrated them (costs.calibration).
    """

    provider: str
    base_model: str
    rows: int
    epochs: Band
    epochs_asked: bool
    trained: Band
    asked: Band
    answered: Band
    training_usd: Band | None
    evaluation_usd: Band | None
    priced: date
    raw: Band | None = None
    observed: int = 0

    @property
    def usd(self) -> Band | None:
        return self.training_usd + self.evaluation_usd if self.training_usd and self.evaluation_usd else None

    def to_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_model": self.base_model,
            "rows": self.rows,
            "epochs": self.epochs.to_json(),
            "epochs_asked": self.epochs_asked,
            "tokens": self.trained.to_json(),
            "raw_tokens": (self.raw or self.trained).to_json(),
            "observed": self.observed,
            "evaluation_tokens": (self.asked + self.answered).to_json(),
            "usd": self.usd and self.usd.to_json(4),
            "training_usd": self.training_usd and self.training_usd.to_json(4),
            "evaluation_usd": self.evaluation_usd and self.evaluation_usd.to_json(4),
            "price_date": self.priced.isoformat(),
        }


def question_tokens(row: Row, turns: Sequence[Turn], settings: DatasetSettings, spec: ProviderSpec) -> Band:
    """Tokens of some of a row's turns, with the system text they are sent with."""
    system = (row.annotation.system if row.annotation else None) or settings.system or ""
    tokens = text_band(system) + framing_band(len(turns) + bool(system))
    for turn in turns:
        for part in turn.parts:
            if part.text is not None:
                tokens += text_band(part.text)
            elif part.image is not None:
                image = row.images[part.image].image
                tokens += image_band(image.width, image.height, settings.detail, spec.image_tokens)
    return tokens


def training_tokens(row: Row, settings: DatasetSettings, spec: ProviderSpec) -> Band:
    """Tokens of one row as a training line, seen once."""
    return question_tokens(row, asked_turns(row, settings.prompt), settings, spec)


def estimate(
    train: Sequence[Row],
    tested: Sequence[Row],
    settings: DatasetSettings,
    n_epochs: int | None,
    spec: ProviderSpec,
) -> Estimate:
    """tested: the rows each model is asked. Evaluated are the base model, every checkpoint kept and, at the high end,
    the champion as well. Validation rows are not billed. n_epochs: None is the provider's own choice."""
    epochs = epochs_band(len(train), n_epochs, spec.auto_epochs)
    trained = sum((training_tokens(row, settings, spec) for row in train), ZERO) * epochs
    kept = Band(*(min(spec.checkpoints_kept, count) for count in (epochs.low, epochs.mid, epochs.high)))
    models = kept + Band(1, 1, 2)
    asked = answered = ZERO
    for row in tested:
        question, expected = question_and_answer(row, settings.prompt)
        asked += question_tokens(row, question, settings, spec)
        answered += Band(1, max(1, text_band(expected).mid), text_bytes(expected) + REPLY_MARGIN)
    asked, answered = asked * models, answered * models
    prices = spec.prices
    return Estimate(
        provider=spec.provider,
        base_model=spec.base_model,
        rows=len(train),
        epochs=epochs,
        epochs_asked=n_epochs is not None,
        trained=trained,
        asked=asked,
        answered=answered,
        training_usd=trained * (prices.train / _MILLION) if prices else None,
        evaluation_usd=asked * (prices.input / _MILLION) + answered * (prices.output / _MILLION) if prices else None,
        priced=spec.source("prices").read,
    )
