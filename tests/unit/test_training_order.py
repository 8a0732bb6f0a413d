"""The marker and the event door: real event shapes in, an order or a refusal that no retry would change out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pixtune.errors import ProviderRefused
from pixtune.training.order import Defaults, Refusal, TrainingWish, order_for, order_of
from pixtune.training.request import TrainingOrder
from pixtune.training.run import Hyperparameters, Terms, TrainingSettings


def _base_model(provider: str) -> str:
    if provider not in ("local", "openai"):
        raise ProviderRefused(f"No provider {provider!r} is known.", "Choose one of: local, openai.")
    return f"{provider}-default"


DEFAULTS = Defaults("local", _base_model)


def marker(key: str = "plants/_READY", kind: str = "Object Created", **item: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-11-12T00:00:00Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": {
                "key": key,
                "size": 0,
                "etag": "e",
                "version-id": "v1",
                "sequencer": "0062E99A88DC407460",
                **item,
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }


def asked(detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "event-1",
        "detail-type": "pixtune.training.requested",
        "source": "shop.pipeline",
        "account": "111122223333",
        "time": "2026-11-12T00:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    }


def order(event: dict[str, Any]) -> TrainingOrder:
    found = order_of(event, DEFAULTS)
    assert isinstance(found, TrainingOrder)
    return found


def test_a_marker_asks_for_its_dataset_once_per_version_of_it() -> None:
    first, other = order(marker()), order(marker(**{"version-id": "v2"}))
    assert (first.dataset, first.settings, first.door) == (
        "plants",
        TrainingSettings("local", "local-default", defaulted=("provider", "base_model")),
        "marker",
    )
    assert first == order(marker())
    assert first.request_key != other.request_key
    assert order(marker("plants/2026/_READY")).dataset == "plants"


def test_a_deleted_marker_asks_for_nothing() -> None:
    found = order_of(marker(kind="Object Deleted"), DEFAULTS)
    assert isinstance(found, Refusal)
    assert found.code == "no_marker"


def test_a_marker_outside_any_dataset_is_refused() -> None:
    assert order_of(marker("Plants/_READY"), DEFAULTS) == Refusal(
        "no_dataset", ("key: 'Plants/_READY' does not start with a dataset name and a slash",)
    )


def test_an_event_asks_with_what_it_states_and_the_defaults_for_the_rest() -> None:
    found = order(
        asked(
            {"dataset": "plants", "provider": "openai", "hyperparameters": {"n_epochs": 3}, "seed": 7, "again": True}
        )
    )
    assert found.settings == TrainingSettings(
        "openai", "openai-default", Hyperparameters(3), 7, again=True, defaulted=("base_model",)
    )
    assert (found.door, found.request_key) == ("event", "event-1")
    named = order(asked({"dataset": "plants", "base_model": "x"})).settings
    assert named == TrainingSettings("local", "x", defaulted=("provider",))


def test_a_cloud_event_keeps_its_key_when_its_sender_sends_it_again() -> None:
    wrapped = {
        "specversion": "1.0",
        "id": "42",
        "source": "/pipeline",
        "type": "pixtune.training.requested",
        "data": {"dataset": "plants"},
    }
    found = order(asked(wrapped))
    assert (found.dataset, found.request_key) == ("plants", "/pipeline/42")
    assert order(asked(wrapped) | {"id": "event-2"}) == found


def test_the_same_key_with_another_body_has_another_hash() -> None:
    assert order(asked({"dataset": "a1"})).body_hash != order(asked({"dataset": "a2"})).body_hash
    assert order(asked({"dataset": "a1", "seed": None})).body_hash == order(asked({"dataset": "a1"})).body_hash


@pytest.mark.parametrize(
    ("detail", "problems"),
    [
        ({}, ["dataset"]),
        ({"dataset": 7, "sed": 1, "again": "yes"}, ["dataset", "sed", "again"]),
        ({"dataset": "plants", "hyperparameters": {"epochs": 3}}, ["hyperparameters.epochs"]),
        ({"dataset": "plants", "hyperparameters": {"n_epochs": "3"}}, ["hyperparameters.n_epochs"]),
        ({"dataset": "../x"}, ["dataset"]),
        ({"dataset": "plants", "provider": "acme"}, ["provider"]),
        ({"specversion": "1.0", "id": "1", "source": "s"}, ["dataset"]),
    ],
)
def test_a_bad_event_is_refused_with_every_problem_it_has(detail: dict[str, Any], problems: list[str]) -> None:
    found = order_of(asked(detail), DEFAULTS)
    assert isinstance(found, Refusal)
    assert sorted(problem.partition(":")[0] for problem in found.problems) == sorted(problems)


def test_an_event_may_name_a_version_and_terms() -> None:
    detail = {"dataset": "plants", "version": 3, "max_usd": 5, "approval_above_usd": 0, "accept_retirement": True}
    order = order_of(asked(detail), DEFAULTS)
    assert isinstance(order, TrainingOrder)
    assert (order.settings.version, order.settings.terms) == (3, Terms(5, 0, True))


@pytest.mark.parametrize("detail", [{"max_usd": -1}, {"approval_above_usd": -0.5}, {"version": 0}, {"max_usd": "5"}])
def test_terms_that_are_none_are_refused(detail: dict[str, Any]) -> None:
    refusal = order_of(asked({"dataset": "plants", **detail}), DEFAULTS)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "bad_training_request"


def test_a_sum_that_is_no_number_would_hold_nothing_to_it_and_is_refused() -> None:
    for dollars in (math.nan, math.inf):
        found = order_for(TrainingWish("plants", max_usd=dollars), "event", "k", "h", DEFAULTS)
        assert isinstance(found, Refusal)
