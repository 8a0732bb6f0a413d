"""From an S3 event to a stored picture and its fact: order, redelivery, what is never read, what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
from tests.unit import drawn

from pixtune.errors import DecoderNotStarted, EventWithoutVersion, QueueRefused
from pixtune.events.s3 import Change, Generation, UploadEvent, padded, parse, reconcile_message
from pixtune.examples.facts import ImageFact
from pixtune.images.convert import convert
from pixtune.images.converted import Converted
from pixtune.images.gate import MAX_UPLOAD_BYTES
from pixtune.images.ingest import Gate
from pixtune.images.recipe import Recipe
from pixtune.keys import NO_DATASET
from pixtune.verdicts import Code, Outcome, rejected

PHOTO = drawn.jpeg(drawn.photo(320, 240))


@dataclass(frozen=True)
class StoredPhoto:
    body: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    tagged: bool = False


@dataclass(frozen=True)
class Listed:
    version_id: str
    size: int
    deleted: bool = False


@dataclass
class FakeUploads:
    versions: dict[tuple[str, str], StoredPhoto] = field(default_factory=dict)
    latest: dict[str, Listed] = field(default_factory=dict)
    reads: list[tuple[str, str]] = field(default_factory=list)

    def put(self, key: str, version_id: str, body: bytes, **metadata: str) -> None:
        self.versions[key, version_id] = StoredPhoto(body, metadata)
        self.latest[key] = Listed(version_id, len(body))

    def read(self, key: str, version_id: str) -> StoredPhoto | None:
        self.reads.append((key, version_id))
        return self.versions.get((key, version_id))

    def current_of(self, key: str) -> Listed | None:
        return self.latest.get(key)


class StoreDown(Exception):
    """The artifacts bucket did not answer."""


@dataclass
class FakeArtifacts:
    objects: dict[str, bytes] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    fails_at: str | None = None

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:
        if self.fails_at and key.startswith(self.fails_at):
            raise StoreDown
        if key in self.objects:
            return False
        self.objects[key] = body
        self.written.append(key)
        return True


@dataclass
class DirectConverter:
    """Converts in this process, and counts."""

    answer: Converted | Exception | None = None
    longest_seconds: float = 60.0
    recipes: list[str] = field(default_factory=list)

    def convert(self, data: bytes, recipe: Recipe) -> Converted:
        self.recipes.append(recipe.id)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or convert(data, recipe)


@dataclass
class FakeQueue:
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    refuses: bool = False

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None:
        taken = list(messages)
        if self.refuses:
            raise QueueRefused("no")
        self.messages += taken


class World:
    def __init__(self) -> None:
        self.uploads, self.artifacts = FakeUploads(), FakeArtifacts()
        self.converter, self.queue = DirectConverter(), FakeQueue()
        self.gate = Gate(self.uploads, self.artifacts, self.converter, self.queue)

    def fact(self, event: UploadEvent) -> ImageFact:
        found = self.gate.fact_of(event)
        assert found
        return found


@pytest.fixture
def world() -> World:
    return World()


def put(key: str, version_id: str = "v1", size: int = len(PHOTO), sequencer: str = "a1") -> UploadEvent:
    return UploadEvent("uploads", key, Change.PUT, version_id, padded(sequencer), size)


def created(key: str, version_id: str | None = "v1", size: int = len(PHOTO)) -> dict[str, Any]:
    """An `Object Created` event as EventBridge delivers it."""
    item = {"key": key, "size": size, "etag": "e", "sequencer": "00617F08299329D189"}
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "111122223333",
        "region": "eu-west-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": item | ({"version-id": version_id} if version_id else {}),
            "reason": "PutObject",
        },
    }


def record(event: Mapping[str, Any], message_id: str = "m1") -> dict[str, Any]:
    return {"messageId": message_id, "body": json.dumps(event)}


def test_a_photo_is_stored_under_its_hash_and_told_as_a_fact(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    fact = world.fact(put("cards/a.jpg"))
    assert fact.verdict
    assert fact.image
    assert (fact.dataset, fact.change, fact.version_id, fact.size) == ("cards", Change.PUT, "v1", len(PHOTO))
    assert fact.verdict.outcome is Outcome.ACCEPTED
    content = world.artifacts.objects[fact.image.key]
    assert sha256(content).hexdigest() == fact.image.sha256
    assert ImageFact.from_json(json.loads(json.dumps(fact.to_json()))) == fact


def test_picture_and_thumbnail_are_stored_before_the_verdict_is_kept(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    image = world.fact(put("cards/a.jpg")).image
    assert image
    assert world.artifacts.written == [
        f"images/{image.sha256}.jpg",
        f"thumbs/{image.sha256}.jpg",
        f"verdicts/{Recipe.default().id}/{sha256(PHOTO).hexdigest()}.json",
    ]


@pytest.mark.parametrize("fails_at", ["images/", "thumbs/", "verdicts/"])
def test_a_crash_between_two_steps_is_mended_by_the_next_delivery(world: World, fails_at: str) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    world.artifacts.fails_at = fails_at
    with pytest.raises(StoreDown):
        world.fact(put("cards/a.jpg"))
    world.artifacts.fails_at = None
    fact = world.fact(put("cards/a.jpg"))
    assert fact.image
    assert {fact.image.key, f"thumbs/{fact.image.sha256}.jpg"} <= set(world.artifacts.objects)


def test_a_redelivery_and_a_copy_decode_nothing(world: World) -> None:
    for key in ("cards/a.jpg", "cards/b.jpg"):
        world.uploads.put(key, "v1", PHOTO)
    first, again, copy = (world.fact(put(key)) for key in ("cards/a.jpg", "cards/a.jpg", "cards/b.jpg"))
    assert first == again
    assert copy.image == first.image
    assert len(world.converter.recipes) == 1


def test_the_same_bytes_are_never_decoded_twice_across_datasets_too_but_under_another_recipe(world: World) -> None:
    for key in ("cards/a.jpg", "fruit/deep/b.jpg", "cards/bad.jpg", "fruit/bad.jpg"):
        world.uploads.put(key, "v1", PHOTO[:500] if "bad" in key else PHOTO)
    one, other = world.fact(put("cards/a.jpg")), world.fact(put("fruit/deep/b.jpg"))
    assert (one.dataset, other.dataset) == ("cards", "fruit")
    assert one.image == other.image
    bad = [world.fact(put(key, size=500)).verdict for key in ("cards/bad.jpg", "fruit/bad.jpg")]
    assert bad[0] == bad[1]
    assert world.converter.recipes == [Recipe.default().id] * 2
    low = reconcile_message("uploads", "fruit/deep/b.jpg", Generation("v1", "00"), Recipe.low().to_json())
    assert world.fact(parse(json.dumps(low))).image != other.image
    assert world.converter.recipes[2:] == [Recipe.low().id]


def test_a_kept_verdict_says_nothing_about_the_next_keys_name(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    world.uploads.put("cards/a.png", "v1", PHOTO)
    right, wrong = world.fact(put("cards/a.jpg")), world.fact(put("cards/a.png"))
    assert right.verdict
    assert wrong.verdict
    assert right.verdict.code is Code.OK
    assert [note.code for note in wrong.verdict.warnings] == [Code.WRONG_EXTENSION]


def test_a_rejected_picture_is_kept_too(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO[:500])
    facts = [world.fact(put("cards/a.jpg", size=500)) for _ in range(2)]
    assert [fact.verdict and fact.verdict.code for fact in facts] == [Code.TRUNCATED] * 2
    assert len(world.converter.recipes) == 1


@pytest.mark.parametrize("code", [Code.DECODE_TOO_SLOW, Code.DECODER_DIED])
def test_a_verdict_that_may_come_out_otherwise_tomorrow_is_not_kept(world: World, code: Code) -> None:
    world.converter.answer = Converted(rejected(code, "it did", "try again"))
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    verdict = world.fact(put("cards/a.jpg")).verdict
    assert verdict
    assert verdict.code is code
    assert not world.artifacts.objects


@pytest.mark.parametrize(
    ("key", "size", "code"),
    [
        ("cards/.DS_Store", 6148, Code.JUNK_FILE),
        ("cards/a.jpg", 0, Code.EMPTY_FILE),
        ("cards/a.jpg", MAX_UPLOAD_BYTES + 1, Code.FILE_TOO_LARGE),
        ("a.jpg", 100, Code.NO_DATASET),
        ("Cards/a.jpg", 100, Code.NO_DATASET),
    ],
)
def test_what_name_and_size_decide_is_never_read(world: World, key: str, size: int, code: Code) -> None:
    fact = world.fact(put(key, size=size))
    assert fact.verdict
    assert fact.verdict.code is code
    assert fact.size == size
    assert not world.uploads.reads
    assert fact.dataset == (NO_DATASET if code is Code.NO_DATASET else "cards")


def test_a_folders_marker_is_no_upload(world: World) -> None:
    assert world.gate.fact_of(put("cards/train/", size=0)) is None


def test_keys_are_used_as_they_are(world: World) -> None:
    key = "cards/a b+ü#%41.jpg"
    world.uploads.put(key, "v1", PHOTO)
    assert world.fact(parse(created(key))).key == key
    assert world.uploads.reads == [(key, "v1")]


def test_the_events_own_version_is_read_even_when_a_newer_one_is_there(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    world.uploads.put("cards/a.jpg", "v2", b"no picture")
    verdict = world.fact(put("cards/a.jpg", "v1")).verdict
    assert verdict
    assert verdict.outcome is Outcome.ACCEPTED


def test_a_version_that_is_gone_asks_for_another_look_and_claims_nothing(world: World) -> None:
    assert world.fact(put("cards/a.jpg")) == ImageFact("cards", "cards/a.jpg", Change.RECHECK)


@pytest.mark.parametrize("change", [Change.DELETED, Change.ARCHIVED, Change.RECHECK])
def test_deletions_pass_through(world: World, change: Change) -> None:
    sequencer = padded("b2")
    fact = world.fact(UploadEvent("uploads", "cards/a.jpg", change, "v2", sequencer))
    assert fact == ImageFact("cards", "cards/a.jpg", change, "v2", sequencer)


def test_a_reconcile_reads_what_is_current_and_mints_no_sequencer(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v7", PHOTO)
    expected = Generation("v1", padded("a1"))
    fact = world.fact(parse(reconcile_message("uploads", "cards/a.jpg", expected)))
    assert (fact.change, fact.version_id, fact.sequencer, fact.expected) == (Change.PUT, "v7", "", expected)
    assert fact.size == len(PHOTO)
    assert fact.image


@pytest.mark.parametrize(("current", "version_id"), [(None, ""), (Listed("marker", 0, deleted=True), "marker")])
def test_a_reconcile_of_what_is_gone_is_a_deletion(world: World, current: Listed | None, version_id: str) -> None:
    if current:
        world.uploads.latest["cards/a.jpg"] = current
    expected = Generation("v1", padded("a1"))
    fact = world.fact(parse(reconcile_message("uploads", "cards/a.jpg", expected)))
    assert fact == ImageFact("cards", "cards/a.jpg", Change.DELETED, version_id, expected=expected)


def test_a_message_may_ask_for_another_recipe(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    fact = world.fact(parse(reconcile_message("uploads", "cards/a.jpg", None, Recipe.low().to_json())))
    assert fact.image
    assert fact.image.recipe == Recipe.low().id
    assert f"verdicts/{Recipe.low().id}/{sha256(PHOTO).hexdigest()}.json" in world.artifacts.objects


def test_metadata_that_annotates_is_hinted_and_never_read_here(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO, **{"pixtune-label": "king"})
    world.uploads.put("cards/b.jpg", "v1", PHOTO, camera="x")
    assert world.fact(put("cards/a.jpg")).annotated
    assert not world.fact(put("cards/b.jpg")).annotated


def test_one_bad_message_of_three_comes_again_alone(world: World) -> None:
    for key in ("cards/a.jpg", "cards/c.jpg"):
        world.uploads.put(key, "v1", PHOTO)
    records = [
        record(created("cards/a.jpg"), "m1"),
        record(created("cards/b.jpg", None), "m2"),
        record(created("cards/c.jpg"), "m3"),
    ]
    again = world.gate.take(records, lambda: 100.0)
    assert list(again) == ["m2"]
    assert isinstance(again["m2"], EventWithoutVersion)
    assert [message["key"] for message in world.queue.messages] == ["cards/a.jpg", "cards/c.jpg"]


def test_a_sandbox_that_does_not_start_is_no_verdict(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    world.converter.answer = DecoderNotStarted("no")
    assert list(world.gate.take([record(created("cards/a.jpg"))], lambda: 100.0)) == ["m1"]
    assert not world.queue.messages
    assert not world.artifacts.objects


def test_nothing_is_begun_that_cannot_be_finished_in_time(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    left = iter([100.0, 59.0])
    records = [record(created("cards/a.jpg"), "m1"), record(created("cards/a.jpg"), "m2")]
    assert world.gate.take(records, lambda: next(left)) == {"m2": None}
    assert len(world.queue.messages) == 1


def test_facts_that_cannot_be_sent_bring_the_whole_batch_again(world: World) -> None:
    world.uploads.put("cards/a.jpg", "v1", PHOTO)
    world.queue.refuses = True
    with pytest.raises(QueueRefused):
        world.gate.take([record(created("cards/a.jpg"))], lambda: 100.0)
