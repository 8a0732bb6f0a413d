"""What became of one picture, as it passes from the decoder to whoever stores it. Values only; no pixels, no PIL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixtune.examples.facts import ImageData
from pixtune.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a picture: the verdict and, unless rejected, the image with its bytes and its thumbnail.

    thumb: a JPEG that fits 256 × 256 pixels. The JSON form leaves both kinds of bytes out.
    """

    verdict: Verdict
    image: ImageData | None = None
    content: bytes = b""
    thumb: bytes = b""

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict.to_json(), "image": self.image.to_json() if self.image else None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], content: bytes = b"", thumb: bytes = b"") -> Converted:
        """Raises KeyError or ValueError when `data` is not what `to_json` made."""
        image = ImageData.from_json(data["image"]) if data["image"] else None
        return cls(Verdict.from_json(data["verdict"]), image, content, thumb)
