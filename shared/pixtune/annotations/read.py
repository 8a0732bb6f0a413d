"""read_annotations: messages about annotation files in, one fact a row and a closing fact for each file out.

The closing fact is sent first: rows that come after it find their source current and are joined at once, and no row
is ever ahead of its source for good. A sidecar's facts are one message: the next delivery may read it otherwise.
Pictures inside a file are stored under their hash before that, and the image gate is asked to look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import IO, Any, Protocol

from pixtune.annotations import layouts, object_labels, webdataset
from pixtune.annotations.inline import Keep
from pixtune.annotations.reading import FoundRow, Problem, Reading, row_notes
from pixtune.events.s3 import Change, UploadEvent, parse, reconcile_message
from pixtune.examples.facts import AnnotationFact, Fact, Source, SourceFact, together
from pixtune.examples.identity import example_id
from pixtune.examples.ports import Each, Outbox, one_by_one
from pixtune.examples.rows import canonical
from pixtune.keys import (
    NO_DATASET,
    dataset_of,
    hashed,
    images_of_stem,
    inline_hash,
    inline_key,
    inline_object,
    is_archive,
    is_junk,
)
from pixtune.verdicts import Code, Note, Outcome, Verdict, rejected

_MAX_SHOWN = 4  # contradicting annotations that are kept: they must fit one table item
_TOGETHER, _BYTES_TOGETHER = 100, 32_000_000  # pictures, and their bytes, that wait to be stored
_MAX_BYTES = 50_000_000  # a file this size and its rows fit the function's memory


class Upload(Protocol):
    @property
    def body(self) -> bytes: ...


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

    @property
    def bucket(self) -> str: ...
    def read(self, key: str, version_id: str) -> Upload | None: ...
    def open(self, key: str, version_id: str) -> IO[bytes] | None: ...
    def metadata(self, key: str, version_id: str) -> Mapping[str, str] | None: ...
    def tags(self, key: str, version_id: str) -> Mapping[str, str] | None: ...
    def current_of(self, key: str) -> CurrentUpload | None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


class InlineStore(Protocol):
    """Where pictures inside annotation files go, written once: the artifacts bucket."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class ReadAnnotations:
    """What the annotations queue's messages are answered with. images: where the gate is asked to look at a picture.
    each: how pictures are stored, several at a time or one by one. reads_tags: a picture's tags are labels too."""

    uploads: UploadReader
    facts: Outbox
    inline: InlineStore
    images: Outbox
    each: Each = one_by_one
    reads_tags: bool = False

    def take(self, records: Iterable[Mapping[str, Any]]) -> dict[str, Exception]:
        """Answer a batch of SQS records; returns those that must come again, with what went wrong."""
        again: dict[str, Exception] = {}
        for record in records:
            try:
                facts = self.facts_of(parse(record["body"]))
                self.images.send(self._looks(facts))
                sidecar = any(isinstance(fact, SourceFact) and fact.stems for fact in facts)
                self.facts.send([together(facts)] if sidecar else (fact.to_json() for fact in facts))
            except Exception as error:  # noqa: BLE001  one bad message must not hold back the others
                again[record["messageId"]] = error
        return again

    def _looks(self, facts: Iterable[Fact]) -> list[dict[str, Any]]:
        """A message to the gate for each picture that stands inside the file: nobody uploads those."""
        shown = {key for fact in facts if isinstance(fact, AnnotationFact) for key in fact.images}
        return [reconcile_message(self.uploads.bucket, key, None) for key in sorted(shown) if inline_hash(key)]

    def facts_of(self, event: UploadEvent) -> list[Fact]:
        """The facts an event comes to, the closing one first; pictures inside the file are stored."""
        dataset = dataset_of(event.key) or NO_DATASET
        if event.change is Change.METADATA:
            return self._metadata_facts(dataset, event)
        source = Source("file", event.key, event.version_id, event.sequencer, event.expected)
        change, size = event.change, event.size
        if change is Change.RECONCILE:
            current = self.uploads.current_of(event.key)
            source = replace(source, version_id=current.version_id if current else "")
            change = Change.PUT if current and not current.deleted else Change.DELETED
            size = current.size if current else None
        closing = SourceFact(dataset, source, change, size=size or 0, because=event.because)
        if change is not Change.PUT:
            return [closing]
        if refusal := _refusal(event.key, size or 0):
            return [replace(closing, verdict=refusal)]
        pictures = Pictures(dataset, self.inline, self.each)
        found = self._reading(event.key, source.version_id, pictures.keep)
        if found is None:  # superseded: what is current now, a reconcile will say
            return [SourceFact(dataset, Source("file", event.key, "", ""), Change.RECHECK)]
        pictures.store()
        reading = found
        if reading.stem:
            resolved = images_of_stem(reading.stem, self.uploads.keys(f"{reading.stem}."))
            reading = _resolved(reading, resolved)
            source = replace(source, reading=hashed(canonical(list(resolved)), 16))
            closing = replace(closing, stems=(reading.stem,), resolved=resolved)
        return list(_facts(replace(closing, source=source), reading))

    def _reading(self, key: str, version_id: str, keep: Keep) -> Reading | None:
        bucket = self.uploads.bucket
        if is_archive(key):
            stream = self.uploads.open(key, version_id)
            if stream is None:
                return None
            with stream:
                return webdataset.read(key, stream, bucket, keep)
        upload = self.uploads.read(key, version_id)
        return layouts.read_file(key, upload.body, bucket, keep) if upload else None

    def _metadata_facts(self, dataset: str, event: UploadEvent) -> list[Fact]:
        metadata = self.uploads.metadata(event.key, event.version_id)
        tags = self.uploads.tags(event.key, event.version_id) if self.reads_tags else {}
        if metadata is None or tags is None:
            return []  # that version is gone, and what it said with it
        source = Source("object", event.key, event.version_id, event.sequencer, event.expected)
        closing = SourceFact(dataset, source, Change.PUT)
        closing, *rows = _facts(closing, object_labels.read(event.key, metadata, tags))
        if tags and not rows:
            # Tags change: what another delivery read of them is taken back, so that no label is left over.
            name = example_id(dataset, [event.key], object_labels.asked(metadata))
            return [replace(closing, rows=1), AnnotationFact(dataset, source, name, (event.key,), ())]
        return [closing, *rows]


