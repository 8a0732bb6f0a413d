"""What a dataset says of its own training: the examples table in; its settings, and defaults for requests, out."""

from __future__ import annotations

from pixtune.datasets.version import DatasetSettings
from pixtune.examples import places
from pixtune.examples.items import UploadItem
from pixtune.examples.ports import Examples
from pixtune.keys import SETTINGS_FILE
from pixtune.training.order import Defaults


def stated_settings(table: Examples, dataset: str) -> DatasetSettings:
    """What the `dataset.toml` that is read last says; the defaults where there is none, or none that is valid."""
    item = table.read([places.source(dataset, "file", f"{dataset}/{SETTINGS_FILE}")])[0]
    source = UploadItem.from_json(item) if item else None
    if source is None or not source.live or source.settings is None:
        return DatasetSettings()
    return DatasetSettings.from_json(source.settings)


def dataset_defaults(own: DatasetSettings, deployment: Defaults) -> Defaults:
    """What a request leaves open: the dataset's own provider and base model, else the deployment's. A base model
    counts for the provider it was chosen for only."""
    provider = own.provider or deployment.provider

    def base_model(chosen: str) -> str:
        return own.base_model if own.base_model and chosen == provider else deployment.base_model(chosen)

    return Defaults(provider, base_model)
