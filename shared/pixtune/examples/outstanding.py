"""What the table does not show yet of what lies in the bucket: a listing and items in, what is missing out. Pure.

It compares values, never counts of messages: each upload at its current version, each source with all its rows,
each example as its images and sources are now. Pictures that stood inside a file are in no listing: those that a
source's rows show are awaited too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pixtune.events.s3 import Generation, reconcile_message
from pixtune.examples import places
from pixtune.examples.facts import FOLDER
from pixtune.examples.items import ExampleItem, State, UploadItem
from pixtune.examples.ports import Place
from pixtune.images.recipe import Recipe
from pixtune.keys import class_of, inline_hash, is_annotation, is_folder_marker, is_ready_marker

_UNDATED = "~"  # the token of a slot that has no generation


class Listed(Protocol):
    """What is current for a key of the uploads bucket (aws.buckets.ListedUpload)."""

    @property
    def key(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified(self) -> datetime: ...
    @property
    def deleted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Outstanding:
    """An upload that the table does not show as the bucket has it. expected: what the table shows of it.

    modified: when it was uploaded; None when the bucket lists nothing of it. recipe: to convert it under.
    """

    key: str
    reason: str
    expected: Generation | None
    modified: datetime | None
    recipe: Recipe | None = None

    def message(self, bucket: str) -> dict[str, Any]:
        """The message that asks for it again."""
        return reconcile_message(bucket, self.key, self.expected, self.recipe.to_json() if self.recipe else None)


def outstanding(
    listing: Iterable[Listed],
    uploads: Iterable[UploadItem],
    examples: Iterable[ExampleItem],
    recipe: Recipe,
    until: datetime,
) -> list[Outstanding]:
    """Everything of a dataset that is not as it should be, by key; empty when the table shows the bucket.

    Uploads that changed after `until` do not count. The listing must be older than the items.
    """
    listed = {
        upload.key: upload
        for upload in listing
        if not is_ready_marker(upload.key) and not is_folder_marker(upload.key, upload.size)
    }
    too_new = {key for key, upload in listed.items() if upload.modified > until}
    items = {(item.kind, item.key): item for item in uploads}
    joined = Counter[tuple[str, str]]()
    found: dict[str, Outstanding] = {}

    def missing(key: str, reason: str, again: Recipe | None = None, of: str | None = None) -> None:
        if key in too_new or of in too_new:
            return
        item = items.get(("file" if is_annotation(key) else "image", key))
        upload = listed.get(of or key)
        found.setdefault(
            key,
            Outstanding(key, reason, item.generation if item else None, upload.modified if upload else None, again),
        )

    by_place = {_place(item).sk: item for item in items.values()}
    inside: dict[str, str] = {}  # a picture that stood inside a file -> a file that shows it
    for example in examples:
        for name, slot in example.slots.items():
            joined[name, slot.token] += 1
            if slot.annotations and example.state is not State.DELETED:
                inside |= {key: slot.key for key in slot.images if inline_hash(key)}
        for sk, token in example.seen.items():
            seen = by_place.get(sk)
            if seen is not None and seen.token != token and not seen.is_archived:
                missing(seen.key, "an example has not been brought up to date with it")
    for key, file in inside.items():
        item = items.get(("image", key))
        if item is None:
            missing(key, f"the picture, inside {file}, has no verdict yet", of=file)
        elif item.image is not None and item.image.recipe != recipe.id:
            missing(key, _other_recipe(item.image.recipe, recipe), recipe, of=file)
    for key in listed.keys() | {key for kind, key in items if kind != "object"}:
        upload, item = listed.get(key), items.get(("file" if is_annotation(key) else "image", key))
        if item is not None and item.version_id == inline_hash(key):
            continue  # it was never in the bucket
        if upload is None or upload.deleted:
            if item is not None and item.live and not item.is_archived:
                missing(key, "its deletion has not been taken in")
        elif item is None or item.version_id != upload.version_id or item.deleted:
            missing(key, "it has no verdict yet")
        elif item.kind == "file":
            _check_rows(item, joined, missing)
        else:
            if item.image is not None and item.image.recipe != recipe.id:
                missing(key, _other_recipe(item.image.recipe, recipe), recipe)
            if item.image is not None and class_of(key) and not joined[places.source_id(FOLDER, key), _UNDATED]:
                missing(key, "the label that its folder is has not been joined")
            if item.annotated:
                own = items.get(("object", key))
                if own is None or own.version_id != item.version_id:
                    missing(key, "its metadata have not been read yet")
                else:
                    _check_rows(own, joined, missing)
    return [found[key] for key in sorted(found)]


def _other_recipe(found: str, wanted: Recipe) -> str:
    return f"it was converted as {found}, the dataset wants {wanted.id}"


class _Missing(Protocol):
    def __call__(self, key: str, reason: str, /) -> None: ...


def _check_rows(item: UploadItem, joined: Mapping[tuple[str, str], int], missing: _Missing) -> None:
    rows = joined[places.source_id(item.kind, item.key), f"{item.version_id}~{item.reading}"]
    if rows != item.rows:
        missing(item.key, f"{rows} of its {item.rows} rows have been joined")


def _place(item: UploadItem) -> Place:
    if item.kind == "image":
        return places.image(item.dataset, item.key)
    return places.source(item.dataset, item.kind, item.key)
