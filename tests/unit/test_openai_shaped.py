"""The adapter against a transport that answers, refuses, stalls and drops."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from tests.fakes.versions import JPEG, row

from pixtune.errors import ProviderRefused, ProviderUnavailable, UploadGone
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with, spec_for
from pixtune.providers.openai_shaped import OpenAIShapedProvider, result_points
from pixtune.providers.port import Activation, JobRequest, JobState, TrainingProvider
from pixtune.training.run import Hyperparameters

SPEC = spec_for("openai", "gpt-4o-2024-08-06")
REQUEST = JobRequest(
    "run_1", "gpt-4o-2024-08-06", "file-t", "file-v", Hyperparameters(n_epochs=3), 7, "road lanes, v1"
)
Answer = Callable[[httpx2.Request], httpx2.Response]


class Wire:
    """Answers requests by method and path, and keeps what was sent."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.sent: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        answer = self.answers[f"{request.method} {request.url.path.removeprefix('/v1')}"]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.sent)


def provider(wire: Wire) -> TrainingProvider:
    return OpenAIShapedProvider(SPEC, "http://provider/v1", "key", httpx2.MockTransport(wire))


def job(job_id: str = "ftjob-1", **changes: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "object": "fine_tuning.job",
        "created_at": 100,
        "status": "running",
        "model": "gpt-4o-2024-08-06",
        "metadata": {"run_id": "run_1", "made_by": "pixtune"},
        "result_files": [],
        "hyperparameters": {},
        "seed": 7,
        "organization_id": "org",
        "training_file": "file-t",
    } | changes


def page(data: list[Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": more}


def refusal(status: int, code: str | None = None, message: str = "no") -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"message": message, "type": "x", "param": None, "code": code}})


def test_a_launch_says_who_it_is_and_what_it_wants() -> None:
    wire = Wire({"POST /fine_tuning/jobs": job()})
    view = provider(wire).launch(REQUEST)
    assert (view.job_id, view.run_id, view.state) == ("ftjob-1", "run_1", JobState.RUNNING)
    body = json.loads(wire.sent[0].content)
    assert body == {
        "model": "gpt-4o-2024-08-06",
        "training_file": "file-t",
        "validation_file": "file-v",
        "seed": 7,
        "suffix": "road-lanes-v1",
        "metadata": {"run_id": "run_1", "made_by": "pixtune"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    }


def test_what_is_not_asked_is_not_sent() -> None:
    wire = Wire({"POST /fine_tuning/jobs": job()})
    bare = dataclasses.replace(REQUEST, validation_file=None, seed=None, suffix="", hyperparameters=Hyperparameters())
    provider(wire).launch(bare)
    body = json.loads(wire.sent[0].content)
    assert {"validation_file", "seed", "suffix"}.isdisjoint(body)
    assert body["method"]["supervised"] == {"hyperparameters": {}}


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(500, json={}),
        httpx2.Response(502, text="<html>bad gateway</html>"),
        refusal(429, "rate_limit_exceeded"),
        refusal(409),
        refusal(408),
        httpx2.ReadTimeout("the answer never came"),
        httpx2.ConnectError("no route"),
        httpx2.RemoteProtocolError("server disconnected without sending a response"),
    ],
    ids=lambda answer: type(answer).__name__ if isinstance(answer, Exception) else str(answer.status_code),
)
def test_an_unknown_outcome_is_sent_once_and_never_again(answer: Any) -> None:
    wire = Wire({"POST /fine_tuning/jobs": answer})
    with pytest.raises(ProviderUnavailable):
        provider(wire).launch(REQUEST)
    assert wire.count("POST") == 1


def test_a_closed_platform_is_a_refusal_that_says_where_to_go() -> None:
    wire = Wire({"POST /fine_tuning/jobs": refusal(403, "training_not_available", "winding down")})
    with pytest.raises(ProviderRefused) as refused:
        provider(wire).launch(REQUEST)
    assert "winding down" in refused.value.message
    assert "another provider" in refused.value.fix
    assert wire.count("POST") == 1


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_training_file"), (401, None), (404, None), (422, None)])
def test_other_refusals_are_final_too(status: int, code: str | None) -> None:
    with pytest.raises(ProviderRefused, match=str(status)):
        provider(Wire({"POST /fine_tuning/jobs": refusal(status, code)})).launch(REQUEST)


