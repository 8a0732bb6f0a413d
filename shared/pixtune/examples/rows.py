"""The neutral row: one example as one line of JSONL, images by reference, the same for every provider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pixtune.examples.annotation import Annotation
from pixtune.examples.facts import ImageData


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and real characters: equal values give equal text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RowImage:
    """An image of a row: what it is, and which upload (key and version id) it came from."""

    upload: str
    version_id: str
    image: ImageData

    def to_json(self) -> dict[str, Any]:
        return {"upload": self.upload, "version_id": self.version_id} | self.image.to_json()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RowImage:
        return cls(data["upload"], data["version_id"], ImageData.from_json(data))


@dataclass(frozen=True, slots=True)
class Row:
    """One example at one revision. A tombstone (`deleted`) has no images and no annotation.

    `annotation.turns` refer to `images` by number. `sources`: the keys of the files (or "api") that said it.
    """

    dataset: str
    example_id: str
    revision: int
    images: tuple[RowImage, ...] = ()
    annotation: Annotation | None = None
    sources: tuple[str, ...] = ()
    deleted: bool = False

    def content(self) -> dict[str, Any]:
        """All that makes a row this row; what the digest covers."""
        return {
            "dataset": self.dataset,
            "example_id": self.example_id,
            "images": [image.to_json() for image in self.images],
            "annotation": self.annotation.to_json() if self.annotation else None,
            "sources": list(self.sources),
            "deleted": self.deleted,
        }

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical content, without the revision."""
        return sha256(canonical(self.content()).encode()).hexdigest()

    def to_line(self) -> str:
        """One line of JSONL, with its newline."""
        return canonical(self.content() | {"revision": self.revision}) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        annotation = data["annotation"]
        return cls(
            data["dataset"],
            data["example_id"],
            int(data["revision"]),
            tuple(RowImage.from_json(image) for image in data["images"]),
            Annotation.from_json(annotation) if annotation else None,
            tuple(data["sources"]),
            bool(data["deleted"]),
        )

    def with_revision(self, revision: int) -> Row:
        return replace(self, revision=revision)


def read_rows(lines: Iterable[str]) -> list[Row]:
    """Rows of a JSONL file, empty lines left out. Raises KeyError or ValueError on a line that is no row."""
    return [Row.from_json(json.loads(line)) for line in lines if line.strip()]
