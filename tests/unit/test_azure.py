"""Azure OpenAI: a create's extra word, and a deployment made, awaited, asked and removed at the control plane."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from tests.fakes.azure_wire import RESOURCE, SECRET, URL, AzureWire
from tests.fakes.versions import JPEG, row

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.azure import AzureProvider, ControlPlane, deployment_name
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with, spec_for
from pixtune.providers.port import JobRequest
from pixtune.training.run import Hyperparameters

SPEC = spec_for("azure", "gpt-4.1-2025-04-14")
TUNED = "gpt-4.1-2025-04-14.ft-0a1b2c3d"
NAME = deployment_name(TUNED)
JOB = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "created_at": 1_795_000_000,
    "model": SPEC.base_model,
    "status": "pending",
    "training_file": "file-1",
    "organization_id": "",
    "result_files": [],
    "seed": 1,
    "hyperparameters": {"n_epochs": 2},
    "fine_tuned_model": None,
    "finished_at": None,
    "trained_tokens": None,
    "validation_file": None,
    "error": None,
    "metadata": {"run_id": "run_1", "made_by": "pixtune"},
}


class Inner(httpx2.BaseTransport):
    """The resource: keeps what it is sent and answers by path."""

    def __init__(self) -> None:
        self.bodies: dict[str, Any] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies[request.url.path] = json.loads(request.read() or b"null")
        if request.url.path.endswith("/checkpoints"):
            metrics = {"step": 20, "train_loss": 0.5, "full_valid_mean_token_accuracy": 0.9}
            shown = {
                "id": "ftchkpt-9f", "object": "fine_tuning.job.checkpoint", "created_at": 1, "metrics": metrics,
                "fine_tuned_model_checkpoint": "gpt-4.1-2025-04-14.ft-0a1b2c3d:ckpt-step-20", "step_number": 20,
                "fine_tuning_job_id": "ftjob-1",
            }  # fmt: skip
            return httpx2.Response(200, json={"object": "list", "data": [shown], "has_more": False})
        if request.url.path.endswith("/chat/completions"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "3"}}
            usage = {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301}
            told = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
            return httpx2.Response(200, json=told | {"choices": [choice], "usage": usage})
        return httpx2.Response(200, json=JOB)


def made(wire: AzureWire, now: float = 0.0, **secret: str) -> AzureProvider:
    return AzureProvider(SPEC, URL, SECRET | secret, wire, lambda: now)


def resource() -> tuple[AzureWire, Inner]:
    inner = Inner()
    names = (SPEC.base_model, SPEC.base_model)
    return AzureWire(inner, names, "http://resource/v1", SECRET["api_key"]), inner


def test_a_model_is_deployed_awaited_asked_by_its_deployment_and_released() -> None:
    wire, _ = resource()
    azure = made(wire)
    first = azure.activate(TUNED)
    assert (first.active, first.wait_seconds) == (False, 30)
    sign_in, look, put = wire.sent
    assert sign_in[1] == "/tenant-1/oauth2/v2.0/token"
    assert sign_in[2] == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_secret": "s3cret",
        "scope": "https://management.azure.com/.default",
    }
    assert look == ("GET", NAME, {})
    model = {"format": "OpenAI", "name": TUNED, "version": "1"}
    assert put == ("PUT", NAME, {"sku": {"name": "standard", "capacity": 1}, "properties": {"model": model}})
    assert not azure.activate(TUNED).active
    wire.provision()
    assert azure.activate(TUNED).active
    assert [method for method, _, _ in wire.sent].count("PUT") == 1
    reply = azure.answer(TUNED, row("e1"), None, None, "high", lambda _: JPEG)
    assert (reply.text, reply.prompt_tokens) == ("3", 300)
    azure.release(TUNED)
    azure.release(TUNED)
    assert wire.deployments == {}
    with pytest.raises(ProviderRefused, match="DeploymentNotFound"):
        azure.answer(TUNED, row("e1"), None, None, "high", lambda _: JPEG)


def test_the_base_model_is_deployed_by_its_name_and_its_dated_version() -> None:
    wire = AzureWire()
    made(wire, sku="GlobalStandard", capacity="50").activate(SPEC.base_model)
    ((_, name, body),) = [sent for sent in wire.sent if sent[0] == "PUT"]
    assert name == deployment_name(SPEC.base_model) != NAME
    assert body["sku"] == {"name": "GlobalStandard", "capacity": 50}
    assert body["properties"]["model"] == {"format": "OpenAI", "name": "gpt-4.1", "version": "2025-04-14"}
    assert 2 <= len(name) <= 64


def test_one_token_serves_until_it_is_about_to_expire() -> None:
    wire = AzureWire()
    now = [0.0]
    azure = AzureProvider(SPEC, URL, SECRET, wire, lambda: now[0])
    for moment in (0.0, 3000.0, 3479.0, 3481.0):
        now[0] = moment
        azure.release(TUNED)
    assert sum(path.endswith("/token") for _, path, _ in wire.sent) == 2


def test_a_create_says_which_kind_of_training_is_wanted_and_is_sent_once() -> None:
    wire, inner = resource()
    request = JobRequest("run_1", SPEC.base_model, "file-1", None, Hyperparameters(2), None, "a.long-suffix-name-v1")
    job = made(wire, training_type="GlobalStandard").launch(request)
    sent = inner.bodies["/v1/fine_tuning/jobs"]
    assert (sent["trainingType"], sent["suffix"]) == ("GlobalStandard", "a-long-suffix-name")
    assert (job.run_id, job.raw_state, job.state.ended) == ("run_1", "pending", False)
    made(wire).launch(request)
    assert "trainingType" not in inner.bodies["/v1/fine_tuning/jobs"]


def test_checkpoints_have_azures_own_ids() -> None:
    wire, _ = resource()
    (point,) = made(wire).checkpoints("ftjob-1")
    assert (point.step, point.model_id) == (20, "gpt-4.1-2025-04-14.ft-0a1b2c3d:ckpt-step-20")
    assert point.metrics["full_valid_mean_token_accuracy"] == 0.9


@pytest.mark.parametrize("state", ["Failed", "Canceled", "Disabled"])
def test_a_deployment_that_failed_is_a_refusal_that_names_it(state: str) -> None:
    wire = AzureWire()
    azure = made(wire)
    azure.activate(TUNED)
    wire.provision(state)
    with pytest.raises(ProviderRefused, match=f"{NAME} of {TUNED} is {state}"):
        azure.activate(TUNED)


def test_what_passes_is_told_from_what_does_not() -> None:
    error = {"error": {"code": "Any", "message": "as the test wants it"}}
    for status in (409, 429, 500, 503):
        with pytest.raises(ProviderUnavailable, match="as the test wants it"):
            made(AzureWire(faults=[(status, error)])).activate(TUNED)
    for status in (400, 401, 403):
        with pytest.raises(ProviderRefused, match="as the test wants it"):
            made(AzureWire(faults=[(status, error)])).activate(TUNED)
    with pytest.raises(ProviderRefused, match=r"AADSTS7000215.*client_secret of azure") as refused:
        made(AzureWire(), client_secret="old").activate(TUNED)
    assert "old" not in str(refused.value)

    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route", request=request)

    with pytest.raises(ProviderUnavailable, match="no route"):
        AzureProvider(SPEC, URL, SECRET, httpx2.MockTransport(broken)).release(TUNED)


def test_training_needs_only_the_key_and_deploying_names_all_that_is_missing() -> None:
    limits, urls = limits_with(), {"azure": URL}
    azure = provider_for("azure", SPEC.base_model, urls, {"azure": {"api_key": "k"}}, limits)
    with pytest.raises(ProviderRefused, match="lacks tenant_id, client_id, client_secret, subscription_id"):
        azure.activate(TUNED)
    with pytest.raises(ProviderRefused, match="'many' for capacity"):
        ControlPlane.of(URL, SECRET | {"capacity": "many"})
    plane = ControlPlane.of(URL, SECRET)
    assert plane.account == RESOURCE
    assert "s3cret" not in repr(plane)
    with pytest.raises(ProviderRefused, match="api_key"):
        provider_for("azure", SPEC.base_model, urls, {}, limits)
