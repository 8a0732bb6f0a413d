"""The functions of ingest as Lambda calls them, against moto's buckets, queues and tables."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import boto3
import pytest
from moto import mock_aws
from tests.fakes.facts import picture, put_image, row_fact
from tests.integration.tables import make_tables

from pixtune.aws import clients
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.items import to_item
from pixtune.aws.runs_table import RunsTable
from pixtune.datasets.version import Manifest
from pixtune.errors import DatasetEmpty, UploadsNotSettled
from pixtune.events.s3 import padded
from pixtune.examples.rows import Row, read_rows
from pixtune.training.run import Run, RunStatus, TrainingSettings

QUEUES = ("images", "annotations", "image-facts", "annotation-facts")


class Context:
    function_name = "pixtune"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:pixtune"
    aws_request_id = "request"


@dataclass
class Stack:
    s3: Any
    sqs: Any
    dynamodb: Any
    urls: dict[str, str]
    sequencer: int = 0xA0

    def __post_init__(self) -> None:
        self.table = ExamplesTable(self.dynamodb, "examples")
        self.runs = RunsTable(self.dynamodb, "runs")

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = importlib.import_module(f"functions.{function}.handler").handler(event, Context())
        return answer

    def drop(self, key: str, body: bytes, **metadata: str) -> dict[str, Any]:
        """Upload, and the `Object Created` event EventBridge sends for it."""
        answer = self.s3.put_object(Bucket="uploads", Key=key, Body=body, Metadata=metadata)
        self.sequencer += 1
        sequencer = f"00{self.sequencer:X}8299329D189"
        item = {"key": key, "size": len(body), "version-id": answer["VersionId"], "sequencer": sequencer}
        detail = {"version": "0", "bucket": {"name": "uploads"}, "object": item, "reason": "PutObject"}
        return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}

    def photo(self, key: str, number: int = 1) -> dict[str, Any]:
        """Upload a photo; what convert_image says about it."""
        item = self.drop(key, b"photo")["detail"]["object"]
        fact = put_image(number=number).to_json()
        return fact | {"key": key, "version_id": item["version-id"], "sequencer": padded(item["sequencer"])}

    def erase(self, key: str) -> None:
        """Delete every version of a key."""
        for version in self.s3.list_object_versions(Bucket="uploads", Prefix=key)["Versions"]:
            self.s3.delete_object(Bucket="uploads", Key=key, VersionId=version["VersionId"])

    def waiting(self, queue: str) -> list[dict[str, Any]]:
        """Take all messages of a queue, as the records Lambda is given."""
        records: list[dict[str, Any]] = []
        while found := self.sqs.receive_message(QueueUrl=self.urls[queue], MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                self.sqs.delete_message(QueueUrl=self.urls[queue], ReceiptHandle=message["ReceiptHandle"])
                records.append(record(queue, message["Body"], message["MessageId"]))
        return records

    def read(self, *events: dict[str, Any]) -> None:
        records = [record("annotations", json.dumps(event), str(number)) for number, event in enumerate(events)]
        assert self.call("read_annotations", {"Records": records}) == {"batchItemFailures": []}

    def append(self, *facts: dict[str, Any]) -> None:
        """Give append_rows these image facts and whatever waits in the annotation facts queue."""
        images = [record("image-facts", json.dumps(fact), str(number)) for number, fact in enumerate(facts)]
        for records in (images, self.waiting("annotation-facts")):
            assert self.call("append_rows", {"Records": records}) == {"batchItemFailures": []}

    def rows(self) -> list[Row]:
        found = self.s3.list_objects_v2(Bucket="artifacts", Prefix="rows/").get("Contents", [])
        bodies = [self.s3.get_object(Bucket="artifacts", Key=item["Key"])["Body"].read().decode() for item in found]
        return [row for body in bodies for row in read_rows(body.splitlines())]

    def request(self, requested_at: float | None = None) -> dict[str, Any]:
        """A run of `pets` as request_training leaves it; its state's input."""
        run = Run("run_1", "pets", TrainingSettings("local", "tiny"), requested_at or time.time(), "api", "key")
        item = {"pk": "RUN#run_1", "sk": "RUN", "live": "1", **run.to_json()}
        self.dynamodb.put_item(TableName="runs", Item=to_item(item))
        return {"run_id": "run_1", "attempt": 1}


