"""The runs table: run records, checkpoints, metrics, events and training reservations in and out.

Items (pk / sk): `RUN#{run_id}` / `RUN`, `CHECKPOINT#{step}`, `METRIC#{step}`, `EVENT#{ms}#{name}`;
`TRAINING#{id}` / `TRAINING` (who holds it, what it was charged); `JOB#{provider}#{job}` / `JOB`;
`OPEN#{dataset}#{settings digest}` / `OPEN` (the run that takes in further requests; that run's `open` attribute names
the item, so both come and go in one transaction); `BUDGET#{month}` / `BUDGET`; `JOBS` / `LIVE` (a set of the runs
that count as having a live job: a set, not a number, so that adding and taking away twice does no harm);
`BILLS#{provider}#{base model}` / `BILLS` (what the last trainings were billed, beside their estimates).
Indexes: `by_dataset` (dataset, run_id) and `live` (live, run_id; the attribute says that a run is live, or that it
has ended and is to be tidied up after; else it is absent).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from pixtune.aws.items import from_item, to_attribute, to_item
from pixtune.costs.calibration import Observation, remembered
from pixtune.errors import BudgetExceeded, FenceLost, RunEnded, TooManyJobs
from pixtune.training.run import Charge, Checkpoint, Run, RunEvent, RunStatus, open_to_requests

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Any, here and below: DynamoDB's wire format of items and expressions, which boto3's stubs type per call.
Attributes = dict[str, Any]
_Answer = TypeVar("_Answer")

_IS_LIVE = "#status IN (:queued, :running)"
_LIVE_VALUES = {"queued": RunStatus.QUEUED.value, "running": RunStatus.RUNNING.value}
_LIVE, _UNTIDY = "1", "untidy"  # values of the attribute `live`
_JOBS: Any = {"pk": {"S": "JOBS"}, "sk": {"S": "LIVE"}}
_CONFLICT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds, full jitter; two writers met on one item


def run_key(run_id: str) -> Attributes:
    return to_item({"pk": f"RUN#{run_id}", "sk": "RUN"})


def _bills_key(provider: str, base_model: str) -> dict[str, Any]:
    return {"pk": f"BILLS#{provider}#{base_model}", "sk": "BILLS"}


def _event_item(run_id: str, event: RunEvent) -> Attributes:
    key = f"EVENT#{int(event.at * 1000):013d}#{event.id or event.name}"
    return to_item({**asdict(event), "pk": f"RUN#{run_id}", "sk": key})


def open_key(dataset: str, settings_digest: str) -> str:
    return f"OPEN#{dataset}#{settings_digest}"


def expression(condition: str, values: Mapping[str, Any], change: str = "") -> Attributes:
    """Condition and update expressions with their names (`#name` stands for `name`) and values."""
    names = {f"#{name}": name for name in re.findall(r"#(\w+)", f"{condition} {change}")}
    parts: Attributes = {}
    if condition:
        parts["ConditionExpression"] = condition
    if change:
        parts["UpdateExpression"] = change
    if names:
        parts["ExpressionAttributeNames"] = names
    if values:
        parts["ExpressionAttributeValues"] = {f":{name}": to_attribute(value) for name, value in values.items()}
    return parts


def insisting(call: Callable[[], _Answer]) -> _Answer:
    """Make a write again that DynamoDB turned down only because a transaction was at work on its item."""
    for pause in _CONFLICT_PAUSES:
        try:
            return call()
        except ClientError as error:
            reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
            conflict = error.response["Error"]["Code"] == "TransactionConflictException" or (
                "TransactionConflict" in reasons and "ConditionalCheckFailed" not in reasons
            )
            if not conflict:
                raise
            time.sleep(random.uniform(0, pause))
    return call()


def transact(client: DynamoDBClient, items: list[Any]) -> list[bool]:
    """Write all items or none. Answers [] when written, else which of the items' conditions did not hold."""
    try:
        insisting(lambda: client.transact_write_items(TransactItems=items))
    except client.exceptions.TransactionCanceledException as error:
        reasons: Any = error.response.get("CancellationReasons", [])  # Any: not in the stubs
        failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
        if not any(failed):
            raise
        return failed
    return []


