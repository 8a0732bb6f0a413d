"""A training file too large for one request, on the local cloud: sent in parts by child executions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.e2e.conftest import PART_BYTES
from tests.e2e.pictures import noisy, picture
from tests.e2e.service import Service, wait_for
from typer.testing import CliRunner

from pixtune_cli.app import app
from pixtune_local.cloud import stack

pytestmark = pytest.mark.e2e


def test_a_training_file_larger_than_a_part_arrives_in_parts_and_is_trained_on(service: Service) -> None:
    names = [f"{number:02}.jpg" for number in range(18)]
    rows = [
        {"file_name": name, "prompt": "Even or odd?", "answer": ["even", "odd"][int(name[:2]) % 2]} for name in names
    ]
    service.drop({f"sizeable/{name}": noisy(int(name[:2])) for name in names})
    service.drop({"sizeable/metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
    run_id = service.request("sizeable", hyperparameters={"n_epochs": 1}, seed=1)
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]

    history = service.stepfunctions.get_paginator("get_execution_history")
    arn = service.info.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + f":{run_id}-1"
    events: list[dict[str, Any]] = [event for page in history.paginate(executionArn=arn) for event in page["events"]]
    entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
    assert entered.count("UploadParts") == 1
    assert entered.count("UploadFiles") == 2
    largest = max(len(str(value)) for event in events for key, value in event.items() if key.endswith("Details"))
    assert largest < 32_000

    manifest = json.loads(service.artifact(record["manifest_key"]))
    folder = record["manifest_key"].removesuffix("/manifest.json")
    listed = service.s3.list_objects_v2(Bucket=service.artifacts, Prefix=f"{folder}/files/")["Contents"]
    keys = sorted(item["Key"] for item in listed if re.search(r"/\d{5}\.json$", item["Key"]))
    parts = [json.loads(service.artifact(key)) for key in keys]
    assert len(parts) >= 3
    assert [part["length"] for part in parts[:-1]] == [PART_BYTES] * (len(parts) - 1)
    file = service.provider("GET", f"/v1/files/{record['files']['training']}")
    assert file["bytes"] == sum(part["length"] for part in parts)
    uploaded = service.content(record["files"]["training"]).splitlines()
    assert [len(json.loads(line)["messages"]) for line in uploaded] == [2] * manifest["counts"]["train"]


def test_objects_that_exist_already_are_copied_to_a_dataset_and_asked_for_again_without_a_second_example(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(service.root)
    monkeypatch.delenv("PIXTUNE_STACK", raising=False)
    rows = "".join(f'{{"file_name": "{number}.jpg", "answer": "a{number}"}}\n' for number in range(6))
    service.drop({f"attic/old/{number}.jpg": picture(800_000 + number) for number in range(6)})
    service.drop({"attic/old/metadata.jsonl": rows.encode()})

    def push(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["data", "push", *arguments])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert push(f"s3://{service.uploads}/attic/old", "--dataset", "restored") == "7 copied\n"
    before = service.wait_for_ready("restored", 6)
    assert push(f"s3://{service.uploads}/attic/old", "--dataset", "restored") == "0 copied, 7 unchanged\n"
    assert push(f"s3://{service.uploads}/restored") == "7 enqueued\n"

    def taken_in() -> bool | None:
        """No message waits or is being worked on, in any queue of the stack."""
        busy = [queue for queue in stack.status(service.root).queues if queue.waiting or queue.in_flight]
        return None if busy else True

    wait_for("empty queues", taken_in)
    assert service.summary("restored")["uploads"] == before["uploads"]
    assert [example["state"] for example in service.examples("restored")] == ["ready"] * 6