def record(queue: str, body: str, message_id: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1763600000000"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue}",
        "awsRegion": "us-east-1",
    }


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with mock_aws():
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3, sqs, dynamodb = boto3.client("s3"), boto3.client("sqs"), boto3.client("dynamodb")
        for bucket in ("uploads", "artifacts"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
        make_tables(dynamodb)
        dynamodb.create_table(
            TableName="examples",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in QUEUES}
        settings = {
            "UPLOADS_BUCKET": "uploads",
            "ARTIFACTS_BUCKET": "artifacts",
            "EXAMPLES_TABLE": "examples",
            "RUNS_TABLE": "runs",
            **{f"{name.upper().replace('-', '_')}_QUEUE_URL": url for name, url in urls.items()},
            "READ_OBJECT_TAGS": "true",
            "REENQUEUE_AFTER_SECONDS": "120",
            "SETTLE_DEADLINE_SECONDS": "3600",
            "POLL_MIN_SECONDS": "30",
            "POLL_MAX_SECONDS": "1800",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        for client in (clients.s3, clients.sqs, clients.dynamodb):
            client.cache_clear()
        yield Stack(s3, sqs, dynamodb, urls)
        for client in (clients.s3, clients.sqs, clients.dynamodb):
            client.cache_clear()


def test_a_photo_and_a_csv_dropped_become_a_row_in_a_segment(stack: Stack) -> None:
    image = stack.photo("pets/a b+ü#%41.jpg")
    stack.read(stack.drop("pets/metadata.csv", "file_name,question,answer\na b+ü#%41.jpg,what?,cat\n".encode()))
    stack.append(image)
    (row,) = stack.rows()
    assert row.images[0].image == picture()
    assert row.images[0].upload == "pets/a b+ü#%41.jpg"
    assert row.annotation
    assert row.annotation.question() == "what?"
    assert stack.table.summary("pets") == {
        "dataset": "pets",
        "uploads": {"accepted": 2, "fixed": 0, "rejected": 0},
        "inline": {"accepted": 0, "fixed": 0, "rejected": 0},
        "reasons": {},
        "examples": {"ready": 1, "waiting": 0, "held": 0, "deleted": 0},
        "unlabelled": 0,
        "latest_version": None,
    }


def test_what_happened_to_a_file_can_be_asked_by_its_key(stack: Stack) -> None:
    stack.read(stack.drop("pets/metadata.csv", b"file_name,answer\nmissing.jpg,cat\n../x.jpg,dog\n"))
    stack.append(stack.photo("pets/lonely.jpg"))
    shown = stack.table.upload("pets", "pets/metadata.csv")
    assert shown
    assert shown["verdict"]["verdict"] == "accepted"
    assert shown["verdict"]["warnings"][0]["code"] == "bad_path"
    (example,) = shown["examples"]
    assert (example["state"], example["waiting_for"]) == (
        "waiting",
        [{"key": "pets/missing.jpg", "reason": "has not arrived"}],
    )
    lonely = stack.table.upload("pets", "pets/lonely.jpg")
    assert lonely
    assert (lonely["kind"], lonely["examples"]) == ("image", [])
    assert stack.table.upload("pets", "pets/never.jpg") is None
    assert stack.table.summary("pets")["unlabelled"] == 1


def test_examples_are_listed_in_pages_by_state(stack: Stack) -> None:
    text = "file_name,answer\n" + "".join(f"{number}.jpg,x\n" for number in range(5))
    stack.read(stack.drop("pets/metadata.csv", text.encode()))
    stack.append(*(stack.photo(f"pets/{number}.jpg", number + 1) for number in range(3)))
    first, cursor = stack.table.examples_page("pets", state="ready", limit=2, after=None)
    rest, end = stack.table.examples_page("pets", state="ready", limit=2, after=cursor)
    assert (len(first), len(rest), end) == (2, 1, None)
    every, _ = stack.table.examples_page("pets", state=None, limit=50, after=None)
    ids = [example["example_id"] for example in every]
    assert len(set(ids)) == len(ids) == 5
    assert [example["example_id"] for example in [*first, *rest]] == [
        example["example_id"] for example in every if example["state"] == "ready"
    ]


def test_an_images_own_metadata_go_through_the_reader_and_become_its_annotation(stack: Stack) -> None:
    image = stack.drop("pets/a.jpg", b"photo", **{"pixtune-label": "cat"})["detail"]["object"]
    fact = put_image(annotated=True).to_json()
    fact |= {"key": "pets/a.jpg", "version_id": image["version-id"], "sequencer": padded(image["sequencer"])}
    stack.append(fact)
    records = stack.waiting("annotations")
    assert stack.call("read_annotations", {"Records": records}) == {"batchItemFailures": []}
    stack.append()
    (row,) = stack.rows()
    assert row.sources == ("pets/a.jpg",)


def test_an_images_tags_go_through_the_reader_too(stack: Stack) -> None:
    tags = {
        "TagSet": [{"Key": "class", "Value": "cat"}, {"Key": "split", "Value": "test"}, {"Key": "team", "Value": "x"}]
    }
    item = stack.drop("pets/a.jpg", b"photo")["detail"]["object"]
    stack.s3.put_object_tagging(Bucket="uploads", Key="pets/a.jpg", VersionId=item["version-id"], Tagging=tags)
    fact = put_image(annotated=True).to_json()
    fact |= {"key": "pets/a.jpg", "version_id": item["version-id"], "sequencer": padded(item["sequencer"])}
    stack.append(fact)
    records = stack.waiting("annotations")
    assert stack.call("read_annotations", {"Records": records}) == {"batchItemFailures": []}
    stack.append()
    (row,) = stack.rows()
    assert row.annotation
    assert (row.annotation.turns[-1].parts[0].text, row.annotation.split) == ("cat", "test")
    assert row.annotation.fields == {}


def test_a_picture_inside_a_row_is_stored_among_the_artifacts_and_the_gate_asked_to_look_at_it(stack: Stack) -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}}]},
            {"role": "assistant", "content": "cat"},
        ]
    }
    stack.read(stack.drop("pets/chat.jsonl", json.dumps(row).encode()))
    digest = sha256(b"\0\1\2").hexdigest()
    assert stack.s3.get_object(Bucket="artifacts", Key=f"inline/{digest}")["Body"].read() == b"\0\1\2"
    assert [json.loads(message["body"])["detail"]["object"] for message in stack.waiting("images")] == [
        {"key": f"pets/inline/{digest}"}
    ]
    uploads = stack.s3.list_objects_v2(Bucket="uploads")["Contents"]
    assert [upload["Key"] for upload in uploads] == ["pets/chat.jsonl"]  # what starts functions is people's alone
    fact = put_image().to_json() | {"key": f"pets/inline/{digest}", "version_id": digest, "sequencer": ""}
    stack.append(fact)
    (shown,) = stack.rows()[0].images
    assert (shown.upload, shown.version_id) == (f"pets/inline/{digest}", digest)