def test_an_empty_purse_is_not_worth_another_try() -> None:
    with pytest.raises(ProviderRefused, match="Add credit"):
        provider(Wire({"POST /fine_tuning/jobs": refusal(429, "insufficient_quota")})).launch(REQUEST)


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("validating_files", JobState.VALIDATING),
        ("queued", JobState.QUEUED),
        ("running", JobState.RUNNING),
        ("paused", JobState.PAUSED),
        ("cancelling", JobState.CANCELLING),
        ("succeeded", JobState.SUCCEEDED),
        ("failed", JobState.FAILED),
        ("cancelled", JobState.CANCELLED),
        ("a_state_of_tomorrow", JobState.RUNNING),
    ],
)
def test_states_are_folded_and_unknown_ones_never_end_a_run(raw: str, state: JobState) -> None:
    view = provider(Wire({"GET /fine_tuning/jobs/ftjob-1": job(status=raw)})).status("ftjob-1")
    assert (view.state, view.raw_state) == (state, raw)


def test_an_empty_error_object_is_no_error() -> None:
    done = job(status="succeeded", error={}, fine_tuned_model="ft:x", trained_tokens=12)
    view = provider(Wire({"GET /fine_tuning/jobs/ftjob-1": done})).status("ftjob-1")
    assert (view.error_code, view.error_message) == (None, None)
    assert (view.model_id, view.trained_tokens) == ("ft:x", 12)
    failed = job(status="failed", error={"code": "exceeded_quota", "message": "m", "param": None})
    assert provider(Wire({"GET /fine_tuning/jobs/ftjob-1": failed})).status("ftjob-1").error_code == "exceeded_quota"


def test_jobs_are_found_by_their_tag_over_all_pages_oldest_first() -> None:
    stranger = job("ftjob-9", created_at=1, metadata={"run_id": "run_2"})
    pages = {None: page([job("ftjob-2", created_at=200), stranger], more=True), "ftjob-9": page([job("ftjob-1")])}

    def listed(request: httpx2.Request) -> httpx2.Response:
        query = parse_qs(request.url.query.decode())
        assert query["metadata[run_id]"] == ["run_1"]
        return httpx2.Response(200, json=pages[query.get("after", [None])[0]])

    views = provider(Wire({"GET /fine_tuning/jobs": listed})).find_jobs("run_1")
    assert [view.job_id for view in views] == ["ftjob-1", "ftjob-2"]


def test_the_sweep_sees_only_jobs_that_carry_our_tag() -> None:
    others = [
        job("a", metadata={}),
        job("b", metadata=None),
        job("c", metadata={"run_id": "run_x"}),
        job("old", created_at=5),
        job("ours"),
    ]
    views = provider(Wire({"GET /fine_tuning/jobs": page(others)})).list_tagged_jobs(since=50)
    assert [view.job_id for view in views] == ["ours"]


def test_cancelling_what_has_ended_answers_how_it_ended() -> None:
    wire = Wire(
        {
            "POST /fine_tuning/jobs/ftjob-1/cancel": refusal(400, None, "already ended"),
            "GET /fine_tuning/jobs/ftjob-1": job(status="succeeded"),
        }
    )
    assert provider(wire).cancel("ftjob-1").state is JobState.SUCCEEDED
    wire.answers["GET /fine_tuning/jobs/ftjob-1"] = job(status="running")
    with pytest.raises(ProviderRefused):
        provider(wire).cancel("ftjob-1")


def event(number: int, **data: Any) -> dict[str, Any]:
    return {
        "id": f"e{number}",
        "object": "fine_tuning.job.event",
        "created_at": number,
        "level": "info",
        "message": "",
        "type": "metrics" if data else "moderation_checks",
        "data": data or None,
    }


def test_metrics_come_from_the_events_by_step() -> None:
    events = [
        event(4, step=2, train_loss=0.5, full_valid_loss=0.7, total_steps=9),
        event(3),
        event(2, step=2, valid_loss=0.6, valid_mean_token_accuracy=None),
        event(1, step=1, train_loss=0.9),
    ]
    points = provider(Wire({"GET /fine_tuning/jobs/ftjob-1/events": page(events)})).metrics("ftjob-1")
    assert points == [
        {"step": 1, "train_loss": 0.9},
        {"step": 2, "train_loss": 0.5, "full_valid_loss": 0.7, "valid_loss": 0.6},
    ]


CSV = (
    b"\xef\xbb\xbfstep,train_loss,train_accuracy,valid_loss,validation_mean_token_accuracy\n"
    b"1,0.9,0.5,,\n2,0.5,0.6,0.7,0.4\n,,,,\n"
)


@pytest.mark.parametrize("content", [CSV, base64.b64encode(CSV)], ids=["csv", "base64 of csv"])
def test_without_metric_events_the_result_file_is_read_by_its_header(content: bytes) -> None:
    wire = Wire(
        {
            "GET /fine_tuning/jobs/ftjob-1/events": page([event(1)]),
            "GET /fine_tuning/jobs/ftjob-1": job(result_files=["file-r"]),
            "GET /files/file-r/content": lambda _: httpx2.Response(200, content=content),
        }
    )
    assert provider(wire).metrics("ftjob-1") == [
        {"step": 1, "train_loss": 0.9, "train_mean_token_accuracy": 0.5},
        {
            "step": 2,
            "train_loss": 0.5,
            "train_mean_token_accuracy": 0.6,
            "valid_loss": 0.7,
            "valid_mean_token_accuracy": 0.4,
        },
    ]


