"""One seeded run of ingest: a small history of uploads, the shipped reader and join over it, and what must come out.

Every IO step of the fakes is a point where another worker may go on, where the worker may die, and where a call may
fail with or without having had its effect. Each message is delivered one to three times, in any order, to up to
three workers at once. The same seed gives the same run.
"""

from __future__ import annotations

import json
import random
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from greenlet import getcurrent, greenlet
from tests.fakes.examples import MemoryArtifacts, MemoryExamples, MemoryUploads, Version

from pixtune.annotations.read import ReadAnnotations
from pixtune.datasets.settle import Ingest
from pixtune.events.s3 import Change, parse
from pixtune.examples.append import AppendRows, Message
from pixtune.examples.facts import ImageData, ImageFact
from pixtune.examples.identity import example_id
from pixtune.examples.items import ExampleItem, State
from pixtune.examples.overview import all_examples
from pixtune.examples.rows import Row
from pixtune.images.recipe import Recipe
from pixtune.keys import inline_hash, inline_key, inline_object
from pixtune.verdicts import Code, accepted, rejected

DATASET = "ds"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
WORKERS = 3
FAULT = 0.02  # chance that an IO step kills its worker or fails
# Looking at the bucket cannot tell a lifecycle rule's delete marker from a person's: the events that do are not lost,
# and the key that a rule archives is not undeleted at the same moment.
_ARCHIVED = "c.jpg"
_GOOD, _BROKEN = (f"data:;base64,{b64encode(body).decode()}" for body in (b'{"image": 7}', b'{"image": null}'))
LOST = 0.03  # chance that an event never arrives, in histories that a sweep ends


class WorkerDied(BaseException):
    """The process is gone; nothing it held in memory is left."""


class CallFailed(Exception):
    """An answer that never came: the call may have had its effect or not."""


@dataclass
class SimulatedQueue:
    """An outbox whose messages arrive one to three times."""

    world: World
    name: str

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        for message in messages:
            self.world.step("send")
            self.world.enqueue(self.name, json.dumps(message))
            self.world.step("sent")


