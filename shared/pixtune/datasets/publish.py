"""publish_dataset: the examples table in, a frozen, numbered, content-addressed version in the artifacts bucket out.

Reading the table is the cut. The version's number is taken together with its digest, before its files are stored;
the files are named by both and stored once, so that a crashed publication is finished by the next one.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from pixtune.compliance.attribution import attribution
from pixtune.datasets.settings import recipe_of, stated_settings
from pixtune.datasets.splits import Splits, split
from pixtune.datasets.version import DatasetSettings, Manifest, ManifestEntry
from pixtune.errors import DatasetEmpty, FenceLost, TooMuchContention
from pixtune.examples import places
from pixtune.examples.annotation import SPLITS
from pixtune.examples.append import segment_key
from pixtune.examples.items import ExampleItem, State
from pixtune.examples.overview import all_examples
from pixtune.examples.ports import Each, Examples, Write, one_by_one
from pixtune.examples.rows import Row, canonical
from pixtune.training.ports import Runs

_TRIES = 20
_JSONL = "application/x-ndjson"


class ArtifactStore(Protocol):
    """The artifacts bucket: rows are read, versions written once."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """What the table showed: rows with the line each is stored as, by example id, and the log's lacking lines."""

    rows: Mapping[str, Row]
    lines: Mapping[str, str]
    missing: Sequence[str]


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
    default_base_model: Callable[[str], str],
    each: Each = one_by_one,
) -> Published:
    """Publish the run's dataset as it is now and put the version on the run.

    segment: a new id, should rows have to be appended that the log lacks. default_base_model: a provider's, should
    the dataset name a provider where the request named none. Raises DatasetEmpty when no example is ready,
    DatasetNotReady when dataset.toml was refused, and FenceLost when a newer attempt of the run exists.
    """
    run = runs.get(run_id)
    if run.attempt != attempt:
        raise FenceLost(f"Run {run_id} is at attempt {run.attempt}, not {attempt}")
    if run.version is not None and run.version_digest is not None:
        return Published(run.version, run.version_digest, 0)
    runs.update(run_id, {"stage": "PublishDataset"})
    manifest, repaired = publish(run.dataset, table, artifacts, now, segment, each)
    own = manifest.settings
    runs.update(
        run_id,
        {
            "version": manifest.version,
            "version_digest": manifest.digest,
            "manifest_key": manifest.key,
            "settings": run.settings.decided(own.provider, own.base_model, default_base_model).to_json(),
        },
    )
    return Published(manifest.version, manifest.digest, repaired)


def publish(
    dataset: str, table: Examples, artifacts: ArtifactStore, now: datetime, segment: str, each: Each
) -> tuple[Manifest, int]:
    """Cut, compare with the log, number, store; answers the stored manifest and how many rows the log lacked now."""
    settings = stated_settings(table, dataset)
    cut = read_cut(all_examples(table, dataset), read_log(dataset, artifacts, each))
    if cut.missing:
        artifacts.put_once(segment_key(dataset, now, f"{segment}-repair"), "".join(cut.missing).encode(), _JSONL)
    if not cut.rows:
        raise DatasetEmpty(
            f"No example of {dataset!r} is ready.",
            "See what its examples wait for (pixtune data show), add images and annotations, and request again.",
        )
    splits = split(list(cut.rows.values()), settings)
    digest = version_digest(cut.rows.values(), splits, settings)
    version = take_number(table, dataset, digest, now)
    manifest = manifest_of(dataset, version, digest, now, settings, cut, splits)
    for name, key in manifest.files.items():
        lines = [line for example, line in cut.lines.items() if splits.of[example] == name]
        artifacts.put_once(key, "".join(lines).encode(), _JSONL)
    body = canonical(manifest.to_json()).encode()
    if not artifacts.put_once(manifest.key, body, "application/json"):
        stored = artifacts.get(manifest.key)
        manifest = Manifest.from_json(json.loads(stored)) if stored else manifest
    _show_as_latest(table, manifest)
    return manifest, len(cut.missing)


def read_log(dataset: str, artifacts: ArtifactStore, each: Each) -> set[tuple[str, int, str]]:
    """Every row that was ever appended, as (example id, revision, digest)."""
    keys = list(artifacts.keys(f"rows/{dataset}/"))
    seen: set[tuple[str, int, str]] = set()
    for lines in each(lambda key: _identified(artifacts.get(key) or b""), keys):
        seen |= lines
    return seen


