"""A webhook is a signed hint: it wakes the run that waits, and a forged, stale or repeated one does nothing."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from tests.fakes.runs import FakeRequests, FakeRuns, FakeWorkflow

from pixtune.training.run import Run, RunStatus, TrainingSettings
from pixtune.training.webhook import Receipt, body_of, receive

SECRET = "whsec_" + base64.b64encode(b"a key of the right length, 32 b.").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the key before that one, 32 byt.").decode()
NOW = 1_800_000_000
FORGERIES = int(os.environ.get("PIXTUNE_FORGERIES", "10000"))
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


def flipped(data: bytes, dice: random.Random) -> bytes:
    bit = dice.randrange(len(data) * 8)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def forged(dice: random.Random) -> tuple[bytes, Mapping[str, str]]:
    """A webhook that its provider did not send so, or not now: something of a true one is changed."""
    kind = dice.randrange(8)
    headers = dict(signed(message_id=f"msg_{dice.randrange(10**6)}"))
    signature = headers["webhook-signature"].removeprefix("v1,")
    if kind == 0:
        headers["webhook-signature"] = "v1," + base64.b64encode(flipped(base64.b64decode(signature), dice)).decode()
    elif kind == 1:
        return flipped(BODY, dice), headers
    elif kind == 2:
        headers["webhook-id"] += str(dice.randrange(10))
    elif kind == 3:
        headers["webhook-timestamp"] = str(NOW + dice.choice([-1, 1]) * dice.randint(1, 299))
    elif kind == 4:  # late, or early, and truly signed so
        moment = NOW + dice.choice([-1, 1]) * dice.randint(303, 10**6)
        return BODY, signed(at=moment)
    elif kind == 5:
        stranger = "whsec_" + base64.b64encode(dice.randbytes(24)).decode()
        return BODY, signed(secret=stranger)
    elif kind == 6:
        headers["webhook-signature"] = "v1," + signature[: dice.randrange(len(signature))]
    else:
        headers["webhook-signature"] = f"v{dice.choice(['', '0', '2', '1a'])},{signature}"
    return BODY, headers


def test_none_of_ten_thousand_forgeries_has_an_effect_and_each_is_the_callers_mistake() -> None:
    dice, door = random.Random(7), Door()
    for _ in range(FORGERIES):
        body, headers = forged(dice)
        receipt = door.receive(headers, body)
        assert 400 <= receipt.status < 500, (receipt, headers, body)
    assert door.workflow.answers == []
    assert door.requests.kept == {}
    assert door.receive(signed()).code == "woken"


TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "body": st.none() | TEXT | st.just(BODY.decode()),
            "isBase64Encoded": st.booleans(),
            "headers": st.dictionaries(
                st.sampled_from(["Webhook-Id", "webhook-timestamp", "Webhook-Signature", "x"]),
                TEXT | st.sampled_from([str(NOW), "v1,AAAA", "msg_1"]),
            ),
        },
    )
)
def test_whatever_comes_in_is_answered_and_never_with_a_fault_of_ours(event: dict[str, Any]) -> None:
    headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
    receipt = Door().receive(headers, body_of(event))
    assert 400 <= receipt.status < 500
    json.dumps(receipt.to_http())


@pytest.mark.parametrize("job_id", ["\ud800", "x" * 257, "ü", 7, None, ["a"]])
def test_a_signed_id_that_no_job_can_have_is_refused(job_id: object) -> None:
    body = json.dumps({"data": {"id": job_id}}).encode()
    assert Door().receive(signed(body), body).code == "bad_body"


def test_a_signed_message_without_a_usable_id_is_refused() -> None:
    for message_id in ("x" * 257, "a b\tc", "ü"):
        assert Door().receive(signed(message_id=message_id)).code == "bad_id"
