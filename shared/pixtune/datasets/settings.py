"""A dataset's present settings, as its `dataset.toml` states them: the item of that upload in, settings out."""

from __future__ import annotations

from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetNotReady
from pixtune.examples import places
from pixtune.examples.items import UploadItem
from pixtune.examples.ports import Examples
from pixtune.images.recipe import Detail, Recipe
from pixtune.keys import SETTINGS_FILE
from pixtune.verdicts import Outcome


def settings_of(item: UploadItem | None) -> DatasetSettings:
    """The defaults where nothing is stated, where the file was refused, and after it was deleted."""
    stated = item.settings if item is not None and item.live else None
    return DatasetSettings.from_json(stated or {})


def read_settings(table: Examples, dataset: str) -> DatasetSettings:
    return settings_of(_item(table, dataset))


def stated_settings(table: Examples, dataset: str) -> DatasetSettings:
    """As `read_settings`. Raises DatasetNotReady where the file was refused: a policy that was meant to forbid a
    training must not be lost to a typing error."""
    item = _item(table, dataset)
    if item and item.live and item.verdict and item.verdict.outcome is Outcome.REJECTED:
        raise DatasetNotReady(f"{dataset}/{SETTINGS_FILE} was refused: {item.verdict.detail}", item.verdict.fix)
    return settings_of(item)


def _item(table: Examples, dataset: str) -> UploadItem | None:
    found = table.read([places.source(dataset, "file", f"{dataset}/{SETTINGS_FILE}")])[0]
    return UploadItem.from_json(found) if found else None


def recipe_of(settings: DatasetSettings) -> Recipe:
    """How the dataset's images are to be converted."""
    detail: Detail = "low" if settings.detail == "low" else "high"
    return Recipe.default(detail) if settings.steps is None else Recipe.of(settings.steps, detail)
