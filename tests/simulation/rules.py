"""The rules of the join, each with the shipped code as it would be without it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from unittest.mock import patch

from tests.fakes.examples import MemoryExamples

from pixtune.examples.append import AppendRows
from pixtune.examples.items import ExampleItem
from pixtune.examples.ports import Item, Place, Write


class HintsAfterTheExample(AppendRows):
    def mark(self, works: Sequence[Any]) -> None:
        """Not yet."""

    def reconcile(self, works: Sequence[Any]) -> dict[Place, ExampleItem]:
        examples = super().reconcile(works)
        super().mark(works)
        return examples


class NothingChangedNothingWritten(AppendRows):
    def _try_write(self, given: tuple[Place, ExampleItem]) -> bool | Exception:
        place, example = given
        found = self.examples.read([place])[0] if example.v else None
        same = found is not None and ExampleItem.from_json(found) == example
        empty = not example.v and not example.slots
        return True if same or empty else super()._try_write(given)


class OnlyChangedRowsAppended(AppendRows):
    def reconcile(self, works: Sequence[Any]) -> dict[Place, ExampleItem]:
        touched = sorted({place for work in works for place in work.touched})
        before = dict(zip(touched, self.examples.read(touched), strict=True))
        return {
            place: example
            for place, example in super().reconcile(works).items()
            if (found := before[place]) is None or found["digest"] != example.digest
        }


class AcknowledgedWhateverBecameOfTheSegment(AppendRows):
    def append(
        self, works: Sequence[Any], examples: Mapping[Place, ExampleItem], now: datetime, segment: str
    ) -> None:
        super().append([], examples, now, segment)


@dataclass
class LastWriterWins(MemoryExamples):
    """Writes without comparing `v`."""

    def write(self, *writes: Write) -> bool:
        now = [(write, self.items.get(write.place)) for write in writes]
        return super().write(*(replace(write, v=json.loads(text)["v"] if text else 0) for write, text in now))


@dataclass
class EventuallyConsistent(MemoryExamples):
    """Reads that sometimes answer with what an item was before its last write."""

    before: dict[Place, str | None] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def _store(self, place: Place, item: Item) -> None:
        self.before[place] = self.items.get(place)
        super()._store(place, item)

    def read(self, places: Sequence[Place]) -> list[Item | None]:
        return [
            json.loads(text) if found and self._late(place) and (text := self.before.get(place)) else found
            for place, found in zip(places, super().read(places), strict=True)
        ]

    def _late(self, place: Place) -> bool:
        return place.sk.startswith(("IMAGE#", "SOURCE#")) and self.random.random() < 0.3


@dataclass(frozen=True)
class Without:
    """Ingest with one rule left out. patches: functions of the shipped code and what stands in for them."""

    appender: Callable[..., AppendRows] = AppendRows
    table: Callable[..., MemoryExamples] = MemoryExamples
    patches: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    pair: Mapping[str, float] | None = None  # found soonest in the smallest history, with this trouble

    @contextmanager
    def in_force(self) -> Iterator[None]:
        patched = [patch(name, stand_in) for name, stand_in in self.patches.items()]
        for one in patched:
            one.start()
        try:
            yield
        finally:
            for one in patched:
                one.stop()


_JOIN = "pixtune.examples.join."

RULES: dict[str, Without] = {
    "an upload's item is written only by a newer sequencer": Without(patches={_JOIN + "is_newer": lambda *_: True}),
    "a slot is written only by a newer sequencer": Without(patches={_JOIN + "_replaces": lambda *_: True}),
    "sequencers are padded and upper-cased": Without(
        patches={"pixtune.events.s3.padded": lambda sequencer: sequencer}
    ),
    "hints are written before the example": Without(appender=HintsAfterTheExample, pair={}),
    "an example is written only as it was read": Without(table=LastWriterWins),
    "images and sources are read strongly consistent": Without(table=EventuallyConsistent),
    "v rises even when nothing changed": Without(appender=NothingChangedNothingWritten, pair={}),
    "every touched row is appended, changed or not": Without(appender=OnlyChangedRowsAppended, pair={"put": 0.3}),
    "a message is acknowledged only after its segment": Without(
        appender=AcknowledgedWhateverBecameOfTheSegment, pair={"put": 0.3}
    ),
    "leaving ready yields a tombstone": Without(
        patches={_JOIN + "_left": lambda example, state: replace(example, state=state)}
    ),
    "an annotation lives only at its source's generation": Without(
        patches={_JOIN + "is_live": lambda _slot, source: source is None or source.live}
    ),
    "a sidecar is read again when its images come or go": Without(
        patches={"pixtune.examples.append.must_be_read_again": lambda *_: None}
    ),
}
