"""Who compliance asks outside, in memory: typed to the ports, and counting what they were asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pixtune.compliance.ports import Moderation
from pixtune.errors import ProviderUnavailable
from pixtune.examples.facts import ImageData


@dataclass
class WordModerator:
    """compliance.ports.Moderator: objects to texts that hold one of `words`, and to images of these bytes."""

    words: tuple[str, ...] = ()
    pictures: tuple[bytes, ...] = ()
    moderation_model: str = "words-1"
    asked: list[str | bytes] = field(default_factory=list)
    fails_at: int | None = None

    def moderate_text(self, text: str) -> Moderation:
        return self._answer(text, any(word in text for word in self.words))

    def moderate_image(self, data: bytes, kind: str) -> Moderation:
        return self._answer(data, data in self.pictures)

    def _answer(self, about: str | bytes, hit: bool) -> Moderation:
        if len(self.asked) == self.fails_at:
            raise ProviderUnavailable("The moderator is away.")
        self.asked.append(about)
        return Moderation(self.moderation_model, ("violence",) if hit else (), {"violence": float(hit)})


@dataclass
class KnowingPredictor:
    """compliance.ports.SkipPredictor: what each image shows, by SHA-256."""

    shows: Mapping[str, tuple[str, ...]]
    name: str = "knowing"
    sees: tuple[str, ...] = ("people", "faces", "children")
    asked: list[str] = field(default_factory=list)

    def predict(self, image: ImageData) -> tuple[str, ...]:
        self.asked.append(image.sha256)
        return self.shows.get(image.sha256, ())
