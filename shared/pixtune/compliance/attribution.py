"""Whose pictures these are: rows in; each licence, source and author with the number of its examples out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pixtune.examples.annotation import Scalar
from pixtune.examples.rows import Row

CREDITS = ("license", "source", "author")


def stated(fields: Mapping[str, Scalar], name: str) -> str:
    """What the fields say under this name, in any case, and `licence` for `license`; empty where they say nothing."""
    names = {"license", "licence"} if name.lower() in ("license", "licence") else {name.lower()}
    said = (str(value).strip() for key, value in fields.items() if key.lower() in names and value is not None)
    return next(filter(None, said), "")


def attribution(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """[{license, source, author, examples}], sorted; what is not stated is empty. [] when no row states any of it."""
    counts = Counter(
        tuple(stated(row.annotation.fields if row.annotation else {}, name) for name in CREDITS) for row in rows
    )
    if not any(any(credit) for credit in counts):
        return []
    return [dict(zip(CREDITS, credit, strict=True)) | {"examples": count} for credit, count in sorted(counts.items())]
