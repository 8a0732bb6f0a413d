"""The models table: model versions and alias moves in and out.

Items (pk `MODELS#{dataset}`): `MODEL#{number}`; `BY_RUN#{run_id}@{step}` (the number a checkpoint got);
`ALIAS#{alias}` (where it stands: its last move); `HISTORY#{alias}#{alias version}` (every move);
`RETIRING#{alias}#{number}#{date}` (a warning that was given). Numbers have six digits, so that keys sort. One
partition holds a dataset's registry: it is read and written by people and finished runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pixtune.aws.items import from_item, to_item
from pixtune.aws.runs_table import expression, transact
from pixtune.errors import AliasConflict, UnknownModel
from pixtune.registry.models import AliasMove, ModelVersion, Retiring

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ABSENT = "attribute_not_exists(pk)"


class ModelsTable:
    """`registry.ports.Models` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self.table = table

    def register(self, model: ModelVersion) -> ModelVersion:
        while True:
            by_run = f"BY_RUN#{model.run_id}@{model.step}"
            mine = self._get(model.dataset, by_run)
            if mine:
                return ModelVersion.from_json(self._get(model.dataset, _model_key(mine["number"])) or {})
            last = next(self._pages(model.dataset, "MODEL#", ScanIndexForward=False, Limit=1), None)
            placed = replace(model, number=last["number"] + 1 if last else 1)
            marker = {"number": placed.number}
            # Another run may take the number, or another attempt of this one: then look again.
            if not transact(
                self._client,
                [
                    self._put(model.dataset, _model_key(placed.number), placed.to_json(), _ABSENT),
                    self._put(model.dataset, by_run, marker, _ABSENT),
                ],
            ):
                return placed

    def model(self, dataset: str, number: int) -> ModelVersion | None:
        found = self._get(dataset, _model_key(number))
        return ModelVersion.from_json(found) if found else None

    def models(self, dataset: str) -> Sequence[ModelVersion]:
        return [ModelVersion.from_json(item) for item in self._pages(dataset, "MODEL#")]

    def alias(self, dataset: str, alias: str) -> AliasMove | None:
        found = self._get(dataset, f"ALIAS#{alias}")
        return AliasMove.from_json(found) if found else None

    def aliases(self, dataset: str) -> Sequence[AliasMove]:
        return [AliasMove.from_json(item) for item in self._pages(dataset, "ALIAS#")]

    def named(self, dataset: str) -> set[str]:
        """The ids of the models that the dataset's aliases name."""
        found = [self.model(dataset, move.model_version) for move in self.aliases(dataset)]
        return {model.model_id for model in found if model}

    def every_alias(self) -> Iterator[AliasMove]:
        """Of all datasets: the whole table is read, which holds registries and no more."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self.table,
            ConsistentRead=True,
            **expression("", {"prefix": "ALIAS#"}),
            FilterExpression="begins_with(sk, :prefix)",
        )
        for page in pages:
            yield from (AliasMove.from_json(from_item(item)) for item in page["Items"])

    def warn(self, retiring: Retiring) -> bool:
        key = f"RETIRING#{retiring.alias}#{retiring.model_version:06d}#{retiring.retires_on}"
        return not transact(self._client, [self._put(retiring.dataset, key, retiring.to_json(), _ABSENT)])

    def history(self, dataset: str, alias: str) -> Sequence[AliasMove]:
        return [AliasMove.from_json(item) for item in self._pages(dataset, f"HISTORY#{alias}#")]

    def move(self, move: AliasMove) -> None:
        before = move.alias_version - 1
        stands = ("#alias_version = :before", {"before": before}) if before else (_ABSENT, {})
        history = f"HISTORY#{move.alias}#{move.alias_version:06d}"
        exists = expression("attribute_exists(pk)", {})
        failed = transact(
            self._client,
            [
                self._put(move.dataset, f"ALIAS#{move.alias}", move.to_json(), *stands),
                self._put(move.dataset, history, move.to_json(), _ABSENT),
                {
                    "ConditionCheck": {
                        "TableName": self.table,
                        "Key": _key(move.dataset, _model_key(move.model_version)),
                    }
                    | exists
                },
            ],
        )
        if any(failed[:2]):
            present = self.alias(move.dataset, move.alias)
            raise AliasConflict(move.dataset, move.alias, present.alias_version if present else 0)
        if failed:
            raise UnknownModel(move.dataset, move.model_version)

    def _get(self, dataset: str, sort_key: str) -> dict[str, Any] | None:
        answer = self._client.get_item(TableName=self.table, Key=_key(dataset, sort_key), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    # Any, here and below: DynamoDB's wire format, which boto3's stubs type per call.
    def _pages(self, dataset: str, prefix: str, **limits: Any) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self.table,
            ConsistentRead=True,
            **expression("", {"pk": f"MODELS#{dataset}", "prefix": prefix}),
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            **limits,
        )
        for page in pages:
            yield from (from_item(item) for item in page["Items"])

    def _put(
        self, dataset: str, sort_key: str, values: dict[str, Any], condition: str, known: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        item = _key(dataset, sort_key) | to_item(values)
        return {"Put": {"TableName": self.table, "Item": item} | expression(condition, known or {})}


def _key(dataset: str, sort_key: str) -> dict[str, Any]:
    return to_item({"pk": f"MODELS#{dataset}", "sk": sort_key})


def _model_key(number: int) -> str:
    return f"MODEL#{number:06d}"
