"""A whole dataset as the examples table shows it, however large: partitions in, what a caller keeps of each item out.

Partitions are read side by side, and of each item only what is kept stays in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pixtune.examples import places
from pixtune.examples.folders import Claim
from pixtune.examples.items import ExampleItem, State
from pixtune.examples.ports import Each, Examples
from pixtune.keys import inline_hash
from pixtune.verdicts import Verdict

_EXAMPLE = ("dataset", "example_id", "slots", "state", "line", "digest", "revision")
_UPLOAD = ("kind", "key", "version_id", "deleted", "verdict")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judged:
    """An upload that exists and has its verdict. kind: `image` or `file`, as in UploadItem."""

    kind: str
    key: str
    verdict: Verdict


def examples_of(table: Examples, dataset: str, keep: Callable[[ExampleItem], T], each: Each) -> list[T]:
    """What `keep` makes of every example that a source has spoken about, deleted ones too. It is given no `seen`,
    `waiting_for` and `conflict`."""

    def part(pk: str) -> list[T]:
        found = map(ExampleItem.from_json, table.stream(pk, "EXAMPLE#", _EXAMPLE))
        return [keep(example) for example in found if example.slots]

    return [kept for part_kept in each(part, places.partitions(dataset)) for kept in part_kept]


def still_shown(uploads: Iterable[Judged], claims: Iterable[Claim]) -> list[Judged]:
    """The uploads, and those pictures inside annotation files that an example shows: the others' files are gone."""
    shown = {key for claim in claims if claim.state is not State.DELETED for key in claim.images}
    return [item for item in uploads if item.key in shown or not inline_hash(item.key)]


def judged_uploads(table: Examples, dataset: str, each: Each) -> list[Judged]:
    """Every upload that exists and has its verdict, and every picture inside an annotation file; the metadata that an
    image carries are part of the image."""

    def part(pk: str) -> list[Judged]:
        return [
            Judged(item["kind"], item["key"], Verdict.from_json(item["verdict"]))
            for prefix in ("IMAGE#", "SOURCE#")
            for item in table.stream(pk, prefix, _UPLOAD)
            if item["kind"] != "object" and item["version_id"] and not item["deleted"] and item["verdict"]
        ]

    return [judged for part_judged in each(part, places.partitions(dataset)) for judged in part_judged]
