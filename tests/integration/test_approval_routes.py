"""What a training may cost, through the API: approved or denied by a person, and held to terms the request names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from tests.integration.http_api import Answer
from tests.integration.served_api import MACHINE, World, served

from pixtune.aws.workflow import StepFunctions
from pixtune.training.approval import ask

KEY = {"Idempotency-Key": "order-0001"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as world:
        yield world


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    assert (answer.status, answer.body.get("code")) == (status, code), answer.body
    body: dict[str, Any] = answer.body
    return body


def waiting(api: World) -> str:
    """A run that waits for approval."""
    run_id: str = api("POST", "/v1/runs", {"dataset": "cats", "approval_above_usd": 2}, KEY).body["run_id"]
    published = {"version": 1, "version_digest": "d1", "estimate": {"usd": {"low": 1.0, "mid": 2.0, "high": 3.5}}}
    api.runs.update(run_id, published)
    steps = StepFunctions(boto3.client("stepfunctions"), MACHINE)
    ask(run_id, 1, "token-of-the-task", now=1_800_000_000.0, runs=api.runs, workflow=steps)
    return run_id


@pytest.mark.parametrize(("verb", "state"), [("approve", "approved"), ("deny", "denied")])
def test_a_waiting_run_is_decided_about_once_with_who_and_why(verb: str, state: str, api: World) -> None:
    run_id = waiting(api)
    answers = [api("POST", f"/v1/runs/{run_id}/{verb}", {"why": "because"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body["approval"] == answers[1].body["approval"]
    approval = api("GET", f"/v1/runs/{run_id}").body["approval"]
    assert (approval["state"], approval["why"], approval["usd"]) == (state, "because", 3.5)
    assert approval["by"]
    assert "approval_token" not in answers[0].body
    other = "deny" if verb == "approve" else "approve"
    assert_problem(api("POST", f"/v1/runs/{run_id}/{other}"), 409, "approval_not_awaited")


def test_only_a_run_that_waits_can_be_approved(api: World) -> None:
    run_id = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body["run_id"]
    assert_problem(api("POST", f"/v1/runs/{run_id}/approve"), 409, "approval_not_awaited")
    assert_problem(api("POST", "/v1/runs/run_nobody/deny", {"why": "no"}), 404, "run_unknown")
    assert_problem(api("POST", f"/v1/runs/{run_id}/deny", {"because": "no"}), 422, "invalid_body")


@pytest.mark.parametrize(
    "terms", [{"max_usd": -1}, {"approval_above_usd": "much"}, {"version": 0}, {"accept_retirement": "perhaps"}]
)
def test_terms_that_are_none_are_refused(terms: dict[str, object], api: World) -> None:
    assert_problem(api("POST", "/v1/runs", {"dataset": "cats", **terms}, KEY), 422, "invalid_body")
