"""Estimates through the API and the command line: of a dataset as it is, of a version, and every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from tests.fakes.facts import NOW
from tests.integration.ready_examples import store_examples
from tests.integration.served_api import World, served

from pixtune.aws.buckets import Artifacts
from pixtune.datasets.publish import publish
from pixtune.examples.ports import one_by_one


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as world:
        yield world


def ask(api: World, **asked: Any) -> Any:
    return api("POST", "/v1/estimates", {"dataset": "cats", **asked})


def test_a_dataset_is_quoted_as_it_is_and_a_version_as_it_was(api: World) -> None:
    store_examples(api, *range(12))
    now = ask(api, provider="openai", n_epochs=3, requests_per_day=10)
    assert now.status == 200, now.body
    assert (now.body["version"], now.body["rows_by_split"]) == (None, {"train": 12})
    assert now.body["offer"]["usd"]["high"] > 0
    assert now.body["offer"]["inference"]["requests_per_month"] == 300
    publish("cats", api.examples, Artifacts(boto3.client("s3"), "artifacts"), NOW, "s1", one_by_one, lambda _: None)
    store_examples(api, *range(12, 24))
    version = ask(api, provider="openai", n_epochs=3, requests_per_day=10, version=1).body
    assert version["offer"] == now.body["offer"]
    assert ask(api, provider="openai").body["rows_by_split"] == {"train": 24}


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"dataset": "dogs"}, 409, "dataset_empty"),
        ({"version": 7}, 422, "dataset_not_ready"),
        ({"provider": "acme"}, 422, "provider_refused"),
        ({"detail": "medium"}, 422, "invalid_body"),
        ({"requests_per_day": -1}, 422, "invalid_body"),
    ],
)
def test_what_cannot_be_quoted_is_refused_with_its_reason(
    asked: dict[str, Any], status: int, code: str, api: World
) -> None:
    store_examples(api, 1)
    answer = ask(api, **asked)
    assert (answer.status, answer.body["code"]) == (status, code)
