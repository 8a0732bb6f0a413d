"""Who decides what is trained: the request, then the dataset's own settings, then the deployment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pixtune.training.run import Hyperparameters, Terms, TrainingSettings, training_id

OPEN = TrainingSettings("local", "small-1", Hyperparameters(n_epochs=2), 7, defaulted=("provider", "base_model"))
STATED = replace(OPEN, defaulted=())
HALF = replace(OPEN, defaulted=("base_model",))


def default(provider: str) -> str:
    return {"local": "small-1", "openai": "big-1"}[provider]


@pytest.mark.parametrize(
    ("asked", "own_provider", "own_model", "provider", "model"),
    [
        (OPEN, None, None, "local", "small-1"),
        (OPEN, "openai", None, "openai", "big-1"),
        (OPEN, "openai", "big-2", "openai", "big-2"),
        (OPEN, None, "small-2", "local", "small-2"),
        (STATED, "openai", "big-2", "local", "small-1"),
        (HALF, "openai", "big-2", "local", "small-1"),  # a base model counts for its own provider only
        (HALF, "local", "small-2", "local", "small-2"),
    ],
)
def test_what_a_request_leaves_open_the_dataset_decides_and_then_the_deployment(
    asked: TrainingSettings, own_provider: str | None, own_model: str | None, provider: str, model: str
) -> None:
    decided = asked.decided(own_provider, own_model, default)
    assert (decided.provider, decided.base_model, decided.defaulted) == (provider, model, ())
    assert (decided.hyperparameters, decided.seed) == (asked.hyperparameters, asked.seed)


def test_who_decided_makes_no_other_training() -> None:
    assert training_id("d", OPEN) == training_id("d", STATED)
    assert training_id("d", OPEN) != training_id("d", replace(STATED, seed=8))


def test_terms_and_how_a_version_was_named_make_no_other_training_but_another_request() -> None:
    for other in (replace(STATED, version=3), replace(STATED, terms=Terms(max_usd=5.0))):
        assert training_id("d", other) == training_id("d", STATED)
        assert other.digest() != STATED.digest()
        assert TrainingSettings.from_json(other.to_json()) == other


def test_a_training_keeps_the_id_it_had_before_requests_had_terms() -> None:
    """Otherwise an upgrade would train, and pay for, everything once more."""
    assert training_id("d", STATED) == "trn_1205c08fa1c6c718e49df2c5bd2ac6a853b32b8f"


def test_settings_survive_json() -> None:
    assert TrainingSettings.from_json(OPEN.to_json()) == OPEN
    old = {name: value for name, value in OPEN.to_json().items() if name != "defaulted"}
    assert TrainingSettings.from_json(old) == STATED
