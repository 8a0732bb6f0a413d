"""What compliance needs from outside: somebody who moderates, somebody who predicts skips, a place to remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pixtune.examples.facts import ImageData


@dataclass(frozen=True, slots=True)
class Moderation:
    """A moderator's answer. model: as it names itself. flagged: the categories it objects to. scores: category -> 0
    to 1; they drift as models change, so they are kept with the model's name."""

    model: str
    flagged: tuple[str, ...]
    scores: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "flagged": list(self.flagged), "scores": dict(self.scores)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Moderation:
        return cls(data["model"], tuple(data["flagged"]), data["scores"])


@runtime_checkable
class Moderator(Protocol):
    """A provider that also moderates. Raises ProviderUnavailable and ProviderRefused as providers do."""

    @property
    def moderation_model(self) -> str:
        """What is asked; answers are remembered under this name."""
        ...

    def moderate_text(self, text: str) -> Moderation: ...

    def moderate_image(self, data: bytes, kind: str) -> Moderation:
        """kind: "jpeg" or "png". One image a request: providers refuse two."""
        ...


class SkipPredictor(Protocol):
    """Looks at converted images for what a provider would leave out of a training without saying so."""

    @property
    def name(self) -> str:
        """Predictions are remembered under this name."""
        ...

    @property
    def sees(self) -> tuple[str, ...]:
        """What it can see, in the words of `ProviderSpec.content_skips`."""
        ...

    def predict(self, image: ImageData) -> tuple[str, ...]:
        """Which of `sees` this image shows."""
        ...


class Memory(Protocol):
    """The artifacts bucket: images, remembered answers and reports."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...

    def get(self, key: str) -> bytes | None: ...
