"""A version's name: what it holds in, the digest of that content and the number that goes with it out."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from pixtune.datasets.cut import Cut
from pixtune.datasets.splits import Splits
from pixtune.datasets.tasks import has_boxes
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import TooMuchContention
from pixtune.examples import places
from pixtune.examples.ports import Examples, Write
from pixtune.examples.rows import canonical

_TRIES = 20


def version_digest(cut: Cut, splits: Splits, settings: DatasetSettings) -> str:
    """SHA-256 (hex) of what training sees: each example's content and split, and the settings that shape a line; and
    of the compliance policy, because a version is judged once.

    Revisions are left out: an example that went and came back as it was makes the same version. Where answers are
    boxes, the task template (its id has its version) and all that it says them by belong to the digest.
    """
    content: dict[str, Any] = {
        "examples": [[name, cut.digests[name], splits.of[name]] for name in cut.rows],
        "settings": {"system": settings.system, "prompt": settings.prompt, "detail": settings.detail},
        "compliance": settings.compliance.to_json(),
    }
    if any(map(has_boxes, cut.rows.values())):
        content["task"] = {
            "template": settings.boxes,
            "classes": list(settings.classes),
            "class_names": {folder: list(names) for folder, names in cut.class_names.items()},
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
