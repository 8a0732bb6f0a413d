"""What a person or a system said about one or more images: turns of text and images, plus what describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool | None

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Box:
    """What stands where: edges counted from the left and the top, in the unit of the `Boxes` it belongs to."""

    label: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes in the n-th image of the example, as the annotation drew them; none is an answer too.

    They are moved into the picture that is sent when a row is rendered (`geometry`). shares: edges are shares of
    the upright picture, 0 to 1; else pixels of the upload. size: width and height of the picture they were drawn
    on, where the annotation says so; it may be another scale of the upload, or the upload turned upright.
    names_from: labels are class numbers, and this folder of the uploads bucket, or one above it, names them.
    """

    boxes: tuple[Box, ...]
    image: int = 0
    size: tuple[float, float] | None = None
    shares: bool = False
    names_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "boxes": [[box.label, box.left, box.top, box.right, box.bottom] for box in self.boxes],
            "image": self.image,
            "size": list(self.size) if self.size else None,
            "shares": self.shares,
            "names_from": self.names_from,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Boxes:
        size = data["size"]
        return cls(
            tuple(Box(label, *map(float, edges)) for label, *edges in data["boxes"]),
            data["image"],
            (float(size[0]), float(size[1])) if size else None,
            data["shares"],
            data["names_from"],
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a turn, exactly one of: text, the n-th image of the example (`image`, from 0), or boxes.

    Boxes stand in assistant turns; a task template makes text of them when a version is read for a provider.
    """

    text: str | None = None
    image: int | None = None
    boxes: Boxes | None = None

    def to_json(self) -> dict[str, Any]:
        if self.boxes is not None:
            return {"boxes": self.boxes.to_json()}
        return {"text": self.text} if self.image is None else {"image": self.image}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        boxes = data.get("boxes")
        return cls(data.get("text"), data.get("image"), Boxes.from_json(boxes) if boxes else None)


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
        return cls(data["role"], tuple(map(Part.from_json, data["parts"])))


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

    def boxes(self) -> tuple[Boxes, ...]:
        return tuple(part.boxes for turn in self.turns for part in turn.parts if part.boxes is not None)

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