@dataclass
class Pictures:
    """The pictures found inside one file, stored a few at a time as they are found."""

    dataset: str
    inline: InlineStore
    each: Each = one_by_one
    _kept: set[str] = field(default_factory=set)
    _waiting: dict[str, bytes] = field(default_factory=dict)
    _bytes: int = 0

    def keep(self, body: bytes) -> str:
        """The key that the picture goes by. Raises when those before it cannot be stored."""
        digest = sha256(body).hexdigest()
        if digest not in self._kept:
            self._kept.add(digest)
            self._waiting[digest] = body
            self._bytes += len(body)
            if len(self._waiting) >= _TOGETHER or self._bytes > _BYTES_TOGETHER:
                self.store()
        return inline_key(self.dataset, digest)

    def store(self) -> None:
        """Store those that wait. Raises what the store raised."""
        failed = [error for error in self.each(self._put, self._waiting.items()) if error]
        if failed:
            raise failed[0]
        self._waiting, self._bytes = {}, 0

    def _put(self, picture: tuple[str, bytes]) -> Exception | None:
        digest, body = picture
        try:
            self.inline.put_once(inline_object(digest), body, "application/octet-stream")
        except Exception as error:  # noqa: BLE001  each answers; `store` raises
            return error
        return None


def _refusal(key: str, size: int) -> Verdict | None:
    if not dataset_of(key):
        return rejected(
            Code.NO_DATASET,
            f"{key!r} does not begin with a dataset's folder.",
            "Put it under one: dataset/metadata.csv, where the dataset's name has 2 to 63 of a-z, 0-9 and '-'.",
        )
    if is_junk(key):
        return rejected(Code.JUNK_FILE, f"{key!r} is a file that an operating system left behind.", "Delete it.")
    limit = webdataset.MAX_BYTES if is_archive(key) else _MAX_BYTES
    if size > limit:
        return rejected(Code.FILE_TOO_LARGE, f"The file has {size:,} bytes; {limit:,} are read at most.", "Split it.")
    return None


def _resolved(reading: Reading, found: tuple[str, ...]) -> Reading:
    """A sidecar's row about the one image that shares its stem; without a row when there is none, or several."""
    if len(found) == 1:
        return replace(reading, rows=tuple(replace(row, images=found) for row in reading.rows))
    if found:
        note = Note(
            Code.AMBIGUOUS_IMAGE, f"It could speak for {', '.join(found[:10])}; name it {found[0]}.json or .txt."
        )
    else:
        note = Note(Code.WAITING_FOR_IMAGE, f"No image has arrived; looked for {reading.stem}.* only.")
    return replace(reading, rows=(), notes=(*reading.notes, note))


def _facts(closing: SourceFact, reading: Reading) -> tuple[SourceFact, *tuple[AnnotationFact, ...]]:
    facts: dict[str, AnnotationFact] = {}
    problems = list(reading.problems)
    for row in reading.rows:
        name = example_id(closing.dataset, row.images, row.annotation.question(), row.stated_id)
        before = facts.get(name)
        if before is None:
            facts[name] = AnnotationFact(
                closing.dataset, closing.source, name, row.images, (row.annotation,), row.where
            )
        elif before.images != row.images:
            problems.append(_id_taken(row, before))
        elif row.annotation not in before.annotations:
            facts[name] = replace(
                before,
                annotations=(*before.annotations, row.annotation)[:_MAX_SHOWN],
                where=f"{before.where}, {row.where}",
            )
    conflicts = [
        Note(Code.CONFLICT, f"{fact.where}: the same question about {', '.join(fact.images)} has different answers.")
        for fact in facts.values()
        if len(fact.annotations) > 1
    ]
    verdict = _verdict(reading, problems, conflicts)
    closing = replace(closing, rows=len(facts), verdict=verdict, settings=reading.settings, layout=reading.layout)
    return closing, *facts.values()


def _id_taken(row: FoundRow, before: AnnotationFact) -> Problem:
    return Problem(
        row.where,
        f"The id {row.stated_id!r} was used for other images at {before.where}.",
        "Give every example an id of its own.",
    )


def _verdict(reading: Reading, problems: list[Problem], conflicts: list[Note]) -> Verdict:
    if reading.refusal:
        return reading.refusal
    rejections = row_notes(problems)
    if not reading.rows and not reading.notes and reading.settings is None:
        first = f" {problems[0].where}: {problems[0].detail}" if problems else ""
        fix = problems[0].fix if problems else "Add rows."
        detail = f"Read as {reading.layout}: not one row can be used ({len(problems)} have a problem).{first}"
        codes = {problem.code for problem in problems} - {Code.ROW_REJECTED}
        code = codes.pop() if len(problems) == 1 and codes else Code.NO_VALID_ROWS
        return rejected(code, detail, fix, *rejections)
    said = f"{len(reading.rows)} rows" if reading.settings is None else ", ".join(reading.settings) or "no settings"
    detail = f"Read as {reading.layout}: {said}" + (f", {len(problems)} rejected." if problems else ".")
    return Verdict(Outcome.ACCEPTED, detail=detail, warnings=(*reading.notes, *conflicts[:100], *rejections))
