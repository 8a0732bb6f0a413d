"""A stored dataset version back into values: its manifest's key in, the manifest and the rows of a split out."""

from __future__ import annotations

import json
from collections.abc import Callable

from pixtune.datasets.tasks import in_words
from pixtune.datasets.version import Manifest
from pixtune.errors import DatasetNotReady
from pixtune.examples.overview import versions
from pixtune.examples.ports import Examples
from pixtune.examples.rows import Row, read_rows
from pixtune.training.ports import ArtifactStore


def read_manifest(artifacts: ArtifactStore, key: str) -> Manifest:
    """Raises LookupError when there is no such manifest: versions are never deleted while a run names them."""
    return Manifest.from_json(json.loads(stored(artifacts, key)))


def published_version(dataset: str, version: int, table: Examples, artifacts: ArtifactStore) -> Manifest:
    """A version as it was published, however the dataset has changed since. Raises DatasetNotReady when there is none
    of that number."""
    known = {int(found["version"]): str(found["manifest_key"]) for found in versions(table, dataset)}
    if version not in known:
        listed = ", ".join(map(str, sorted(known))) or "none"
        raise DatasetNotReady(f"{dataset!r} has no version {version}.", f"Its published versions: {listed}.")
    return read_manifest(artifacts, known[version])


def read_split(artifacts: ArtifactStore, manifest: Manifest, split: str) -> list[Row]:
    """The split's rows in the file's order, boxes in words; none when the version has no such split."""
    if split not in manifest.files:
        return []
    # Not splitlines(): it would cut at U+2028, which JSON text may hold.
    rows = read_rows(stored(artifacts, manifest.files[split]).decode().split("\n"))
    return [in_words(row, manifest.settings, manifest.class_names) for row in rows]


def stored(artifacts: ArtifactStore, key: str) -> bytes:
    """An object that has to be there. Raises LookupError, naming it, when it is not."""
    body = artifacts.get(key)
    if body is None:
        raise LookupError(f"{key} is not in the artifacts bucket, but a dataset version names it.")
    return body


def read_image_from(artifacts: ArtifactStore) -> Callable[[str], bytes]:
    """A reader of converted images by artifacts key, as providers take it."""
    return lambda key: stored(artifacts, key)
