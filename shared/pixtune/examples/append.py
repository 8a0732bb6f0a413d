"""append_rows: a batch of facts in, the examples table brought up to date and the rows they touch appended.

Every fact, a duplicate and a superseded one too, goes the whole way, because an earlier delivery may have died
anywhere on it: own item, hints, reconcile, rows. Nothing is remembered between batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pixtune.errors import SegmentNotStored, TooMuchContention
from pixtune.events.s3 import Change, Generation, metadata_message, reconcile_message
from pixtune.examples import places
from pixtune.examples.facts import AnnotationFact, Fact, ImageFact, SourceFact, Touch, read_facts
from pixtune.examples.items import ExampleItem, UploadItem
from pixtune.examples.join import (
    image_after,
    is_overtaken,
    looks_at,
    must_be_read_again,
    reconciled,
    said_in,
    source_after,
    source_place,
    with_fact,
)
from pixtune.examples.ports import Each, Examples, Item, Outbox, Place, Segments, Write, one_by_one

_TRIES = 50
_PIECE = 100  # examples that one message reconciles; more of them go back to the queue in pieces


@dataclass(frozen=True, slots=True)
class Message:
    """One queue message. queue: `image` or `annotation`, which says what its body may claim."""

    id: str
    queue: str
    body: str


def messages_of(records: Iterable[Mapping[str, Any]], image_facts_queue: str) -> list[Message]:
    """SQS records as messages. The queue that each came through, not its body, says what it may claim."""
    return [
        Message(
            record["messageId"],
            "image" if record["eventSourceARN"].rsplit(":", 1)[-1] == image_facts_queue else "annotation",
            record["body"],
        )
        for record in records
    ]


@dataclass(slots=True)
class _Work:
    """A message's fact on its way. touched: places of examples. asks: (outbox, message) to send before it is done."""

    id: str
    fact: Fact
    touched: set[Place] = field(default_factory=set)
    asks: list[tuple[Outbox, Mapping[str, Any]]] = field(default_factory=list)
    error: Exception | None = None


_Given = tuple[_Work, UploadItem | None]  # a message's work, and the item of its own upload as it was read


