"""Facts: what the gate and the readers tell append_rows, one JSON message each. Values only; no IO.

Image facts and annotation facts travel through a queue each, and the queue says what a message may claim:
whatever took over a decoder can speak about images, never about annotations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pixtune.events.s3 import Change, Generation
from pixtune.examples.annotation import Annotation
from pixtune.keys import NO_DATASET, dataset_of
from pixtune.verdicts import Verdict

_SHA256, _DHASH = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{16}")
_FORMATS = ("jpeg", "png", "webp")
# What a picture's file may carry beside its pixels; none of it reaches a converted picture.
METADATA = ("exif", "gps", "maker_note", "thumbnail", "xmp", "iptc", "comment", "icc")
FOLDER = "folder"  # the type of source that an image's own folder is; it never travels, append_rows derives it


@dataclass(frozen=True, slots=True)
class ImageData:
    """A converted image as the tables and rows know it.

    sha256: of the converted bytes (they lie at `images/{sha256}.{jpg|png}`). format: "jpeg" or "png", and "webp"
    where the dataset keeps those. size: bytes. width, height: pixels, upright. source_*: of the upload, before
    conversion. orientation: EXIF's 1 to 8. brightness: mean luma, 0 to 1. dhash: 64-bit difference hash, 16 hex
    digits. recipe: the recipe's id. sharpness: variance of the Laplacian at 256 pixels. information: entropy of the
    brightness in bits. None for an image from before these were measured; its JSON then lacks them, so that its rows
    keep their digests.
    shown: left, top, right and bottom, as shares, of what a crop left of the upright picture; None: all of it.
    as_stored: True for one that its recipe did not turn upright; `shown` is a part of the stored picture then.
    metadata: what the upload carried beside its pixels and the image does not, by the names in METADATA.
    """

    sha256: str
    format: str
    width: int
    height: int
    size: int
    source_sha256: str
    source_format: str
    source_width: int
    source_height: int
    orientation: int
    brightness: float
    dhash: str
    recipe: str
    sharpness: float | None = None
    information: float | None = None
    shown: tuple[float, float, float, float] | None = None
    as_stored: bool | None = None
    metadata: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where the bytes lie in the artifacts bucket."""
        return f"images/{self.sha256}.{'jpg' if self.format == 'jpeg' else self.format}"

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["metadata"] = list(self.metadata) or None
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageData:
        """Raises KeyError or ValueError when a field is missing or not of its type (a decoder may lie)."""
        values: dict[str, Any] = {}
        for name, kind in (
            [(n, str) for n in ("sha256", "format", "source_sha256", "source_format", "dhash", "recipe")]
            + [(n, int) for n in ("width", "height", "size", "source_width", "source_height", "orientation")]
            + [("brightness", float)]
        ):
            values[name] = kind(data[name])
        for name in ("sharpness", "information"):
            if data.get(name) is not None:
                values[name] = float(data[name])
        if data.get("shown") is not None:
            left, top, right, bottom = values["shown"] = tuple(float(share) for share in data["shown"])
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(f"Expected a part of the picture, found {data['shown']}")
        if data.get("as_stored"):
            values["as_stored"] = True
        values["metadata"] = tuple(data.get("metadata", ()))
        if not set(values["metadata"]) <= set(METADATA):
            raise ValueError(f"Expected names of metadata, found {values['metadata']}")
        image = cls(**values)
        if not (_SHA256.fullmatch(image.sha256) and _DHASH.fullmatch(image.dhash) and image.format in _FORMATS):
            raise ValueError(f"Expected a converted image's hashes and format, found {image}")
        return image


