"""Sending to SQS: JSON values in, all of them taken by the queue or an exception out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from pixtune.errors import QueueRefused

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_BATCH = 10  # entries a SendMessageBatch may have
_BATCH_BYTES = 900_000  # of the 1 MiB (since 2026-01-29) a batch may weigh


class Queue:
    """One queue, written to in batches."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Send every message. Raises QueueRefused when SQS answered 200 but did not take some (it may be retried:
        every receiver takes a message any number of times)."""
        waiting = (json.dumps(message, ensure_ascii=False, separators=(",", ":")) for message in messages)
        batch: list[str] = []
        weight = 0
        for body in waiting:
            size = len(body.encode())
            if batch and (len(batch) == _BATCH or weight + size > _BATCH_BYTES):
                self._send(batch)
                batch, weight = [], 0
            batch.append(body)
            weight += size
        if batch:
            self._send(batch)

    def _send(self, bodies: list[str]) -> None:
        answer = self._client.send_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)],
        )
        failed = answer.get("Failed", [])
        if failed:
            codes = sorted({entry["Code"] for entry in islice(failed, 10)})
            raise QueueRefused(f"{self._url} did not take {len(failed)} of {len(bodies)} messages: {codes}")
