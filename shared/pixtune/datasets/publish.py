"""publish_dataset: the examples table in, a frozen, numbered, content-addressed version in the artifacts bucket out.

Reading the table is the cut. The version's number is taken together with its digest, before its files are stored;
the files are named by both and stored once, so that a crashed publication is finished by the next one. The dataset
card comes last: it tells of the uploads as they were at the version's first publication that was not cut short.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

from pixtune.compliance.attribution import attribution
from pixtune.compliance.checks import of_rows_alone
from pixtune.compliance.report import examine, summarise
from pixtune.datasets.card import LeftOut, card_of
from pixtune.datasets.card_page import pictures_of, render
from pixtune.datasets.settings import read_class_names, recipe_of, stated_settings
from pixtune.datasets.splits import Splits, split
from pixtune.datasets.tasks import boxes_cut_off, has_boxes, in_words
from pixtune.datasets.version import DatasetSettings, Manifest, ManifestEntry
from pixtune.errors import DatasetEmpty, FenceLost, ProviderRefused, TooMuchContention
from pixtune.examples import places
from pixtune.examples.annotation import SPLITS
from pixtune.examples.append import segment_key
from pixtune.examples.folders import folder_label, that_count
from pixtune.examples.items import ExampleItem, State, UploadItem
from pixtune.examples.overview import all_examples, all_uploads
from pixtune.examples.ports import Each, Examples, Write, one_by_one
from pixtune.examples.rows import Row, canonical
from pixtune.keys import NAMES_FILES
from pixtune.providers.limits import ProviderSpec, spec_for
from pixtune.training.ports import Runs

_TRIES = 20
_NAMED = 3  # examples that a note names
_JSONL = "application/x-ndjson"


class ArtifactStore(Protocol):
    """The artifacts bucket: rows are read, versions written once."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """What the table showed: rows with the line each is stored as, by example id, and the log's lacking lines.

    class_names, notes: as in the manifest.
    """

    rows: Mapping[str, Row]
    lines: Mapping[str, str]
    missing: Sequence[str]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[Mapping[str, str]] = ()


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

    def spec_of(own: DatasetSettings) -> ProviderSpec | None:
        decided = run.settings.decided(own.provider, own.base_model, default_base_model)
        try:
            return spec_for(decided.provider, decided.base_model)
        except ProviderRefused:
            return None  # CheckReadiness says so; the version is the same without

    manifest, repaired = publish(run.dataset, table, artifacts, now, segment, each, spec_of)
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
    examples = list(all_examples(table, dataset))
    uploads = list(all_uploads(table, dataset))  # after the examples: what is known of a picture is never older
    whole = read_cut(examples, read_log(dataset, artifacts, each), settings.class_folders)
    whole = with_class_names(whole, lambda folder: read_class_names(table, dataset, folder))
    if whole.missing:
        artifacts.put_once(segment_key(dataset, now, f"{segment}-repair"), "".join(whole.missing).encode(), _JSONL)
    cut, left_out = apply_policy(whole, uploads, settings)
    cut = replace(cut, notes=[*cut.notes, *boxes_cut_off(cut.rows.values())])
    if not cut.rows:
        why = f" The dataset's reject setting leaves all {len(left_out)} out." if left_out else ""
        raise DatasetEmpty(
            " ".join([f"No example of {dataset!r} is ready.{why}", *(note["detail"] for note in cut.notes)]),
            "See what its examples wait for (pixtune data show), add images and annotations, and request again.",
        )
    splits = split(list(cut.rows.values()), settings)
    digest = version_digest(cut.rows.values(), splits, settings, cut.class_names)
    version = take_number(table, dataset, digest, now)
    manifest = manifest_of(dataset, version, digest, now, settings, cut, splits, left_out)
    for name, key in manifest.files.items():
        lines = [line for example, line in cut.lines.items() if splits.of[example] == name]
        artifacts.put_once(key, "".join(lines).encode(), _JSONL)
    body = canonical(manifest.to_json()).encode()
    if not artifacts.put_once(manifest.key, body, "application/json"):
        stored = artifacts.get(manifest.key)
        manifest = Manifest.from_json(json.loads(stored)) if stored else manifest
    if manifest.card_key not in artifacts.keys(manifest.card_key):
        rows = [in_words(row, manifest.settings, cut.class_names) for row in cut.rows.values()]
        policy = manifest.settings.compliance
        checks = of_rows_alone(policy)  # what others are asked about is known only when a training is
        counts = summarise(len(rows), [check.name for check in checks], examine(rows, checks), policy)
        card = card_of(manifest, rows, left_out, examples, uploads, spec_of(manifest.settings), counts)
        body = json.dumps(card.to_json(), sort_keys=True).encode()
        artifacts.put_once(f"{manifest.folder}/card.json", body, "application/json")
        pictures = pictures_of(card)
        thumbs = each(lambda sha256: artifacts.get(f"thumbs/{sha256}.jpg") or b"", pictures)
        page = render(card, dict(zip(pictures, thumbs, strict=True))).encode("utf-8", "replace")
        artifacts.put_once(manifest.card_key, page, "text/html; charset=utf-8")
    _show_as_latest(table, manifest)
    return manifest, len(whole.missing)


def apply_policy(cut: Cut, uploads: Iterable[UploadItem], settings: DatasetSettings) -> tuple[Cut, list[LeftOut]]:
    """The cut without the examples whose pictures carry a warning that `reject` names, and those examples.

    A picture that was replaced since its example was read is judged by what the table shows of it now.
    """
    refused = set(settings.reject)
    if not refused:
        return cut, []
    codes = {
        item.key: tuple(dict.fromkeys(note.code.value for note in item.verdict.warnings if note.code in refused))
        for item in uploads
        if item.kind == "image" and item.verdict
    }
    left_out = []
    for row in cut.rows.values():
        for shown in row.images:
            if found := codes.get(shown.upload):
                left_out.append(LeftOut(row.example_id, shown.upload, shown.image.sha256, found))
                break
    gone = {one.example_id for one in left_out}
    rows = {name: row for name, row in cut.rows.items() if name not in gone}
    return replace(cut, rows=rows, lines={name: cut.lines[name] for name in rows}), left_out


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


def read_cut(examples: Iterable[ExampleItem], log: set[tuple[str, int, str]], class_folders: bool = True) -> Cut:
    """Sorted by example id. Tombstones are no rows of a version, but the log must have them too."""
    every = sorted(examples, key=lambda example: example.example_id)
    folders = {example.example_id: folder_label(example) for example in every}
    counting = {example.example_id for example in that_count(every, class_folders)}
    rows: dict[str, Row] = {}
    lines: dict[str, str] = {}
    missing: list[str] = []
    for example in every:
        if example.line and (example.example_id, example.revision, example.digest) not in log:
            missing.append(example.line)
        if example.state is State.READY and example.example_id in counting:
            rows[example.example_id] = Row.from_json(json.loads(example.line))
            lines[example.example_id] = example.line
    labelled = [(name, label) for name, label in folders.items() if label]
    used = [label for name, label in labelled if name in counting]
    notes = []
    if used:
        detail = f"{len(used)} examples are labelled by their folder: {', '.join(sorted(set(used))[:20])}."
        notes.append({"code": "class_folders", "detail": detail})
    elif labelled and not rows:
        detail = f"{len(labelled)} images lie in folders that are no classes, or one only."
        notes.append({"code": "class_folders", "detail": detail})
    return Cut(rows, lines, missing, notes=notes)


def with_class_names(cut: Cut, names_of: Callable[[str], Sequence[str]]) -> Cut:
    """The cut with the names of the class numbers its boxes have, and without rows that have a number without one."""
    said = {name: row.annotation.boxes() for name, row in cut.rows.items() if row.annotation}
    folders = sorted({boxes.names_from for every in said.values() for boxes in every if boxes.names_from is not None})
    class_names = {folder: names_of(folder) for folder in folders}
    nameless: dict[str, list[str]] = defaultdict(list)
    for name, every in said.items():
        for boxes in every:
            known = len(class_names.get(boxes.names_from or "", ()))
            if boxes.names_from is not None and any(int(box.label) >= known for box in boxes.boxes):
                nameless[boxes.names_from].append(name)
    notes = [
        {
            "code": "class_names_missing",
            "detail": f"{len(names)} examples have class numbers that nothing names, and were left out. "
            f"Write one name a line in {folder}/{NAMES_FILES[0]}.",
        }
        for folder, names in nameless.items()
    ]
    left_out = {name for names in nameless.values() for name in names}
    kept = {name: row for name, row in cut.rows.items() if name not in left_out}
    lines = {name: cut.lines[name] for name in kept}
    return replace(cut, rows=kept, lines=lines, class_names=class_names, notes=[*cut.notes, *notes])


def version_digest(
    rows: Iterable[Row],
    splits: Splits,
    settings: DatasetSettings,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """SHA-256 (hex) of what training sees: each example's content and split, and the settings that shape a line; and
    of the compliance policy, because a version is judged once.

    Revisions are left out: an example that went and came back as it was makes the same version. Where answers are
    boxes, the task template (its id has its version) and all that it says them by belong to the digest.
    """
    rows = list(rows)
    content: dict[str, Any] = {
        "examples": [[row.example_id, row.digest(), splits.of[row.example_id]] for row in rows],
        "settings": {"system": settings.system, "prompt": settings.prompt, "detail": settings.detail},
        "compliance": settings.compliance.to_json(),
    }
    if any(map(has_boxes, rows)):
        content["task"] = {
            "template": settings.boxes,
            "classes": list(settings.classes),
            "class_names": {folder: list(names) for folder, names in (class_names or {}).items()},
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
    dataset: str,
    version: int,
    digest: str,
    now: datetime,
    settings: DatasetSettings,
    cut: Cut,
    splits: Splits,
    left_out: Sequence[LeftOut],
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
    notes = [*cut.notes, *splits.notes]
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
    if left_out:
        codes = Counter(code for one in left_out for code in one.codes)
        why = ", ".join(f"{code} {count}" for code, count in codes.most_common())
        named = ", ".join(one.example_id for one in left_out[:_NAMED])
        detail = f"{len(left_out)} examples were left out by the reject setting ({why}), such as {named}."
        notes.append({"code": "left_out", "detail": detail})
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
        attribution=tuple(attribution(cut.rows.values())),
        class_names=cut.class_names,
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
