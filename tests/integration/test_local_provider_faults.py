"""The local provider misbehaving on demand: refused and dropped requests, a stuck queue, webhooks gone wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
import pytest
from tests.integration.provider_rows import MODEL, colour_rows, ended, upload

from pixtune_local.provider.testing import Provider, running_provider

JOBS = "/v1/fine_tuning/jobs"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Iterator[Provider]:
    yield running
    running.admin("POST", "reset")
    running.admin("POST", "webhook", {"url": None})


@pytest.fixture
def client(provider: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0)


def create(client: openai.OpenAI, **more: Any) -> Any:
    return client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, colour_rows(10)), **more)


def jobs_of(client: openai.OpenAI, run: str) -> list[str]:
    return [job.id for job in client.fine_tuning.jobs.list(metadata={"run_id": run})]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (403, openai.PermissionDeniedError),
    ],
)
def test_a_status_is_answered_as_often_as_asked(
    client: openai.OpenAI, provider: Provider, status: int, error: type[openai.APIStatusError]
) -> None:
    provider.faults(rules=[{"kind": "status", "status": status, "path": JOBS, "method": "POST", "times": 2}])
    for _ in range(2):
        with pytest.raises(error):
            create(client)
    assert create(client).status == "validating_files"


def test_an_organization_that_may_not_train_is_told_so(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "status", "status": 403, "path": JOBS, "times": None}])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        create(client)
    assert refused.value.code == "training_not_available"


def test_a_rate_limit_says_when_to_come_again(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "status", "status": 429, "path": "/v1/models", "retry_after": 7}])
    with pytest.raises(openai.RateLimitError) as refused:
        client.models.list()
    assert refused.value.response.headers["retry-after"] == "7"


def test_the_clients_own_retries_are_seen_in_the_request_log(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "status", "status": 500, "path": JOBS, "method": "POST", "times": None}])
    with pytest.raises(openai.InternalServerError):
        create(client.with_options(max_retries=2))
    assert len(provider.requests("POST", JOBS)) == 3


def test_a_dropped_request_leaves_no_job(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "drop_before", "path": JOBS, "method": "POST"}])
    with pytest.raises(openai.APIConnectionError):
        create(client, metadata={"run_id": "before"})
    assert jobs_of(client, "before") == []


def test_a_dropped_answer_leaves_the_job(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "drop_after", "path": JOBS, "method": "POST"}])
    with pytest.raises(openai.APIConnectionError):
        create(client, metadata={"run_id": "after"})
    assert len(jobs_of(client, "after")) == 1
    (request,) = provider.requests("POST", JOBS)
    assert (request["fault"], request["status"]) == ("drop_after", 200)


def test_a_slow_answer_outlasts_the_clients_patience(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(rules=[{"kind": "delay", "seconds": 1.0, "path": "/v1/models"}])
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).models.list()
    assert client.models.list().data


def test_a_plan_that_makes_no_sense_is_refused(provider: Provider) -> None:
    with pytest.raises(Exception, match="400"):
        provider.faults(rules=[{"kind": "explode"}])


def test_a_stuck_queue_holds_jobs_until_it_is_let_go(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(queue={"stuck": True})
    job = create(client)
    deadline = time.monotonic() + 20
    while client.fine_tuning.jobs.retrieve(job.id).status != "queued":
        assert time.monotonic() < deadline
    later = create(client)
    while client.fine_tuning.jobs.retrieve(later.id).status != "queued":
        assert time.monotonic() < deadline
    assert client.fine_tuning.jobs.retrieve(job.id).status == "queued"
    provider.faults(queue={"stuck": False})
    assert ended(client, job.id).status == "succeeded"
    assert ended(client, later.id).status == "succeeded"


def test_a_running_job_can_be_cancelled_once(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(queue={"step_seconds": 0.1})
    job = create(client)
    deadline = time.monotonic() + 20
    while client.fine_tuning.jobs.retrieve(job.id).status != "running":
        assert time.monotonic() < deadline
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="already ended"):
        client.fine_tuning.jobs.cancel(job.id)
    provider.faults(queue={})
    follower = create(client)
    assert ended(client, follower.id).status == "succeeded"
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model is None


@dataclass
class Receiver:
    """What came in at a webhook address, and the statuses it answers, one after another (then 200)."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def wait(self, count: int, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while len(self.got) < count:
            assert time.monotonic() < deadline, f"{len(self.got)} of {count} webhooks came"
            time.sleep(0.02)


@contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    receiver = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append((body, dict(self.headers.items())))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


def test_a_webhook_tells_of_the_end_and_its_signature_holds(client: openai.OpenAI, provider: Provider) -> None:
    with receiving() as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        job = create(client)
        receiver.wait(1)
        body, headers = receiver.got[0]
        event: Any = client.webhooks.unwrap(body, headers, secret=SECRET)
        assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", job.id)
        assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


def test_failures_and_cancellations_are_told_too(client: openai.OpenAI, provider: Provider) -> None:
    with receiving() as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, b"{}"))
        receiver.wait(1)
        provider.faults(queue={"stuck": True})
        client.fine_tuning.jobs.cancel(create(client).id)
        receiver.wait(2)
        told: list[Any] = [client.webhooks.unwrap(body, headers, secret=SECRET) for body, headers in receiver.got]
        assert [event.type for event in told] == ["fine_tuning.job.failed", "fine_tuning.job.cancelled"]


def test_a_webhook_that_is_not_taken_comes_again_under_its_id(client: openai.OpenAI, provider: Provider) -> None:
    with receiving(500, 302) as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        create(client)
        receiver.wait(3)
        assert len({headers["webhook-id"] for _, headers in receiver.got}) == 1
        client.webhooks.unwrap(*receiver.got[2], secret=SECRET)


def test_a_webhook_survives_a_restart(client: openai.OpenAI, provider: Provider) -> None:
    with receiving(*[500] * 50) as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        create(client)
        receiver.wait(1)
        provider.kill()
        before = len(receiver.got)
        receiver.answers.clear()
        provider.start()
        receiver.wait(before + 1)
        assert len({headers["webhook-id"] for _, headers in receiver.got}) == 1


def test_webhooks_can_come_more_than_once(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(webhooks={"copies": 3})
    with receiving() as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        create(client)
        receiver.wait(3)
        assert len({headers["webhook-id"] for _, headers in receiver.got}) == 1


def test_a_forged_webhook_is_found_out(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(webhooks={"forged": True})
    with receiving() as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        create(client)
        receiver.wait(1)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(*receiver.got[0], secret=SECRET)


def test_a_lost_webhook_never_comes(client: openai.OpenAI, provider: Provider) -> None:
    provider.faults(webhooks={"lost": True})
    with receiving() as receiver:
        provider.admin("POST", "webhook", {"url": receiver.url, "secret": SECRET})
        assert ended(client, create(client).id).status == "succeeded"
        deadline = time.monotonic() + 10
        while provider.admin("GET", "health")["deliveries_waiting"]:
            assert time.monotonic() < deadline
        assert receiver.got == []
