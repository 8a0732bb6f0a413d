"""What the API tells of providers: their limits with sources, whether they answer, what they would refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver
from tests.fakes.answering import AnsweringProvider
from tests.fakes.facts import NOW
from tests.fakes.versions import row
from tests.integration.http_api import answer_of, request
from tests.integration.served_api import World, served

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.datasets.publish import publish
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.examples import places
from pixtune.examples.items import ExampleItem, Slot, State
from pixtune.examples.ports import Write, one_by_one
from pixtune.providers.limits import all_specs
from pixtune.settings import Environment
from provider_routes import ProviderRoutes
from routes import serve

OPENAI = "gpt-4o-2024-08-06"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as world:
        monkeypatch.setenv("PROVIDER_URLS", json.dumps({"openai": "https://api.openai.com/v1", "local": ""}))
        monkeypatch.setenv("PROVIDER_LIMITS", "")
        yield world


def cut(api: World, *questions: str) -> None:
    """A version of dataset cats, an example a question, all of them in the training split."""
    for number, question in enumerate(questions):
        example = row(f"ex_{number:04}", question=question, dataset="cats")
        said = example.annotation
        assert said is not None
        item = ExampleItem(
            "cats",
            example.example_id,
            {"file-1": Slot("file", "cats/a.csv", "v1", "01", "", (f"cats/{number}.jpg",), (said,), "line 1")},
            state=State.READY,
            line=example.to_line(),
            digest=example.digest(),
            revision=1,
        )
        assert api.examples.write(Write(places.example("cats", example.example_id), item.to_json(), 0))
    artifacts = Artifacts(boto3.client("s3"), "artifacts")
    publish("cats", api.examples, artifacts, NOW, "s1", one_by_one, lambda _: None)


def test_every_provider_is_listed_and_each_figure_comes_with_its_source(api: World) -> None:
    items = api("GET", "/v1/providers").body["items"]
    assert [(item["provider"], item["base_model"]) for item in items] == list(all_specs())
    by = {(item["provider"], item["base_model"]): item for item in items}
    assert by["openai", OPENAI] == {
        "provider": "openai",
        "base_model": OPENAI,
        "title": "OpenAI gpt-4o (2024-08-06)",
        "adapter": True,
        "available": True,
        "train_until": "2027-01-06",
        "answer_until": "2027-01-14",
    }
    assert not by["local", "local-vision-1"]["available"]
    together = by["together", "Qwen/Qwen3-VL-8B-Instruct"]
    assert (together["adapter"], together["available"]) == (False, False)

    (openai,) = api("GET", "/v1/providers/openai/limits").body["items"]
    figures = {figure["figure"]: figure for figure in openai["figures"]}
    assert figures["images_per_row"]["value"] == 10
    assert figures["images_per_row"]["where"].startswith("https://developers.openai.com")
    assert figures["train_until"]["value"] == "2027-01-06"
    assert figures["prices"]["value"] == {"train": 25.0, "input": 3.75, "output": 15.0}
    assert (figures["prices"]["read"], figures["prices"]["verified"]) == ("2026-11-22", False)
    query = {"base_model": "gpt-4.1-2025-04-14"}
    (azure,) = api("GET", "/v1/providers/azure/limits", query=query).body["items"]
    assert azure["base_model"] == "gpt-4.1-2025-04-14"
    assert api("GET", "/v1/providers/nobody/limits").body["code"] == "provider_unknown"
    asked = api("GET", "/v1/providers/azure/limits", query={"base_model": "gpt-9"})
    assert (asked.status, asked.body["code"]) == (400, "base_model_unknown")


def test_a_deployments_own_figures_are_in_force_and_wrong_ones_are_named(
    api: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"provider": "azure", "base_model": "gpt-4.1-2025-04-14", "read": "2026-11-20", "images_per_row": 5}
    monkeypatch.setenv("PROVIDER_LIMITS", json.dumps({"model": [own]}))
    query = {"base_model": "gpt-4.1-2025-04-14"}
    (azure,) = api("GET", "/v1/providers/azure/limits", query=query).body["items"]
    (figure,) = [figure for figure in azure["figures"] if figure["figure"] == "images_per_row"]
    assert (figure["value"], figure["where"], figure["read"]) == (5, "user", "2026-11-20")
    monkeypatch.setenv("PROVIDER_LIMITS", json.dumps({"model": [own | {"images_per_row": "five"}]}))
    wrong = api("GET", "/v1/providers")
    assert (wrong.status, wrong.body["code"]) == (500, "limits_invalid")
    assert "azure/gpt-4.1-2025-04-14: images_per_row" in wrong.body["errors"][0]["detail"]


def test_lint_lists_every_problem_in_pages_and_what_is_mended(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(api, *["User: how many?"] * 3, *["How many?"] * 5)
    path = "/v1/datasets/cats/versions/1/lint"
    nova = {"provider": "bedrock", "base_model": "amazon.nova-pro-v1:0:300k"}
    whole = api("GET", path, query=nova).body
    assert (whole["total"], whole["next_cursor"], whole["version"]) == (3, None, 1)
    assert whole["items"][0]["example_id"] == "ex_0000"
    assert whole["items"][0]["found"] == "the reserved word 'User:'"
    assert whole["items"][0]["fix"]
    assert {mend["code"]: mend["rows"] for mend in whole["mended"]}["images_moved"] == 8

    monkeypatch.setattr("provider_routes.PAGE", 2)
    first = api("GET", path, query=nova).body
    second = api("GET", path, query=nova | {"cursor": first["next_cursor"]}).body
    assert (first["total"], first["items"] + second["items"]) == (3, whole["items"])
    assert second["next_cursor"] is None
    other = api("GET", path, query={"provider": "local", "cursor": first["next_cursor"]})
    assert other.body["code"] == "cursor_invalid"

    each = {(item["provider"], item["base_model"]): item["problems"] for item in api("GET", path).body["items"]}
    assert each[nova["provider"], nova["base_model"]] == 3
    assert each["together", "Qwen/Qwen3-VL-8B-Instruct"] == 0
    assert each["local", "local-vision-1"] == 1  # too few rows
    assert api("GET", path, query={"provider": "nobody"}).body["code"] == "provider_unknown"
    assert api("GET", "/v1/datasets/cats/versions/2/lint").body["code"] == "version_unknown"


def test_a_provider_that_cannot_be_asked_says_what_is_missing(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.secretsmanager.cache_clear()
    arn = boto3.client("secretsmanager").create_secret(Name="providers", SecretString="{}")["ARN"]
    monkeypatch.setenv("PROVIDER_SECRET_ARN", arn)
    without_key = api("POST", "/v1/providers/openai/check").body
    assert (without_key["ok"], without_key["detail"]) == (False, "There is no api_key for provider 'openai'.")
    assert "provider secret" in without_key["fix"]
    assert "has no URL in this deployment" in api("POST", "/v1/providers/local/check").body["detail"]
    assert "Jobs cannot be launched" in api("POST", "/v1/providers/together/check").body["detail"]
    clients.secretsmanager.cache_clear()


@dataclass
class Asked(AnsweringProvider):
    """A provider that says one thing of its base model."""

    says: date | Exception | None = None

    def retires_on(self, model_id: str) -> date | None:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.mark.parametrize(
    ("says", "ok", "detail"),
    [
        (None, True, "The base model answers, until 2027-01-14."),
        (date(9999, 1, 1), True, "The base model answers, until 9999-01-01."),
        (date(2026, 1, 1), False, "The base model ended on 2026-01-01."),
        (ProviderRefused("HTTP 401", "Check the key."), False, "HTTP 401"),
        (ProviderUnavailable("no connection"), False, "no connection"),
    ],
)
def test_a_provider_is_asked_itself_whether_it_answers_and_until_when(
    says: date | Exception | None, ok: bool, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provider_routes._today", lambda: date(2026, 11, 22))
    app = APIGatewayHttpResolver()
    environment = Environment({"PROVIDER_URLS": "{}"})
    nothing: Any = None  # no table, bucket or Lambda context has a part in it
    routes = ProviderRoutes(app, environment, lambda *_: Asked(says=says), nothing, nothing)
    serve(app, routes.endpoints(), Logger(service="test"))
    event = request("POST", "/v1/providers/openai/check")
    answer = answer_of(app.resolve(event, nothing)).body
    assert (answer["ok"], answer["detail"]) == (ok, detail)
    assert bool(answer["fix"]) is not ok