@dataclass(frozen=True)
class AppendRows:
    """The only writer of examples. each: how independent items are worked on, several at a time or one by one."""

    examples: Examples
    segments: Segments
    images: Outbox
    annotations: Outbox
    facts: Outbox
    uploads_bucket: str
    each: Each = one_by_one

    def take(self, messages: Iterable[Message], now: datetime, segment: str) -> dict[str, Exception]:
        """Take in a batch; answers the messages that must come again, with what went wrong.

        now: names the day's folder. segment: a new id for this batch's segments, one per dataset. Raises when the
        table cannot be read or marked: the whole batch comes again then.
        """
        works, failed = _parsed(messages)
        self.mark(works)
        places_of = [_own_place(work.fact) for work in works]
        items = self._uploads(sorted({place for place in places_of if place}))
        self.each(
            _caught(self.apply),
            [(work, items[place] if place else None) for work, place in zip(works, places_of, strict=True)],
        )
        sound = [work for work in works if work.error is None]
        self._cut(sound)
        examples = self.reconcile(sound)
        self.append(sound, examples, now, segment)
        self._ask(sound)
        return failed | {work.id: work.error for work in works if work.error is not None}

    # 1. its own item, its hints before that

    def mark(self, works: Sequence[_Work]) -> None:
        """Put the hints by which whoever changes one side of an example finds the other."""
        hints: dict[Place, Item] = {}
        for work in works:
            fact = work.fact
            said = said_in(fact)
            if said is not None:
                named = {"key": said.example_id}
                for key in said.images:
                    pk, prefix = places.refs(said.dataset, key)
                    hints[Place(pk, prefix + said.example_id)] = named
            if isinstance(fact, AnnotationFact):
                if fact.source.type == "file":
                    pk, prefix = places.froms(fact.dataset, "file", fact.source.key)
                    hints[Place(pk, prefix + fact.example_id)] = named
            elif isinstance(fact, SourceFact):
                for stem in fact.stems:
                    pk, prefix = places.stems(fact.dataset, f"{stem}.")
                    name = places.source_id(fact.source.type, fact.source.key)
                    hints[Place(pk, prefix + name)] = {"key": fact.source.key}
        self.examples.mark(hints)

    def apply(self, given: _Given) -> None:
        """Write the fact's own item, and find the examples and messages that follow from it."""
        work, item = given
        fact = work.fact
        if isinstance(fact, AnnotationFact):
            work.touched = {places.example(fact.dataset, fact.example_id)}
        elif isinstance(fact, Touch):
            work.touched = {places.example(fact.dataset, example) for example in fact.examples}
        elif isinstance(fact, ImageFact):
            self._apply_image(work, fact, item)
        else:
            self._apply_source(work, fact, item)

    def _cut(self, works: Sequence[_Work]) -> None:
        """Send what touches many examples back in pieces, those left out that the batch looks at anyway."""
        own = {place for work in works if (place := _spoken_of(work.fact))}
        for work in works:
            if isinstance(work.fact, Touch) or len(work.touched) <= _PIECE:
                continue
            names = sorted(place.sk.removeprefix("EXAMPLE#") for place in work.touched - own)
            for first in range(0, len(names), _PIECE):
                piece = Touch(work.fact.dataset, tuple(names[first : first + _PIECE]))
                work.asks.append((self.facts, piece.to_json()))
            work.touched &= {place for place in [_spoken_of(work.fact)] if place}

    def _apply_image(self, work: _Work, fact: ImageFact, item: UploadItem | None) -> None:
        if fact.change is Change.RECHECK:
            self._recheck(work, self.images, fact.key, item)
            return
        item = self._written(places.image(fact.dataset, fact.key), item, lambda old: image_after(old, fact))
        if fact.change is not Change.ARCHIVED and is_overtaken(item, fact.version_id, fact.sequencer):
            self._recheck(work, self.images, fact.key, item)
        if fact.annotated and item is not None and item.version_id == fact.version_id:
            message = metadata_message(self.uploads_bucket, fact.key, fact.version_id, fact.sequencer, fact.expected)
            work.asks.append((self.annotations, message))
        work.touched = self._hinted(fact.dataset, places.refs(fact.dataset, fact.key))
        sidecars = [hint["key"] for hint in self.examples.query(*places.stems(fact.dataset, fact.key))]
        for sidecar in self._uploads([places.source(fact.dataset, "file", key) for key in sidecars]).values():
            self._read_again(work, sidecar)

    def _apply_source(self, work: _Work, fact: SourceFact, item: UploadItem | None) -> None:
        source = fact.source
        if fact.change is Change.RECHECK:
            self._recheck(work, self.annotations, source.key, item)
            return
        place = places.source(fact.dataset, source.type, source.key)
        item = self._written(place, item, lambda old: source_after(old, fact))
        if source.type != "file":
            return
        if fact.change is not Change.ARCHIVED and is_overtaken(item, source.version_id, source.sequencer):
            self._recheck(work, self.annotations, source.key, item)
        work.touched = self._hinted(fact.dataset, places.froms(fact.dataset, "file", source.key))
        self._read_again(work, item)

    def _written(
        self, place: Place, item: UploadItem | None, after: Callable[[UploadItem | None], UploadItem | None]
    ) -> UploadItem | None:
        for _ in range(_TRIES):
            changed = after(item)
            if changed is None:
                return item
            if self.examples.write(Write(place, changed.to_json(), changed.v)):
                return replace(changed, v=changed.v + 1)
            item = self._uploads([place])[place]
        raise TooMuchContention(f"{place} was changed by others {_TRIES} times in a row")

    def _recheck(self, work: _Work, outbox: Outbox, key: str, item: UploadItem | None) -> None:
        if item is not None and item.is_archived:
            return  # the bucket no longer has it, on purpose; its examples stay
        expected: Generation | None = item.generation if item else None
        work.asks.append((outbox, reconcile_message(self.uploads_bucket, key, expected)))

    def _read_again(self, work: _Work, sidecar: UploadItem | None) -> None:
        if sidecar is None or not sidecar.stems:
            return
        found = self.examples.query(*places.images_of_stem(sidecar.dataset, f"{sidecar.stems[0]}."))
        because = must_be_read_again(sidecar, map(UploadItem.from_json, found))
        if because:
            message = reconcile_message(self.uploads_bucket, sidecar.key, sidecar.generation, because=because)
            work.asks.append((self.annotations, message))

    def _hinted(self, dataset: str, where: tuple[str, str]) -> set[Place]:
        return {places.example(dataset, hint["key"]) for hint in self.examples.query(*where)}

    def _uploads(self, wanted: Sequence[Place]) -> dict[Place, UploadItem | None]:
        items = self.examples.read(wanted)
        return {
            place: UploadItem.from_json(item) if item else None for place, item in zip(wanted, items, strict=True)
        }

    # 2. reconcile what it touches

    def reconcile(self, works: Sequence[_Work]) -> dict[Place, ExampleItem]:
        """Bring every touched example up to date, with what the batch's annotation facts say about it."""
        said: dict[Place, list[AnnotationFact]] = {}
        touching: dict[Place, list[_Work]] = defaultdict(list)
        for work in works:
            for place in work.touched:
                said.setdefault(place, [])
                touching[place].append(work)
            fact = said_in(work.fact)
            if fact is not None:  # its example is among those it touches: the hint was put before
                said[places.example(fact.dataset, fact.example_id)].append(fact)
        done: dict[Place, ExampleItem] = {}
        pending = said
        for _ in range(_TRIES):
            if not pending:
                return done
            decided = self._decided(pending)
            answers = self.each(self._try_write, decided.items())
            for (place, example), answer in zip(decided.items(), answers, strict=True):
                if answer is True:
                    done[place] = example
                elif isinstance(answer, Exception):
                    _fail(touching[place], answer)
            pending = {
                place: pending[place] for place, answer in zip(decided, answers, strict=True) if answer is False
            }
        for place in pending:
            _fail(touching[place], TooMuchContention(f"{place} was changed by others {_TRIES} times in a row"))
        return done

    def _decided(self, said: Mapping[Place, Sequence[AnnotationFact]]) -> dict[Place, ExampleItem]:
        """Read the examples first and what they hang on after that, then decide."""
        items = self.examples.read(list(said))
        examples: dict[Place, ExampleItem] = {}
        needed: set[Place] = set()
        for (place, facts), item in zip(said.items(), items, strict=True):
            blank = ExampleItem(place.pk[3:].rpartition("#")[0], place.sk.removeprefix("EXAMPLE#"))
            examples[place] = ExampleItem.from_json(item) if item else blank
            needed |= looks_at(examples[place])
            for fact in facts:
                needed |= {places.image(fact.dataset, key) for key in fact.images}
                if source := source_place(fact.dataset, fact.source):
                    needed.add(source)
        uploads = self._uploads(sorted(needed))
        for place, facts in said.items():
            example = examples[place]
            for fact in facts:
                source = source_place(fact.dataset, fact.source)
                example = with_fact(example, fact, uploads[source] if source else None)
            examples[place] = reconciled(example, uploads)
        return examples

    def _try_write(self, given: tuple[Place, ExampleItem]) -> bool | Exception:
        """Written even when nothing changed: v then tells others that this example was looked at."""
        place, example = given
        try:
            return self.examples.write(Write(place, example.to_json(), example.v))
        except Exception as error:  # noqa: BLE001  one example's trouble is its own messages' trouble only
            return error

    # 3. the rows, and 4. what else must be sent before a message is done

    def append(
        self, works: Sequence[_Work], examples: Mapping[Place, ExampleItem], now: datetime, segment: str
    ) -> None:
        """Append the current row or tombstone of every touched example, changed or not."""
        lines: dict[str, dict[Place, str]] = defaultdict(dict)
        for place, example in sorted(examples.items()):
            if example.line:
                lines[example.dataset][place] = example.line
        for dataset, rows in lines.items():
            key = segment_key(dataset, now, segment)
            try:
                self.segments.put_once(key, "".join(rows.values()).encode(), "application/x-ndjson")
            except Exception as error:  # noqa: BLE001  the messages with a row in it come again
                reason = SegmentNotStored(f"{key}: {type(error).__name__}: {error}")
                reason.__cause__ = error
                _fail([work for work in works if not work.touched.isdisjoint(rows)], reason)

    def _ask(self, works: Sequence[_Work]) -> None:
        for outbox in (self.images, self.annotations, self.facts):
            asking = [work for work in works if any(to is outbox for to, _ in work.asks)]
            try:
                if asking:
                    outbox.send([message for work in asking for to, message in work.asks if to is outbox])
            except Exception as error:  # noqa: BLE001  what could not be asked for is asked for when they come again
                _fail(asking, error)


