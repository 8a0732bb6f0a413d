"""Dataset versions for tests: rows, manifests and an artifacts bucket that lives in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from pixtune.datasets.version import DatasetSettings, Manifest, ManifestEntry
from pixtune.examples.annotation import Annotation, Part, Scalar, Turn
from pixtune.examples.facts import ImageData
from pixtune.examples.rows import Row, RowImage

JPEG = b"\xff\xd8\xff\xe0 a picture's bytes"


def image(name: str = "a", **changes: object) -> ImageData:
    values: dict[str, object] = {
        "sha256": sha256(name.encode()).hexdigest(),
        "format": "jpeg",
        "width": 448,
        "height": 320,
        "size": len(JPEG),
        "source_sha256": sha256(b"source" + name.encode()).hexdigest(),
        "source_format": "jpeg",
        "source_width": 448,
        "source_height": 320,
        "orientation": 1,
        "brightness": 0.5,
        "dhash": "0" * 16,
        "recipe": "r1",
    }
    return ImageData.from_json(values | changes)


def row(
    example_id: str,
    answer: str = "3",
    question: str | None = "How many lanes?",
    *,
    turns: tuple[Turn, ...] | None = None,
    images: Sequence[ImageData] | None = None,
    fields: Mapping[str, Scalar] | None = None,
    weight: float | None = None,
    system: str | None = None,
    dataset: str = "lanes",
) -> Row:
    pictures = [image(example_id)] if images is None else images
    if turns is None:
        asked = tuple(Part(image=number) for number in range(len(pictures)))
        asked += (Part(text=question),) if question is not None else ()
        turns = (Turn("user", asked), Turn("assistant", (Part(text=answer),)))
    annotation = Annotation(turns, system=system, weight=weight, fields=fields or {})
    uploads = tuple(RowImage(f"{dataset}/{example_id}.jpg", "v1", picture) for picture in pictures)
    return Row(dataset, example_id, 1, uploads, annotation, (f"{dataset}/labels.csv",))


@dataclass
class KeptArtifacts:
    """training.ports.ArtifactStore in a dict."""

    objects: dict[str, bytes] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:
        return self.objects.setdefault(key, body) is body

    def get(self, key: str) -> bytes | None:
        self.reads.append(key)
        return self.objects.get(key)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.objects[key][start:stop]


def store_version(
    artifacts: KeptArtifacts,
    splits: Mapping[str, Sequence[Row]],
    *,
    dataset: str = "lanes",
    version: int = 1,
    settings: DatasetSettings | None = None,
    picture: bytes = JPEG,
) -> Manifest:
    """Put a version as publish_dataset lays it out, its images included; answers its manifest."""
    entries = [
        ManifestEntry(r.example_id, r.revision, r.digest(), split, tuple(i.image.sha256 for i in r.images))
        for split, rows in splits.items()
        for r in rows
    ]
    digest = sha256(json.dumps([(e.example_id, e.digest, e.split) for e in entries]).encode()).hexdigest()
    folder = f"versions/{dataset}/{version}-{digest[:16]}"
    files = {split: f"{folder}/{split}.jsonl" for split, rows in splits.items() if rows}
    counts = {split: len(rows) for split, rows in splits.items()}
    manifest = Manifest(
        dataset, version, digest, 0.0, settings or DatasetSettings(), "r1", counts, files, tuple(entries)
    )
    artifacts.objects[manifest.key] = json.dumps(manifest.to_json()).encode()
    for split, rows in splits.items():
        if rows:
            artifacts.objects[files[split]] = "".join(r.to_line() for r in rows).encode()
        for r in rows:
            for kept in r.images:
                artifacts.objects[kept.image.key] = picture
    return manifest
