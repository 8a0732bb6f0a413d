"""What the registry needs from the outside, as a protocol; `aws.models_table` and a fake implement it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pixtune.registry.models import AliasMove, ModelVersion


class Models(Protocol):
    """Model versions, aliases and their history. All reads are strongly consistent."""

    def register(self, model: ModelVersion) -> ModelVersion:
        """Give the model the dataset's next number. A checkpoint has one model version: a repeat answers that."""
        ...

    def model(self, dataset: str, number: int) -> ModelVersion | None: ...

    def models(self, dataset: str) -> Sequence[ModelVersion]:
        """In order of number."""
        ...

    def alias(self, dataset: str, alias: str) -> AliasMove | None:
        """Where the alias stands, as the move that brought it there."""
        ...

    def aliases(self, dataset: str) -> Sequence[AliasMove]:
        """All aliases of the dataset, by name."""
        ...

    def named(self, dataset: str) -> Collection[str]:
        """The ids of the models that the dataset's aliases name."""
        ...

    def history(self, dataset: str, alias: str) -> Sequence[AliasMove]:
        """Every move, oldest first."""
        ...

    def move(self, move: AliasMove) -> None:
        """Store the move as the alias's state and as history, in one transaction. Raises AliasConflict when the
        alias is not at the version before, UnknownModel when there is no such model version."""
        ...
