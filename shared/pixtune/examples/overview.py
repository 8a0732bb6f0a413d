"""What people are shown of a dataset: the examples table in; its counts, one upload's story and its versions out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pixtune.examples import places
from pixtune.examples.facts import FOLDER
from pixtune.examples.folders import claim_of, folder_label, that_count
from pixtune.examples.items import ExampleItem, State, UploadItem
from pixtune.examples.ports import Each, Examples, one_by_one
from pixtune.examples.survey import examples_of, judged_uploads, still_shown
from pixtune.keys import inline_hash, is_annotation
from pixtune.verdicts import Code, Outcome


def all_uploads(table: Examples, dataset: str) -> Iterable[UploadItem]:
    """Every image and source of a dataset, deleted ones too."""
    for pk in places.partitions(dataset):
        for prefix in ("IMAGE#", "SOURCE#"):
            yield from map(UploadItem.from_json, table.query(pk, prefix))


def all_examples(table: Examples, dataset: str) -> Iterable[ExampleItem]:
    """Every example that a source has spoken about, deleted ones too."""
    for pk in places.partitions(dataset):
        for item in table.query(pk, "EXAMPLE#"):
            example = ExampleItem.from_json(item)
            if example.slots:
                yield example


def summary(table: Examples, dataset: str, each: Each = one_by_one) -> dict[str, Any]:
    """{dataset, uploads: {accepted, fixed, rejected}, inline: {accepted, fixed, rejected}, reasons: {code: n},
    examples: {ready, waiting, held, deleted}, unlabelled, latest_version: {version, digest, counts, created_at} |
    None}.

    inline: pictures that stood inside annotation files. unlabelled: usable images that no example shows. reasons:
    codes of verdicts that are not simply `ok`.
    """
    claims = that_count(examples_of(table, dataset, claim_of, each))
    shown = {key for claim in claims if claim.state is not State.DELETED for key in claim.images}
    uploads = still_shown(judged_uploads(table, dataset, each), claims)
    outcomes = Counter(item.verdict.outcome.value for item in uploads if not inline_hash(item.key))
    inline = Counter(item.verdict.outcome.value for item in uploads if inline_hash(item.key))
    reasons = Counter(item.verdict.code.value for item in uploads if item.verdict.code is not Code.OK)
    usable = (item for item in uploads if item.kind == "image" and item.verdict.outcome is not Outcome.REJECTED)
    unlabelled = sum(item.key not in shown for item in usable)
    states = Counter(claim.state.value for claim in claims)
    latest = table.read([places.latest(dataset)])[0]
    return {
        "dataset": dataset,
        "uploads": {name: outcomes[name] for name in ("accepted", "fixed", "rejected")},
        "inline": {name: inline[name] for name in ("accepted", "fixed", "rejected")},
        "reasons": dict(sorted(reasons.items())),
        "examples": {state.value: states[state.value] for state in State},
        "unlabelled": unlabelled,
        "latest_version": {name: latest[name] for name in ("version", "digest", "counts", "created_at")}
        if latest
        else None,
    }


def upload(table: Examples, dataset: str, key: str) -> dict[str, Any] | None:
    """What happened to one file; None when nothing of that key has arrived.

    {key, dataset, kind: image | annotations, version_id, deleted, archived, size, verdict, image, metadata_verdict,
    rows, examples: [as in `examples`]}. metadata_verdict: of the image's own `x-amz-meta-pixtune-*`, if it has some.
    """
    kind = "file" if is_annotation(key) else "image"
    place = places.source(dataset, kind, key) if kind == "file" else places.image(dataset, key)
    found, own = table.read([place, places.source(dataset, "object", key)])
    if found is None:
        return None
    item = UploadItem.from_json(found)
    metadata = UploadItem.from_json(own) if own else None
    hints = places.froms(dataset, "file", key) if kind == "file" else places.refs(dataset, key)
    ids = [hint["key"] for hint in table.query(*hints)]
    examples = [
        ExampleItem.from_json(data)
        for data in table.read([places.example(dataset, example_id) for example_id in ids])
        if data
    ]
    return {
        "key": item.key,
        "dataset": dataset,
        "kind": "annotations" if kind == "file" else "image",
        "version_id": item.version_id,
        "deleted": item.deleted,
        "archived": item.is_archived,
        "size": item.size,
        "verdict": item.verdict.to_json() if item.verdict else None,
        "image": item.image.to_json() if item.image else None,
        "metadata_verdict": metadata.verdict.to_json()
        if metadata and metadata.verdict and metadata.version_id == item.version_id
        else None,
        "rows": item.rows if kind == "file" else None,
        "examples": [shown(example) for example in _of_one_upload(examples)],
    }


def _of_one_upload(examples: Iterable[ExampleItem]) -> list[ExampleItem]:
    """An image's folder is shown as its label where nothing else speaks for it; whether it counts, the others say."""
    spoken = [example for example in examples if example.slots and not claim_of(example).nothing]
    others = [example for example in spoken if any(slot.type != FOLDER for slot in example.slots.values())]
    return others or [example for example in spoken if folder_label(example)]


def versions(table: Examples, dataset: str) -> list[dict[str, Any]]:
    """Every published version, newest first: {version, digest, counts, created_at (Unix seconds), recipe, repaired,
    settings, notes: [{code, detail}], manifest_key, card_key}. What a version from before cards lacks is None."""
    items = table.query(places.root(dataset), places.VERSIONS)
    published = [item for item in items if "manifest_key" in item]  # the others are numbered, but not stored yet
    return [
        {name: item[name] for name in ("version", "digest", "counts", "created_at", "repaired", "manifest_key")}
        | {name: item.get(name) for name in ("recipe", "card_key")}
        | {"settings": json.loads(item["settings"]), "notes": json.loads(item.get("notes", "[]"))}
        for item in sorted(published, key=lambda item: -int(item["version"]))
    ]


def shown(example: ExampleItem) -> dict[str, Any]:
    """One example for people; annotation: the one of the first source that states one."""
    slots = [slot for _, slot in sorted(example.slots.items())]
    said = next((annotation for slot in slots for annotation in slot.annotations), None)
    return {
        "example_id": example.example_id,
        "state": example.state.value,
        "revision": example.revision,
        "images": list(dict.fromkeys(key for slot in slots for key in slot.images)),
        "sources": sorted({slot.key for slot in slots}),
        "waiting_for": [dict(entry) for entry in example.waiting_for],
        "conflict": [dict(entry) for entry in example.conflict],
        "annotation": said.to_json() if said else None,
    }