@dataclass(frozen=True, slots=True)
class ImageFact:
    """`change` PUT: this upload is this image, or was rejected. DELETED, ARCHIVED: it is gone. RECHECK: look again.

    sequencer: padded, and empty exactly when the fact answers a reconcile; then `expected` is what the table
    showed when the reconcile was asked for (None: no item). annotated: the object carries `pixtune-*` metadata or
    tags, which read_annotations should look at; a hint, never the annotation itself.
    """

    dataset: str
    key: str
    change: Change
    version_id: str = ""
    sequencer: str = ""
    expected: Generation | None = None
    verdict: Verdict | None = None
    image: ImageData | None = None
    size: int = 0
    annotated: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "image",
            "dataset": self.dataset,
            "key": self.key,
            "change": self.change.value,
            "version_id": self.version_id,
            "sequencer": self.sequencer,
            "expected": self.expected.to_json() if self.expected else None,
            "verdict": self.verdict.to_json() if self.verdict else None,
            "image": self.image.to_json() if self.image else None,
            "size": self.size,
            "annotated": self.annotated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageFact:
        """Raises KeyError or ValueError when `data` is no image fact."""
        if data["kind"] != "image":
            raise ValueError(f"Expected an image fact, found {data['kind']!r}")
        return cls(
            data["dataset"],
            data["key"],
            Change(data["change"]),
            data["version_id"],
            data["sequencer"],
            Generation.from_json(data["expected"]) if data["expected"] else None,
            Verdict.from_json(data["verdict"]) if data["verdict"] else None,
            ImageData.from_json(data["image"]) if data["image"] else None,
            int(data["size"]),
            bool(data["annotated"]),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Where an annotation comes from, at one generation. `expected` as in ImageFact.

    type: `file` (an upload), `object` (an image's own metadata; the generation is the image's), FOLDER (key: the
    image's; no generation) or `api` (key "api", version_id and sequencer from its own counter). reading: differs when
    the same bytes were read another way, because the image a sidecar speaks for is another one now.
    """

    type: str
    key: str
    version_id: str
    sequencer: str
    expected: Generation | None = None
    reading: str = ""

    @property
    def order(self) -> str:
        """What comes later within this source is not smaller. A reconcile keeps the sequencer that it found."""
        return self.sequencer or (self.expected.sequencer if self.expected else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "key": self.key,
            "version_id": self.version_id,
            "sequencer": self.sequencer,
            "expected": self.expected.to_json() if self.expected else None,
            "reading": self.reading,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        return cls(
            data["type"],
            data["key"],
            data["version_id"],
            data["sequencer"],
            Generation.from_json(data["expected"]) if data["expected"] else None,
            data["reading"],
        )


@dataclass(frozen=True, slots=True)
class AnnotationFact:
    """What one source says about one example. None: it takes back what it said (only the API does, a file drops the
    row). More than one: it contradicts itself.

    images: upload keys, in order. where: the place in the file ("line 12"), for people.
    """

    dataset: str
    source: Source
    example_id: str
    images: tuple[str, ...]
    annotations: tuple[Annotation, ...]
    where: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "annotation",
            "dataset": self.dataset,
            "source": self.source.to_json(),
            "example_id": self.example_id,
            "images": list(self.images),
            "annotations": [annotation.to_json() for annotation in self.annotations],
            "where": self.where,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AnnotationFact:
        return cls(
            data["dataset"],
            Source.from_json(data["source"]),
            data["example_id"],
            tuple(data["images"]),
            tuple(Annotation.from_json(annotation) for annotation in data["annotations"]),
            data["where"],
        )


@dataclass(frozen=True, slots=True)
class SourceFact:
    """The closing fact of a source: it has `rows` examples at this generation, and this verdict.

    stems: stems this file names images by (a sidecar `a.json` speaks for `a.*`); append_rows asks for the file
    to be read again when an image with such a stem comes or goes. resolved: the image keys it found for them.
    because: repeated from the reconcile that asked. settings: what dataset.toml, or a list of class names, states.
    layout: what the file was taken for, in words.
    """

    dataset: str
    source: Source
    change: Change
    rows: int = 0
    verdict: Verdict | None = None
    size: int = 0
    stems: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None
    because: str = ""
    layout: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "source",
            "dataset": self.dataset,
            "source": self.source.to_json(),
            "change": self.change.value,
            "rows": self.rows,
            "verdict": self.verdict.to_json() if self.verdict else None,
            "size": self.size,
            "stems": list(self.stems),
            "resolved": list(self.resolved),
            "settings": dict(self.settings) if self.settings is not None else None,
            "because": self.because,
            "layout": self.layout,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SourceFact:
        return cls(
            data["dataset"],
            Source.from_json(data["source"]),
            Change(data["change"]),
            int(data["rows"]),
            Verdict.from_json(data["verdict"]) if data["verdict"] else None,
            int(data["size"]),
            tuple(data["stems"]),
            tuple(data["resolved"]),
            data["settings"],
            data["because"],
            data.get("layout", ""),
        )


@dataclass(frozen=True, slots=True)
class Touch:
    """Look at these examples again: what a fact that touches many is cut into."""

    dataset: str
    examples: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "touch", "dataset": self.dataset, "examples": list(self.examples)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Touch:
        return cls(data["dataset"], tuple(data["examples"]))


Fact = ImageFact | AnnotationFact | SourceFact | Touch

_KINDS: dict[str, dict[str, type[ImageFact] | type[AnnotationFact] | type[SourceFact] | type[Touch]]] = {
    "image": {"image": ImageFact},
    "annotation": {"annotation": AnnotationFact, "source": SourceFact, "touch": Touch},
}


def together(facts: Iterable[Fact]) -> dict[str, Any]:
    """Several facts as one message: all of them arrive, or none does."""
    return {"kind": "several", "facts": [fact.to_json() for fact in facts]}


def read_facts(queue: str, body: str) -> list[Fact]:
    """What a message of the `image` or the `annotation` facts queue says.

    Raises KeyError or ValueError when it is no fact, claims what its queue may not, or names a dataset that its
    key is not in: our failure or an attack, so it belongs in the dead-letter queue.
    """
    data = json.loads(body)
    return [_fact(queue, fact) for fact in (data["facts"] if data["kind"] == "several" else [data])]


def _fact(queue: str, data: Mapping[str, Any]) -> Fact:
    kinds = _KINDS[queue]
    if data["kind"] not in kinds:
        raise ValueError(f"A fact of kind {data['kind']!r} came through the {queue} facts queue")
    fact = kinds[data["kind"]].from_json(data)
    keys: tuple[str, ...] = ()
    if isinstance(fact, ImageFact):
        keys = (fact.key,)
    elif isinstance(fact, AnnotationFact):
        keys = fact.images if fact.source.type == "api" else (fact.source.key, *fact.images)
    elif isinstance(fact, SourceFact):
        keys = (fact.source.key,)
    for key in keys:
        if fact.dataset != (dataset_of(key) or NO_DATASET):
            raise ValueError(f"{key!r} is not an upload of dataset {fact.dataset!r}")
    return fact
