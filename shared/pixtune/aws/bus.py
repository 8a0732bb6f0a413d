"""The event bus: CloudEvents in, all of them taken by EventBridge or an exception out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pixtune.errors import BusRefused
from pixtune.events.cloud_events import SOURCE, CloudEvent

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

_BATCH = 10  # entries PutEvents takes at once
_BATCH_BYTES = 900_000  # of the 1 MiB (since 2026-01-29) they may weigh together


class Bus:
    """One bus, written to in batches."""

    def __init__(self, client: EventBridgeClient, name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish every event. Raises BusRefused when PutEvents answered 200 but did not take some; publishing
        them again is safe, for their ids stay the same and receivers drop what they have seen."""
        batch: list[PutEventsRequestEntryTypeDef] = []
        weight = 0
        for event in events:
            detail = json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":"))
            size = len(detail.encode())
            if batch and (len(batch) == _BATCH or weight + size > _BATCH_BYTES):
                self._put(batch)
                batch, weight = [], 0
            batch.append({"EventBusName": self._name, "Source": SOURCE, "DetailType": event.type, "Detail": detail})
            weight += size
        if batch:
            self._put(batch)

    def _put(self, entries: list[PutEventsRequestEntryTypeDef]) -> None:
        answer = self._client.put_events(Entries=entries)
        if answer["FailedEntryCount"]:
            codes = sorted({entry["ErrorCode"] for entry in answer["Entries"] if "ErrorCode" in entry})
            raise BusRefused(f"{self._name} did not take {answer['FailedEntryCount']} of {len(entries)}: {codes}")