def _identified(segment: bytes) -> set[tuple[str, int, str]]:
    rows = [Row.from_json(json.loads(line)) for line in segment.splitlines() if line.strip()]
    return {(row.example_id, row.revision, row.digest()) for row in rows}


def read_cut(examples: Iterable[ExampleItem], log: set[tuple[str, int, str]]) -> Cut:
    """Sorted by example id. Tombstones are no rows of a version, but the log must have them too."""
    rows: dict[str, Row] = {}
    lines: dict[str, str] = {}
    missing: list[str] = []
    for example in sorted(examples, key=lambda example: example.example_id):
        if example.line and (example.example_id, example.revision, example.digest) not in log:
            missing.append(example.line)
        if example.state is State.READY:
            rows[example.example_id] = Row.from_json(json.loads(example.line))
            lines[example.example_id] = example.line
    return Cut(rows, lines, missing)


def version_digest(rows: Iterable[Row], splits: Splits, settings: DatasetSettings) -> str:
    """SHA-256 (hex) of what training sees: each example's content and split, and the settings that shape a line; and
    of the compliance policy, because a version is judged once.

    Revisions are left out: an example that went and came back as it was makes the same version.
    """
    content = {
        "examples": [[row.example_id, row.digest(), splits.of[row.example_id]] for row in rows],
        "settings": {"system": settings.system, "prompt": settings.prompt, "detail": settings.detail},
        "compliance": settings.compliance.to_json(),
    }
    return sha256(canonical(content).encode()).hexdigest()


def take_number(table: Examples, dataset: str, digest: str, now: datetime) -> int:
    """The version's number: the one its content has had before, or the next."""
    for _ in range(_TRIES):
        known, counter = table.read([places.version(dataset, digest), places.counter(dataset)])
        if known is not None:
            return int(known["version"])
        version = int(counter["version"]) + 1 if counter else 1
        taken = table.write(
            Write(
                places.version(dataset, digest),
                {"dataset": dataset, "version": version, "digest": digest, "numbered_at": now.timestamp()},
                0,
            ),
            Write(places.counter(dataset), {"version": version}, int(counter["v"]) if counter else 0),
        )
        if taken:
            return version
    raise TooMuchContention(f"The version counter of {dataset!r} was taken by others {_TRIES} times in a row")


def manifest_of(
    dataset: str, version: int, digest: str, now: datetime, settings: DatasetSettings, cut: Cut, splits: Splits
) -> Manifest:
    entries = tuple(
        ManifestEntry(
            row.example_id,
            row.revision,
            row.digest(),
            splits.of[row.example_id],
            tuple(shown.image.sha256 for shown in row.images),
        )
        for row in cut.rows.values()
    )
    counted = Counter(splits.of.values())
    counts = {name: counted[name] for name in SPLITS}
    notes = list(splits.notes)
    recipes: dict[str, list[str]] = defaultdict(list)
    for row in cut.rows.values():
        for shown in row.images:
            recipes[shown.image.recipe].append(shown.upload)
    wanted = recipe_of(settings).id
    for recipe in sorted(recipes.keys() - {wanted}):
        detail = (
            f"{len(recipes[recipe])} images were converted as {recipe}, not {wanted}, such as {recipes[recipe][0]}."
        )
        notes.append({"code": "other_recipe", "detail": detail})
    if cut.missing:
        notes.append(
            {"code": "repaired", "detail": f"The log of rows lacked {len(cut.missing)}; they were appended."}
        )
    manifest = Manifest(
        dataset,
        version,
        digest,
        now.timestamp(),
        settings,
        wanted,
        counts,
        {},
        entries,
        len(cut.missing),
        tuple(notes),
        tuple(attribution(cut.rows.values())),
    )
    files = {name: f"{manifest.folder}/{name}.jsonl" for name in SPLITS if counts[name]}
    return replace(manifest, files=files)


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
        "repaired": manifest.repaired,
    }
    for place in (places.version(manifest.dataset, manifest.digest), places.latest(manifest.dataset)):
        for _ in range(_TRIES):
            found = table.read([place])[0]
            if found and found.get("manifest_key") == manifest.key:
                break
            if table.write(Write(place, shown, int(found["v"]) if found else 0)):
                break
