"""What a folder's files would come to once they were pushed: facts in, the version that would be cut of them out.

The same join and the same cut as the service's, over a table in this process.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pixtune.datasets.class_names import with_class_names
from pixtune.datasets.cut import Seen, read_cut
from pixtune.datasets.manifest import manifest_of
from pixtune.datasets.reject_setting import apply_policy
from pixtune.datasets.settings import read_class_names
from pixtune.datasets.splits import split
from pixtune.datasets.tasks import boxes_cut_off
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.append import AppendRows, Message
from pixtune.examples.facts import Fact, ImageFact
from pixtune.examples.folders import that_count
from pixtune.examples.items import State
from pixtune.examples.ports import Item, Place, Write, one_by_one
from pixtune.examples.survey import examples_of, judged_uploads
from pixtune.keys import inline_hash
from pixtune.verdicts import Outcome

_NOW = datetime(2026, 1, 1, tzinfo=UTC)  # names a segment that is kept nowhere
_BATCH = 500  # as append_rows takes them


@dataclass
class Table:
    """`examples.ports.Examples` for one process that writes one thing after the other."""

    _items: dict[Place, Item] = field(default_factory=dict)
    _keys: dict[str, list[str]] = field(default_factory=dict)

    def read(self, places: Sequence[Place]) -> list[Item | None]:
        return [self._items.get(place) for place in places]

    def query(self, pk: str, prefix: str) -> Sequence[Item]:
        return list(self.stream(pk, prefix))

    def stream(self, pk: str, prefix: str, only: Sequence[str] = (), after: str | None = None) -> Iterator[Item]:  # noqa: ARG002 - all are at hand
        keys = self._keys.get(pk, [])
        first = bisect_left(keys, prefix) if after is None else bisect_right(keys, after)
        for sk in keys[first : bisect_left(keys, prefix + "\U0010ffff")]:
            yield self._items[Place(pk, sk)]

    def write(self, *writes: Write) -> bool:
        if any(self._items.get(write.place, {"v": 0})["v"] != write.v for write in writes):
            return False
        for write in writes:
            self._put(write.place, {**write.item, "v": write.v + 1})
        return True

    def mark(self, hints: Mapping[Place, Item]) -> None:
        for place, hint in hints.items():
            self._put(place, hint)

    def _put(self, place: Place, item: Item) -> None:
        if place not in self._items:
            insort(self._keys.setdefault(place.pk, []), place.sk)
        self._items[place] = {**item, "pk": place.pk, "sk": place.sk}


@dataclass
class _Kept:
    """A queue, or a bucket, of this process."""

    sent: list[Mapping[str, Any]] = field(default_factory=list)

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self.sent += messages

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        return True


def joined(facts: Iterable[Fact]) -> Table:
    """The table after these facts. Raises what the join raises: no file can make it fail."""
    table, nobody, touches = Table(), _Kept(), _Kept()
    join = AppendRows(table, nobody, nobody, nobody, touches, uploads_bucket="")
    queue = "annotation"
    waiting = [("image" if isinstance(fact, ImageFact) else queue, json.dumps(fact.to_json())) for fact in facts]
    while waiting:
        batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
        messages = [Message(str(number), kind, body) for number, (kind, body) in enumerate(batch)]
        for error in join.take(messages, _NOW, "").values():
            raise error
        nobody.sent.clear()  # a look at a file that was just looked at finds the same
        waiting += [(queue, json.dumps(touch)) for touch in touches.sent]
        touches.sent.clear()
    return table


def outcome(table: Table, dataset: str, settings: DatasetSettings) -> dict[str, Any]:
    """{examples: {ready, waiting, held}, folders, inline: {accepted, fixed, rejected}, unlabelled,
    version: {examples, counts: {split: n}, notes: [{code, detail}]}}.

    folders: ready examples that only their image's folder labels. inline: pictures inside annotation files.
    """
    seen = examples_of(table, dataset, Seen.of, one_by_one)
    uploads = judged_uploads(table, dataset, one_by_one)
    claims = that_count([one.claim for one in seen], settings.class_folders)
    states = Counter(claim.state for claim in claims)
    shown = {key for claim in claims if claim.state is not State.DELETED for key in claim.images}
    inside = Counter(item.verdict.outcome for item in uploads if inline_hash(item.key) and item.key in shown)
    usable = [item for item in uploads if item.kind == "image" and item.verdict.outcome is not Outcome.REJECTED]
    cut = read_cut(seen, settings.class_folders)
    cut = with_class_names(cut, lambda folder: read_class_names(table, dataset, folder))
    cut, left_out = apply_policy(cut, uploads, settings)
    splits = split(list(cut.rows.values()), settings)
    manifest = manifest_of(dataset, 0, "", _NOW, settings, cut, splits, left_out, 0)
    return {
        "examples": {state.value: states[state] for state in (State.READY, State.WAITING, State.HELD)},
        "folders": sum(claim.label is not None for claim in claims),
        "inline": {each.value: inside[each] for each in Outcome},
        "unlabelled": sum(item.key not in shown for item in usable),
        "version": {
            "examples": len(cut.rows),
            "counts": dict(manifest.counts),
            "notes": [*map(dict, manifest.notes), *boxes_cut_off(cut.rows.values())],
        },
    }
