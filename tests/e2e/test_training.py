"""A training through the real state machine and the local provider: one job, whatever fails on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.e2e.pictures import lit
from tests.e2e.service import ENDED, Service, wait_for

from pixtune_cli.failures import Failure
from pixtune_local.cloud import stack

pytestmark = pytest.mark.e2e

QUESTION = "Is it dark or light?"


def drop_lit(service: Service, dataset: str, count: int = 40) -> None:
    """A dataset that is easy to learn: dark and light pictures."""
    answers = {f"{number:02}.jpg": random.Random(number).choice(["dark", "light"]) for number in range(count)}
    rows = [{"file_name": name, "prompt": QUESTION, "answer": answer} for name, answer in answers.items()]
    files = {f"{dataset}/{name}": lit(hash_of(dataset) + int(name[:2]), answer) for name, answer in answers.items()}
    service.drop({**files, f"{dataset}/metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})


def hash_of(dataset: str) -> int:
    return sum(ord(letter) * 1000 for letter in dataset)


def wait_for_stage(service: Service, run_id: str, stage: str, seconds: float = 90) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        record = service.run(run_id)
        assert record["status"] not in ENDED, f"ended too early: {record['status']} {record['failure']}"
        return record if record["stage"] == stage else None

    return wait_for(f"{run_id} in {stage}", look, seconds)


def wait_for_job(service: Service, run_id: str, seconds: float = 90) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        record = service.run(run_id)
        assert record["status"] not in ENDED, f"ended too early: {record['status']} {record['failure']}"
        return record if record["provider_job_id"] else None

    return wait_for(f"a provider job of {run_id}", look, seconds)


@pytest.fixture
def faults(service: Service) -> Any:
    """Tells the provider to misbehave; it behaves again afterwards."""

    def misbehave(*rules: dict[str, Any], **more: Any) -> None:
        service.provider("POST", "/_local/faults", {"rules": list(rules), **more})

    yield misbehave
    service.provider("POST", "/_local/faults", {"rules": [], "queue": {}, "webhooks": {}})


def test_a_run_ends_with_checkpoints_metrics_scores_a_report_and_a_champion(service: Service) -> None:
    drop_lit(service, "whole")
    run_id = service.request("whole", hyperparameters={"n_epochs": 3}, seed=5)
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]
    checkpoints = service.api.get(f"/v1/runs/{run_id}/checkpoints")["items"]
    assert checkpoints[0]["step"] == 0
    assert len(checkpoints) == 4  # the base model and one for each epoch
    assert all(point["score"] is not None for point in checkpoints)
    assert all("full_valid_loss" in point["metrics"] for point in checkpoints[1:])
    assert len(service.api.get(f"/v1/runs/{run_id}/metrics")["items"]) > 3
    champion = service.api.get("/v1/models/whole/champion")
    assert champion["model_version"] == record["model_version"]
    assert b"<svg" in service.artifact(record["report_key"])
    (job,) = service.jobs_of({run_id})
    assert job["id"] == record["provider_job_id"]


def test_the_same_training_asked_for_through_every_door_at_once_and_again_is_one_job(service: Service) -> None:
    dataset = "doors"
    drop_lit(service, dataset)
    wanted: dict[str, Any] = {"dataset": dataset, "hyperparameters": {"n_epochs": 2}, "seed": 3}
    through_api = [service.request(**wanted) for _ in range(5)]
    entries = [
        {
            "Source": "pipeline",
            "DetailType": "pixtune.training.requested",
            "Detail": json.dumps(wanted),
            "EventBusName": service.info.outputs["EventBusName"],
        }
    ]
    for _ in range(5):
        assert service.events.put_events(Entries=entries)["FailedEntryCount"] == 0
    for _ in range(5):
        service.drop({f"{dataset}/_READY": b""})  # its settings are the defaults: a training of its own
    runs = _all_ended(service, dataset, at_least=1)
    same = {run["run_id"] for run in runs if run["settings"]["seed"] == 3}
    assert set(through_api) <= same
    _one_job_and_the_rest_joined(service, [run for run in runs if run["run_id"] in same])
    marked = [run for run in runs if run["door"] == "marker"]
    assert marked, "the marker asked for nothing"
    _one_job_and_the_rest_joined(service, marked)

    again = service.request(**wanted)
    record = service.wait_for_end(again)
    assert record["status"] == "joined"
    assert record["joined"] in same
    assert len(service.jobs_of(same | {again})) == 1


def _all_ended(service: Service, dataset: str, at_least: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]] | None:
        runs = service.runs(dataset)
        doors = {run["door"] for run in runs}
        done = len(runs) >= at_least and doors >= {"api", "marker"} and all(run["status"] in ENDED for run in runs)
        return runs if done else None

    return wait_for(f"all runs of {dataset} to end", look, 240)


def _one_job_and_the_rest_joined(service: Service, runs: list[dict[str, Any]]) -> None:
    succeeded = [run for run in runs if run["status"] == "succeeded"]
    assert len(succeeded) == 1, [(run["run_id"], run["status"], run["failure"]) for run in runs]
    assert len(service.jobs_of({run["run_id"] for run in runs})) == 1
    for run in runs:
        if run is not succeeded[0]:
            assert (run["status"], run["joined"]) == ("joined", succeeded[0]["run_id"])


def test_an_answer_that_is_lost_after_the_job_was_created_does_not_create_a_second_one(
    service: Service, faults: Any
) -> None:
    drop_lit(service, "lost")
    faults({"method": "POST", "path": "/v1/fine_tuning/jobs", "kind": "drop_after", "times": 1})
    record = service.wait_for_end(service.request("lost", hyperparameters={"n_epochs": 1}, seed=1))
    assert record["status"] == "succeeded", record["failure"]
    assert len(service.jobs_of({record["run_id"]})) == 1


def test_a_function_killed_between_the_providers_answer_and_our_write_does_not_pay_twice(
    service: Service, faults: Any
) -> None:
    drop_lit(service, "killed")
    # The provider creates the job, then takes its time to say so: long enough to be killed in.
    faults({"method": "POST", "path": "/v1/fine_tuning/jobs", "kind": "delay_after", "seconds": 20, "times": 1})
    run_id = service.request("killed", hyperparameters={"n_epochs": 1}, seed=1)
    wait_for("the job at the provider", lambda: service.jobs_of({run_id}) or None, 120)
    functions = stack.status(service.root).functions
    pids = [pid for name, state in functions.items() if "LaunchTraining" in name for pid in state["busy"]]
    assert pids, functions
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    faults()
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]
    assert len(service.jobs_of({run_id})) == 1


def test_a_provider_that_dies_in_the_middle_of_a_run_and_comes_back_finishes_it(
    service: Service, faults: Any
) -> None:
    drop_lit(service, "phoenix")
    faults(queue={"step_seconds": 0.1})
    run_id = service.request("phoenix", hyperparameters={"n_epochs": 4}, seed=2)
    wait_for_job(service, run_id)
    wait_for("training to begin", lambda: service.run(run_id)["provider_status"] == "running" or None)
    restart = stack.kill_provider(service.root)
    wait_for("polls that find nobody", _polled_more_than(service, run_id, 3))
    restart()
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]
    assert len(service.jobs_of({run_id})) == 1


def _polled_more_than(service: Service, run_id: str, turns: int) -> Any:
    arn = service.info.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + f":{run_id}-1"

    def count() -> int:
        pages = service.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
        return sum(
            (event.get("stateEnteredEventDetails") or {}).get("name") == "PollTraining"
            for page in pages
            for event in page["events"]
        )

    before = count()
    return lambda: True if count() > before + turns else None


def test_a_webhook_only_wakes_the_poll_whether_it_is_lost_repeated_or_forged(service: Service, faults: Any) -> None:
    drop_lit(service, "hooks")
    faults(webhooks={"lost": True})
    lost = service.wait_for_end(service.request("hooks", hyperparameters={"n_epochs": 1}, seed=1))
    assert lost["status"] == "succeeded"
    faults(webhooks={"copies": 3})
    repeated = service.wait_for_end(service.request("hooks", hyperparameters={"n_epochs": 1}, seed=2))
    assert repeated["status"] == "succeeded"
    assert len(service.jobs_of({lost["run_id"], repeated["run_id"]})) == 2

    body = json.dumps({"type": "fine_tuning.job.succeeded", "data": {"id": lost["provider_job_id"]}}).encode()
    forged = Webhook("whsec_" + "A" * 32).sign("msg_1", datetime.now(UTC), body.decode())
    request = urllib.request.Request(
        f"{service.info.api_url}/v1/webhooks/local",
        data=body,
        method="POST",
        headers={
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": forged,
            "content-type": "application/json",
        },
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code in (400, 401)


def test_a_training_is_watched_while_it_runs_held_up_and_let_go_on(service: Service, faults: Any) -> None:
    drop_lit(service, "paused")
    faults(queue={"step_seconds": 0.15})
    run_id = service.request("paused", hyperparameters={"n_epochs": 2}, seed=1)
    path = f"/v1/runs/{run_id}"
    wait_for("a curve", lambda: len(service.api.get(f"{path}/metrics")["items"]) > 2 or None, 90)
    assert service.run(run_id)["stage"] == "PollTraining"
    service.api.call("POST", f"{path}/pause")
    wait_for("the pause", lambda: service.run(run_id)["provider_status"] == "paused" or None)
    faults(queue={})
    service.api.call("POST", f"{path}/unpause")
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]
    told = [event["name"] for event in service.api.get(f"{path}/events")["items"]]
    assert told.count("job-paused") == told.count("job-succeeded") == 1
    kept = [point["kept"] for point in service.api.get(f"{path}/checkpoints")["items"] if point["step"]]
    assert kept
    assert all(kept)


def test_a_refusal_of_the_provider_is_told_with_what_to_do_and_never_retried(service: Service, faults: Any) -> None:
    drop_lit(service, "refused")
    faults({"method": "POST", "path": "/v1/fine_tuning/jobs", "kind": "status", "status": 403, "times": None})
    record = service.wait_for_end(service.request("refused", hyperparameters={"n_epochs": 1}, seed=1))
    assert record["status"] == "failed"
    assert record["failure"]["code"] == "provider_refused"
    assert record["failure"]["fix"]
    assert service.jobs_of({record["run_id"]}) == []


def test_a_dataset_that_breaks_its_own_policy_is_not_trained_and_is_when_it_is_mended(service: Service) -> None:
    policy = b'[compliance]\nprivacy = "refuse"\ncontent = "warn"\n'
    service.drop({"governed/dataset.toml": policy})
    drop_lit(service, "governed")
    telling = {"file_name": "00.jpg", "prompt": "Whose is it?", "answer": "Write to jane.doe@mail.example.org."}
    service.drop({"governed/more.jsonl": json.dumps(telling).encode()})
    record = service.wait_for_end(service.request("governed", hyperparameters={"n_epochs": 1}, seed=1))
    assert record["status"] == "failed"
    failure = record["failure"]
    assert failure["code"] == "compliance_failed"
    assert "privacy (1 examples)" in failure["cause"]
    assert "jane.doe" not in failure["cause"]
    assert "[compliance] in dataset.toml" in failure["fix"]
    folder = record["manifest_key"].removesuffix("/manifest.json")
    judged = json.loads(service.artifact(f"{folder}/compliance-pixtune-local-word-list.json"))
    assert judged["summary"] == {
        "privacy": {"passed": 40, "warned": 0, "refused": 1},
        "content": {"passed": 41, "warned": 0, "refused": 0},
    }
    assert service.jobs_of({record["run_id"]}) == []

    service.s3.delete_object(Bucket=service.uploads, Key="governed/more.jsonl")
    mended = service.wait_for_end(service.request("governed", hyperparameters={"n_epochs": 1}, seed=1))
    assert (mended["status"], mended["version"]) == ("succeeded", record["version"] + 1), mended["failure"]


def test_a_refused_run_leaves_no_file_behind_and_is_resumed_with_its_version(service: Service, faults: Any) -> None:
    drop_lit(service, "resumed")
    faults({"method": "POST", "path": "/v1/fine_tuning/jobs", "kind": "status", "status": 403, "times": 1})
    run_id = service.request("resumed", hyperparameters={"n_epochs": 1}, seed=1)
    failed = service.wait_for_end(run_id)
    assert failed["status"] == "failed"
    wait_for("the orphans' deletion", lambda: service.run(run_id)["files"] == {} or None)
    service.api.call("POST", f"/v1/runs/{run_id}/resume")
    wait_for("attempt 2", lambda: service.run(run_id)["attempt"] == 2 or None)
    record = service.wait_for_end(run_id)
    assert (record["status"], record["attempt"]) == ("succeeded", 2), record["failure"]
    assert record["version_digest"] == failed["version_digest"]
    assert set(record["files"]) == {"training", "validation"}
    assert len(service.jobs_of({run_id})) == 1


def test_a_training_over_real_playing_cards_ends_with_an_honest_answer(service: Service) -> None:
    if "PIXTUNE_PHOTOS" not in os.environ:
        pytest.skip("PIXTUNE_PHOTOS names no folder of photographs")
    photos = Path(os.environ["PIXTUNE_PHOTOS"]) / "cards"
    service.drop(
        {f"playing/{path.relative_to(photos)}": path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    )
    record = service.wait_for_end(service.request("playing", hyperparameters={"n_epochs": 2}, seed=1), 240)
    assert record["status"] == "succeeded", record["failure"]
    assert record["promotion"]["reason"]
    assert len(service.rows(record)) == 140
    checkpoints = service.api.get(f"/v1/runs/{record['run_id']}/checkpoints")["items"]
    assert all(point["metrics"] for point in checkpoints[1:])
    text = _training_file(service, record["files"]["training"])
    _every_line_is_a_row_the_openai_package_knows(text)


def _training_file(service: Service, file_id: str) -> str:
    from pixtune_local.provider.server import DEFAULT_KEY

    request = urllib.request.Request(
        f"{service.info.provider_url}/v1/files/{file_id}/content", headers={"Authorization": f"Bearer {DEFAULT_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def _every_line_is_a_row_the_openai_package_knows(text: str) -> None:
    import base64

    from openai.types.chat import ChatCompletionMessageParam
    from pydantic import TypeAdapter

    messages = TypeAdapter(list[ChatCompletionMessageParam])
    for line in text.splitlines():
        row = json.loads(line)
        messages.validate_python(row["messages"])
        for message in row["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else []:
                if part["type"] == "image_url":
                    assert message["role"] == "user"
                    picture = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
                    assert len(picture) <= 10_000_000
                    assert b"Exif\x00" not in picture


def test_the_api_refuses_calls_that_are_unsigned_wrongly_signed_or_not_permitted(service: Service) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"{service.info.api_url}/v1/datasets/whole"

    def status(headers: dict[str, str]) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def signed(key: str, secret: str) -> dict[str, str]:
        request = AWSRequest("GET", url)
        SigV4Auth(Credentials(key, secret), "execute-api", service.info.region).add_auth(request)
        return dict(request.headers.items())

    iam = stack.client(service.info, "iam")
    iam.create_user(UserName="stranger")
    stranger = iam.create_access_key(UserName="stranger")["AccessKey"]
    assert status({}) == 403
    assert status(signed(service.info.access_key_id, "wrong")) == 403
    assert status(signed(stranger["AccessKeyId"], stranger["SecretAccessKey"])) == 403
    assert status(signed(service.info.access_key_id, service.info.secret_access_key)) == 200


def test_an_unknown_run_is_a_problem_the_caller_can_read(service: Service) -> None:
    with pytest.raises(Failure, match="There is no run"):
        service.run("run_00000000000000000000000000")
