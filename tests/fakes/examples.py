"""The examples table, queues and buckets in memory, typed to the ports. `step` is called around every IO."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from pixtune.examples.ports import Item, Place, Write


def _no_step(_name: str) -> None:
    """Nothing happens between two IO steps."""


@dataclass
class MemoryExamples:
    """`examples.ports.Examples` on a dict; a conformance test runs it and `aws.examples_table` alike.

    Items are kept as text, so that nobody shares a value with the table.
    """

    step: Callable[[str], None] = _no_step
    items: dict[Place, str] = field(default_factory=dict)

    def read(self, places: Sequence[Place]) -> list[Item | None]:
        found: dict[Place, Item | None] = {}
        for place in dict.fromkeys(places):
            self.step("read")
            text = self.items.get(place)
            found[place] = None if text is None else json.loads(text)
        return [found[place] for place in places]

    def query(self, pk: str, prefix: str) -> Sequence[Item]:
        return list(self.stream(pk, prefix))

    def stream(self, pk: str, prefix: str, only: Sequence[str] = (), after: str | None = None) -> Iterator[Item]:
        self.step("query")
        for place, text in sorted(self.items.items()):
            if place.pk == pk and place.sk.startswith(prefix) and (after is None or place.sk > after):
                item = json.loads(text)
                yield {name: item[name] for name in ("sk", *only) if name in item} if only else item

    def write(self, *writes: Write) -> bool:
        self.step("write")
        for write in writes:
            text = self.items.get(write.place)
            if (json.loads(text)["v"] if text else 0) != write.v:
                return False
        for write in writes:
            self._store(write.place, {**write.item, "v": write.v + 1})
        self.step("written")
        return True

    def mark(self, hints: Mapping[Place, Item]) -> None:
        for place, hint in hints.items():
            self.step("mark")
            self._store(place, hint)

    def _store(self, place: Place, item: Item) -> None:
        self.items[place] = json.dumps({**item, "pk": place.pk, "sk": place.sk})


@dataclass
class MemoryQueue:
    """`examples.ports.Outbox`: keeps what was sent, as text."""

    step: Callable[[str], None] = _no_step
    sent: list[str] = field(default_factory=list)

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        for message in messages:
            self.step("send")
            self.sent.append(json.dumps(message))

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.sent]


@dataclass
class MemoryArtifacts:
    """The artifacts bucket: written once."""

    step: Callable[[str], None] = _no_step
    objects: dict[str, bytes] = field(default_factory=dict)

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:
        self.step("put")
        new = key not in self.objects
        self.objects.setdefault(key, body)
        self.step("stored")
        return new

    def get(self, key: str) -> bytes | None:
        self.step("get")
        return self.objects.get(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))


@dataclass(frozen=True)
class Version:
    """One version of a key in the uploads bucket; a delete marker when `body` is None."""

    key: str
    version_id: str
    body: bytes | None
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def deleted(self) -> bool:
        return self.body is None

    @property
    def size(self) -> int:
        return len(self.body or b"")


@dataclass(frozen=True)
class Content:
    body: bytes
    metadata: Mapping[str, str]
    tagged: bool = False


@dataclass
class MemoryUploads:
    """The uploads bucket, versioned."""

    bucket: str = "uploads"
    step: Callable[[str], None] = _no_step
    versions: dict[str, list[Version]] = field(default_factory=dict)
    count: int = 0

    def put(
        self,
        key: str,
        body: bytes | None,
        metadata: Mapping[str, str] | None = None,
        modified: datetime = datetime(2026, 11, 1, tzinfo=UTC),
    ) -> Version:
        """Put a version, or with body None a delete marker."""
        self.count += 1
        version = Version(key, f"v{self.count}", body, modified, metadata or {})
        self.versions.setdefault(key, []).append(version)
        return version

    def remove(self, version: Version) -> None:
        """Delete a version for good."""
        self.versions[version.key].remove(version)

    def latest(self, key: str) -> Version | None:
        versions = self.versions.get(key)
        return versions[-1] if versions else None

    def _at(self, key: str, version_id: str) -> Version | None:
        found = (version for version in self.versions.get(key, ()) if version.version_id == version_id)
        return next(found, None)

    def read(self, key: str, version_id: str) -> Content | None:
        self.step("get upload")
        version = self._at(key, version_id)
        return (
            Content(version.body, version.metadata, bool(version.tags))
            if version and version.body is not None
            else None
        )

    def open(self, key: str, version_id: str) -> BytesIO | None:
        content = self.read(key, version_id)
        return BytesIO(content.body) if content else None

    def metadata(self, key: str, version_id: str) -> Mapping[str, str] | None:
        self.step("head upload")
        version = self._at(key, version_id)
        return version.metadata if version and not version.deleted else None

    def tags(self, key: str, version_id: str) -> Mapping[str, str] | None:
        self.step("get tags")
        version = self._at(key, version_id)
        return version.tags if version and not version.deleted else None

    def current_of(self, key: str) -> Version | None:
        self.step("list versions")
        return self.latest(key)

    def keys(self, prefix: str) -> list[str]:
        self.step("list")
        return [upload.key for upload in self._current(prefix) if not upload.deleted]

    def current(self, prefix: str) -> list[Version]:
        self.step("list versions")
        return self._current(prefix)

    def _current(self, prefix: str) -> list[Version]:
        every = (self.latest(key) for key in sorted(self.versions) if key.startswith(prefix))
        return [version for version in every if version]

    def folders(self) -> list[str]:
        return sorted({key.partition("/")[0] for key in self.versions if "/" in key})
