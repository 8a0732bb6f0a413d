"""What arrives about an upload: S3's EventBridge events and our own re-enqueued ones in, one `UploadEvent` out.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html (shapes, reasons, deletion types).
Keys in these events are not URL-encoded; they are used as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pixtune.errors import EventWithoutVersion

RECONCILE = "Upload Reconcile"  # our own detail-type, sent by a sweep, by SettleUploads and by append_rows
METADATA = "Upload Metadata"  # sent by append_rows: this version of an image carries `pixtune-*` metadata
RECONCILE_SOURCE = "pixtune"
SEQUENCER_WIDTH = 32


class Change(StrEnum):
    """What happened to an upload."""

    PUT = "put"
    DELETED = "deleted"
    ARCHIVED = "archived"  # a lifecycle rule's delete marker: the upload is gone, its example stays
    RECHECK = "recheck"  # an event that does not say what is current now: ask for a reconcile
    RECONCILE = "reconcile"  # look at the bucket; write by compare-and-set on `expected`
    METADATA = "metadata"  # read what an image's own metadata say about it


@dataclass(frozen=True, slots=True)
class Generation:
    """Which state of an upload a table item shows: its version id, and the padded sequencer that put it there.

    A reconcile mints no sequencer, it keeps the one it found (empty when it found none).
    """

    version_id: str
    sequencer: str

    def to_json(self) -> dict[str, str]:
        return {"version_id": self.version_id, "sequencer": self.sequencer}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Generation:
        return cls(data["version_id"], data["sequencer"])


@dataclass(frozen=True, slots=True)
class UploadEvent:
    """One thing that happened to one key of the uploads bucket.

    version_id: set for PUT and DELETED (there: the delete marker's). sequencer: padded, empty for RECONCILE.
    size: bytes, for PUT. expected: for RECONCILE, what the table showed (None: nothing). recipe: for RECONCILE,
    the preprocessing recipe to convert under, when it is not the default. because: for RECONCILE, the state of the
    table that asks for it; the answer repeats it, so that one state asks once. METADATA has the version id,
    sequencer and expected of the image's fact.
    """

    bucket: str
    key: str
    change: Change
    version_id: str = ""
    sequencer: str = ""
    size: int | None = None
    expected: Generation | None = None
    recipe: Mapping[str, Any] | None = None  # Any: a recipe is plain JSON here; images.recipe gives it types
    because: str = ""


def padded(sequencer: str) -> str:
    """A sequencer as comparable text: hex, upper case, zero-padded on the right to one width.

    Source: the AWS storage blog on ordering S3 event notifications; comparing unpadded is wrong.
    """
    return sequencer.upper().ljust(SEQUENCER_WIDTH, "0")


def parse(body: str | Mapping[str, Any]) -> UploadEvent:
    """Read one queue message's body.

    Raises EventWithoutVersion when S3 sent no version id (the bucket is not versioned), and KeyError or
    ValueError when it is no S3 event at all: both are our failures, the message goes to the dead-letter queue.
    """
    event = json.loads(body) if isinstance(body, str) else body
    kind, detail = event["detail-type"], event["detail"]
    bucket, item = detail["bucket"]["name"], detail["object"]
    key = item["key"]
    if kind == RECONCILE:
        expected = detail.get("expected")
        return UploadEvent(
            bucket,
            key,
            Change.RECONCILE,
            expected=Generation.from_json(expected) if expected else None,
            recipe=detail.get("recipe"),
            because=detail.get("because", ""),
        )
    if kind == METADATA:
        expected = detail["expected"]
        return UploadEvent(
            bucket,
            key,
            Change.METADATA,
            item["version-id"],
            detail["sequencer"],
            expected=Generation.from_json(expected) if expected else None,
        )
    if kind == "Object Deleted" and detail.get("deletion-type") == "Permanently Deleted":
        return UploadEvent(bucket, key, Change.RECHECK)
    version_id = item.get("version-id")
    if not version_id or version_id == "null":
        raise EventWithoutVersion(
            f"S3 event for {bucket}/{key} has no version-id; versioning must be enabled on the uploads bucket."
        )
    sequencer = padded(item["sequencer"])
    if kind == "Object Created":
        return UploadEvent(bucket, key, Change.PUT, version_id, sequencer, int(item["size"]))
    if kind == "Object Deleted":
        by_hand = detail.get("reason") == "DeleteObject"
        return UploadEvent(bucket, key, Change.DELETED if by_hand else Change.ARCHIVED, version_id, sequencer)
    raise ValueError(f"Unknown detail-type {kind!r} for {bucket}/{key}")


def reconcile_message(
    bucket: str, key: str, expected: Generation | None, recipe: Mapping[str, Any] | None = None, because: str = ""
) -> dict[str, Any]:
    """The message that asks the gate or the reader to look at the bucket again for `key`."""
    detail: dict[str, Any] = {
        "bucket": {"name": bucket},
        "object": {"key": key},
        "expected": expected.to_json() if expected else None,
    }
    if recipe is not None:
        detail["recipe"] = dict(recipe)
    if because:
        detail["because"] = because
    return {"source": RECONCILE_SOURCE, "detail-type": RECONCILE, "detail": detail}


def metadata_message(
    bucket: str, key: str, version_id: str, sequencer: str, expected: Generation | None
) -> dict[str, Any]:
    """The message that asks the reader for an image's own metadata, in the words of the image's fact."""
    return {
        "source": RECONCILE_SOURCE,
        "detail-type": METADATA,
        "detail": {
            "bucket": {"name": bucket},
            "object": {"key": key, "version-id": version_id},
            "sequencer": sequencer,
            "expected": expected.to_json() if expected else None,
        },
    }
