"""From a table's stream to the bus: DynamoDB's wire format in, PutEvents entries out, refusals noticed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from pixtune.aws import clients
from pixtune.aws.bus import Bus
from pixtune.aws.items import to_item
from pixtune.errors import BusRefused
from pixtune.events.cloud_events import CloudEvent
from pixtune.training.run import Run, TrainingSettings

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

ROOT = Path(__file__).resolve().parents[2]
RUN = Run("run_1", "cats", TrainingSettings("local", "local-vision-1"), 1_800_000_000.5, "api", "k")


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    """A bus `pixtune` with a rule that sends all of it to the queue `heard`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("EVENT_BUS_NAME", "pixtune")
    with mock_aws():
        clients.events.cache_clear()
        queues, events = boto3.client("sqs"), boto3.client("events")
        url = queues.create_queue(QueueName="heard")["QueueUrl"]
        arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.create_event_bus(Name="pixtune")
        events.put_rule(Name="all", EventBusName="pixtune", EventPattern='{"source": ["pixtune"]}')
        events.put_targets(Rule="all", EventBusName="pixtune", Targets=[{"Id": "q", "Arn": arn}])
        yield queues
        clients.events.cache_clear()


@pytest.fixture
def edge() -> ModuleType:
    return importlib.import_module("functions.publish_events.handler")


def record(number: int, new: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    """One record as DynamoDB Streams delivers it (view type NEW_AND_OLD_IMAGES)."""
    stream: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_800_000_000 + number,
        "Keys": {"pk": {"S": new["pk"]}, "sk": {"S": new["sk"]}},
        "NewImage": to_item(new),
        "SequenceNumber": f"{number:021d}",
        "SizeBytes": 512,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if old is not None:
        stream["OldImage"] = to_item(old)
    return {
        "eventID": f"{number:032x}",
        "eventName": "MODIFY" if old else "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": stream,
        "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/runs/stream/2026-11-22T00:00:00.000",
    }


def heard(sqs: SQSClient) -> list[dict[str, Any]]:
    url = sqs.get_queue_url(QueueName="heard")["QueueUrl"]
    found: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_what_the_runs_table_stored_is_on_the_bus_as_a_cloud_event(sqs: SQSClient, edge: ModuleType) -> None:
    item = RUN.to_json() | {"pk": "RUN#run_1", "sk": "RUN"}
    answer = edge.handler({"Records": [record(1, item), record(2, item | {"status": "running"}, item)]}, None)
    assert answer == {"batchItemFailures": []}
    requested, started = heard(sqs)
    assert (requested["source"], requested["detail-type"]) == ("pixtune", "pixtune.run.requested.v1")
    assert requested["detail"]["id"] == f"{1:032x}-0"
    assert requested["detail"]["data"]["run_id"] == "run_1"
    assert started["detail-type"] == "pixtune.run.started.v1"


def test_the_set_of_live_jobs_means_nothing_to_others_and_holds_up_nothing(sqs: SQSClient, edge: ModuleType) -> None:
    jobs = record(1, {"pk": "JOBS", "sk": "LIVE"})
    jobs["dynamodb"]["NewImage"]["run_ids"] = {"SS": ["run_2", "run_1"]}
    run = RUN.to_json() | {"pk": "RUN#run_1", "sk": "RUN"}
    assert edge.handler({"Records": [jobs, record(2, run)]}, None) == {"batchItemFailures": []}
    assert [event["detail-type"] for event in heard(sqs)] == ["pixtune.run.requested.v1"]


def test_the_sample_event_is_one_that_the_function_announces(sqs: SQSClient, edge: ModuleType) -> None:
    sample = json.loads((ROOT / "events" / "publish_events.json").read_text())
    assert edge.handler(sample, None) == {"batchItemFailures": []}
    assert [event["detail-type"] for event in heard(sqs)] == ["pixtune.run.requested.v1"]


def test_an_unreadable_record_is_named_so_that_lambda_starts_again_from_it(sqs: SQSClient, edge: ModuleType) -> None:
    good = RUN.to_json() | {"pk": "RUN#run_1", "sk": "RUN"}
    broken = {"pk": "RUN#run_2", "sk": "RUN", "status": "queued"}
    answer = edge.handler({"Records": [record(1, good), record(2, broken), record(3, good)]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": f"{2:021d}"}]}
    assert len(heard(sqs)) == 1


class RefusingBus:
    """An EventBridge client that answers 200 and takes all but the last entry."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        self.batches.append(len(Entries))
        taken = [{"EventId": str(n)} for n in range(len(Entries) - 1)]
        return {"FailedEntryCount": 1, "Entries": [*taken, {"ErrorCode": "ThrottlingException"}]}


def test_a_partial_refusal_that_answers_200_is_an_error() -> None:
    client = RefusingBus()
    events = [CloudEvent(str(n), "pixtune.run.started.v1", "run/1", 0.0, {}) for n in range(11)]
    with pytest.raises(BusRefused, match=r"1 of 10.*ThrottlingException"):
        Bus(cast("EventBridgeClient", client), "pixtune").publish(events)
    assert client.batches == [10]


def test_more_than_ten_events_go_in_several_calls(sqs: SQSClient) -> None:
    events = [CloudEvent(str(n), "pixtune.run.started.v1", "run/1", 0.0, {}) for n in range(23)]
    Bus(clients.events(), "pixtune").publish(events)
    assert sorted(int(event["detail"]["id"]) for event in heard(sqs)) == list(range(23))


def test_a_batch_never_weighs_more_than_put_events_takes() -> None:
    client = RefusingBus()
    heavy = [CloudEvent(str(n), "pixtune.run.started.v1", "run/1", 0.0, {"x": "ü" * 200_000}) for n in range(3)]
    with pytest.raises(BusRefused):
        Bus(cast("EventBridgeClient", client), "pixtune").publish(heavy)
    assert client.batches == [2]
