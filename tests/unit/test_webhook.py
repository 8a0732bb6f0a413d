"""A webhook is a signed hint: it wakes the run that waits, and a forged, stale or repeated one does nothing."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from tests.fakes.runs import FakeRequests, FakeRuns, FakeWorkflow

from pixtune.training.run import Run, RunStatus, TrainingSettings
from pixtune.training.webhook import Receipt, receive, refusal

SECRET = "whsec_" + base64.b64encode(b"a key of the right length, 32 b.").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the key before that one, 32 byt.").decode()
NOW = 1_800_000_000
BODY = json.dumps({"object": "event", "type": "fine_tuning.job.succeeded", "data": {"id": "job-1"}}).encode()


def signed(body: bytes = BODY, message_id: str = "msg_1", at: int = NOW, secret: str = SECRET) -> Mapping[str, str]:
    """Headers as the reference library signs them."""
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


@dataclass
class Door:
    runs: FakeRuns = field(default_factory=FakeRuns)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)

    def __post_init__(self) -> None:
        self.requests = FakeRequests(self.runs)
        settings = TrainingSettings("local", "tiny")
        self.runs.records["run_1"] = Run(
            "run_1", "plants", settings, 0.0, "api", "key", status=RunStatus.RUNNING, task_token="token", turn=3
        )
        self.runs.jobs["local", "job-1"] = "run_1"

    def receive(self, headers: Mapping[str, str], body: bytes = BODY, secrets: str = SECRET) -> Receipt:
        return receive(
            "local",
            body,
            headers,
            secrets,
            now=NOW + 1.5,
            runs=self.runs,
            requests=self.requests,
            workflow=self.workflow,
        )


def test_a_signed_webhook_wakes_the_run_that_waits_for_its_job() -> None:
    door = Door()
    assert door.receive(signed()) == Receipt(200, "woken")
    assert door.workflow.answers == [("token", {"status": "woken"})]
    assert door.runs.get("run_1").provider_status is None  # what the body says of the job is not believed


def test_a_thousand_replays_have_one_effect() -> None:
    door = Door()
    codes = [door.receive(signed()).code for _ in range(1000)]
    assert codes == ["woken"] + ["repeated"] * 999
    assert len(door.workflow.answers) == 1


def test_an_unknown_job_and_a_run_that_does_not_wait_are_taken_without_effect() -> None:
    door = Door()
    body = BODY.replace(b"job-1", b"job-2")
    assert door.receive(signed(body), body) == Receipt(200, "unknown_job")
    door.runs.update("run_1", {"status": "succeeded"})
    assert door.receive(signed(message_id="msg_2")) == Receipt(200, "not_waiting")
    assert door.workflow.answers == []


def test_both_secrets_are_good_while_one_replaces_the_other() -> None:
    door = Door()
    assert door.receive(signed(secret=OLD_SECRET)).status == 401
    assert door.receive(signed(secret=OLD_SECRET), secrets=f"{SECRET} {OLD_SECRET}").status == 200
    several = dict(signed(message_id="msg_2"))
    several["webhook-signature"] = f"v1a,xxx v1,AAAA {several['webhook-signature']}"
    assert door.receive(several).status == 200


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_the_callers_mistake(name: str) -> None:
    headers = {key: value for key, value in signed().items() if key != name}
    receipt = Door().receive(headers)
    assert (receipt.status, receipt.code, receipt.detail) == (400, "missing_header", f"Missing: {name}.")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"webhook-timestamp": "soon"}, 400),
        ({"webhook-timestamp": "١٨٠٠٠٠٠٠٠٠"}, 400),
        ({"webhook-timestamp": "9" * 400}, 400),
        ({"webhook-timestamp": str(NOW + 400)}, 401),
        ({"webhook-timestamp": str(NOW + 1)}, 401),
        ({"webhook-id": "msg_2"}, 401),
        ({"webhook-signature": "v1,"}, 401),
        ({"webhook-signature": "v1,ÄÖ€"}, 401),
        ({"webhook-signature": "v2,AAAA"}, 401),
    ],
)
def test_a_changed_header_is_refused(change: Mapping[str, str], status: int) -> None:
    assert Door().receive({**signed(), **change}).status == status


def test_a_signature_older_than_five_minutes_is_refused() -> None:
    assert Door().receive(signed(at=NOW - 298)).status == 200
    assert Door().receive(signed(at=NOW - 299)).code == "stale_timestamp"


def test_without_a_secret_nothing_is_believed() -> None:
    assert Door().receive(signed(), secrets="").status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 1}', b'{"data": {"id": 7}}', b'{"data": {"id": ""}}'])
def test_a_signed_body_that_names_no_job_is_refused(body: bytes) -> None:
    assert Door().receive(signed(body), body).code == "bad_body"


def test_a_huge_body_is_refused_before_it_is_hashed() -> None:
    assert Door().receive(signed(), b"x" * 300_000).status == 413


def test_none_of_ten_thousand_forgeries_is_accepted_and_each_is_the_callers_mistake() -> None:
    dice = random.Random(7)
    headers = signed()
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1,"))
    for _ in range(10_000):
        body, forged = bytearray(BODY), dict(headers)
        if dice.random() < 0.5:
            bit = dice.randrange(len(signature) * 8)
            flipped = bytearray(signature)
            flipped[bit // 8] ^= 1 << bit % 8
            forged["webhook-signature"] = "v1," + base64.b64encode(flipped).decode()
        else:
            bit = dice.randrange(len(body) * 8)
            body[bit // 8] ^= 1 << bit % 8
        answer = refusal(bytes(body), forged, SECRET, NOW)
        assert answer is not None
        assert 400 <= answer.status < 500
