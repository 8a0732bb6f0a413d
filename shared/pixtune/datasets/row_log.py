"""The log of appended rows: the rows that the table shows and a dataset's segments in, the rows the log lacks out."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Protocol

from pixtune.examples.ports import Each


class Segments(Protocol):
    """The artifacts bucket, as far as the log lies in it."""

    def get(self, key: str) -> bytes | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


def lacking(dataset: str, lines: Iterable[str], segments: Segments, each: Each) -> list[str]:
    """Which of these lines no segment has. Lines are appended as the table holds them, byte for byte, so that nothing
    has to be parsed; they are compared by their SHA-256, so that no segment is kept."""
    wanted = {sha256(line.encode()).digest(): line for line in lines}

    def appended(key: str) -> set[bytes]:
        body = segments.get(key) or b""
        return {digest for line in body.splitlines(keepends=True) if (digest := sha256(line).digest()) in wanted}

    for found in each(appended, segments.keys(f"rows/{dataset}/")):
        for digest in found:
            wanted.pop(digest, None)
    return list(wanted.values())