class RunsTable:
    """`training.ports.TrainingRuns` on DynamoDB, and the listings the API and the CLI show."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self.table = table

    # reading

    def get(self, run_id: str) -> Run:
        return Run.from_json(self._run_item(run_id))

    def open_run(self, dataset: str, settings_digest: str) -> str | None:
        return self._run_named_by(open_key(dataset, settings_digest), "OPEN")

    def holder(self, training_id: str) -> str | None:
        return self._run_named_by(f"TRAINING#{training_id}", "TRAINING")

    def run_of_job(self, provider: str, job_id: str) -> str | None:
        return self._run_named_by(f"JOB#{provider}#{job_id}", "JOB")

    def live(self) -> Iterator[Run]:
        yield from map(Run.from_json, self._pages(IndexName="live", **self._where("live", _LIVE)))

    def untidy(self) -> Iterator[Run]:
        yield from map(Run.from_json, self._pages(IndexName="live", **self._where("live", _UNTIDY)))

    def of_dataset(self, dataset: str, *, limit: int = 50, before: str | None = None) -> Sequence[Run]:
        """The dataset's runs, newest first; `before`: only runs older than this run id."""
        where = self._where("dataset", dataset)
        if before is not None:
            where["KeyConditionExpression"] += " AND run_id < :before"
            where["ExpressionAttributeValues"][":before"] = to_attribute(before)
        answer = self._client.query(
            TableName=self.table, IndexName="by_dataset", ScanIndexForward=False, Limit=limit, **where
        )
        return [Run.from_json(from_item(item)) for item in answer["Items"]]

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        return [Checkpoint.from_json(item) for item in self._under(run_id, "CHECKPOINT#")]

    def metrics(self, run_id: str, after: int = -1) -> Sequence[Mapping[str, float]]:
        where = self._where("pk", f"RUN#{run_id}", "METRIC#")
        where["KeyConditionExpression"] = "#hash = :hash AND sk BETWEEN :prefix AND :last"
        where["ExpressionAttributeValues"] |= {
            ":prefix": to_attribute(f"METRIC#{after + 1:08d}"),
            ":last": to_attribute("METRIC#99999999"),
        }
        return [item["point"] for item in self._pages(ConsistentRead=True, **where)]

    def last_metric_step(self, run_id: str) -> int:
        newest = self._client.query(
            TableName=self.table,
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
            **self._where("pk", f"RUN#{run_id}", "METRIC#"),
        )["Items"]
        return int(from_item(newest[0])["point"]["step"]) if newest else -1

    def events(self, run_id: str) -> Sequence[RunEvent]:
        """In order of time."""
        return [
            RunEvent(item["at"], item["name"], item["text"], item.get("level", "info"), item.get("id", ""))
            for item in self._under(run_id, "EVENT#")
        ]

    # the run record

    def update(self, run_id: str, changes: Mapping[str, Any], *, fence: int | None = None) -> None:
        conditions, values = ["attribute_exists(pk)"], dict[str, Any]()
        if fence is not None:
            conditions.append("#fence = :held_fence")
            values["held_fence"] = fence
        if "status" in changes:
            conditions.append(f"({_IS_LIVE} OR #status = :status)")
            values |= _LIVE_VALUES
        ends = "status" in changes and RunStatus(changes["status"]).ended
        also = [self._count_out(run_id)] if ends else []
        if not self._write_run(run_id, changes, " AND ".join(conditions), values, also):
            raise self._why_not(run_id, fence)

    def take_fence(self, run_id: str, attempt: int) -> Run:
        parts = expression(
            f"#attempt = :attempt AND {_IS_LIVE}", {"attempt": attempt, "one": 1} | _LIVE_VALUES, "ADD #fence :one"
        )
        taken = self._update_item(run_id, parts)
        if taken is None:
            raise self._why_not(run_id, attempt=attempt)
        return taken

    def store_token(self, run_id: str, attempt: int, turn: int, task_token: str) -> Run | None:
        return self._update_item(
            run_id,
            expression(
                "#attempt = :attempt AND #turn <= :turn",
                {"attempt": attempt, "turn": turn, "task_token": task_token},
                "SET #turn = :turn, #task_token = :task_token",
            ),
        )

    def record_job(self, run_id: str, provider: str, job_id: str, changes: Mapping[str, Any], *, fence: int) -> None:
        values = {**changes, "provider_job_id": job_id}
        job = {"pk": f"JOB#{provider}#{job_id}", "sk": "JOB", "run_id": run_id}
        failed = transact(
            self._client,
            [
                {"Update": self._run_update(run_id, values, "#fence = :held_fence", {"held_fence": fence})},
                {"Put": {"TableName": self.table, "Item": to_item(job)}},
            ],
        )
        if failed:
            raise self._why_not(run_id, fence)

    def observe(
        self, run_id: str, changes: Mapping[str, Any], events: Sequence[RunEvent], *, fence: int, seen: float
    ) -> bool:
        still = "#observed_at = :seen" if seen else "(#observed_at = :seen OR attribute_not_exists(#observed_at))"
        puts = [{"Put": {"TableName": self.table, "Item": _event_item(run_id, event)}} for event in events]
        values = {"held_fence": fence, "seen": seen}
        if self._write_run(run_id, changes, f"#fence = :held_fence AND {still}", values, puts):
            return True
        if self.get(run_id).fence != fence:
            raise self._why_not(run_id, fence)
        return False

    def settle(
        self, run_id: str, changes: Mapping[str, Any], *, fence: int, release: bool, job_may_run: bool = False
    ) -> bool:
        condition, values = f"#fence = :held_fence AND {_IS_LIVE}", {"held_fence": fence} | _LIVE_VALUES
        ended = {**changes, "fence": fence + 1}
        also = [] if job_may_run else [self._count_out(run_id)]
        return self._write_run(run_id, ended, condition, values, [*also, *(self._release(run_id) if release else ())])

    def begin_attempt(self, run_id: str, ended_attempt: int, changes: Mapping[str, Any]) -> bool:
        condition = "#attempt = :held_attempt AND #status IN (:failed, :cancelled)"
        values = {
            "held_attempt": ended_attempt,
            "failed": RunStatus.FAILED.value,
            "cancelled": RunStatus.CANCELLED.value,
        }
        return self._write_run(run_id, changes, condition, values)

    # reservations

    def reserve(
        self,
        run_id: str,
        training_id: str,
        *,
        fence: int,
        instead_of: Run | None,
        charge: Charge | None,
        max_live: int | None = None,
    ) -> bool:
        if charge is not None and charge.limit is not None and charge.dollars > charge.limit:
            raise _over(charge)
        attempt = self.get(run_id).attempt
        reserved = {"training_id": training_id, "reserved_attempt": attempt}
        first = "#fence = :held AND (attribute_not_exists(#reserved_attempt) OR #reserved_attempt < :attempt)"
        mine = self._run_update(run_id, reserved, first, {"held": fence, "attempt": attempt})
        items = {"run": {"Update": mine}, "training": self._hold(run_id, training_id, instead_of, charge)}
        if instead_of is not None and instead_of.run_id != run_id:
            seen = expression(
                "#status = :status AND #attempt = :attempt",
                {"status": instead_of.status.value, "attempt": instead_of.attempt},
            )
            check = {"TableName": self.table, "Key": run_key(instead_of.run_id)} | seen
            items["holder"] = {"ConditionCheck": check}
        if charge is not None:
            items["budget"] = self._charge(charge.month, charge.dollars, charge.limit)
        items["live"] = self._count_in(run_id, max_live)
        refused = transact(self._client, list(items.values()))
        failed = {name for name, was_refused in zip(items, refused, strict=False) if was_refused}
        if "run" in failed and self.get(run_id).fence != fence:
            raise self._why_not(run_id, fence)
        if not failed & {"run", "training", "holder"}:  # somebody else was faster is no reason to give up
            if charge is not None and "budget" in failed:
                raise _over(charge)
            if "live" in failed:
                raise TooManyJobs(f"{max_live} provider jobs run already, as many as this deployment allows.")
        return not failed

    def _hold(self, run_id: str, training_id: str, instead_of: Run | None, charge: Charge | None) -> Attributes:
        """The reservation, as it is first made, taken over from another run, or renewed by this one."""
        key = {"pk": f"TRAINING#{training_id}", "sk": "TRAINING"}
        held = {"run_id": run_id, "charge": asdict(charge) if charge else None}
        if instead_of is not None and instead_of.run_id == run_id:
            mine = expression(
                "#run_id = :run_id", held if charge else {"run_id": run_id}, "SET #charge = :charge" if charge else ""
            )
            kind = "Update" if charge else "ConditionCheck"
            return {kind: {"TableName": self.table, "Key": to_item(key)} | mine}
        put: Attributes = {"TableName": self.table, "Item": to_item(key | held)}
        if instead_of is None:
            return {"Put": put | expression("attribute_not_exists(pk)", {})}
        return {"Put": put | expression("#run_id = :holder", {"holder": instead_of.run_id})}

    def live_jobs(self) -> frozenset[str]:
        answer = self._client.get_item(TableName=self.table, Key=_JOBS, ConsistentRead=True)
        return frozenset(answer.get("Item", {}).get("run_ids", {}).get("SS", ()))

    def no_job_runs(self, run_id: str, attempt: int) -> None:
        run = self.get(run_id)
        ended = expression("#attempt = :attempt AND #status = :status", {"attempt": attempt, "status": run.status})
        check = {"TableName": self.table, "Key": run_key(run_id)} | ended
        if run.status.ended:
            transact(self._client, [{"ConditionCheck": check}, self._count_out(run_id)])

    def _count_in(self, run_id: str, most: int | None) -> Attributes:
        """Among the live jobs, where there is room for one more."""
        update: Attributes = {
            "TableName": self.table,
            "Key": _JOBS,
            "UpdateExpression": "ADD #run_ids :run_ids",
            "ExpressionAttributeNames": {"#run_ids": "run_ids"},
            "ExpressionAttributeValues": {":run_ids": {"SS": [run_id]}},
        }
        if most is not None:
            update["ConditionExpression"] = (
                "attribute_not_exists(#run_ids) OR contains(#run_ids, :run_id) OR size(#run_ids) < :most"
            )
            update["ExpressionAttributeValues"] |= {":run_id": {"S": run_id}, ":most": {"N": str(most)}}
        return {"Update": update}

    def _count_out(self, run_id: str) -> Attributes:
        return {
            "Update": {
                "TableName": self.table,
                "Key": _JOBS,
                "UpdateExpression": "DELETE #run_ids :run_ids",
                "ExpressionAttributeNames": {"#run_ids": "run_ids"},
                "ExpressionAttributeValues": {":run_ids": {"SS": [run_id]}},
            }
        }

    def _release(self, run_id: str) -> Sequence[Attributes]:
        """What gives the reservation and its charge back, as far as this run holds one."""
        training_id = self._run_item(run_id).get("training_id")
        key = {"pk": f"TRAINING#{training_id}", "sk": "TRAINING"}
        held = self._item(key) if training_id else None
        if held is None or held["run_id"] != run_id:
            return ()
        parts = expression("#run_id = :run_id", {"run_id": run_id})
        items: list[Attributes] = [{"Delete": {"TableName": self.table, "Key": to_item(key)} | parts}]
        if held["charge"]:
            items.append(self._charge(held["charge"]["month"], -held["charge"]["dollars"], None))
        return items

    def _charge(self, month: str, dollars: float, limit: float | None) -> Attributes:
        """Add to what a month has reserved, up to its limit."""
        condition, values = "", {"dollars": dollars}
        if limit is not None:
            condition, values["left"] = "attribute_not_exists(pk) OR #reserved <= :left", limit - dollars
        key = to_item({"pk": f"BUDGET#{month}", "sk": "BUDGET"})
        parts = expression(condition, values, "ADD #reserved :dollars")
        return {"Update": {"TableName": self.table, "Key": key} | parts}

    # bills

    def observations(self, provider: str, base_model: str) -> Sequence[Observation]:
        item = self._item(_bills_key(provider, base_model))
        return [Observation(**bill) for bill in item["bills"]] if item else []

    def remember_bill(self, provider: str, base_model: str, bill: Observation) -> None:
        key = _bills_key(provider, base_model)
        while True:
            item = self._item(key)
            known = [Observation(**one) for one in item["bills"]] if item else []
            seen = ("#v = :seen", {"seen": item["v"]}) if item else ("attribute_not_exists(pk)", {})
            bills = [asdict(one) for one in remembered(known, bill)]
            new = to_item(key | {"bills": bills, "v": int(item["v"]) + 1 if item else 1})
            if not transact(self._client, [{"Put": {"TableName": self.table, "Item": new} | expression(*seen)}]):
                return

    # what hangs below a run

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._put(checkpoint.run_id, f"CHECKPOINT#{checkpoint.step:08d}", checkpoint.to_json())

    def put_metrics(self, run_id: str, points: Sequence[Mapping[str, float]]) -> None:
        newest = {int(point["step"]): dict(point) for point in points}  # a batch may name an item only once
        self._put_all(
            to_item({"pk": f"RUN#{run_id}", "sk": f"METRIC#{step:08d}", "point": newest[step]})
            for step in sorted(newest)
        )

    def _put_all(self, items: Iterable[Attributes]) -> None:
        """Store items, no two of the same key."""
        writes: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        while writes:
            batch, writes = writes[:25], writes[25:]
            answer = self._client.batch_write_item(RequestItems={self.table: batch})
            unwritten = answer["UnprocessedItems"].get(self.table, [])
            if unwritten:
                time.sleep(random.uniform(0, 0.2))
                writes = [*unwritten, *writes]

    def add_event(self, run_id: str, event: RunEvent) -> None:
        self._client.put_item(TableName=self.table, Item=_event_item(run_id, event))

    def add_events(self, run_id: str, events: Sequence[RunEvent]) -> None:
        items = [_event_item(run_id, event) for event in events]
        self._put_all({item["sk"]["S"]: item for item in items}.values())

    # DynamoDB

    def _put(self, run_id: str, sk: str, values: Mapping[str, Any]) -> None:
        item = {**values, "pk": f"RUN#{run_id}", "sk": sk}
        self._client.put_item(TableName=self.table, Item=to_item(item))

    def _item(self, key: Mapping[str, str]) -> dict[str, Any] | None:
        answer = self._client.get_item(TableName=self.table, Key=to_item(key), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    def _run_item(self, run_id: str) -> dict[str, Any]:
        item = self._item({"pk": f"RUN#{run_id}", "sk": "RUN"})
        if item is None:
            raise KeyError(run_id)
        return item

    def _run_named_by(self, pk: str, sk: str) -> str | None:
        item = self._item({"pk": pk, "sk": sk})
        return str(item["run_id"]) if item else None

    def _under(self, run_id: str, prefix: str) -> Iterator[dict[str, Any]]:
        return self._pages(ConsistentRead=True, **self._where("pk", f"RUN#{run_id}", prefix))

    def _where(self, name: str, value: str, prefix: str = "") -> Attributes:
        where: Attributes = {
            "KeyConditionExpression": "#hash = :hash" + (" AND begins_with(sk, :prefix)" if prefix else ""),
            "ExpressionAttributeNames": {"#hash": name},
            "ExpressionAttributeValues": {":hash": to_attribute(value)},
        }
        if prefix:
            where["ExpressionAttributeValues"][":prefix"] = to_attribute(prefix)
        return where

    def _pages(self, **query: Any) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("query").paginate(TableName=self.table, **query):
            yield from map(from_item, page["Items"])

    def _run_update(
        self, run_id: str, changes: Mapping[str, Any], condition: str, values: Mapping[str, Any], remove: str = ""
    ) -> Any:  # Any: one shape for update_item and for transactions, which the stubs tell apart
        ended = "status" in changes and RunStatus(changes["status"]).ended
        listed = _UNTIDY if changes.get("untidy") else _LIVE if "status" in changes and not ended else None
        settings = dict(changes) | ({"live": listed} if listed else {})
        unlisted = listed is None and (ended or changes.get("untidy") is False)
        removed = ", ".join(name for name in (remove, "#live" if unlisted else "") if name)
        change = "SET " + ", ".join(f"#{name} = :{name}" for name in settings)
        change += f" REMOVE {removed}" if removed else ""
        parts = expression(condition, {**values, **settings}, change)
        return {"TableName": self.table, "Key": run_key(run_id)} | parts

    def _write_run(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        condition: str,
        values: Mapping[str, Any],
        also: Sequence[Attributes] = (),
    ) -> bool:
        """Set fields, with what has to go along in the same transaction; False when the condition does not hold."""
        if not open_to_requests(changes) and (opened := self._run_item(run_id).get("open")):
            # Nothing opens a run again, so a run seen closed stays closed; one seen open may be closed by another
            # writer first, and is then looked at again.
            closing = f"({condition}) AND #open = :opened"
            update = self._run_update(run_id, changes, closing, {**values, "opened": opened}, remove="#open")
            key = to_item({"pk": opened, "sk": "OPEN"})
            items = [{"Update": update}, {"Delete": {"TableName": self.table, "Key": key}}, *also]
            if not transact(self._client, items):
                return True
            if self._run_item(run_id).get("open"):
                return False
        update = self._run_update(run_id, changes, condition, values)
        if also:
            return not transact(self._client, [{"Update": update}, *also])
        try:
            insisting(lambda: self._client.update_item(**update))
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _update_item(self, run_id: str, parts: Attributes) -> Run | None:
        """The run after the update; None when the condition does not hold."""
        try:
            answer = insisting(
                lambda: self._client.update_item(
                    TableName=self.table, Key=run_key(run_id), ReturnValues="ALL_NEW", **parts
                )
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return None
        return Run.from_json(from_item(answer["Attributes"]))

    def _why_not(self, run_id: str, fence: int | None = None, attempt: int | None = None) -> Exception:
        """What to raise after a refused write: no such run, not ours any more, or ended."""
        run = self.get(run_id)
        if (fence is not None and run.fence != fence) or (attempt is not None and run.attempt != attempt):
            return FenceLost(f"{run_id}: attempt {run.attempt} with fence {run.fence} has taken over.")
        return RunEnded(f"{run_id} has ended already: {run.status.value}.")


def _over(charge: Charge) -> BudgetExceeded:
    return BudgetExceeded(
        f"The training may cost {charge.dollars:.2f} USD; less is left of the {charge.limit or 0:.2f} USD "
        f"for {charge.month}.",
        "Raise the deployment's monthly budget, train on fewer epochs, or wait for the next month.",
    )