def segment_key(dataset: str, now: datetime, segment: str) -> str:
    return f"rows/{dataset}/{now:%Y/%m/%d}/{segment}.jsonl"


def _parsed(messages: Iterable[Message]) -> tuple[list[_Work], dict[str, Exception]]:
    works: list[_Work] = []
    failed: dict[str, Exception] = {}
    for message in messages:
        try:
            works += [_Work(message.id, fact) for fact in read_facts(message.queue, message.body)]
        except Exception as error:  # noqa: BLE001  one bad message must not hold back the others
            failed[message.id] = error
    return works, failed


def _spoken_of(fact: Fact) -> Place | None:
    said = said_in(fact)
    return places.example(said.dataset, said.example_id) if said else None


def _own_place(fact: Fact) -> Place | None:
    if isinstance(fact, ImageFact):
        return places.image(fact.dataset, fact.key)
    if isinstance(fact, SourceFact):
        return places.source(fact.dataset, fact.source.type, fact.source.key)
    return None


def _caught(apply: Callable[[_Given], None]) -> Callable[[_Given], None]:
    def attempt(given: _Given) -> None:
        try:
            apply(given)
        except Exception as error:  # noqa: BLE001  one fact's trouble must not hold back the others
            given[0].error = error

    return attempt


def _fail(works: Iterable[_Work], error: Exception) -> None:
    for work in works:
        work.error = error
