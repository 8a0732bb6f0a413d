"""Following a run through the API: what it said so far, by tag and by step, and wishes about its training."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from tests.fakes.versions import KeptArtifacts, row, store_version
from tests.integration.http_api import Answer
from tests.integration.served_api import World, served

from pixtune.training.run import Checkpoint, RunEvent

KEY = {"Idempotency-Key": "order-0001"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as made:
        yield made


def begun(api: World, **changes: object) -> str:
    run_id: str = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body["run_id"]
    api.runs.update(run_id, {"status": "running", "stage": "PollTraining", **changes})
    return run_id


def assert_problem(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.body["code"]) == (status, code), answer.body


def test_the_curve_is_had_while_it_trains_and_only_what_is_new_when_asked_so(api: World) -> None:
    run_id = begun(api)
    api.runs.put_metrics(run_id, [{"step": step, "train_loss": 3.0 - step} for step in range(1, 4)])
    path = f"/v1/runs/{run_id}/metrics"
    assert [point["step"] for point in api("GET", path).body["items"]] == [1, 2, 3]
    assert [point["step"] for point in api("GET", path, query={"after": "2"}).body["items"]] == [3]
    assert api("GET", path, query={"after": "3"}).body["items"] == []
    for wrong in ("-1", "x", "١", "123456789"):
        assert_problem(api("GET", path, query={"after": wrong}), 400, "after_invalid")


@pytest.mark.parametrize("below", ["", "/events", "/checkpoints", "/metrics"])
def test_what_has_not_changed_is_not_sent_again(api: World, below: str) -> None:
    run_id = begun(api)
    path = f"/v1/runs/{run_id}{below}"
    first = api("GET", path)
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = api("GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, None, tag)
    assert api("GET", path, headers={"If-None-Match": '"other"'}).status == 200
    api.runs.update(run_id, {"trained_tokens": 7})
    api.runs.put_metrics(run_id, [{"step": 1, "train_loss": 2.5}])
    api.runs.add_event(run_id, RunEvent(1_800_000_000.25, "job-message", "A picture was left out.", "warn", "ev-1"))
    changed = api("GET", path, headers={"If-None-Match": tag}).status
    assert changed == (304 if below == "/checkpoints" else 200)


def test_looking_at_the_job_without_news_changes_no_tag(api: World) -> None:
    run_id = begun(api, provider_job_id="job-1", provider_status="running")
    tag = api("GET", f"/v1/runs/{run_id}").headers["etag"]
    assert api.runs.observe(run_id, {"observed_at": 12.5}, [], fence=0, seen=0.0)
    assert api("GET", f"/v1/runs/{run_id}", headers={"If-None-Match": tag}).status == 304


def test_a_wish_stands_on_the_run_until_it_is_carried_out(api: World) -> None:
    run_id = begun(api, provider_job_id="job-1", provider_status="running")
    for verb in ("pause", "unpause", "unpause"):
        answer = api("POST", f"/v1/runs/{run_id}/{verb}")
        assert (answer.status, answer.body["asked"]) == (202, verb)
        assert answer.headers["location"] == f"/v1/runs/{run_id}"


def test_what_cannot_be_paused_says_why(api: World) -> None:
    run_id = begun(api)
    assert_problem(api("POST", f"/v1/runs/{run_id}/pause"), 409, "run_not_pausable")
    api.runs.update(run_id, {"provider_job_id": "job-1", "provider_status": "succeeded"})
    refused = api("POST", f"/v1/runs/{run_id}/unpause")
    assert_problem(refused, 409, "run_not_pausable")
    assert "has ended: succeeded" in refused.body["detail"]
    for verb in ("pause", "unpause", "cancel"):
        assert_problem(api("POST", f"/v1/runs/run_nobody/{verb}"), 404, "run_unknown")


def test_a_run_is_called_off_by_stopping_its_execution(api: World) -> None:
    run_id = begun(api)
    assert api("POST", f"/v1/runs/{run_id}/cancel").status == 202
    assert api("POST", f"/v1/runs/{run_id}/cancel").status == 202
    assert api.executions() == [f"{run_id}-1"]
    assert api.status_of(f"{run_id}-1") == "ABORTED"


def test_an_alias_goes_back_to_any_checkpoint_that_was_kept(api: World) -> None:
    artifacts = KeptArtifacts()
    manifest = store_version(artifacts, {"train": [row("e1")]}, dataset="cats")
    for key, stored in artifacts.objects.items():
        boto3.client("s3").put_object(Bucket="artifacts", Key=key, Body=stored)
    run_id = begun(api, manifest_key=manifest.key)
    for step, kept in ((10, True), (20, False)):
        api.runs.put_checkpoint(Checkpoint(run_id, step, f"ft:{step}", score=0.5, kept=kept, kept_because="so"))
    path, none_yet = "/v1/models/cats/champion/promote", {"If-None-Match": "*"}
    refused = api("POST", path, {"run_id": run_id, "step": 20}, none_yet)
    assert_problem(refused, 422, "alias_refused")
    assert f"Kept are: {run_id}@10." in refused.body["detail"]
    moved = api("POST", path, {"run_id": run_id, "step": 10}, none_yet)
    assert (moved.status, moved.body["model_version"], moved.body["model"]["model_id"]) == (200, 1, "ft:10")
    again = api("POST", path.replace("champion", "steady"), {"run_id": run_id, "step": 10}, none_yet)
    assert again.body["model_version"] == 1
    for wrong in ({}, {"model_version": 1, "run_id": run_id, "step": 10}, {"run_id": run_id}, {"step": 10}):
        assert_problem(api("POST", path, wrong, none_yet), 422, "invalid_body")
    other = api("POST", "/v1/models/dogs/champion/promote", {"run_id": run_id, "step": 10}, none_yet)
    assert_problem(other, 422, "run_of_another_dataset")
    assert_problem(api("POST", path, {"run_id": "run_x", "step": 1}, none_yet), 404, "run_unknown")
