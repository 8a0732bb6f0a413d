"""The doors of the real service: forms that upload one thing only, the command line, and what is said on the bus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from jsonschema import Draft202012Validator
from tests.e2e.pictures import lit
from tests.e2e.service import Service, wait_for
from typer.testing import CliRunner

from pixtune.events import schema_files
from pixtune_cli.app import app
from pixtune_cli.failures import Exit

pytestmark = pytest.mark.e2e


@pytest.fixture
def bus(service: Service) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Everything of ours on the bus from now on that is about a dataset or its runs, as CloudEvents."""
    name, events = "bus-of-test-doors", list[dict[str, Any]]()
    url = service.sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = service.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    admit = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [admit]})
    service.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    bus_name = service.info.outputs["EventBusName"]
    service.events.put_rule(Name=name, EventBusName=bus_name, EventPattern='{"source": ["pixtune"]}')
    service.events.put_targets(Rule=name, EventBusName=bus_name, Targets=[{"Id": "queue", "Arn": arn}])

    def heard(dataset: str) -> list[dict[str, Any]]:
        while messages := service.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                events.append(json.loads(message["Body"])["detail"])
                service.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        runs = {
            event["data"]["run_id"] for event in events if event["data"].get("dataset") == dataset and _of_run(event)
        }
        return [
            event
            for event in events
            if event["data"].get("dataset") == dataset or (_of_run(event) and event["data"]["run_id"] in runs)
        ]

    yield heard
    service.events.remove_targets(Rule=name, EventBusName=bus_name, Ids=["queue"])
    service.events.delete_rule(Name=name, EventBusName=bus_name)
    service.sqs.delete_queue(QueueUrl=url)


def _of_run(event: dict[str, Any]) -> bool:
    return str(event["subject"]).startswith("run/")


@pytest.fixture
def pixtune(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The command line, called in the folder of the service; answers the exit code and stdout."""
    monkeypatch.chdir(service.root)
    monkeypatch.delenv("PIXTUNE_STACK", raising=False)

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.stdout

    return call


def test_a_folder_pushed_from_the_command_line_is_trained_on_and_all_of_it_is_announced(
    service: Service,
    pixtune: Callable[..., tuple[int, str]],
    bus: Callable[[str], list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    answers = {f"{number:02}.jpg": ("dark", "light")[number % 2] for number in range(16)}
    for number, (name, answer) in enumerate(answers.items()):
        (tmp_path / name).write_bytes(lit(700_000 + number, answer))
    rows = [{"file_name": name, "prompt": "Dark or light?", "answer": answer} for name, answer in answers.items()]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pixtune("data", "check", str(tmp_path))[0] == 0
    (tmp_path / "odd.png").write_bytes(b"no picture")
    assert pixtune("data", "check", str(tmp_path))[0] == Exit.USAGE
    assert pixtune("data", "push", str(tmp_path), "--dataset", "pushed") == (0, "18 uploaded\n")
    code, out = pixtune(
        "run", "start", "pushed", "--epochs", "1", "--seed", "1", "--wait", "--json", "--timeout", "240"
    )
    assert code == 0, out
    lines = [json.loads(line) for line in out.splitlines()]
    assert (lines[-1]["status"], lines[-1]["model_version"]) == ("succeeded", 1)

    def all_said() -> Counter[str] | None:
        types = Counter(event["type"] for event in bus("pushed"))
        return types if types["pixtune.run.succeeded.v1"] and types["pixtune.image.rejected.v1"] else None

    types = wait_for("the last event", all_said)
    assert types["pixtune.image.accepted.v1"] == 16
    assert types["pixtune.annotations.accepted.v1"] == 1
    assert types["pixtune.example.ready.v1"] == 16
    for once in (
        "pixtune.dataset.published.v1", "pixtune.run.requested.v1", "pixtune.run.started.v1",
        "pixtune.checkpoint.recorded.v1", "pixtune.model.promoted.v1",
    ):  # fmt: skip
        assert types[once] == 1, types
    said = bus("pushed")
    assert len({event["id"] for event in said}) == len(said)
    for event in said:
        Draft202012Validator(schema_files.schema(event["type"])).validate(event["data"])


def test_a_form_uploads_its_own_file_with_its_own_words_and_nothing_else(service: Service) -> None:
    picture = lit(800_000, "dark")
    wanted = {"filename": "in/ä b+#%41.jpg", "metadata": {"prompt": "Dark or light?", "answer": "dark – sehr"}}
    form, _ = service.api.call("POST", "/v1/datasets/formed/uploads", wanted)

    def post(**changed: str) -> int:
        file = {"file": ("x.jpg", picture, "image/jpeg")}
        return int(urllib3.request("POST", form["url"], fields=form["fields"] | changed | file).status)

    assert post(key="formed/other.jpg") == 403
    assert post(**{"x-amz-meta-pixtune-answer": "light"}) == 403
    assert post() == 204
    service.wait_for_ready("formed", 1)
    (example,) = service.upload(form["key"])["examples"]
    assert example["annotation"]["turns"][-1]["parts"] == [{"text": "dark – sehr"}]
