"""Files dropped into the bucket of the deployed template become verdicts and rows, whatever happens to the events."""

from __future__ import annotations

import json
import os
import random
import tarfile
import time
from base64 import b64encode
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.pictures import picture
from tests.e2e.service import Service, wait_for

from pixtune.aws.examples_table import ExamplesTable
from pixtune.keys import NO_DATASET
from pixtune_local.cloud import stack

pytestmark = pytest.mark.e2e


def rows_file(answers: dict[str, str]) -> bytes:
    lines = [{"file_name": name, "prompt": "Which?", "answer": answer} for name, answer in answers.items()]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_a_photo_and_its_sidecar_become_a_row(service: Service) -> None:
    service.drop({"one/a.jpg": picture(1), "one/a.jpg.json": b'{"prompt": "Which?", "answer": "first"}'})
    service.wait_for_ready("one", 1)
    (example,) = service.examples("one")
    assert example["state"] == "ready"
    upload = service.upload("one/a.jpg")
    assert upload["verdict"]["verdict"] == "accepted"


def test_an_annotation_may_come_before_its_image_and_a_sidecar_may_name_it_by_its_stem(service: Service) -> None:
    service.drop({"early/a.txt": b"a cat"})
    service.wait_for_uploads("early", 1)
    assert service.summary("early")["examples"].get("ready", 0) == 0
    service.drop({"early/a.png": picture(2)})
    service.wait_for_ready("early", 1)


def test_what_the_uploader_wrote_on_the_object_is_an_annotation_too(service: Service) -> None:
    service.drop({"tagged/a.jpg": picture(3)}, {"pixtune-prompt": "Which?", "pixtune-answer": "third"})
    service.wait_for_ready("tagged", 1)


def test_an_images_tags_are_an_annotation_where_the_stack_reads_them(service: Service) -> None:
    tags = "class=king&split=test"
    service.s3.put_object(Bucket=service.uploads, Key="tags/a.jpg", Body=picture(30), Tagging=tags)
    service.wait_for_ready("tags", 1)
    (example,) = service.examples("tags")
    assert example["annotation"]["split"] == "test"
    assert example["annotation"]["turns"][-1]["parts"] == [{"text": "king"}]


