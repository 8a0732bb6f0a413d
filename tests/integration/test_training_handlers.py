"""The training functions' handlers: real event shapes in, tables, executions and provider jobs as they should be."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from standardwebhooks import Webhook
from tests.integration.training_bench import MACHINE, WEBHOOK_SECRET, Bench, bench

from pixtune.aws import clients
from pixtune.aws.workflow import StepFunctions
from pixtune.errors import ProviderRefused
from pixtune.training.run import RunStatus
from pixtune_local.provider.testing import Provider, running_provider

EVENTS = Path(__file__).resolve().parents[2] / "events"

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def desk(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(provider, monkeypatch) as made:
        yield made
    provider.admin("POST", "reset")


def marker(key: str = "plants/_READY", version_id: str = "v1", kind: str = "Object Created") -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-12T00:00:00Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": {"key": key, "size": 0, "etag": "e", "version-id": version_id, "sequencer": "0062E99A88DC"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }


def asked(event_id: str, detail: dict[str, Any]) -> dict[str, Any]:
    return marker() | {
        "id": event_id,
        "source": "shop.pipeline",
        "detail-type": "pixtune.training.requested",
        "detail": detail,
    }


# request_training


def test_a_marker_and_its_redelivery_start_one_execution(desk: Bench) -> None:
    first, again = desk.call("request_training", marker()), desk.call("request_training", marker())
    assert first["run_id"].startswith("run_")
    assert (first["replayed"], again["replayed"], again["run_id"]) == (False, True, first["run_id"])
    assert desk.executions() == [f"{first['run_id']}-1"]
    run = desk.runs.get(first["run_id"])
    assert (run.dataset, run.door, run.settings.provider, run.settings.base_model) == (
        ("plants", "marker", "local", "local-vision-1")
    )
    execution = clients.stepfunctions().list_executions(stateMachineArn=MACHINE)["executions"][0]
    started = clients.stepfunctions().describe_execution(executionArn=execution["executionArn"])
    assert json.loads(started["input"]) == {"run_id": run.run_id, "attempt": 1}


@pytest.mark.parametrize(
    "event",
    [
        marker(kind="Object Deleted"),
        marker("No Dataset/_READY"),
        asked("e1", {"dataset": "plants", "provider": "acme"}),
        asked("e2", {"datset": "plants"}),
    ],
)
def test_what_asks_for_nothing_that_can_be_done_is_logged_and_never_retried(
    desk: Bench, event: dict[str, Any]
) -> None:
    assert desk.call("request_training", event) == {}
    assert desk.executions() == []


def test_fifty_requests_at_once_for_one_dataset_become_one_run(desk: Bench) -> None:
    events = [asked(f"event-{number}", {"dataset": "plants", "seed": 3}) for number in range(50)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda event: desk.call("request_training", event), events))
    assert len({answer["run_id"] for answer in answers}) == 1
    assert [answer["shared"] for answer in answers].count(False) == 1
    assert len(desk.executions()) == 1
    assert [run.run_id for run in desk.runs.of_dataset("plants")] == [answers[0]["run_id"]]


def test_runs_of_a_dataset_are_listed_newest_first_and_in_pages(desk: Bench) -> None:
    ids = [
        desk.call("request_training", asked(f"e{seed}", {"dataset": "p1", "seed": seed}))["run_id"]
        for seed in (1, 2, 3)
    ]
    newest_first = sorted(ids, reverse=True)
    assert [run.run_id for run in desk.runs.of_dataset("p1", limit=2)] == newest_first[:2]
    assert [run.run_id for run in desk.runs.of_dataset("p1", before=newest_first[1])] == newest_first[2:]


# launch_training


def launch(desk: Bench, run_id: str) -> dict[str, Any]:
    return desk.call("launch_training", {"run_id": run_id, "attempt": 1})


def test_a_launch_sends_one_create_and_stores_its_job(desk: Bench) -> None:
    desk.published("run_launch")
    assert launch(desk, "run_launch") == {"outcome": "launched", "wait_seconds": 0}
    assert launch(desk, "run_launch") == {"outcome": "launched", "wait_seconds": 0}
    assert len(desk.provider.requests("POST", JOBS)) == 1
    run = desk.runs.get("run_launch")
    assert run.provider_job_id is not None
    assert desk.runs.run_of_job("local", run.provider_job_id) == "run_launch"


@pytest.mark.parametrize(
    ("fault", "adopted"),
    [
        ({"kind": "drop_after"}, True),
        ({"kind": "drop_before"}, False),
        ({"kind": "status", "status": 500}, False),
        ({"kind": "status", "status": 429}, False),
    ],
)
def test_without_an_answer_the_outcome_is_unknown_until_the_window_has_passed(
    desk: Bench, fault: dict[str, Any], adopted: bool
) -> None:
    run_id = f"run_{fault['kind']}_{fault.get('status', '')}"
    desk.published(run_id)
    desk.provider.faults(rules=[{"path": JOBS, "method": "POST", "times": 1, **fault}])
    assert launch(desk, run_id) == {"outcome": "unknown", "wait_seconds": 2}
    assert len(desk.provider.requests("POST", JOBS)) == 1  # the client's own retries are off
    answer = launch(desk, run_id)
    assert (answer["outcome"], answer["wait_seconds"] in (1, 2)) == ("unknown", True)
    desk.runs.update(run_id, {"intent_at": time.time() - 3})
    assert launch(desk, run_id)["outcome"] == "launched"
    assert len(desk.provider.requests("POST", JOBS)) == (1 if adopted else 2)


def test_an_organisation_that_may_not_train_is_told_so_once(desk: Bench) -> None:
    desk.published("run_403")
    desk.provider.faults(rules=[{"kind": "status", "status": 403, "path": JOBS, "method": "POST", "times": None}])
    with pytest.raises(ProviderRefused, match="403"):
        launch(desk, "run_403")
    assert len(desk.provider.requests("POST", JOBS)) == 1
    assert desk.runs.get("run_403").intent_at is None


# poll_training, record_checkpoints


def poll_until(desk: Bench, run_id: str, outcome: str) -> int:
    """Poll, a turn after the other, until a turn finds this; answers the turn."""
    deadline = time.monotonic() + 60
    for turn in range(1, 10_000):
        event = {"run_id": run_id, "attempt": 1, "turn": turn, "task_token": f"token-{turn}"}
        if desk.call("poll_training", event)["outcome"] == outcome:
            return turn
        assert time.monotonic() < deadline, f"no turn found {outcome}: {desk.runs.get(run_id)}"
    raise AssertionError


def test_a_training_is_polled_to_its_end_and_leaves_checkpoints_and_a_loss_curve(desk: Bench) -> None:
    desk.published("run_whole")
    launch(desk, "run_whole")
    turn = poll_until(desk, "run_whole", "ended")
    assert desk.answers == [
        ("SendTaskSuccess", {"taskToken": f"token-{turn}", "output": json.dumps({"status": "succeeded"})})
    ]
    steps = desk.call("record_checkpoints", {"run_id": "run_whole", "attempt": 1})["steps"]
    assert steps[0] == {"step": 0}
    assert len(steps) > 1
    checkpoints = desk.runs.checkpoints("run_whole")
    assert [checkpoint.step for checkpoint in checkpoints] == [step["step"] for step in steps]
    assert checkpoints[0].model_id == "local-vision-1"
    assert "train_loss" in checkpoints[-1].metrics
    losses = [point["train_loss"] for point in desk.runs.metrics("run_whole") if "train_loss" in point]
    assert losses[-1] < losses[0]
    run = desk.runs.get("run_whole")
    assert (run.provider_status, run.steps[0]) == ("succeeded", 0)
    told = desk.runs.events("run_whole")
    assert {"launched", "job-succeeded"} <= {event.name for event in told}
    assert "The job has successfully completed" in [event.text for event in told if event.name == "job-message"]


@pytest.mark.parametrize("code", ["TaskTimedOut", "InvalidToken", "TaskDoesNotExist"])
def test_a_token_that_is_settled_already_is_success(desk: Bench, code: str) -> None:
    client = clients.stepfunctions()
    workflow = StepFunctions(client, MACHINE)
    with Stubber(client) as stubber:
        stubber.add_client_error("send_task_success", code)
        stubber.add_client_error("send_task_failure", code)
        workflow.succeed("token", {"status": "woken"})
        workflow.fail("token", "RunDeadlinePassed", "late")
        stubber.add_client_error("send_task_success", "AccessDeniedException")
        with pytest.raises(client.exceptions.ClientError):
            workflow.succeed("token", {})


# record_failure


def test_a_failure_caught_by_the_machine_cancels_the_job_and_says_what_to_do(desk: Bench) -> None:
    desk.provider.faults(queue={"stuck": True})
    desk.published("run_fails")
    launch(desk, "run_fails")
    cause = json.dumps({"errorMessage": "It did not end in time.", "errorType": "RunDeadlinePassed"})
    event = {"run_id": "run_fails", "attempt": 1, "failure": {"Error": "RunDeadlinePassed", "Cause": cause}}
    answer = desk.call("record_failure", event)
    assert answer["code"] == "run_deadline_passed"
    assert answer["cause"].startswith("It did not end in time. The provider job")
    run = desk.runs.get("run_fails")
    assert (run.status, run.provider_status) == (RunStatus.FAILED, "cancelled")
    assert list(desk.runs.live()) == []


def ended_execution(name: str, status: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "315c1398-40ff-a850-213b-158f73e60175",
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": "123456789012",
        "time": "2026-11-12T00:00:00Z",
        "region": "eu-central-1",
        "resources": [f"arn:aws:states:eu-central-1:123456789012:execution:pixtune-training:{name}"],
        "detail": {
            "executionArn": f"arn:aws:states:eu-central-1:123456789012:execution:pixtune-training:{name}",
            "stateMachineArn": MACHINE,
            "name": name,
            "status": status,
            "startDate": 1551225271984,
            "stopDate": 1551225381984,
            "input": "{}",
            "output": None,
            "error": None,
            "cause": None,
        },
    }


@pytest.mark.parametrize(
    ("status", "ends"), [("ABORTED", "cancelled"), ("TIMED_OUT", "failed"), ("FAILED", "failed")]
)
def test_an_execution_that_never_reached_its_own_failure_settles_its_run(desk: Bench, status: str, ends: str) -> None:
    run_id = desk.call("request_training", marker())["run_id"]
    answer = desk.call("record_failure", ended_execution(f"{run_id}-1", status))
    assert answer["fix"]
    assert desk.runs.get(run_id).status.value == ends
    assert desk.call("record_failure", ended_execution(f"{run_id}-1", status)) == answer
    assert desk.call("request_training", marker(version_id="v2"))["run_id"] != run_id


@pytest.mark.parametrize("name", ["run_of_nobody-1", "started-by-hand"])
def test_an_execution_of_no_run_of_ours_changes_nothing(desk: Bench, name: str) -> None:
    assert desk.call("record_failure", ended_execution(name, "FAILED"))["code"] == "nothing_failed"


# receive_webhook


def call_of(body: str, headers: dict[str, str], encoded: bool = False) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "POST /v1/webhooks/{provider}",
        "rawPath": "/v1/webhooks/local",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "content-length": str(len(body)), **headers},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "a1b2c3",
            "domainName": "a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "http": {"method": "POST", "path": "/v1/webhooks/local", "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4"},
            "requestId": "id",
            "routeKey": "POST /v1/webhooks/{provider}",
            "stage": "$default",
        },
        "pathParameters": {"provider": "local"},
        "body": base64.b64encode(body.encode()).decode() if encoded else body,
        "isBase64Encoded": encoded,
    }


def signed(body: str, message_id: str) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(WEBHOOK_SECRET).sign(message_id, now, body)
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": signature,
    }


@pytest.mark.parametrize("encoded", [False, True])
def test_a_webhook_wakes_the_turn_that_waits_and_its_repetition_does_not(desk: Bench, encoded: bool) -> None:
    desk.provider.faults(queue={"stuck": True})
    run_id = f"run_woken_{encoded}"
    desk.published(run_id)
    launch(desk, run_id)
    desk.call("poll_training", {"run_id": run_id, "attempt": 1, "turn": 1, "task_token": "token-1"})
    job = desk.runs.get(run_id).provider_job_id
    body = json.dumps({"object": "event", "type": "fine_tuning.job.succeeded", "data": {"id": job}, "note": "ü"})
    event = call_of(body, signed(body, "msg_1"), encoded)
    first, again = desk.call("receive_webhook", event), desk.call("receive_webhook", event)
    assert (first["statusCode"], json.loads(first["body"])) == (200, {"code": "woken"})
    assert (again["statusCode"], json.loads(again["body"])) == (200, {"code": "repeated"})
    assert desk.answers == [("SendTaskSuccess", {"taskToken": "token-1", "output": json.dumps({"status": "woken"})})]


def test_every_bad_call_is_the_callers_mistake_and_a_problem(desk: Bench) -> None:
    body = json.dumps({"data": {"id": "ftjob-1"}})
    forged = signed(body, "msg_1") | {"Webhook-Signature": "v1,AAAA"}
    for event, status in (
        (call_of(body, {}), 400),
        (call_of(body, forged), 401),
        (call_of(body + " ", signed(body, "msg_1")), 401),
        (call_of("", signed("", "msg_2")), 400),
        (call_of("\ud800", signed(body, "msg_1")), 401),
        (call_of(body, signed(body, "msg_1")) | {"pathParameters": {"provider": "acme"}}, 401),
    ):
        answer = desk.call("receive_webhook", event)
        assert answer["statusCode"] == status
        assert answer["headers"]["content-type"] == "application/problem+json"
        problem = json.loads(answer["body"])
        assert problem["status"] == status
        assert problem["code"]
    assert (
        json.loads(desk.call("receive_webhook", call_of(body, signed(body, "m3")))["body"])["code"] == "unknown_job"
    )
    assert desk.answers == []


# receive_job_event


def test_an_event_of_bedrock_wakes_the_turn_that_waits_and_its_repetition_does_not(desk: Bench) -> None:
    event = json.loads((EVENTS / "receive_job_event.json").read_text())
    desk.published("run_event")
    fence = desk.runs.take_fence("run_event", 1).fence
    desk.runs.record_job("run_event", "bedrock", event["detail"]["jobName"], {}, fence=fence)
    assert desk.call("receive_job_event", event) == {"code": "not_waiting"}
    desk.runs.store_token("run_event", 1, 1, "token-1")
    later = event | {"id": "another"}
    assert [desk.call("receive_job_event", later)["code"] for _ in range(2)] == ["woken", "repeated"]
    assert desk.answers == [("SendTaskSuccess", {"taskToken": "token-1", "output": json.dumps({"status": "woken"})})]
    stranger = event | {"id": "third", "detail": event["detail"] | {"jobName": "pixtune-run-99ZZZ-0"}}
    assert desk.call("receive_job_event", stranger) == {"code": "unknown_job"}


# sweep_runs


def test_the_sweep_starts_forgotten_runs_and_cancels_stray_jobs(desk: Bench) -> None:
    desk.provider.faults(queue={"stuck": True})
    desk.published("run_stray")
    launch(desk, "run_stray")
    job = desk.runs.get("run_stray").provider_job_id
    desk.runs.update("run_stray", {"status": "failed", "provider_job_id": None})
    desk.published("run_kept")
    launch(desk, "run_kept")
    forgotten = desk.call("request_training", asked("e1", {"dataset": "trees"}))["run_id"]
    for execution in clients.stepfunctions().list_executions(stateMachineArn=MACHINE)["executions"]:
        clients.stepfunctions().stop_execution(executionArn=execution["executionArn"])
    desk.runs.update(forgotten, {"attempt": 2, "requested_at": 5.0})
    deadline = time.monotonic() + 20
    while cancelled_jobs(desk) != {job}:
        assert time.monotonic() < deadline, cancelled_jobs(desk)
        desk.call("sweep_runs", {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})
    assert desk.executions() == [f"{forgotten}-1", f"{forgotten}-2"]


def cancelled_jobs(desk: Bench) -> set[str]:
    """Jobs of this test's runs that are cancelled at the provider."""
    from pixtune.providers.factory import provider_for
    from pixtune.providers.limits import limits_with

    keys = {"local": {"api_key": desk.provider.api_key}}
    provider = provider_for("local", "local-vision-1", {"local": desk.provider.base_url}, keys, limits_with())
    views = [*provider.find_jobs("run_stray"), *provider.find_jobs("run_kept")]
    return {view.job_id for view in views if view.state.value == "cancelled"}
