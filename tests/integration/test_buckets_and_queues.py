"""The adapters of S3 and SQS against moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from pixtune.aws.buckets import Artifacts, Uploads
from pixtune.aws.items import from_item, to_item
from pixtune.aws.queues import Queue
from pixtune.errors import QueueRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="uploads")
        client.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
        client.create_bucket(Bucket="artifacts")
        yield client


def test_an_upload_is_read_at_the_version_asked_for_and_not_at_the_latest(s3: S3Client) -> None:
    first = s3.put_object(Bucket="uploads", Key="d1/a", Body=b"one", Metadata={"pixtune-answer": "1"})["VersionId"]
    s3.put_object(Bucket="uploads", Key="d1/a", Body=b"two")
    stored = Uploads(s3, "uploads").read("d1/a", first)
    assert stored is not None
    assert (stored.body, stored.metadata) == (b"one", {"pixtune-answer": "1"})


def test_a_version_that_has_vanished_is_an_answer_and_not_a_fault(s3: S3Client) -> None:
    version = s3.put_object(Bucket="uploads", Key="d1/a", Body=b"one")["VersionId"]
    s3.delete_object(Bucket="uploads", Key="d1/a", VersionId=version)
    uploads = Uploads(s3, "uploads")
    assert uploads.read("d1/a", version) is None
    assert uploads.metadata("d1/a", version) is None
    assert uploads.current_of("d1/a") is None


def test_an_upload_can_be_read_piece_by_piece_at_its_version(s3: S3Client) -> None:
    first = s3.put_object(Bucket="uploads", Key="d1/a.tar", Body=b"one" * 1000)["VersionId"]
    s3.put_object(Bucket="uploads", Key="d1/a.tar", Body=b"two")
    uploads = Uploads(s3, "uploads")
    stream = uploads.open("d1/a.tar", first)
    assert stream is not None
    with stream:
        assert (stream.read(4), stream.read(2)) == (b"oneo", b"ne")
    s3.delete_object(Bucket="uploads", Key="d1/a.tar", VersionId=first)
    assert uploads.open("d1/a.tar", first) is None


def test_reading_a_delete_marker_is_an_answer_too(s3: S3Client) -> None:
    s3.put_object(Bucket="uploads", Key="d1/a", Body=b"one")
    marker = s3.delete_object(Bucket="uploads", Key="d1/a")["VersionId"]
    assert Uploads(s3, "uploads").read("d1/a", marker) is None


def test_what_is_current_is_listed_with_delete_markers_and_without_older_versions(s3: S3Client) -> None:
    s3.put_object(Bucket="uploads", Key="d1/a", Body=b"one")
    s3.put_object(Bucket="uploads", Key="d1/a", Body=b"second")
    s3.put_object(Bucket="uploads", Key="d1/ab", Body=b"x")
    s3.delete_object(Bucket="uploads", Key="d1/ab")
    uploads = Uploads(s3, "uploads")
    assert {(found.key, found.size, found.deleted) for found in uploads.current("d1/")} == {
        ("d1/a", 6, False),
        ("d1/ab", 0, True),
    }
    current = uploads.current_of("d1/a")
    assert current is not None
    assert current.key == "d1/a"
    assert uploads.keys("d1/") == ["d1/a"]


def test_an_artifact_is_written_once_and_finding_it_there_is_success(s3: S3Client) -> None:
    artifacts = Artifacts(s3, "artifacts")
    assert artifacts.put_once("images/x.jpg", b"first", "image/jpeg") is True
    assert artifacts.put_once("images/x.jpg", b"second", "image/jpeg") is False
    assert artifacts.get("images/x.jpg") == b"first"
    assert artifacts.get("images/y.jpg") is None
    assert list(artifacts.keys("images/")) == ["images/x.jpg"]


def test_a_conflict_with_another_writer_is_raised_because_that_writer_may_fail(s3: S3Client) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        with pytest.raises(ClientError):
            Artifacts(s3, "artifacts").put_once("images/x.jpg", b"x", "image/jpeg")


def test_messages_are_sent_in_batches_that_stay_within_the_limits(s3: S3Client) -> None:
    sqs = boto3.client("sqs", region_name="us-east-1")
    url = sqs.create_queue(QueueName="facts")["QueueUrl"]
    messages = [{"n": n, "text": "ü" * (100_000 if n % 7 == 0 else 10)} for n in range(25)]
    Queue(sqs, url).send(messages)
    received: list[Any] = []
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        received += [json.loads(message["Body"]) for message in batch]
    assert sorted(received, key=lambda message: message["n"]) == messages


def test_a_queue_that_answers_200_but_takes_only_some_messages_is_a_fault() -> None:
    sqs = boto3.client("sqs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(sqs) as stub:
        failed = {"Id": "1", "Code": "InternalError", "SenderFault": False}
        stub.add_response("send_message_batch", {"Successful": [], "Failed": [failed]})
        with pytest.raises(QueueRefused, match="1 of 2"):
            Queue(sqs, "https://sqs/facts").send([{"n": 1}, {"n": 2}])


def test_values_survive_a_table() -> None:
    values = {"a": 1, "b": 0.25, "c": [True, None, "x"], "d": {"e": 1e-7, "f": 12345678901234567890}}
    assert from_item(to_item(values)) == values