def test_a_result_file_that_is_neither_gives_no_points() -> None:
    assert result_points(b"<html>") == []
    assert result_points(b"") == []


def checkpoint(step: int, model: str) -> dict[str, Any]:
    return {
        "id": f"ftckpt-{step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": step,
        "fine_tuning_job_id": "ftjob-1",
        "fine_tuned_model_checkpoint": model,
        "step_number": step,
        "metrics": {"step": step, "full_valid_loss": 1 / step},
    }


def test_checkpoints_come_by_step_and_the_last_is_the_final_model() -> None:
    listed = page([checkpoint(30, "ft:ckpt-30"), checkpoint(10, "ft:ckpt-10"), checkpoint(20, "ft:ckpt-20")])
    wire = Wire(
        {
            "GET /fine_tuning/jobs/ftjob-1": job(status="succeeded", fine_tuned_model="ft:final"),
            "GET /fine_tuning/jobs/ftjob-1/checkpoints": listed,
        }
    )
    found = provider(wire).checkpoints("ftjob-1")
    assert [(one.step, one.model_id) for one in found] == [(10, "ft:ckpt-10"), (20, "ft:ckpt-20"), (30, "ft:final")]
    assert found[0].metrics["full_valid_loss"] == 0.1


def test_a_provider_that_lists_no_checkpoints_has_its_final_model_as_one() -> None:
    wire = Wire(
        {
            "GET /fine_tuning/jobs/ftjob-1": job(status="succeeded", fine_tuned_model="ft:final"),
            "GET /fine_tuning/jobs/ftjob-1/checkpoints": page([]),
            "GET /fine_tuning/jobs/ftjob-1/events": page([event(1, step=12, train_loss=0.2)]),
        }
    )
    (only,) = provider(wire).checkpoints("ftjob-1")
    assert (only.step, only.model_id, only.metrics) == (12, "ft:final", {"train_loss": 0.2})


def file(name: str, size: int, status: str = "processed", file_id: str = "file-old") -> dict[str, Any]:
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": 1,
        "filename": name,
        "purpose": "fine-tune",
        "status": status,
    }


def test_a_file_that_is_there_already_is_not_sent_again() -> None:
    wire = Wire({"GET /files": page([file("other.jsonl", 3), file("a.jsonl", 3)])})
    assert provider(wire).upload("a.jsonl", io.BytesIO(b"{}\n")) == "file-old"
    assert wire.count("POST") == 0


@pytest.mark.parametrize("there", [[], [file("a.jsonl", 2)], [file("a.jsonl", 3, "error")]])
def test_a_file_of_another_size_or_a_broken_one_does_not_count(there: list[Any]) -> None:
    wire = Wire({"GET /files": page(there), "POST /files": file("a.jsonl", 3, file_id="file-new")})
    content = io.BytesIO(b"{}\n")
    content.seek(2)
    assert provider(wire).upload("a.jsonl", content) == "file-new"
    body = wire.sent[-1].read()
    assert b"{}\n" in body
    assert b'filename="a.jsonl"' in body
    assert b"fine-tune" in body


def test_a_failed_upload_is_not_repeated_inside_the_call() -> None:
    wire = Wire({"GET /files": page([]), "POST /files": httpx2.Response(500, json={})})
    with pytest.raises(ProviderUnavailable):
        provider(wire).upload("a.jsonl", io.BytesIO(b"{}\n"))
    assert wire.count("POST") == 1


UPLOAD = {
    "id": "up",
    "object": "upload",
    "bytes": 10,
    "created_at": 1,
    "expires_at": 2,
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "status": "pending",
}


