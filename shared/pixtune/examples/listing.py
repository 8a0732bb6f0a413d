"""Lists of a dataset's examples and uploads, a page at a time: the examples table and a cursor in, a page out.

A page costs what it shows, whatever the dataset's size: it goes on where the one before ended, in the table's own
order (partitions, and in them sort keys), which says nothing to people but never changes. After 2,000 items without
enough that is wanted it ends early, with a cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pixtune.examples import places
from pixtune.examples.folders import Claim, claim_of
from pixtune.examples.items import ExampleItem, UploadItem
from pixtune.examples.overview import shown
from pixtune.examples.ports import Each, Examples, Item, one_by_one

_LOOKED = 2_000
_CHUNK = 100

Page = tuple[list[dict[str, Any]], str | None]


def examples_page(
    table: Examples, dataset: str, *, state: str | None, limit: int, after: str | None, each: Each = one_by_one
) -> Page:
    """Examples in this state, or in any. after: the cursor that the page before answered, which is None at the end.

    Each: {example_id, state, revision, images: [key], sources: [key], waiting_for, conflict, annotation}.
    """
    page: list[dict[str, Any]] = []
    last, looked = "", 0
    for chunk in _chunks(_from(table, dataset, ("EXAMPLE#",), after)):
        found = {at: ExampleItem.from_json(item) for at, item in chunk}
        wanted = {
            at: example
            for at, example in found.items()
            if example.slots and (state is None or example.state.value == state)
        }
        counting = _that_count(table, dataset, list(map(claim_of, wanted.values())), each)
        for at, example in wanted.items():
            if example.example_id not in counting:
                continue
            if len(page) == limit:
                return page, last
            page.append(shown(example))
            last = at
        looked += len(chunk)
        if looked >= _LOOKED:
            return page, chunk[-1][0]
    return page, None


def uploads_page(table: Examples, dataset: str, *, outcome: str | None, limit: int, after: str | None) -> Page:
    """Uploads that are there and have this verdict, or any. after: as in `examples_page`.

    Each: {key, kind: image | annotations, version_id, size, verdict}.
    """
    page: list[dict[str, Any]] = []
    last = ""
    for looked, (at, item) in enumerate(_from(table, dataset, ("IMAGE#", "SOURCE#"), after), start=1):
        upload = UploadItem.from_json(item)
        verdict = upload.verdict
        if upload.kind != "object" and upload.live and verdict and outcome in (None, verdict.outcome.value):
            if len(page) == limit:
                return page, last
            kind = "image" if upload.kind == "image" else "annotations"
            named = {"key": upload.key, "kind": kind, "version_id": upload.version_id, "size": upload.size}
            page.append(named | {"verdict": verdict.to_json()})
            last = at
        if looked >= _LOOKED:
            return page, at
    return page, None


def _from(table: Examples, dataset: str, prefixes: Sequence[str], after: str | None) -> Iterator[tuple[str, Item]]:
    """Each item with the cursor that goes on behind it. A cursor that is none of ours raises ValueError."""
    part, key = (int(after[:2]), after[2:]) if after else (0, "")
    for number, pk in enumerate(places.partitions(dataset)):
        for prefix in prefixes:
            if number < part or (number == part and key > prefix and not key.startswith(prefix)):
                continue
            behind = key if number == part and key.startswith(prefix) else None
            for item in table.stream(pk, prefix, after=behind):
                yield f"{number:02d}{item['sk']}", item


def _chunks(items: Iterator[tuple[str, Item]]) -> Iterator[list[tuple[str, Item]]]:
    while chunk := list(islice(items, _CHUNK)):
        yield chunk


def _that_count(table: Examples, dataset: str, claims: Sequence[Claim], each: Each) -> set[str]:
    """As `folders.that_count`, of a few examples, without reading the whole dataset: what else speaks for an image is
    found by its hints, and a second class is looked for only until there is one."""
    labelled = [claim for claim in claims if claim.label is not None]
    spoken = each(lambda claim: _is_spoken_for(table, dataset, claim), labelled)
    free = [claim for claim, is_spoken in zip(labelled, spoken, strict=True) if not is_spoken]
    labels = {claim.label for claim in free}
    counts = len(labels) > 1 or (len(labels) == 1 and _has_another_class(table, dataset, free[0].label))
    plain = {claim.example_id for claim in claims if claim.label is None and not claim.nothing}
    return plain | {claim.example_id for claim in free if counts}


def _is_spoken_for(table: Examples, dataset: str, claim: Claim) -> bool:
    """Whether another example speaks about one of its images."""
    ids = {hint["key"] for key in claim.images for hint in table.query(*places.refs(dataset, key))}
    others = table.read([places.example(dataset, name) for name in sorted(ids - {claim.example_id})])
    spoken = {key for item in others if item for key in claim_of(ExampleItem.from_json(item)).spoken}
    return not spoken.isdisjoint(claim.images)


def _has_another_class(table: Examples, dataset: str, label: str | None) -> bool:
    claims = (claim_of(ExampleItem.from_json(item)) for _, item in _from(table, dataset, ("EXAMPLE#",), None))
    others = (claim for claim in claims if claim.label not in (None, label))
    return any(not _is_spoken_for(table, dataset, claim) for claim in others)