def test_an_annotation_on_the_image_facts_queue_comes_again_until_it_is_a_dead_letter(stack: Stack) -> None:
    stack.append(stack.photo("pets/a.jpg"))
    forged = record("image-facts", json.dumps(row_fact().to_json()), "forged")
    good = record("image-facts", json.dumps(stack.photo("pets/b.jpg")), "good")
    answer = stack.call("append_rows", {"Records": [forged, good]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "forged"}]}
    assert stack.table.summary("pets")["uploads"]["accepted"] == 2


def test_an_event_of_an_unversioned_bucket_comes_again(stack: Stack) -> None:
    event = stack.drop("pets/metadata.csv", b"file_name,text\na.jpg,x\n")
    del event["detail"]["object"]["version-id"]
    answer = stack.call("read_annotations", {"Records": [record("annotations", json.dumps(event), "1")]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}


def test_deleting_and_undeleting_a_file_goes_through_the_bucket(stack: Stack) -> None:
    image = stack.photo("pets/a.jpg")
    stack.read(stack.drop("pets/metadata.csv", b"file_name,text\na.jpg,cat\n"))
    stack.append(image)
    marker = stack.s3.delete_object(Bucket="uploads", Key="pets/metadata.csv")["VersionId"]
    gone = {
        "detail-type": "Object Deleted",
        "detail": {
            "bucket": {"name": "uploads"},
            "object": {"key": "pets/metadata.csv", "version-id": marker, "sequencer": "00FF"},
            "reason": "DeleteObject",
            "deletion-type": "Delete Marker Created",
        },
    }
    stack.read(gone)
    stack.append()
    assert stack.table.summary("pets")["examples"]["deleted"] == 1
    stack.s3.delete_object(Bucket="uploads", Key="pets/metadata.csv", VersionId=marker)
    gone["detail"]["deletion-type"] = "Permanently Deleted"  # type: ignore[index]  # a literal of mixed values
    stack.read(gone)
    stack.append()
    assert stack.call("read_annotations", {"Records": stack.waiting("annotations")}) == {"batchItemFailures": []}
    stack.append()
    assert stack.table.summary("pets")["examples"]["ready"] == 1
    assert sorted(row.revision for row in stack.rows()) == [1, 2, 3]


def test_a_run_settles_is_published_and_finds_its_version_again(stack: Stack) -> None:
    image = stack.photo("pets/a.jpg")
    event = stack.drop("pets/metadata.csv", b"file_name,text\na.jpg,cat\n")
    state = stack.request()
    waits = stack.call("settle_uploads", state)
    assert waits == {"settled": False, "wait_seconds": 1, "poll_min_seconds": 30, "poll_max_seconds": 1800}
    assert stack.runs.get("run_1").status is RunStatus.RUNNING
    stack.read(event)
    stack.append(image)
    assert stack.call("settle_uploads", state)["settled"] is True
    answer = stack.call("publish_dataset", state)
    assert answer["version"] == 1
    assert stack.call("publish_dataset", state) == answer
    run = stack.runs.get("run_1")
    assert (run.version, run.version_digest, run.stage) == (1, answer["digest"], "PublishDataset")
    assert run.manifest_key
    stored = stack.s3.get_object(Bucket="artifacts", Key=run.manifest_key)["Body"].read()
    manifest = Manifest.from_json(json.loads(stored))
    lines = stack.s3.get_object(Bucket="artifacts", Key=manifest.files["train"])["Body"].read().decode()
    assert [row.example_id for row in read_rows(lines.splitlines())] == [manifest.examples[0].example_id]
    latest = stack.table.summary("pets")["latest_version"]
    assert (latest["version"], latest["digest"], latest["counts"]["train"]) == (1, answer["digest"], 1)


def test_a_dataset_with_nothing_ready_fails_the_run_by_name(stack: Stack) -> None:
    stack.append(stack.photo("pets/a.jpg"))
    with pytest.raises(DatasetEmpty, match="'pets'"):
        stack.call("publish_dataset", stack.request())


def test_past_the_deadline_the_run_fails_and_names_the_uploads(stack: Stack) -> None:
    stack.append(stack.photo("pets/a.jpg"))
    stack.erase("pets/a.jpg")
    state = stack.request(requested_at=time.time() - 4000)
    with pytest.raises(UploadsNotSettled, match=r"pets/a\.jpg: its deletion has not been taken in"):
        stack.call("settle_uploads", state)


def test_the_sweep_asks_for_what_never_arrived(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENQUEUE_AFTER_SECONDS", "-5")
    stack.drop("pets/a.jpg", b"photo")
    stack.drop("pets/metadata.csv", b"file_name,text\na.jpg,cat\n")
    stack.append(stack.photo("pets/b.jpg"))
    event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    assert stack.call("sweep_uploads", event) == {"sent_again": {"pets": 2}}
    (image,), (annotation,) = stack.waiting("images"), stack.waiting("annotations")
    assert json.loads(image["body"])["detail"]["object"] == {"key": "pets/a.jpg"}
    assert stack.call("read_annotations", {"Records": [annotation]}) == {"batchItemFailures": []}
    stack.append()
    assert stack.table.summary("pets")["examples"]["waiting"] == 1


@pytest.mark.parametrize("function", ["append_rows", "settle_uploads", "publish_dataset", "sweep_uploads"])
def test_a_cold_start_loads_neither_pillow_nor_pydantic_nor_openai(function: str) -> None:
    code = (
        f"import sys; import functions.{function}.handler; "
        "print([name for name in ('PIL', 'pydantic', 'openai') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
