"""Models that answer only while deployed, behind aliases that people move: up before a move, down after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pixtune.errors import ModelDeploying
from pixtune.providers.port import TrainingProvider
from pixtune.registry.models import ModelVersion
from pixtune.registry.ports import Models


@dataclass(frozen=True, slots=True)
class Deployments:
    """deploys: whether this provider deploys models of this base model; where it does not, nothing is asked."""

    models: Models
    deploys: Callable[[str, str], bool]
    provider_of: Callable[[str, str], TrainingProvider]

    def ensure(self, model: ModelVersion) -> None:
        """Raises ModelDeploying while the model does not answer yet: ask for the move again then, and every ask goes
        on with the same deployment. Raises ProviderRefused and ProviderUnavailable."""
        if not self.deploys(model.provider, model.base_model):
            return
        activation = self.provider_of(model.provider, model.base_model).activate(model.model_id)
        if not activation.active:
            raise ModelDeploying(model.dataset, model.number, activation.wait_seconds)

    def release_unnamed(self, dataset: str, number: int | None) -> None:
        """Take a model down, so that it bills no more, unless an alias of the dataset names it still. Raises as
        `ensure`."""
        model = self.models.model(dataset, number) if number else None
        if model is None or not self.deploys(model.provider, model.base_model):
            return
        if model.model_id not in self.models.named(dataset):
            self.provider_of(model.provider, model.base_model).release(model.model_id)