def test_a_file_in_parts_is_declared_sent_and_completed_in_order() -> None:
    parts: list[bytes] = []

    def part(request: httpx2.Request) -> httpx2.Response:
        parts.append(request.read())
        answer = {"id": f"part-{len(parts)}", "object": "upload.part", "created_at": 1, "upload_id": "up"}
        return httpx2.Response(200, json=answer)

    done = UPLOAD | {"status": "completed", "file": file("a.jsonl", 10, file_id="file-big")}
    wire = Wire({"POST /uploads": UPLOAD, "POST /uploads/up/parts": part, "POST /uploads/up/complete": done})
    adapter = provider(wire)
    assert adapter.begin_upload("a.jsonl", 10) == "up"
    assert json.loads(wire.sent[0].content) == {
        "bytes": 10,
        "filename": "a.jsonl",
        "mime_type": "text/jsonl",
        "purpose": "fine-tune",
    }
    assert [adapter.upload_part("up", index, data) for index, data in ((1, b"56789"), (0, b"01234"))] == [
        "part-1",
        "part-2",
    ]
    assert [b"56789" in parts[0], b"01234" in parts[1]] == [True, True]
    assert adapter.complete_upload("up", ["part-2", "part-1"]) == "file-big"
    assert json.loads(wire.sent[-1].content)["part_ids"] == ["part-2", "part-1"]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_an_upload_that_takes_no_more_is_told_from_a_refusal(status: int) -> None:
    wire = Wire(
        {"POST /uploads/up/parts": refusal(status, None, "expired"), "POST /uploads/up/complete": refusal(status)}
    )
    with pytest.raises(UploadGone, match="expired"):
        provider(wire).upload_part("up", 0, b"x")
    with pytest.raises(UploadGone):
        provider(wire).complete_upload("up", ["part-1"])


@pytest.mark.parametrize(("answer", "error"), [(refusal(401), ProviderRefused), (refusal(503), ProviderUnavailable)])
def test_a_part_that_could_not_be_sent_is_not_repeated_inside_the_call(
    answer: httpx2.Response, error: type[Exception]
) -> None:
    wire = Wire({"POST /uploads/up/parts": answer})
    with pytest.raises(error) as raised:
        provider(wire).upload_part("up", 0, b"x")
    assert type(raised.value) is error
    assert wire.count("POST") == 1


def test_deleting_a_file_that_is_gone_is_success() -> None:
    gone = Wire({"DELETE /files/file-1": refusal(404)})
    provider(gone).delete_file("file-1")
    assert [request.method for request in gone.sent] == ["DELETE"]
    with pytest.raises(ProviderRefused):
        provider(Wire({"DELETE /files/file-1": refusal(403)})).delete_file("file-1")


def test_a_finished_model_that_is_not_listed_yet_is_waited_for() -> None:
    wire = Wire({"GET /models/ft:x": refusal(404, "model_not_found")})
    waiting = provider(wire).activate("ft:x")
    assert not waiting.active
    assert waiting.wait_seconds > 0
    wire.answers["GET /models/ft:x"] = {"id": "ft:x", "object": "model", "created": 1, "owned_by": "org"}
    assert provider(wire).activate("ft:x") == Activation(True)


def test_a_model_says_when_it_retires_or_does_not() -> None:
    model = {"id": "m", "object": "model", "created": 1, "owned_by": "org"}
    for told, day in (("2027-01-14", date(2027, 1, 14)), (None, None), ("soon", None)):
        wire = Wire({"GET /models/m": model | {"shutdown_date": told}})
        assert provider(wire).retires_on("m") == day
    with pytest.raises(ProviderRefused, match="404"):
        provider(Wire({"GET /models/m": refusal(404, "model_not_found")})).retires_on("m")


def completion(text: str | None) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "ft:x",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, "refusal": None}}
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 2, "total_tokens": 302},
    }


def test_a_model_is_asked_the_question_without_its_answer() -> None:
    wire = Wire({"POST /chat/completions": completion("four")})
    reply = provider(wire).answer("ft:x", row("e1", answer="3"), "Count.", None, "high", lambda _: JPEG)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("four", 300, 2)
    body = json.loads(wire.sent[0].content)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (body["model"], body["temperature"]) == ("ft:x", 0)
    assert body["max_completion_tokens"] == 257


def test_a_rate_limit_while_answering_is_waited_out() -> None:
    answers = iter(
        [httpx2.Response(429, headers={"retry-after-ms": "1"}, json={}), httpx2.Response(200, json=completion("3"))]
    )
    wire = Wire({"POST /chat/completions": lambda _: next(answers)})
    assert provider(wire).answer("ft:x", row("e1"), None, None, "high", lambda _: JPEG).text == "3"


def test_a_provider_needs_a_url_a_key_and_limits() -> None:
    urls, secrets = {"openai": "http://o/v1", "azure": ""}, {"openai": {"api_key": "k"}}
    assert provider_for("openai", SPEC.base_model, urls, secrets, limits_with())
    with pytest.raises(ProviderRefused, match="Available: openai"):
        provider_for("local", "local-vision-1", urls, secrets, limits_with())
    with pytest.raises(ProviderRefused, match="api_key"):
        provider_for("openai", SPEC.base_model, urls, {}, limits_with())
    with pytest.raises(ProviderRefused, match="gpt-4o-2024-08-06"):
        provider_for("openai", "gpt-9", urls, secrets, limits_with())
    with pytest.raises(ProviderRefused, match=r"data lint.*one of: .*openai"):
        provider_for("together", "Qwen/Qwen3-VL-8B-Instruct", {"together": "http://t/v1"}, secrets, limits_with())
