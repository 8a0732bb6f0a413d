"""The log of appended rows: a dataset's segments in the artifacts bucket in, which rows it has out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from pixtune.examples.ports import Each
from pixtune.examples.rows import Row


class Segments(Protocol):
    """The artifacts bucket, as far as the log lies in it."""

    def get(self, key: str) -> bytes | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


def read_log(dataset: str, segments: Segments, each: Each) -> set[tuple[str, int, str]]:
    """Every row that was ever appended, as (example id, revision, digest)."""
    keys = list(segments.keys(f"rows/{dataset}/"))
    seen: set[tuple[str, int, str]] = set()
    for lines in each(lambda key: _identified(segments.get(key) or b""), keys):
        seen |= lines
    return seen


def _identified(segment: bytes) -> set[tuple[str, int, str]]:
    rows = [Row.from_json(json.loads(line)) for line in segment.splitlines() if line.strip()]
    return {(row.example_id, row.revision, row.digest()) for row in rows}
