"""Which example a row is about: a stated id, or its images and its question; the example's id comes out."""

from __future__ import annotations

from collections.abc import Sequence

from pixtune.examples.rows import canonical
from pixtune.keys import hashed


def example_id(dataset: str, images: Sequence[str], question: str, stated: str | None = None) -> str:
    """`ex_` and 32 hex digits. images: upload keys, in order; two questions about one photo are two examples."""
    what = ["id", stated] if stated is not None else ["images", list(images), question]
    return "ex_" + hashed(canonical([dataset, what]))
