"""What convert_image does with a queue's messages: S3 events in, converted pictures stored, image facts out.

A picture that stood inside an annotation file lies in the artifacts bucket. read_annotations asks for a look at its
key like a sweep does for an upload's; its version is its hash, so that no order of messages matters.

The order matters: picture and thumbnail, then the kept verdict, then the fact. Each prefix of it is harmless, and
a message that comes again finds the verdict and decodes nothing. A picture that cannot be used is a verdict; only
our own failures leave a message in the queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol

from pixtune.events.s3 import Change, UploadEvent, parse
from pixtune.examples.facts import ImageFact
from pixtune.images.converted import Converted
from pixtune.images.gate import named, refuse
from pixtune.images.recipe import Recipe
from pixtune.keys import NO_DATASET, dataset_of, inline_hash, inline_object, is_folder_marker
from pixtune.verdicts import Code, Verdict, rejected

ANNOTATION_METADATA = "pixtune-"  # x-amz-meta-pixtune-label and its like; read_annotations reads them
_NOT_KEPT = frozenset({Code.DECODE_TOO_SLOW, Code.DECODER_DIED})  # may come out otherwise on another day


class Upload(Protocol):
    """The bytes of an upload and its `x-amz-meta-*` values. tagged: it has tags, as far as the gate may know."""

    @property
    def body(self) -> bytes: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def tagged(self) -> bool: ...


class CurrentUpload(Protocol):
    """The version of a key that is current; a delete marker when `deleted`."""

    @property
    def version_id(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def deleted(self) -> bool: ...


class UploadReader(Protocol):
    """The uploads bucket, read by version. None: not there any more."""

    def read(self, key: str, version_id: str) -> Upload | None: ...
    def current_of(self, key: str) -> CurrentUpload | None: ...


class ArtifactStore(Protocol):
    """The artifacts bucket, written once. `put_once` answers False when the key was there already."""

    def get(self, key: str) -> bytes | None: ...
    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...


class Converter(Protocol):
    """A sandbox, or what stands for one."""

    @property
    def longest_seconds(self) -> float: ...
    def convert(self, data: bytes, recipe: Recipe) -> Converted: ...


class FactQueue(Protocol):
    def send(self, messages: Iterable[Mapping[str, Any]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """What the images queue's messages are answered with."""

    uploads: UploadReader
    artifacts: ArtifactStore
    converter: Converter
    facts: FactQueue

    def take(
        self, messages: Iterable[Mapping[str, Any]], seconds_left: Callable[[], float]
    ) -> dict[str, Exception | None]:
        """Answer a batch of SQS records; returns those that must come again by message id, with what went wrong.

        None stands for a message that was not begun because too little of the function's time was left: a picture
        must never be called too slow because the clock was short. Raises when the facts cannot be sent; the whole
        batch comes again then.
        """
        again: dict[str, Exception | None] = {}
        facts: list[ImageFact] = []
        for message in messages:
            if seconds_left() < self.converter.longest_seconds:
                again[message["messageId"]] = None
                continue
            try:
                fact = self.fact_of(parse(message["body"]))
            except Exception as error:  # noqa: BLE001  one bad message must not hold back the others
                again[message["messageId"]] = error
            else:
                if fact:
                    facts.append(fact)
        self.facts.send(fact.to_json() for fact in facts)
        return again

    def fact_of(self, event: UploadEvent) -> ImageFact | None:
        """The fact an event comes to, its picture stored; None when it is about no upload (a folder's marker)."""
        dataset = dataset_of(event.key) or NO_DATASET
        fact = ImageFact(dataset, event.key, event.change, event.version_id, event.sequencer)
        size = event.size
        if event.change is Change.RECONCILE:
            current = self.uploads.current_of(event.key)
            fact = replace(fact, change=Change.PUT, expected=event.expected)
            if current is None or current.deleted:
                if (inside := inline_hash(event.key)) and (body := self.artifacts.get(inline_object(inside))):
                    return self._judged(replace(fact, version_id=inside, size=len(body)), body, event)
                return replace(fact, change=Change.DELETED, version_id=current.version_id if current else "")
            fact, size = replace(fact, version_id=current.version_id), current.size
        if fact.change is not Change.PUT:
            return fact
        if is_folder_marker(event.key, size or 0):
            return None
        fact = replace(fact, size=size or 0)
        refusal = _out_of_place(event.key) or refuse(event.key, fact.size)
        if refusal:
            return replace(fact, verdict=refusal)
        upload = self.uploads.read(event.key, fact.version_id)
        if upload is None:  # superseded: what is current now, another event or a reconcile will say
            return ImageFact(dataset, event.key, Change.RECHECK)
        annotated = upload.tagged or any(name.startswith(ANNOTATION_METADATA) for name in upload.metadata)
        return self._judged(replace(fact, annotated=annotated), upload.body, event)

    def _judged(self, fact: ImageFact, body: bytes, event: UploadEvent) -> ImageFact:
        recipe = Recipe.from_json(event.recipe) if event.recipe else Recipe.default()
        converted = self._converted(body, recipe)
        image, verdict = converted.image, converted.verdict
        return replace(
            fact, verdict=named(verdict, event.key, image.source_format) if image else verdict, image=image
        )

    def _converted(self, body: bytes, recipe: Recipe) -> Converted:
        kept_at = f"verdicts/{recipe.id}/{sha256(body).hexdigest()}.json"
        kept = self.artifacts.get(kept_at)
        if kept is not None:
            return Converted.from_json(json.loads(kept))
        converted = self.converter.convert(body, recipe)
        if image := converted.image:
            self.artifacts.put_once(image.key, converted.content, f"image/{image.format}")
            self.artifacts.put_once(f"thumbs/{image.sha256}.jpg", converted.thumb, "image/jpeg")
        if converted.verdict.code not in _NOT_KEPT:
            self.artifacts.put_once(kept_at, json.dumps(converted.to_json()).encode(), "application/json")
        return converted


def _out_of_place(key: str) -> Verdict | None:
    if inline_hash(key):
        return rejected(
            Code.RESERVED_KEY,
            f"{key!r} is a key that pictures inside annotation files go by.",
            "Put it into another folder than inline.",
        )
    if dataset_of(key):
        return None
    return rejected(
        Code.NO_DATASET,
        f"{key!r} does not begin with a dataset's folder.",
        "Put it under one: dataset/photo.jpg, where the dataset's name has 2 to 63 of a-z, 0-9 and '-'.",
    )
