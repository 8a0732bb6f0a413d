"""The examples table: places and items in and out, strongly consistent, every write compared with what was read.

Items are plain JSON with `pk`, `sk` and, unless they are hints, `v`, which counts their writes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pixtune.aws.items import from_item, to_item
from pixtune.aws.threads import in_threads
from pixtune.errors import TableRefused
from pixtune.examples import listing, overview
from pixtune.examples.ports import Item, Place, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_GET_BATCH = 100  # keys that a BatchGetItem may have
_PUT_BATCH = 25  # items that a BatchWriteItem may have
_ROUNDS = 8  # how often what a batch call left out is asked for again


class ExamplesTable:
    """Implements `examples.ports.Examples`, and answers what the API shows."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, places: Sequence[Place]) -> list[Item | None]:
        wanted = list(dict.fromkeys(places))
        found: dict[Place, Item] = {}
        for first in range(0, len(wanted), _GET_BATCH):
            keys: Sequence[Any] = [to_item(_key(place)) for place in wanted[first : first + _GET_BATCH]]
            for pause in _pauses():
                answer = self._client.batch_get_item(
                    RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}}
                )
                for item in map(from_item, answer["Responses"].get(self._table, [])):
                    found[Place(item["pk"], item["sk"])] = item
                left = answer.get("UnprocessedKeys", {})
                keys = left[self._table]["Keys"] if self._table in left else []
                if not keys:
                    break
                time.sleep(pause)
            else:
                raise TableRefused(f"{self._table} left {len(keys)} reads out, {_ROUNDS} times")
        return [found.get(place) for place in places]

    def query(self, pk: str, prefix: str) -> Sequence[Item]:
        return list(self.stream(pk, prefix))

    def stream(self, pk: str, prefix: str, only: Sequence[str] = (), after: str | None = None) -> Iterator[Item]:
        asked: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":sk": {"S": prefix}},
            "ConsistentRead": True,
        }
        if only:
            names = {f"#{number}": name for number, name in enumerate(("sk", *only))}
            asked |= {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        if after is not None:
            asked["ExclusiveStartKey"] = to_item(_key(Place(pk, after)))
        for page in self._client.get_paginator("query").paginate(**asked):
            yield from map(from_item, page["Items"])

    def write(self, *writes: Write) -> bool:
        puts: Sequence[Any] = [self._put(write) for write in writes]
        try:
            if len(puts) == 1:
                self._client.put_item(**puts[0])
            else:
                self._client.transact_write_items(TransactItems=[{"Put": put} for put in puts])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("ConditionalCheckFailedException", "TransactionConflictException"):
                return False
            if code == "TransactionCanceledException":
                reasons: Any = error.response.get("CancellationReasons", [])  # not in the stub's error type
                if all(
                    reason.get("Code") in ("None", "ConditionalCheckFailed", "TransactionConflict")
                    for reason in reasons
                ):
                    return False
            raise
        return True

    def _put(self, write: Write) -> dict[str, Any]:
        put: dict[str, Any] = {
            "TableName": self._table,
            "Item": to_item({**write.item, **_key(write.place), "v": write.v + 1}),
            "ConditionExpression": "v = :v" if write.v else "attribute_not_exists(pk)",
        }
        if write.v:
            put["ExpressionAttributeValues"] = {":v": {"N": str(write.v)}}
        return put

    def mark(self, hints: Mapping[Place, Item]) -> None:
        waiting = iter(hints.items())
        while batch := list(islice(waiting, _PUT_BATCH)):
            puts: Sequence[Any] = [
                {"PutRequest": {"Item": to_item({**hint, **_key(place)})}} for place, hint in batch
            ]
            for pause in _pauses():
                answer = self._client.batch_write_item(RequestItems={self._table: puts})
                puts = answer.get("UnprocessedItems", {}).get(self._table, [])
                if not puts:
                    break
                time.sleep(pause)
            else:
                raise TableRefused(f"{self._table} left {len(puts)} hints out, {_ROUNDS} times")

    # what the API shows

    def summary(self, dataset: str) -> dict[str, Any]:
        """See examples.overview.summary."""
        return overview.summary(self, dataset, in_threads)

    def upload(self, dataset: str, key: str) -> dict[str, Any] | None:
        """See examples.overview.upload."""
        return overview.upload(self, dataset, key)

    def examples_page(
        self, dataset: str, *, state: str | None, limit: int, after: str | None
    ) -> tuple[Sequence[dict[str, Any]], str | None]:
        """See examples.listing.examples_page."""
        return listing.examples_page(self, dataset, state=state, limit=limit, after=after, each=in_threads)

    def uploads_page(
        self, dataset: str, *, outcome: str | None, limit: int, after: str | None
    ) -> tuple[Sequence[dict[str, Any]], str | None]:
        """See examples.listing.uploads_page."""
        return listing.uploads_page(self, dataset, outcome=outcome, limit=limit, after=after)

    def versions(self, dataset: str) -> Sequence[dict[str, Any]]:
        """See examples.overview.versions."""
        return overview.versions(self, dataset)


def _key(place: Place) -> dict[str, str]:
    return {"pk": place.pk, "sk": place.sk}


def _pauses() -> Iterable[float]:
    return (random.uniform(0, 0.05 * 2**turn) for turn in range(_ROUNDS))
