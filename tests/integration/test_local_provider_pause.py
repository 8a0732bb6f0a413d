"""A paused job stops after a step, lets others train, and goes on to the very numbers it would have had."""

from __future__ import annotations

import time
from collections.abc import Iterator

import openai
import pytest
from tests.integration.provider_rows import MODEL, colour_rows, ended, steps, upload

from pixtune.errors import ProviderRefused
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with
from pixtune.providers.port import JobState, TrainingProvider
from pixtune_local.provider.testing import Provider, running_provider


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)


@pytest.fixture(scope="module")
def provider(server: Provider) -> TrainingProvider:
    keys = {"local": {"api_key": server.api_key}}
    return provider_for("local", MODEL, {"local": server.base_url}, keys, limits_with())


@pytest.fixture(scope="module")
def file(client: openai.OpenAI) -> str:
    return upload(client, colour_rows(12))


def create(client: openai.OpenAI, file: str) -> str:
    return client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=file,
        seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    ).id


def losses(client: openai.OpenAI, job_id: str) -> list[float]:
    return [point["train_loss"] for point in steps(client, job_id)]


def until_step(client: openai.OpenAI, job_id: str, least: int) -> None:
    deadline = time.monotonic() + 30
    while len(steps(client, job_id)) < least:
        assert time.monotonic() < deadline, f"{job_id} came to no step {least}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(client: openai.OpenAI, file: str) -> list[float]:
    job_id = create(client, file)
    assert ended(client, job_id).status == "succeeded"
    return losses(client, job_id)


@pytest.mark.parametrize("killed", [False, True])
def test_a_paused_job_lets_another_train_survives_a_kill_and_comes_to_the_same_losses(
    client: openai.OpenAI,
    server: Provider,
    provider: TrainingProvider,
    file: str,
    uninterrupted: list[float],
    killed: bool,
) -> None:
    server.faults(queue={"step_seconds": 0.1})
    job_id = create(client, file)
    until_step(client, job_id, 3)
    assert provider.pause(job_id).state is JobState.PAUSED
    server.faults(queue={})
    other = create(client, file)
    assert ended(client, other).status == "succeeded"  # one trains at a time, so the paused one has made way
    if killed:
        server.kill()
        server.start()
    halted = losses(client, job_id)
    assert 3 <= len(halted) < len(uninterrupted)
    assert provider.status(job_id).state is JobState.PAUSED
    assert provider.pause(job_id).state is JobState.PAUSED
    assert provider.resume(job_id).state is JobState.QUEUED
    assert ended(client, job_id).status == "succeeded"
    assert losses(client, job_id) == uninterrupted
    with pytest.raises(ProviderRefused):
        provider.pause(job_id)
    assert provider.resume(job_id).state is JobState.SUCCEEDED


def test_a_paused_job_can_be_cancelled(
    client: openai.OpenAI, server: Provider, provider: TrainingProvider, file: str
) -> None:
    server.faults(queue={"stuck": True})
    job_id = create(client, file)
    deadline = time.monotonic() + 30
    while provider.status(job_id).state is not JobState.QUEUED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert provider.pause(job_id).state is JobState.PAUSED
    assert provider.cancel(job_id).state is JobState.CANCELLED
    server.faults(queue={})


def test_progress_tells_points_and_messages_since_a_moment(
    client: openai.OpenAI, provider: TrainingProvider, file: str
) -> None:
    job_id = create(client, file)
    assert ended(client, job_id).status == "succeeded"
    whole = provider.progress(job_id, 0.0)
    assert list(whole.points) == list(provider.metrics(job_id))
    texts = [message.text for message in whole.messages]
    assert texts[0].startswith("Created fine-tuning job")
    assert texts[-1] == "The job has successfully completed"
    assert {message.level for message in whole.messages} == {"info"}
    assert provider.progress(job_id, time.time() + 60).messages == []