def test_pictures_inside_rows_and_archives_become_examples(service: Service) -> None:
    url = f"data:image/jpeg;base64,{b64encode(picture(31)).decode()}"
    content = [{"type": "text", "text": "Which?"}, {"type": "image_url", "image_url": {"url": url}}]
    chat = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "thirty-one"}]}
    shard = BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as archive:
        for name, body in (
            ("a.jpg", picture(32)),
            ("a.txt", b"thirty-two"),
            ("b.jpg", b"no picture"),
            ("b.txt", b"x"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, BytesIO(body))
    service.drop({"inside/chat.jsonl": json.dumps(chat).encode(), "inside/shard.tar": shard.getvalue()})
    summary = service.wait_for_ready("inside", 2)
    wait_for("the third verdict", lambda: sum(service.summary("inside")["inline"].values()) == 3 or None)
    assert summary["uploads"] == {"accepted": 2, "fixed": 0, "rejected": 0}
    (waiting,) = service.examples("inside", "waiting")
    assert "not_an_image" in waiting["waiting_for"][0]["reason"]
    judged = service.upload(waiting["waiting_for"][0]["key"])
    assert judged["verdict"]["code"] == "not_an_image"


def test_an_overwrite_replaces_a_deletion_withdraws_and_an_undelete_brings_back(service: Service) -> None:
    key = "life/a.jpg"
    service.drop({key: picture(4), "life/a.jpg.txt": b"old"})
    service.wait_for_ready("life", 1)
    service.drop({"life/a.jpg.txt": b"new"})

    def answers() -> list[str]:
        return [json.dumps(example) for example in service.examples("life", "ready")]

    wait_for("the new answer", lambda: True if [text for text in answers() if '"new"' in text] else None)
    marker = service.s3.delete_object(Bucket=service.uploads, Key=key)["VersionId"]
    service.wait_for_ready("life", 0)
    service.s3.delete_object(Bucket=service.uploads, Key=key, VersionId=marker)
    service.wait_for_ready("life", 1)


def test_a_bad_file_gets_a_verdict_and_never_loses_the_good_one_beside_it(service: Service) -> None:
    service.drop(
        {
            "mixed/good.jpg": picture(5),
            "mixed/broken.jpg": picture(6)[:900],
            "mixed/words.jpg": b"this is no image",
            "mixed/.DS_Store": b"\x00\x00\x00\x01Bud1",
            "mixed/metadata.jsonl": rows_file({"good.jpg": "1", "broken.jpg": "2", "missing.jpg": "3"}),
        }
    )
    service.wait_for_uploads("mixed", 5)
    service.wait_for_ready("mixed", 1)
    codes = {
        name: service.upload(f"mixed/{name}")["verdict"]["code"] for name in ("broken.jpg", "words.jpg", ".DS_Store")
    }
    assert codes == {"broken.jpg": "truncated", "words.jpg": "not_an_image", ".DS_Store": "junk_file"}
    waiting = service.examples("mixed", "waiting")
    assert len(waiting) == 2


def test_a_key_with_every_odd_character_and_text_in_every_script_arrive_as_they_are(service: Service) -> None:
    key = "odd-keys/a b+ü#%41 (1).jpg"
    service.drop({key: picture(8), f"{key}.json": json.dumps({"prompt": "何?", "answer": "naïve 漢字"}).encode()})
    service.wait_for_ready("odd-keys", 1)
    upload = service.upload(key)
    assert (upload["key"], upload["verdict"]["verdict"]) == (key, "accepted")


def test_two_sources_that_disagree_hold_the_example_and_both_are_shown(service: Service) -> None:
    service.drop(
        {
            "torn/a.jpg": picture(9),
            "torn/a.jpg.txt": b"a cat",
            "torn/LABELS.CSV": b"file_name,label\na.jpg,a dog\n",
        }
    )

    def held() -> dict[str, Any] | None:
        return next((example for example in service.examples("torn") if example["state"] == "held"), None)

    example = wait_for("the conflict", held)
    assert {said["key"] for said in example["conflict"]} == {"torn/a.jpg.txt", "torn/LABELS.CSV"}


def test_a_file_outside_any_dataset_gets_its_verdict_too_and_makes_no_row(service: Service) -> None:
    key = "Not A Dataset/a.jpg"
    service.drop({key: picture(7)})
    table = ExamplesTable(stack.client(service.info, "dynamodb"), service.info.outputs["ExamplesTable"])
    upload = wait_for("its verdict", lambda: table.upload(NO_DATASET, key))
    assert upload["verdict"]["code"] == "no_dataset"
    assert "Contents" not in service.s3.list_objects_v2(Bucket=service.artifacts, Prefix=f"rows/{NO_DATASET}/")


class Tap:
    """A queue of the test's own that hears every S3 event the service hears."""

    def __init__(self, service: Service, name: str, prefix: str) -> None:
        self._service = service
        self.url = service.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = service.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                }
            ],
        }
        service.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": json.dumps(policy)})
        pattern = {"source": ["aws.s3"], "detail": {"object": {"key": [{"prefix": prefix}]}}}
        service.events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        service.events.put_targets(Rule=name, Targets=[{"Id": "tap", "Arn": arn}])

    def events(self, count: int) -> list[str]:
        bodies: list[str] = []

        def look() -> bool | None:
            for message in self._service.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
                "Messages", []
            ):
                bodies.append(message["Body"])
                self._service.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            return True if len(bodies) >= count else None

        deadline = time.monotonic() + 60
        while look() is None:
            assert time.monotonic() < deadline, f"{len(bodies)} of {count} events heard"
        return bodies