@dataclass
class World:
    seed: int
    appender: Callable[..., AppendRows] = AppendRows
    table_type: Callable[..., MemoryExamples] = MemoryExamples
    pair: Mapping[str, float] | None = None
    folder: str = ""  # of the dataset in which everything lies; with a name it is a class
    inside: bool = False  # files hold pictures of their own
    queues: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    needs_sweep: bool = False
    messages: int = 0
    batches: int = 0
    archived: dict[str, Version] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.root = f"{DATASET}/{self.folder}" if self.folder else DATASET
        self.archivable = f"{self.root}/{_ARCHIVED}"
        self.hub = getcurrent()
        self.faults = self.random.choice((0, 1, 2, 4))
        self.haste = self.random.choice((0.0, 0.5, 0.8, 0.9))  # chance that a worker goes on where it could wait
        self.uploads = MemoryUploads(step=self.step)
        self.table = self.table_type(step=self.step)
        self.artifacts = MemoryArtifacts(step=self.step)
        self.images = SimulatedQueue(self, "images")
        self.annotations = SimulatedQueue(self, "annotations")
        self.image_facts = SimulatedQueue(self, "image facts")
        self.annotation_facts = SimulatedQueue(self, "annotation facts")
        self.join = self.appender(
            self.table, self.artifacts, self.images, self.annotations, self.annotation_facts, self.uploads.bucket
        )
        self.read_annotations = ReadAnnotations(self.uploads, self.annotation_facts, self.artifacts, self.images)
        # With a sweep at its end a history may lose events and delete versions for good.
        self.rough = self.random.random() < 0.4
        self.to_do = self.random.randint(2, 6)
        # Histories about few things meet more often than those about everything.
        self.image_names, self.theme = self.random.choice(
            (
                (["a.jpg", "a.jpg", "b.jpg", "c.jpg", "a.png"], [self.an_image, self.a_file, self.a_sidecar]),
                (["a.jpg", "b.jpg"], [self.an_image, self.a_file]),
                (["a.jpg"], [self.an_image, self.a_file]),
                (["a.jpg", "a.png"], [self.an_image, self.a_sidecar]),
            )
        )
        if self.pair is not None:
            self.rough, self.to_do, self.faults, self.haste = False, 2, 2, 0.9

    # ------------------------------------------------------------------ scheduling

    def step(self, name: str) -> None:
        if getcurrent() is self.hub:
            return
        chance = FAULT if self.pair is None else self.pair.get(name, 0.0)
        if self.faults and self.random.random() < chance:
            self.faults -= 1
            raise WorkerDied if self.random.random() < 0.5 else CallFailed
        self.hub.switch()

    def enqueue(self, queue: str, body: str) -> None:
        for _ in range(1 if self.pair is not None else self.random.choices((1, 2, 3), (6, 3, 1))[0]):
            self.messages += 1
            self.queues[queue].append((f"m{self.messages}", body))

    def drain(self) -> None:
        """Run until every message is done."""
        workers: list[greenlet] = []
        last: greenlet | None = None
        while True:
            waiting = [name for name, queue in self.queues.items() if queue]
            can_start = bool(waiting) and len(workers) < WORKERS
            if not (workers or can_start or self.to_do):
                return
            if last is not None and not last.dead and self.random.random() < self.haste:
                last.switch()
                continue
            pick = self.random.randrange(bool(self.to_do) + can_start + 3 * len(workers))
            if pick < bool(self.to_do):
                self.upload_something()
            elif pick < bool(self.to_do) + can_start:
                workers.append(self.worker(self.random.choice(waiting)))
            else:
                last = self.random.choice(workers)
                last.switch()
            workers = [worker for worker in workers if not worker.dead]

    def worker(self, queue: str) -> greenlet:
        messages = self.queues[queue]
        self.random.shuffle(messages)
        batch = [messages.pop() for _ in range(min(len(messages), self.random.randint(1, 5)))]
        self.batches += 1

        def work() -> None:
            try:
                again = self.process(queue, batch)
            except (WorkerDied, CallFailed):
                again = {name for name, _ in batch}
            self.queues[queue] += [(name, body) for name, body in batch if name in again]

        return greenlet(work)

    def process(self, queue: str, batch: Sequence[tuple[str, str]]) -> set[str]:
        """What the queue's function does; answers the messages that must come again."""
        if queue == "images":
            for _, body in batch:
                self.convert(body)
            return set()
        if queue == "annotations":
            return set(self.read_annotations.take([{"messageId": name, "body": body} for name, body in batch]))
        kind = "image" if queue == "image facts" else "annotation"
        messages = [Message(name, kind, body) for name, body in batch]
        failed = self.join.take(messages, NOW, f"s{self.batches}-{self.random.getrandbits(32)}")
        unexpected = [error for error in failed.values() if not _expected(error)]
        if unexpected:
            raise unexpected[0]
        return set(failed)

    def convert(self, body: str) -> None:
        """The gate, without pixels: a body of {"image": n} is the n-th picture, anything else is rejected."""
        event = parse(body)
        change, version_id = event.change, event.version_id
        if change is Change.RECONCILE:
            current = self.uploads.current_of(event.key)
            version_id = current.version_id if current else inline_hash(event.key) or ""
            found = not current.deleted if current else bool(version_id)
            change = Change.PUT if found else Change.DELETED
        fact = ImageFact(DATASET, event.key, change, version_id, event.sequencer, event.expected)
        if change is Change.PUT:
            if inline_hash(event.key) == version_id:
                body_found = self.artifacts.objects.get(inline_object(version_id))
                assert body_found is not None, "the gate was asked before the picture was stored"
                metadata = False
            else:
                upload = self.uploads.read(event.key, version_id)
                body_found, metadata = (upload.body, bool(upload.metadata)) if upload else (None, False)
            if body_found is None:
                fact = ImageFact(DATASET, event.key, Change.RECHECK)
            else:
                recipe = Recipe.from_json(event.recipe) if event.recipe else Recipe.default()
                number = json.loads(body_found)["image"]
                image = None if number is None else picture(number, recipe.id)
                fact = ImageFact(
                    DATASET,
                    event.key,
                    change,
                    version_id,
                    event.sequencer,
                    event.expected,
                    accepted() if image else rejected(Code.CORRUPT, "broken", "upload it again"),
                    image,
                    len(body_found),
                    metadata,
                )
        self.image_facts.send([fact.to_json()])

    def settle(self) -> list[str]:
        """Sweep until the bucket and the table show the same; what six sweeps leave, usually nothing."""
        for _ in range(6):
            self.drain()
            ingest = Ingest(self.uploads, self.table, self.images, self.annotations)
            missing = ingest.outstanding(DATASET, NOW.timestamp())
            if not missing:
                return []
            ingest.send_again(missing)
        return [f"six sweeps did not settle {one.key}: {one.reason}" for one in missing]

    # ------------------------------------------------------------------ history

    def upload_something(self) -> None:
        self.to_do -= 1
        if self.pair is not None:
            rows = {"file_name": "a.jpg", "question": "", "answer": "x"}
            files = {"a.jpg": json.dumps({"image": 1}), "metadata.jsonl": json.dumps(rows)}
            name = self.random.choice([name for name in files if f"{self.root}/{name}" not in self.uploads.versions])
            self.put(name, files[name], {})
            return
        pick = self.random.random()
        current = [version for key in self.uploads.versions if (version := self.uploads.latest(key))]
        live = [version for version in current if not version.deleted]
        kept = [version for version in live if version.key != self.archivable]
        markers = [version for version in current if version.deleted and version.key != self.archivable]
        if pick < 0.15 and live:
            self.delete(self.random.choice(live).key, "DeleteObject")
        elif pick < 0.22 and markers and self.rough:
            self.remove(self.random.choice(markers))
        elif pick < 0.27 and kept and self.rough:
            self.remove(self.random.choice(kept))
        elif pick < 0.32 and (old := [version for version in live if version.key == self.archivable]):
            self.archived[old[0].key] = old[0]
            self.delete(old[0].key, "Lifecycle Expiration")
        else:
            self.put(*self.random.choice(self.theme)())

    def an_image(self) -> tuple[str, str, dict[str, str]]:
        key = self.random.choice(self.image_names)
        number = None if self.random.random() < 0.08 else self.random.randrange(5)
        metadata = {"pixtune-answer": self.random.choice("xy")} if self.random.random() < 0.25 else {}
        return key, json.dumps({"image": number}), metadata

    def a_file(self) -> tuple[str, str, dict[str, str]]:
        key = self.random.choice(("metadata.jsonl", "metadata.jsonl", "more.jsonl"))
        rows = [
            {"file_name": name, "question": question, "answer": self.random.choice("xy")}
            for name, question, share in (
                ("a.jpg", "", 0.7),
                ("a.jpg", "which?", 0.3),
                ("b.jpg", "", 0.5),
                ("c.jpg", "", 0.2),
            )
            if self.random.random() < share
        ]
        for row in rows:
            if self.inside and self.random.random() < 0.5:
                row["file_name"] = self.random.choice((_GOOD, _BROKEN))
        return key, "\n".join(map(json.dumps, rows)), {}

    def a_sidecar(self) -> tuple[str, str, dict[str, str]]:
        return "a.json", json.dumps({"answer": self.random.choice("xy")}), {}

    def put(self, name: str, body: str, metadata: Mapping[str, str]) -> None:
        key = f"{self.root}/{name}"
        self.archived.pop(key, None)
        version = self.uploads.put(key, body.encode(), metadata)
        self.announce(key, {"detail-type": "Object Created"}, version, {"size": len(body)})

    def delete(self, key: str, reason: str) -> None:
        marker = self.uploads.put(key, None)
        kind = {"detail-type": "Object Deleted", "reason": reason, "deletion-type": "Delete Marker Created"}
        self.announce(key, kind, marker)

    def remove(self, version: Version) -> None:
        self.needs_sweep = True  # a late event of the removed version may come after the look at what is current
        self.uploads.remove(version)
        kind = {
            "detail-type": "Object Deleted",
            "reason": "DeleteObject",
            "deletion-type": "Permanently Deleted",
        }
        self.announce(version.key, kind, version)

    def announce(
        self, key: str, kind: Mapping[str, str], version: Version, extra: Mapping[str, Any] | None = None
    ) -> None:
        """S3's event, lost now and then. Sequencers differ in length and case, as they may."""
        sequencer = f"{0xFFA + self.uploads.count:04X}" + "".join(
            self.random.choices("0123456789abcdef", k=self.random.randint(0, 3))
        )
        sequencer = self.random.choice((sequencer.upper(), sequencer.lower()))
        if self.rough and key != self.archivable and self.random.random() < LOST:
            self.needs_sweep = True
            return
        detail = {
            "bucket": {"name": self.uploads.bucket},
            "object": {"key": key, "version-id": version.version_id, "sequencer": sequencer, **(extra or {})},
            **{name: text for name, text in kind.items() if name != "detail-type"},
        }
        body = json.dumps({"source": "aws.s3", "detail-type": kind["detail-type"], "detail": detail})
        images = key.endswith((".jpg", ".png"))
        self.enqueue("images" if images else "annotations", body)

    # ------------------------------------------------------------------ what must come out

    def expected(self) -> dict[str, tuple[State, str, tuple[str, str]]]:
        """Example id -> (state, answer, (image key, version id)), worked out from the bucket alone."""
        live = {key: version for key in self.uploads.versions if (version := self.uploads.latest(key))}
        live = {key: version for key, version in live.items() if not version.deleted} | self.archived
        said: dict[tuple[str, str], set[str]] = defaultdict(set)
        inside: dict[str, Version] = {}
        for key, version in live.items():
            body = (version.body or b"").decode()
            if key.endswith(".jsonl"):
                for row in map(json.loads, body.splitlines()):
                    image = f"{self.root}/{row['file_name']}"
                    if row["file_name"] in (_GOOD, _BROKEN):
                        picture_bytes = b64decode(row["file_name"].partition(",")[2])
                        digest = sha256(picture_bytes).hexdigest()
                        image = inline_key(DATASET, digest)
                        inside[image] = Version(image, digest, picture_bytes, NOW)
                    said[image, row["question"]].add(row["answer"])
            elif key.endswith(".json"):
                meant = [f"{self.root}/a.{suffix}" for suffix in ("jpg", "png") if f"{self.root}/a.{suffix}" in live]
                if len(meant) == 1:
                    said[meant[0], ""].add(json.loads(body)["answer"])
            elif version.metadata:
                said[key, ""].add(version.metadata["pixtune-answer"])
        for key, version in live.items():
            is_image = key.endswith((".jpg", ".png")) and json.loads(version.body or b"")["image"] is not None
            if self.folder and is_image and (key, "") not in said:
                said[key, ""] = {self.folder}  # nothing else speaks for it under the same question
        live |= inside
        found: dict[str, tuple[State, str, tuple[str, str]]] = {}
        for (key, question), answers in said.items():
            shown = live.get(key)
            usable = shown is not None and json.loads(shown.body or b"{}")["image"] is not None
            state = State.HELD if len(answers) > 1 else State.READY if usable else State.WAITING
            version_id = shown.version_id if shown else ""
            found[example_id(DATASET, [key], question)] = (state, sorted(answers)[0], (key, version_id))
        return found

    def violations(self) -> list[str]:
        """How the table or the log differ from what must come out; empty when they do not."""
        problems: list[str] = []
        log: dict[str, Row] = {}
        lines: dict[tuple[str, int], str] = {}
        for body in [body for key, body in self.artifacts.objects.items() if key.startswith("rows/")]:
            for line in body.decode().splitlines(keepends=True):
                row = Row.from_json(json.loads(line))
                if lines.setdefault((row.example_id, row.revision), line) != line:
                    problems.append(f"two rows of {row.example_id} at revision {row.revision}")
                if row.example_id not in log or log[row.example_id].revision < row.revision:
                    log[row.example_id] = row
        table: dict[str, ExampleItem] = {example.example_id: example for example in all_examples(self.table, DATASET)}
        expected = self.expected()
        for name in sorted(table.keys() | log.keys() | expected.keys()):
            state, answer, (key, version_id) = expected.get(name, (State.DELETED, "", ("", "")))
            example = table.get(name)
            newest = log.get(name)
            if (example.state if example else State.DELETED) is not state:
                problems.append(f"{name} {key} is {example and example.state} in the table, not {state}")
            if example and example.line and lines.get((name, example.revision)) != example.line:
                problems.append(f"{name} {key}: the log lacks revision {example.revision}")
            if example and newest and newest.revision > example.revision:
                problems.append(f"{name} {key}: the log is ahead of the table")
            has_row = newest is not None and not newest.deleted
            if state is not State.READY:
                if has_row:
                    problems.append(f"{name} {key}: a row was resurrected or is stale, it should be {state}")
            elif not has_row or newest is None or newest.annotation is None:
                problems.append(f"{name} {key}: its row is lost")
            else:
                shown = tuple((image.upload, image.version_id) for image in newest.images)
                text = newest.annotation.turns[-1].parts[0].text
                if shown != ((key, version_id),) or text != answer:
                    problems.append(f"{name}: the row is stale, {shown} {text!r}, not {key} {version_id} {answer!r}")
        return problems


def _expected(error: BaseException) -> bool:
    return isinstance(error, CallFailed) or isinstance(error.__cause__, CallFailed)


def picture(number: int, recipe: str) -> ImageData:
    return ImageData(
        f"{number:064x}", "jpeg", 64, 48, 1000, f"{number:064x}", "jpeg", 64, 48, 1, 0.5, f"{number:016x}", recipe
    )


def run(
    seed: int,
    appender: Callable[..., AppendRows] = AppendRows,
    table: Callable[..., MemoryExamples] = MemoryExamples,
    *,
    pair: Mapping[str, float] | None = None,
    folder: str = "",
    inside: bool = False,
) -> list[str]:
    """One run; what is wrong at its end, and before the sweep where nothing needs one.

    pair: the smallest history instead, one image and one file about it, with these chances of trouble by IO step.
    folder: that everything lies in, and that is the class of images nobody labelled. inside: files hold pictures too.
    """
    world = World(seed, appender, table, pair, folder, inside)
    world.drain()
    problems = [] if world.needs_sweep else world.violations()
    if not problems:
        problems = world.settle() or world.violations()
    return [f"seed {seed}: {problem}" for problem in problems]
