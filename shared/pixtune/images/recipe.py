"""How a picture is made fit for training: the sizes and quality it is converted to. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Detail = Literal["high", "low"]

VERSION = 1  # rises whenever the same bytes under the same recipe would come out differently


@dataclass(frozen=True, slots=True)
class Recipe:
    """The box a picture is shrunk into (never enlarged) and how it is encoded.

    long_side, short_side: pixels; the picture's longer side fits the first and its shorter side the second.
    "high" is what a model sees at detail high (2048 square, then 768 on the short side), "low" its 512 box.
    quality: JPEG's, 1 to 100; 85 costs about 138 kB for a photograph.
    """

    detail: Detail = "high"
    long_side: int = 2048
    short_side: int = 768
    quality: int = 85
    version: int = VERSION

    @classmethod
    def default(cls) -> Recipe:
        return cls()

    @classmethod
    def low(cls, quality: int = 85) -> Recipe:
        return cls("low", 512, 512, quality)

    @property
    def id(self) -> str:
        """A short name that differs whenever the outcome may, such as `1-high-85`: a part of object keys."""
        box = {"high": (2048, 768), "low": (512, 512)}[self.detail]
        sides = "" if (self.long_side, self.short_side) == box else f"-{self.long_side}x{self.short_side}"
        return f"{self.version}-{self.detail}-{self.quality}{sides}"

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The size, in pixels, that a picture of this size is resized to."""
        scale = min(1.0, self.long_side / max(width, height), self.short_side / min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Raises KeyError or ValueError when `data` is not a recipe, or asks for no sensible picture."""
        recipe = cls(
            data["detail"],
            int(data["long_side"]),
            int(data["short_side"]),
            int(data["quality"]),
            int(data["version"]),
        )
        if recipe.detail not in ("high", "low"):
            raise ValueError(f"A recipe's detail is 'high' or 'low', not {recipe.detail!r}")
        if not (0 < recipe.short_side <= recipe.long_side <= 4096 and 1 <= recipe.quality <= 100):
            raise ValueError(f"A recipe needs 0 < short_side <= long_side <= 4096 and quality 1 to 100: {data}")
        return recipe
