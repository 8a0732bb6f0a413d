"""What a person or a system said about one or more images: turns of text and images, plus what describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool | None

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a turn: text, or the n-th image of the example (`image`, counted from 0). Exactly one is set."""

    text: str | None = None
    image: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text} if self.image is None else {"image": self.image}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says. role: "user" or "assistant"; images stand in user turns only.

    A first user turn without text asks the dataset's default prompt; it is filled in when a row is
    rendered for a provider, so that changing the prompt changes no row.
    """

    role: str
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        return {"role": self.role, "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turn:
        return cls(data["role"], tuple(Part(part.get("text"), part.get("image")) for part in data["parts"]))


@dataclass(frozen=True, slots=True)
class Annotation:
    """`system`: a chat row's own system text. `split`: stated by the uploader, or None. `group`: examples of one
    group never sit on both sides of a split. `fields`: all other scalar fields, for slices and provenance
    (license, source, consent, ...)."""

    turns: tuple[Turn, ...]
    system: str | None = None
    split: str | None = None
    group: str | None = None
    weight: float | None = None
    fields: Mapping[str, Scalar] = field(default_factory=dict)

    def question(self) -> str:
        """The text that, with the images, makes the example's identity: all user text, in order."""
        return "\n".join(
            part.text for turn in self.turns if turn.role == "user" for part in turn.parts if part.text is not None
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "turns": [turn.to_json() for turn in self.turns],
            "system": self.system,
            "split": self.split,
            "group": self.group,
            "weight": self.weight,
            "fields": dict(self.fields),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Annotation:
        return cls(
            tuple(Turn.from_json(turn) for turn in data["turns"]),
            data.get("system"),
            data.get("split"),
            data.get("group"),
            data.get("weight"),
            data.get("fields") or {},
        )
