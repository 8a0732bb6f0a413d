"""The registry in memory, typed to its port; a conformance test runs it and the table alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pixtune.errors import AliasConflict, UnknownModel
from pixtune.registry.models import AliasMove, ModelVersion, Retiring


@dataclass
class FakeModels:
    """`registry.ports.Models` on lists."""

    registered: list[ModelVersion] = field(default_factory=list)
    moves: list[AliasMove] = field(default_factory=list)
    warnings: list[Retiring] = field(default_factory=list)

    def register(self, model: ModelVersion) -> ModelVersion:
        of_dataset = self.models(model.dataset)
        for known in of_dataset:
            if (known.run_id, known.step) == (model.run_id, model.step):
                return known
        self.registered.append(replace(model, number=len(of_dataset) + 1))
        return self.registered[-1]

    def model(self, dataset: str, number: int) -> ModelVersion | None:
        return next((model for model in self.models(dataset) if model.number == number), None)

    def models(self, dataset: str) -> Sequence[ModelVersion]:
        return [model for model in self.registered if model.dataset == dataset]

    def alias(self, dataset: str, alias: str) -> AliasMove | None:
        moves = self.history(dataset, alias)
        return moves[-1] if moves else None

    def aliases(self, dataset: str) -> Sequence[AliasMove]:
        names = sorted({move.alias for move in self.moves if move.dataset == dataset})
        return [self.history(dataset, name)[-1] for name in names]

    def named(self, dataset: str) -> set[str]:
        found = [self.model(dataset, move.model_version) for move in self.aliases(dataset)]
        return {model.model_id for model in found if model}

    def every_alias(self) -> list[AliasMove]:
        return [move for dataset in sorted({move.dataset for move in self.moves}) for move in self.aliases(dataset)]

    def warn(self, retiring: Retiring) -> bool:
        def key(one: Retiring) -> tuple[str, str, int, str]:
            return one.dataset, one.alias, one.model_version, one.retires_on

        if key(retiring) in map(key, self.warnings):
            return False
        self.warnings.append(retiring)
        return True

    def history(self, dataset: str, alias: str) -> Sequence[AliasMove]:
        return [move for move in self.moves if (move.dataset, move.alias) == (dataset, alias)]

    def move(self, move: AliasMove) -> None:
        present = self.alias(move.dataset, move.alias)
        version = present.alias_version if present else 0
        if move.alias_version != version + 1:
            raise AliasConflict(move.dataset, move.alias, version)
        if self.model(move.dataset, move.model_version) is None:
            raise UnknownModel(move.dataset, move.model_version)
        self.moves.append(move)
