"""`pixtune data push s3://...`: objects that exist already are brought to a dataset, each of them once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from pixtune.events.s3 import Change, parse
from pixtune_cli import backfilling, target
from pixtune_cli.app import app
from pixtune_cli.failures import Exit

KEYS = ("a b+ü#%41.jpg", "deep/er/b.png", "metadata.csv")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def counts(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.out)
        return {name: told.get(name) for name in ("copied", "enqueued", "unchanged", "failed") if name in told}


@dataclass(frozen=True)
class Cloud:
    s3: Any
    sqs: Any
    queues: dict[str, str]

    def put(self, bucket: str, *keys: str, body: bytes | None = None) -> None:
        for key in keys:
            self.s3.put_object(Bucket=bucket, Key=key, Body=key.encode() if body is None else body)

    def held(self, bucket: str = "uploads") -> set[str]:
        return {item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])}

    def messages(self, queue: str) -> list[str]:
        bodies: list[str] = []
        while True:
            got = self.sqs.receive_message(QueueUrl=self.queues[queue], MaxNumberOfMessages=10).get("Messages", [])
            if not got:
                return bodies
            bodies += [message["Body"] for message in got]

    def push(self, *arguments: str) -> Ended:
        result = CliRunner().invoke(app, ["data", "push", *arguments, "--json"])
        return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)
    with mock_aws():
        s3, sqs = boto3.client("s3"), boto3.client("sqs")
        for bucket in ("uploads", "elsewhere"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
        queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("images", "annotations")}
        outputs = {
            "UploadsBucket": "uploads",
            "ImagesQueueUrl": queues["images"],
            "AnnotationsQueueUrl": queues["annotations"],
        }
        where = target.Target("a stack", outputs, "us-east-1")
        monkeypatch.setattr(target, "find", lambda _stack, _start: where)
        yield Cloud(s3, sqs, queues)


# --- from another bucket ------------------------------------------------------------------------------------------


def test_objects_of_another_bucket_are_copied_with_their_metadata_below_the_dataset(cloud: Cloud) -> None:
    cloud.put("elsewhere", *(f"photos/{key}" for key in KEYS), "photos/.DS_Store", "photosynthesis/c.jpg")
    cloud.put("elsewhere", "photos/empty/", body=b"")
    cloud.s3.put_object(Bucket="elsewhere", Key="photos/d.jpg", Body=b"d", Metadata={"pixtune-answer": "cat"})
    ended = cloud.push("s3://elsewhere/photos", "--dataset", "cats")
    assert (ended.code, ended.counts()) == (0, {"copied": 4, "unchanged": 0, "failed": 0})
    assert cloud.held() == {f"cats/{key}" for key in (*KEYS, "d.jpg")}
    assert (
        cloud.s3.get_object(Bucket="uploads", Key="cats/a b+ü#%41.jpg")["Body"].read()
        == "photos/a b+ü#%41.jpg".encode()
    )
    assert cloud.s3.head_object(Bucket="uploads", Key="cats/d.jpg")["Metadata"] == {"pixtune-answer": "cat"}


def versions(cloud: Cloud) -> int:
    return len(cloud.s3.list_object_versions(Bucket="uploads")["Versions"])


def test_what_was_copied_is_not_copied_again_and_what_changed_is(cloud: Cloud) -> None:
    cloud.put("elsewhere", *KEYS)
    cloud.push("s3://elsewhere", "--dataset", "cats")
    assert cloud.push("s3://elsewhere/", "--dataset", "cats").counts() == {"copied": 0, "unchanged": 3, "failed": 0}
    assert versions(cloud) == 3
    cloud.put("elsewhere", "metadata.csv", body=b"changed")
    assert cloud.push("s3://elsewhere", "--dataset", "cats").counts()["copied"] == 1
    assert cloud.s3.get_object(Bucket="uploads", Key="cats/metadata.csv")["Body"].read() == b"changed"


def test_without_its_manifest_the_dataset_itself_says_what_is_there(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("elsewhere", *KEYS)
    manifest = tmp_path / "done.jsonl"
    cloud.push("s3://elsewhere", "--dataset", "cats", "--manifest", str(manifest))
    manifest.unlink()
    again = cloud.push("s3://elsewhere", "--dataset", "cats", "--manifest", str(manifest))
    assert again.counts() == {"copied": 0, "unchanged": 3, "failed": 0}


def break_after(monkeypatch: pytest.MonkeyPatch, copies: int, error: BaseException) -> Callable[[], None]:
    """The next copies but these many end in an error; calling what comes back mends it."""
    left = [copies]

    def broken(params: dict[str, Any], **_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error

    usual = target.Target.s3

    def s3(self: target.Target, connections: int = 10) -> Any:
        client = usual(self, connections)
        client.meta.events.register("provide-client-params.s3.CopyObject", broken)
        return client

    monkeypatch.setattr(target.Target, "s3", s3)
    return lambda: monkeypatch.setattr(target.Target, "s3", usual)


def test_a_stopped_command_goes_on_where_it_was(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("elsewhere", *(f"{number:03}.jpg" for number in range(30)))
    mend = break_after(monkeypatch, 12, KeyboardInterrupt())
    stopped = cloud.push("s3://elsewhere", "--dataset", "cats", "--threads", "1")
    assert stopped.code != 0
    assert len(cloud.held()) == 12
    mend()
    assert cloud.push("s3://elsewhere", "--dataset", "cats").counts() == {"copied": 18, "unchanged": 12, "failed": 0}
    assert versions(cloud) == 30


def test_failures_are_named_and_the_marker_is_held_back(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    cloud.put("elsewhere", *KEYS, "_READY")
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "CopyObject")
    mend = break_after(monkeypatch, 1, refused)
    ended = cloud.push("s3://elsewhere", "--dataset", "cats", "--threads", "1")
    assert ended.code == Exit.AUTH
    assert ended.counts() == {"copied": 1, "unchanged": 0, "failed": 2}
    assert "the same command" in ended.err
    assert "cats/_READY" not in cloud.held()
    mend()
    assert cloud.push("s3://elsewhere", "--dataset", "cats").counts() == {"copied": 3, "unchanged": 1, "failed": 0}
    assert "cats/_READY" in cloud.held()


# --- in the uploads bucket ----------------------------------------------------------------------------------------


def test_objects_that_lie_in_the_dataset_are_asked_for_through_the_queue_of_their_kind(cloud: Cloud) -> None:
    cloud.put("uploads", *(f"cats/{key}" for key in KEYS), "cats/_READY", "cats/.DS_Store", "dogs/a.jpg")
    ended = cloud.push("s3://uploads/cats/")
    assert (ended.code, ended.counts()) == (0, {"enqueued": 3, "unchanged": 0, "failed": 0})
    images, annotations = ([parse(body) for body in cloud.messages(name)] for name in ("images", "annotations"))
    assert {event.key for event in images} == {"cats/a b+ü#%41.jpg", "cats/deep/er/b.png"}
    assert {event.key for event in annotations} == {"cats/metadata.csv"}
    assert {event.change for event in [*images, *annotations]} == {Change.RECONCILE}
    assert {event.expected for event in images} == {None}


def test_what_was_asked_for_is_not_asked_for_again_unless_it_changed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfilling, "_BATCH", 12)
    cloud.put("uploads", *(f"cats/{number}.jpg" for number in range(30)))
    assert cloud.push("s3://uploads/cats").counts() == {"enqueued": 30, "unchanged": 0, "failed": 0}
    assert len(cloud.messages("images")) == 30
    cloud.put("uploads", "cats/7.jpg", body=b"changed")
    assert cloud.push("s3://uploads/cats").counts() == {"enqueued": 1, "unchanged": 29, "failed": 0}
    assert [parse(body).key for body in cloud.messages("images")] == ["cats/7.jpg"]


def test_a_folder_of_another_dataset_is_copied(cloud: Cloud) -> None:
    cloud.put("uploads", "cats/tabby/a.jpg")
    assert cloud.push("s3://uploads/cats/tabby", "--dataset", "dogs").counts()["copied"] == 1
    assert "dogs/a.jpg" in cloud.held()


# --- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://elsewhere/none", "--dataset", "cats"], "There is nothing at s3://elsewhere/none/"),
        (["s3://elsewhere"], "which dataset"),
        (["s3://elsewhere", "--dataset", "No Name"], "no dataset name"),
        (["s3://", "--dataset", "cats"], "names no bucket"),
        (["s3://uploads", "--dataset", "cats"], "all datasets"),
        (["./nowhere", "--dataset", "cats"], "no folder ./nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(cloud: Cloud, arguments: list[str], said: str) -> None:
    ended = cloud.push(*arguments)
    assert ended.code == Exit.USAGE
    assert said in ended.err
    assert cloud.held() == set()


def test_a_manifest_of_other_work_is_left_alone(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("elsewhere", *KEYS)
    manifest = str(tmp_path / "done.jsonl")
    cloud.push("s3://elsewhere", "--dataset", "cats", "--manifest", manifest)
    before = Path(manifest).read_text()
    ended = cloud.push("s3://elsewhere", "--dataset", "dogs", "--manifest", manifest)
    assert ended.code == Exit.USAGE
    assert "is of other work" in ended.err
    assert Path(manifest).read_text() == before


def test_a_manifest_line_that_a_crash_cut_short_was_not_written(tmp_path: Path) -> None:
    work = {"source": "s3://elsewhere/", "bucket": "uploads", "dataset": "cats"}
    first, second = backfilling.Listed("a", "1"), backfilling.Listed("b", "2")
    backfilling.Manifest(tmp_path / "m", work).add([first, second])
    (tmp_path / "m").write_text((tmp_path / "m").read_text()[:-5])
    read = backfilling.Manifest(tmp_path / "m", work)
    assert (read.has(first), read.has(second)) == (True, False)
    read.add([second])
    assert backfilling.Manifest(tmp_path / "m", work).has(second)
