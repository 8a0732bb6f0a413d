"""A person moves an alias where models answer only while they are deployed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.answering import AnsweringProvider
from tests.fakes.models import FakeModels

from pixtune.errors import AliasConflict, ModelDeploying
from pixtune.providers.port import Activation
from pixtune.registry.aliases import promote, roll_back
from pixtune.registry.deploying import Deployments
from pixtune.registry.models import AliasMove, ModelVersion

FIRST = ModelVersion("lanes", 0, "run_1", 10, "bedrock", "nova", "m:1", 1, "d" * 64, "manifest", "recipe", 1.0)


class Deploying(AnsweringProvider):
    """Deploys on the first ask, and answers from the second on."""

    def __init__(self) -> None:
        super().__init__({})
        self.up: set[str] = set()
        self.deployed_for: list[str] = []

    def activate(self, model_id: str) -> Activation:
        self.deployed_for.append(model_id)
        ready = model_id in self.up
        self.up.add(model_id)
        return Activation(ready, 0 if ready else 30)

    def release(self, model_id: str) -> None:
        self.up.discard(model_id)


class Desk:
    def __init__(self, *, deploys: bool = True) -> None:
        self.models, self.provider = FakeModels(), Deploying()
        for number in (1, 2):
            self.models.register(replace(FIRST, run_id=f"run_{number}", model_id=f"m:{number}"))
        self.deployments = Deployments(self.models, lambda *_named: deploys, lambda *_named: self.provider)

    def promote(self, number: int, expected: int | None = None) -> AliasMove:
        ready = self.deployments.ensure
        moved = promote(
            self.models, "lanes", "champion", number, expected=expected, by="ann", reason="", at=5.0, ready=ready
        )
        self.deployments.release_unnamed("lanes", moved.previous)
        return moved

    def roll_back(self) -> AliasMove:
        moved = roll_back(
            self.models, "lanes", "champion", expected=None, by="ann", at=6.0, ready=self.deployments.ensure
        )
        self.deployments.release_unnamed("lanes", moved.previous)
        return moved


def test_an_alias_moves_once_its_model_answers_and_the_one_before_is_taken_down() -> None:
    desk = Desk()
    with pytest.raises(ModelDeploying, match="Ask again in 30 s"):
        desk.promote(1)
    assert desk.models.alias("lanes", "champion") is None
    assert desk.promote(1).model_version == 1
    with pytest.raises(ModelDeploying):
        desk.promote(2)
    assert desk.provider.up == {"m:1", "m:2"}  # the champion goes on answering meanwhile
    assert desk.promote(2).previous == 1
    assert desk.provider.up == {"m:2"}


def test_rolling_back_deploys_the_model_that_was_released() -> None:
    desk = Desk()
    for number in (1, 1, 2, 2):
        try:
            desk.promote(number)
        except ModelDeploying:
            continue
    with pytest.raises(ModelDeploying):
        desk.roll_back()
    assert desk.roll_back().model_version == 1
    assert desk.provider.up == {"m:1"}


def test_what_another_alias_names_stays_deployed() -> None:
    desk = Desk()
    desk.provider.up |= {"m:1", "m:2"}
    desk.promote(1)
    promote(desk.models, "lanes", "steady", 1, expected=None, by="ann", reason="", at=5.0)
    desk.promote(2)
    assert desk.provider.up == {"m:1", "m:2"}


def test_nothing_is_deployed_for_a_move_that_is_refused() -> None:
    desk = Desk()
    with pytest.raises(AliasConflict):
        desk.promote(1, expected=7)
    assert desk.provider.deployed_for == []


def test_a_provider_that_deploys_nothing_is_not_asked() -> None:
    desk = Desk(deploys=False)
    assert desk.promote(1).model_version == 1
    assert desk.promote(2).previous == 1
    assert (desk.provider.deployed_for, desk.provider.up) == ([], set())