def test_hundreds_of_images_and_a_training_asked_for_in_the_same_second_with_every_event_three_times(
    service: Service,
) -> None:
    count = int(os.environ.get("PIXTUNE_BURST", "200"))  # `make soak` drops 500
    tap = Tap(service, "tap-burst", "burst/")
    answers = {f"{number:03}.jpg": str(number % 5) for number in range(count)}
    files = {f"burst/{name}": picture(1000 + number, (96, 72)) for number, name in enumerate(answers)}
    began = time.monotonic()
    service.drop({**files, "burst/metadata.jsonl": rows_file(answers)})
    run_id = service.request("burst", hyperparameters={"n_epochs": 1})

    # Every event twice more, shuffled, straight into the queues that the rules feed.
    again = tap.events(count + 1) * 2
    random.Random(1).shuffle(again)
    outputs = {queue: service.sqs.get_queue_url(QueueName=queue)["QueueUrl"] for queue in _queues(service)}
    images = next(url for name, url in outputs.items() if "ImagesQueue" in name)
    annotations = next(url for name, url in outputs.items() if "AnnotationsQueue" in name)
    for body in again:
        is_annotation = json.loads(body)["detail"]["object"]["key"].endswith(".jsonl")
        service.sqs.send_message(QueueUrl=annotations if is_annotation else images, MessageBody=body)

    def published() -> dict[str, Any] | None:
        record = service.run(run_id)
        assert record["status"] != "failed", record["failure"]
        return record if record["manifest_key"] else None

    record = wait_for("the version", published, 240)
    took = time.monotonic() - began
    rows = service.rows(record)
    uploads = Counter(image["upload"] for row in rows for image in row["images"])
    assert uploads == Counter(dict.fromkeys(files, 1))  # 0 lost, 0 duplicate
    summary = service.summary("burst")
    assert sum(summary["uploads"].values()) == count + 1
    assert service.dead_letters() == {}
    print(f"{count} images, every event three times: {took:.1f} s from the first drop to the version")
    service.wait_for_end(run_id, 240)


def _queues(service: Service) -> list[str]:
    return [url.rsplit("/", 1)[-1] for url in service.sqs.list_queues()["QueueUrls"]]


def test_an_event_that_never_arrives_is_made_good_by_the_run_that_waits_for_it(service: Service) -> None:
    rules = [rule["Name"] for rule in service.events.list_rules()["Rules"] if "ImageUploaded" in rule["Name"]]
    for rule in rules:
        service.events.disable_rule(Name=rule)
    try:
        service.drop({f"deaf/{number}.jpg": picture(2000 + number) for number in range(3)})
        service.drop({"deaf/metadata.jsonl": rows_file({f"{number}.jpg": str(number) for number in range(3)})})
        service.wait_for_uploads("deaf", 1)
    finally:
        for rule in rules:
            service.events.enable_rule(Name=rule)
    run_id = service.request("deaf")
    service.wait_for_ready("deaf", 3)
    record = service.wait_for_end(run_id)
    assert record["failure"]["code"] == "dataset_not_ready"  # three rows are too few to train on, and it says so
    assert "10" in record["failure"]["cause"]


@pytest.mark.parametrize("folder", ["cards", "lanes"])
def test_real_photographs_have_one_verdict_each_and_every_labelled_one_has_one_row(
    service: Service, folder: str
) -> None:
    if "PIXTUNE_PHOTOS" not in os.environ:
        pytest.skip("PIXTUNE_PHOTOS names no folder of photographs")
    photos = Path(os.environ["PIXTUNE_PHOTOS"]) / folder
    files = {
        f"real-{folder}/{path.relative_to(photos)}": path.read_bytes() for path in photos.rglob("*") if path.is_file()
    }
    labelled = sum(
        len(path.read_text().splitlines()) if path.name == "metadata.jsonl" else path.suffix == ".json"
        for path in photos.rglob("*")
        if path.is_file()
    )
    service.drop(files)
    summary = service.wait_for_uploads(f"real-{folder}", len(files))
    service.wait_for_ready(f"real-{folder}", labelled)
    assert sum(summary["uploads"].values()) == len(files)
