"""The function as Lambda calls it, against moto's buckets and queues: an event in, objects and a fact out."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws
from tests.unit import drawn

from pixtune.aws import clients
from pixtune.examples.facts import ImageFact
from pixtune.verdicts import Code, Outcome

PHOTO = drawn.jpeg(drawn.photo(320, 240))


class Context:
    function_name = "convert_image"

    def get_remaining_time_in_millis(self) -> int:
        return 110_000


@dataclass
class Stack:
    function: ModuleType
    s3: Any
    sqs: Any
    queue: str

    def drop(self, key: str, body: bytes, **metadata: str) -> dict[str, Any]:
        """Upload, and the `Object Created` event EventBridge sends for it."""
        answer = self.s3.put_object(Bucket="uploads", Key=key, Body=body, Metadata=metadata)
        item = {"key": key, "size": len(body), "version-id": answer["VersionId"], "sequencer": "00617F08299329D189"}
        detail = {"version": "0", "bucket": {"name": "uploads"}, "object": item, "reason": "PutObject"}
        return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}

    def invoke(self, *events: dict[str, Any]) -> dict[str, Any]:
        records = [{"messageId": f"m{number}", "body": json.dumps(event)} for number, event in enumerate(events)]
        answer: dict[str, Any] = self.function.handler({"Records": records}, Context())
        return answer

    def facts(self) -> list[ImageFact]:
        messages = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        return [ImageFact.from_json(json.loads(message["Body"])) for message in messages]

    def artifact(self, key: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.s3.get_object(Bucket="artifacts", Key=key)
        return answer


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with mock_aws():
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3, sqs = boto3.client("s3"), boto3.client("sqs")
        for bucket in ("uploads", "artifacts"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
        queue = sqs.create_queue(QueueName="image-facts")["QueueUrl"]
        monkeypatch.setenv("UPLOADS_BUCKET", "uploads")
        monkeypatch.setenv("ARTIFACTS_BUCKET", "artifacts")
        monkeypatch.setenv("IMAGE_FACTS_QUEUE_URL", queue)
        clients.s3.cache_clear()
        clients.sqs.cache_clear()
        function = importlib.reload(importlib.import_module("functions.convert_image.handler"))
        with function.sandbox:
            yield Stack(function, s3, sqs, queue)
        clients.s3.cache_clear()
        clients.sqs.cache_clear()


def test_a_dropped_photo_becomes_an_image_and_a_fact(stack: Stack) -> None:
    event = stack.drop("cards/a b+ü#%41.jpg", PHOTO, **{"pixtune-label": "king"})
    assert stack.invoke(event) == {"batchItemFailures": []}
    (fact,) = stack.facts()
    assert fact.verdict
    assert fact.image
    assert (fact.key, fact.dataset, fact.annotated) == ("cards/a b+ü#%41.jpg", "cards", True)
    assert fact.verdict.outcome is Outcome.ACCEPTED
    stored = stack.artifact(fact.image.key)
    assert stored["ContentType"] == "image/jpeg"
    assert drawn.decoded(stored["Body"].read()).size == (320, 240)
    assert drawn.decoded(stack.artifact(f"thumbs/{fact.image.sha256}.jpg")["Body"].read()).size == (256, 192)


def test_an_object_with_tags_is_one_whose_tags_deserve_a_look(stack: Stack) -> None:
    event, plain = stack.drop("cards/a.jpg", PHOTO), stack.drop("cards/b.jpg", PHOTO)
    item = event["detail"]["object"]
    tags = {"TagSet": [{"Key": "class", "Value": "king"}]}
    stack.s3.put_object_tagging(Bucket="uploads", Key=item["key"], VersionId=item["version-id"], Tagging=tags)
    stack.invoke(event, plain)
    assert {fact.key: fact.annotated for fact in stack.facts()} == {"cards/a.jpg": True, "cards/b.jpg": False}


def test_the_same_message_twice_stores_once_and_tells_the_same(stack: Stack) -> None:
    event = stack.drop("cards/a.jpg", PHOTO)
    stack.invoke(event, event)
    stack.invoke(event)
    first, *others = stack.facts()
    assert others == [first, first]
    listed = stack.s3.list_objects_v2(Bucket="artifacts")["Contents"]
    assert sorted(item["Key"].split("/")[0] for item in listed) == ["images", "thumbs", "verdicts"]


def test_an_upload_that_vanished_asks_for_another_look(stack: Stack) -> None:
    event = stack.drop("cards/a.jpg", PHOTO)
    version = event["detail"]["object"]["version-id"]
    stack.s3.delete_object(Bucket="uploads", Key="cards/a.jpg", VersionId=version)
    assert stack.invoke(event) == {"batchItemFailures": []}
    assert [fact.change for fact in stack.facts()] == ["recheck"]


def test_bad_pictures_are_verdicts_and_bad_messages_come_again(stack: Stack) -> None:
    cut = stack.drop("cards/cut.jpg", PHOTO[:700])
    unversioned = stack.drop("cards/a.jpg", PHOTO)
    del unversioned["detail"]["object"]["version-id"]
    answer = stack.invoke(unversioned, cut, {"detail-type": "Something Else", "detail": {}})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]}
    assert [fact.verdict and fact.verdict.code for fact in stack.facts()] == [Code.TRUNCATED]


def test_a_cold_start_imports_nothing_it_does_not_need() -> None:
    code = (
        "import os, sys; os.environ['AWS_DEFAULT_REGION'] = 'us-east-1'\n"
        "import functions.convert_image.handler as h; h.sandbox.close()\n"
        "from pixtune.aws import clients; clients.s3(); clients.sqs()\n"
        "unwanted = ('openai', 'pydantic', 'PIL', 'boto3.dynamodb', 'aws_xray_sdk', 'pixtune.aws.items')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
