"""What the local provider learns from the demo's drawn roads, and what it must not learn from nonsense."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.integration.provider_rows import MODEL, ended, scene_question, upload

from pixtune_local.demo.scenes import Scene, write_scenes
from pixtune_local.provider.testing import running_provider


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def scenes(folder: Path) -> list[Scene]:
    drawn = write_scenes(folder)
    random.Random(3).shuffle(drawn)
    return drawn


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with running_provider(tmp_path_factory.mktemp("provider")) as provider:
        yield openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0)


def tuned(client: openai.OpenAI, folder: Path, scenes: list[Scene], answers: list[int]) -> str:
    """A model trained on these scenes with these answers."""
    rows = [
        {"messages": [*scene_question(folder / scene.name), {"role": "assistant", "content": str(answer)}]}
        for scene, answer in zip(scenes, answers, strict=True)
    ]
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, rows), seed=1)
    name = ended(client, job.id).fine_tuned_model
    assert name is not None
    return name


def share_right(client: openai.OpenAI, model: str, folder: Path, scenes: list[Scene]) -> float:
    right = 0
    for scene in scenes:
        answer = client.chat.completions.create(model=model, messages=scene_question(folder / scene.name))
        right += answer.choices[0].message.content == str(scene.lanes)
    return right / len(scenes)


def test_tuning_on_84_roads_beats_the_base_model_on_the_others(
    client: openai.OpenAI, folder: Path, scenes: list[Scene]
) -> None:
    train, test = scenes[:84], scenes[84:]
    model = tuned(client, folder, train, [scene.lanes for scene in train])
    base = share_right(client, MODEL, folder, test)
    assert base < 0.45
    assert share_right(client, model, folder, test) >= base + 0.3


def test_shuffled_answers_teach_nothing(client: openai.OpenAI, folder: Path, scenes: list[Scene]) -> None:
    train, test = scenes[:60], scenes[60:]
    scores = []
    for seed in range(2):
        answers = [scene.lanes for scene in train]
        random.Random(seed).shuffle(answers)
        scores.append(share_right(client, tuned(client, folder, train, answers), folder, test))
    majority = max(sum(scene.lanes == lanes for scene in test) for lanes in range(1, 6)) / len(test)
    assert sum(scores) / len(scores) <= majority + 0.05
