"""The registry: the fake and the table keep the same rules, and fifty movers at once leave one history."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws
from tests.fakes.models import FakeModels

from pixtune.aws.models_table import ModelsTable
from pixtune.errors import AliasConflict, AliasRefused, UnknownModel
from pixtune.registry.aliases import promote, roll_back
from pixtune.registry.models import AliasMove, ModelVersion, Retiring
from pixtune.registry.ports import Models

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

AT = 1_800_000_000.0  # 2027-01-15


def model(run_id: str, dataset: str = "lanes", **changes: object) -> ModelVersion:
    made = ModelVersion(
        dataset=dataset,
        number=0,
        run_id=run_id,
        step=63,
        provider="local",
        base_model="local-vision-1",
        model_id=f"ft:{run_id}",
        version=1,
        version_digest="d1",
        manifest_key=f"versions/{dataset}/1-d1/manifest.json",
        recipe="r1",
        created_at=AT,
        score=0.75,
        evaluation_key=f"evaluations/{run_id}/1-63.json",
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # values of whatever field is named


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        made = boto3.client("dynamodb", region_name="us-east-1")
        made.create_table(
            TableName="models",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        yield made


@pytest.fixture(params=["fake", "table"])
def models(request: pytest.FixtureRequest, client: DynamoDBClient) -> FakeModels | ModelsTable:
    return FakeModels() if request.param == "fake" else ModelsTable(client, "models")


def lift(models: Models, number: int, expected: int | None = None, alias: str = "champion") -> AliasMove:
    return promote(models, "lanes", alias, number, expected=expected, by="test", reason="better", at=AT)


def back(models: Models, expected: int | None = None) -> AliasMove:
    return roll_back(models, "lanes", "champion", expected=expected, by="test", at=AT)


def test_models_are_numbered_within_their_dataset_and_a_checkpoint_has_one(models: Models) -> None:
    first, second = models.register(model("run_1")), models.register(model("run_2"))
    other = models.register(model("run_3", dataset="cards"))
    assert (first.number, second.number, other.number) == (1, 2, 1)
    assert models.register(model("run_1")) == first
    third = models.register(model("run_1", step=42))
    assert (third.number, models.register(model("run_1", step=42))) == (3, third)
    assert models.models("lanes") == [first, second, third]
    assert models.model("lanes", 2) == second
    assert models.model("lanes", 4) is None


def test_a_promotion_names_the_model_and_remembers_the_one_before(models: Models) -> None:
    for run in ("run_1", "run_2"):
        models.register(model(run))
    assert models.alias("lanes", "champion") is None
    lift(models, 1, expected=0)
    second = lift(models, 2, expected=1)
    assert (second.alias_version, second.model_version, second.previous) == (2, 2, 1)
    assert models.alias("lanes", "champion") == second
    assert models.history("lanes", "champion")[-1] == second
    lift(models, 1, alias="challenger")
    assert [(move.alias, move.model_version) for move in models.aliases("lanes")] == [
        ("challenger", 1),
        ("champion", 2),
    ]


def test_a_mover_who_has_not_seen_the_present_version_is_told_it(models: Models) -> None:
    models.register(model("run_1"))
    models.register(model("run_2"))
    lift(models, 1)
    with pytest.raises(AliasConflict) as conflict:
        lift(models, 2, expected=0)
    assert conflict.value.present == 1
    with pytest.raises(AliasConflict) as conflict:
        models.move(AliasMove("lanes", "champion", 1, 2, None, "late", "test", AT))
    assert conflict.value.present == 1
    assert len(models.history("lanes", "champion")) == 1


def test_what_cannot_be_promoted_is_refused_and_leaves_no_trace(models: Models) -> None:
    models.register(model("run_1"))
    models.register(model("run_2", retires_on="2027-01-14"))
    with pytest.raises(UnknownModel):
        lift(models, 9)
    with pytest.raises(UnknownModel):
        models.move(AliasMove("lanes", "champion", 1, 9, None, "", "test", AT))
    with pytest.raises(AliasRefused, match="retired on 2027-01-14"):
        lift(models, 2)
    with pytest.raises(AliasRefused, match="no alias"):
        lift(models, 1, alias="The Best")
    with pytest.raises(AliasRefused, match="nothing earlier"):
        back(models)
    lift(models, 1)
    with pytest.raises(AliasRefused, match="already"):
        lift(models, 1)
    assert len(models.history("lanes", "champion")) == 1


def test_rolling_back_adds_to_the_history_and_goes_further_each_time(models: Models) -> None:
    for run in ("run_1", "run_2", "run_3", "run_4"):
        models.register(model(run))
    for number in (1, 2, 3):
        lift(models, number)
    first, second = back(models), back(models, expected=4)
    assert (first.alias_version, first.model_version, first.previous, first.returns_to) == (4, 2, 3, 2)
    assert (second.alias_version, second.model_version, second.returns_to) == (5, 1, 1)
    assert "alias version 1" in second.reason
    with pytest.raises(AliasRefused, match="nothing earlier"):
        back(models)
    lift(models, 4)
    assert back(models).model_version == 1
    assert [move.alias_version for move in models.history("lanes", "champion")] == list(range(1, 8))


class OneAtATime:
    """A DynamoDB client whose calls are atomic, as the service's are and the simulation's under threads are not."""

    def __init__(self, client: DynamoDBClient) -> None:
        self._client, self._lock = client, threading.Lock()

    def __getattr__(self, name: str) -> object:
        found = getattr(self._client, name)
        if name == "exceptions" or not callable(found) or name == "get_paginator":
            return found

        def call(**arguments: object) -> object:
            with self._lock:
                return found(**arguments)

        return call


def test_of_fifty_promoters_at_once_one_wins_each_version_and_the_history_has_no_gap(client: DynamoDBClient) -> None:
    shared: DynamoDBClient = OneAtATime(client)  # type: ignore[assignment]  # forwards every call
    table = ModelsTable(shared, "models")
    for number in range(50):
        table.register(model(f"run_{number}"))
    start = threading.Barrier(50)

    def mover(number: int) -> int:
        start.wait()  # all of them have seen that there is no champion
        try:
            promote(table, "lanes", "champion", number, expected=0, by=f"m{number}", reason="", at=AT)
        except AliasConflict as conflict:
            return conflict.present
        return 0

    with ThreadPoolExecutor(50) as pool:
        assert sorted(pool.map(mover, range(1, 51))) == [0] + [1] * 49

    def persistent(number: int) -> int:
        while True:
            present = table.alias("lanes", "challenger")
            seen = present.alias_version if present else 0
            try:
                return promote(
                    table, "lanes", "challenger", number, expected=seen, by=f"m{number}", reason="", at=AT
                ).alias_version
            except AliasConflict:
                continue

    with ThreadPoolExecutor(12) as pool:
        versions = sorted(pool.map(persistent, range(1, 13)))
    history = table.history("lanes", "challenger")
    assert versions == [move.alias_version for move in history] == list(range(1, 13))
    assert [move.previous for move in history] == [None, *(move.model_version for move in history[:-1])]
    assert table.alias("lanes", "challenger") == history[-1]


def test_every_name_of_every_dataset_is_found_and_a_warning_is_kept_once(models: FakeModels | ModelsTable) -> None:
    for dataset in ("lanes", "cards"):
        models.register(model("run_1", dataset=dataset))
        promote(models, dataset, "champion", 1, expected=0, by="test", reason="", at=AT)
    lanes = promote(models, "lanes", "steady", 1, expected=0, by="test", reason="", at=AT)
    assert {(move.dataset, move.alias) for move in models.every_alias()} == {
        ("lanes", "champion"),
        ("lanes", "steady"),
        ("cards", "champion"),
    }
    warning = Retiring("lanes", lanes.alias, 1, 1, "openai", "gpt-4o", "2027-01-14", 30, ("local/tiny",))
    assert models.warn(warning)
    assert not models.warn(replace(warning, days_left=29))
    assert models.warn(replace(warning, retires_on="2027-01-13"))
    assert [move.alias for move in models.aliases("lanes")] == ["champion", "steady"]
