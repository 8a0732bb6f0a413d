"""What DynamoDB streams deliver: a function's event in, changes of items as plain values out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pixtune.aws.items import from_item
from pixtune.events.announce import ItemChange


def changes(event: Mapping[str, Any]) -> Iterator[ItemChange]:
    """The changes a batch carries, in the order of the stream (view type NEW_AND_OLD_IMAGES)."""
    for record in event["Records"]:
        stream = record["dynamodb"]
        yield ItemChange(
            id=record["eventID"],
            position=stream["SequenceNumber"],
            at=float(stream["ApproximateCreationDateTime"]),
            old=from_item(stream["OldImage"]) if "OldImage" in stream else None,
            new=from_item(stream["NewImage"]) if "NewImage" in stream else None,
        )
