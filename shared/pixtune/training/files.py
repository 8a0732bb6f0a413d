"""Training files to the provider: a run in, its splits rendered and uploaded once each, their ids stored on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from tempfile import SpooledTemporaryFile

from pixtune.datasets.reading import read_image_from, read_manifest, read_split
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetNotReady
from pixtune.examples.rows import Row
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.port import ReadImage, TrainingProvider
from pixtune.training.ports import ArtifactStore, Runs

_IN_MEMORY = 32_000_000  # bytes of a training file kept in memory; more goes to a temporary file
_THREADS, _BATCH = 8, 64  # pictures are fetched side by side, and no more lines wait in memory than a batch
_PURPOSES = {"train": "training", "validation": "validation"}


def upload_files(
    run_id: str, runs: Runs, artifacts: ArtifactStore, provider: TrainingProvider, spec: ProviderSpec
) -> Mapping[str, str]:
    """Store and answer {"training": id, "validation": id} on the run; a file it names already is not rendered again.

    A file's name holds the hash of its content, so a repeat finds what an earlier attempt has uploaded.
    """
    run = runs.get(run_id)
    if run.manifest_key is None:
        raise DatasetNotReady(f"Run {run_id} has no dataset version.", "Publish the dataset first.")
    manifest = read_manifest(artifacts, run.manifest_key)

    read_image = read_image_from(artifacts)
    files = dict(run.files)
    for split, purpose in _PURPOSES.items():
        if purpose in files or (split == "validation" and not spec.validation_file):
            continue
        rows = read_split(artifacts, manifest, split)
        if rows:
            files[purpose] = _upload(rows, manifest.settings, provider, read_image)
            runs.update(run_id, {"stage": "UploadFiles", "files": files})
    return files


def _upload(rows: Sequence[Row], settings: DatasetSettings, provider: TrainingProvider, read_image: ReadImage) -> str:
    def render(row: Row) -> bytes:
        return provider.render(row, settings.system, settings.prompt, settings.detail, read_image)

    digest = sha256()
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(rows), _BATCH):
                for line in pool.map(render, rows[start : start + _BATCH]):
                    digest.update(line)
                    file.write(line)
        return provider.upload(f"pixtune-{digest.hexdigest()[:40]}.jsonl", file)
