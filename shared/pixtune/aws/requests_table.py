"""The requests table: which key of which door got which run; a request goes in together with the run it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixtune.aws.items import from_item, to_item
from pixtune.aws.runs_table import expression, open_key, run_key, transact
from pixtune.training.run import Request, Run

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A webhook is sent again for up to 3 days, an EventBridge event for 1, an API caller decides for itself.
_KEPT_SECONDS = 7 * 24 * 3600


class RequestsTable:
    """`training.ports.Requests` on DynamoDB. Keys are forgotten after seven days."""

    def __init__(self, client: DynamoDBClient, table: str, runs_table: str) -> None:
        self._client = client
        self._table = table
        self._runs_table = runs_table

    def find(self, door: str, key: str, now: float) -> Request | None:
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({"pk": f"REQUEST#{door}#{key}"}), ConsistentRead=True
        )
        item = from_item(answer.get("Item", {}))
        if not item or item["expires_at"] <= now:
            return None
        return Request(door, key, item["run_id"], item["body_hash"], item["shared"])

    def open(self, request: Request, run: Run, now: float) -> bool:
        opened = open_key(run.dataset, run.settings.digest())
        record = {**run.to_json(), **_key(f"RUN#{run.run_id}", "RUN"), "live": "1", "open": opened}
        marker = {**_key(opened, "OPEN"), "run_id": run.run_id}
        return not transact(
            self._client, [self._remember(request, now), self._new_item(record), self._new_item(marker)]
        )

    def share(self, request: Request, now: float) -> bool:
        awaits = expression("attribute_exists(#open)", {"now": now}, "SET #requested_at = :now")
        update = {"TableName": self._runs_table, "Key": run_key(request.run_id)} | awaits
        return not transact(self._client, [self._remember(request, now), {"Update": update}])

    def first_time(self, door: str, key: str, now: float) -> bool:
        return not transact(self._client, [self._remember(Request(door, key, "", "", False), now)])

    def _remember(self, request: Request, now: float) -> dict[str, Any]:  # Any: DynamoDB's wire format
        item = {
            "pk": f"REQUEST#{request.door}#{request.key}",
            "run_id": request.run_id,
            "body_hash": request.body_hash,
            "shared": request.shared,
            "expires_at": int(now) + _KEPT_SECONDS,
        }
        # DynamoDB deletes expired items within days, not on time.
        unused = expression("attribute_not_exists(pk) OR #expires_at <= :now", {"now": now})
        return {"Put": {"TableName": self._table, "Item": to_item(item)} | unused}

    def _new_item(self, item: dict[str, Any]) -> dict[str, Any]:
        absent = expression("attribute_not_exists(pk)", {})
        return {"Put": {"TableName": self._runs_table, "Item": to_item(item)} | absent}


def _key(pk: str, sk: str) -> dict[str, str]:
    return {"pk": pk, "sk": sk}
