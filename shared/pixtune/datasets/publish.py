"""publish_dataset: the examples table in, a frozen, numbered, content-addressed version in the artifacts bucket out.

Reading the table is the cut. The version's number is taken together with its digest, before its files are stored;
the files are named by both and stored once, so that a crashed publication is finished by the next one. The dataset
card comes last: it tells of the uploads as they were at the version's first publication that was not cut short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Protocol

from pixtune.datasets.card_files import store_card
from pixtune.datasets.class_names import with_class_names
from pixtune.datasets.cut import Cut, Seen, read_cut
from pixtune.datasets.manifest import manifest_of
from pixtune.datasets.numbering import take_number, version_digest
from pixtune.datasets.reading import published_version
from pixtune.datasets.reject_setting import apply_policy
from pixtune.datasets.row_log import lacking
from pixtune.datasets.settings import read_class_names, stated_settings
from pixtune.datasets.splits import Splits, split
from pixtune.datasets.tasks import boxes_cut_off, in_words
from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.errors import DatasetEmpty, FenceLost, ProviderRefused
from pixtune.examples import places
from pixtune.examples.append import segment_key
from pixtune.examples.ports import Each, Examples, Write, one_by_one
from pixtune.examples.rows import canonical
from pixtune.examples.survey import examples_of, judged_uploads, still_shown
from pixtune.providers.limits import Limits, ProviderSpec
from pixtune.training.ports import Runs

_TRIES = 20
_JSONL = "application/x-ndjson"


class ArtifactStore(Protocol):
    """The artifacts bucket: rows are read, versions written once."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Published:
    """A version's number and digest. repaired: rows that the log lacked and that were appended to it now."""

    version: int
    digest: str
    repaired: int


def publish_dataset(
    run_id: str,
    attempt: int,
    runs: Runs,
    table: Examples,
    artifacts: ArtifactStore,
    now: datetime,
    segment: str,
    limits: Limits,
    each: Each = one_by_one,
) -> Published:
    """Publish the run's dataset as it is now, or adopt the version that its request names, and put it on the run.

    segment: a new id, should rows have to be appended that the log lacks. limits: name a provider's default base
    model, should the dataset name a provider where the request named none. Raises DatasetEmpty when no example is
    ready, DatasetNotReady when dataset.toml was refused or there is no version of that number, and FenceLost when a
    newer attempt of the run exists.
    """
    run = runs.get(run_id)
    if run.attempt != attempt:
        raise FenceLost(f"Run {run_id} is at attempt {run.attempt}, not {attempt}")
    if run.version is not None and run.version_digest is not None:
        return Published(run.version, run.version_digest, 0)
    runs.update(run_id, {"stage": "PublishDataset"})

    def spec_of(own: DatasetSettings) -> ProviderSpec | None:
        decided = run.settings.decided(own.provider, own.base_model, limits.default_base_model)
        try:
            return limits.spec(decided.provider, decided.base_model)
        except ProviderRefused:
            return None  # CheckReadiness says so; the version is the same without

    named = run.settings.version
    if named is None:
        manifest, repaired = publish(run.dataset, table, artifacts, now, segment, each, spec_of)
    else:
        manifest, repaired = published_version(run.dataset, named, table, artifacts), 0
    own = manifest.settings
    runs.update(
        run_id,
        {
            "version": manifest.version,
            "version_digest": manifest.digest,
            "manifest_key": manifest.key,
            "settings": run.settings.decided(own.provider, own.base_model, limits.default_base_model).to_json(),
        },
    )
    return Published(manifest.version, manifest.digest, repaired)


def publish(
    dataset: str,
    table: Examples,
    artifacts: ArtifactStore,
    now: datetime,
    segment: str,
    each: Each,
    spec_of: Callable[[DatasetSettings], ProviderSpec | None],
) -> tuple[Manifest, int]:
    """Cut, compare with the log, number, store; answers the stored manifest and how many rows the log lacked now.

    spec_of: the base model whose tokens the card counts, if it is known.
    """
    settings = stated_settings(table, dataset)
    seen = examples_of(table, dataset, Seen.of, each)
    # After the examples: what is known of a picture is never older.
    uploads = still_shown(judged_uploads(table, dataset, each), [one.claim for one in seen])
    unlogged = lacking(dataset, (one.line for one in seen if one.line), artifacts, each)
    if unlogged:
        artifacts.put_once(segment_key(dataset, now, f"{segment}-repair"), "".join(unlogged).encode(), _JSONL)
    whole = with_class_names(
        read_cut(seen, settings.class_folders), lambda folder: read_class_names(table, dataset, folder)
    )
    cut, left_out = apply_policy(whole, uploads, settings)
    cut = replace(cut, notes=[*cut.notes, *boxes_cut_off(cut.rows.values())])
    if not cut.rows:
        why = f" The dataset's reject setting leaves all {len(left_out)} out." if left_out else ""
        raise DatasetEmpty(
            " ".join([f"No example of {dataset!r} is ready.{why}", *(note["detail"] for note in cut.notes)]),
            "See what its examples wait for (pixtune data show), add images and annotations, and request again.",
        )
    splits = split(list(cut.rows.values()), settings)
    digest = version_digest(cut, splits, settings)
    version = take_number(table, dataset, digest, now)
    manifest = manifest_of(dataset, version, digest, now, settings, cut, splits, left_out, len(unlogged))
    stored = artifacts.get(manifest.key)
    if stored is None:
        store_rows(manifest, cut, splits, artifacts)
        # Last: where the manifest is, the files are.
        if not artifacts.put_once(manifest.key, canonical(manifest.to_json()).encode(), "application/json"):
            stored = artifacts.get(manifest.key)
    manifest = Manifest.from_json(json.loads(stored)) if stored else manifest
    if manifest.card_key not in artifacts.keys(manifest.card_key):
        rows = [in_words(row, manifest.settings, cut.class_names) for row in cut.rows.values()]
        states = [one.claim.state for one in seen]
        store_card(manifest, rows, left_out, states, uploads, spec_of(manifest.settings), artifacts, each)
    _show_as_latest(table, manifest)
    return manifest, len(unlogged)


def store_rows(manifest: Manifest, cut: Cut, splits: Splits, artifacts: ArtifactStore) -> None:
    """A file for each split, one at a time in memory."""
    for name, key in manifest.files.items():
        body = BytesIO()
        for example in cut.rows:
            if splits.of[example] == name:
                body.write(cut.lines[example].encode())
        artifacts.put_once(key, body.getvalue(), _JSONL)


def _show_as_latest(table: Examples, manifest: Manifest) -> None:
    """Let people see it: on its own item, and as the dataset's latest one."""
    shown = {
        "dataset": manifest.dataset,
        "version": manifest.version,
        "digest": manifest.digest,
        "counts": dict(manifest.counts),
        "created_at": manifest.created_at,
        "manifest_key": manifest.key,
        "settings": canonical(manifest.settings.to_json()),
        "recipe": manifest.recipe,
        "notes": canonical(list(manifest.notes)),
        "card_key": manifest.card_key,
        "repaired": manifest.repaired,
    }
    for place in (places.version(manifest.dataset, manifest.digest), places.latest(manifest.dataset)):
        for _ in range(_TRIES):
            found = table.read([place])[0]
            if found and found.get("manifest_key") == manifest.key:
                break
            if table.write(Write(place, shown, int(found["v"]) if found else 0)):
                break
