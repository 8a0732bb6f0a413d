"""Which test rows a model is asked: a test split in, at most `MOST_ROWS` of it out, the same ones for every model."""

from __future__ import annotations

from collections.abc import Sequence

from pixtune.examples.rows import Row
from pixtune.keys import hashed

# 500 answers bring the standard error of a share to about two points at most; all of a larger split would cost more
# money and more than a function's 15 minutes without saying much more.
MOST_ROWS = 500


def sampled(rows: Sequence[Row], most: int = MOST_ROWS) -> list[Row]:
    """All rows, or `most` of them chosen by the hash of their ids; in the order given."""
    if len(rows) <= most:
        return list(rows)
    chosen = set(sorted((row.example_id for row in rows), key=hashed)[:most])
    return [row for row in rows if row.example_id in chosen]
