"""Pictures inside annotation files: taken out of rows, judged by the gate, waited for, and gone with their file."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, TypeVar

import pytest
from tests.fakes.examples import MemoryArtifacts, MemoryQueue, MemoryUploads
from tests.fakes.facts import DATASET, NOW, Table
from tests.unit import drawn

from pixtune.annotations.layouts import read_file
from pixtune.annotations.read import Pictures, ReadAnnotations
from pixtune.annotations.reading import Reading
from pixtune.datasets.settle import Ingest
from pixtune.events.s3 import reconcile_message
from pixtune.examples.facts import ImageFact, read_facts
from pixtune.examples.items import State
from pixtune.examples.overview import summary, upload
from pixtune.examples.ports import one_by_one
from pixtune.images.convert import convert
from pixtune.images.converted import Converted
from pixtune.images.ingest import Gate
from pixtune.images.recipe import Recipe
from pixtune.keys import inline_hash
from pixtune.verdicts import Code

T = TypeVar("T")
R = TypeVar("R")
PHOTO, OTHER = drawn.jpeg(drawn.photo(320, 240)), drawn.jpeg(drawn.photo(300, 200))


def data_url(body: bytes = PHOTO, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{b64encode(body).decode()}"


def key_of(body: bytes = PHOTO) -> str:
    return f"{DATASET}/inline/{sha256(body).hexdigest()}"


def chat(*images: Any, answer: str = "a gradient") -> dict[str, Any]:
    """A chat row whose question shows these parts."""
    return {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, *images]},
            {"role": "assistant", "content": answer},
        ]
    }


def shown(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def talk(question: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": "x"}]


CHOSEN = {"from_name": "c", "value": {"choices": ["x"]}}


def read(name: str, values: Any) -> tuple[Reading, set[bytes]]:
    kept: set[bytes] = set()

    def keep(body: bytes) -> str:
        kept.add(body)
        return key_of(body)

    return read_file(f"{DATASET}/{name}", json.dumps(values).encode(), "uploads", keep), kept


# ------------------------------------------------------------------------------ out of the rows


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("chat.jsonl", chat(shown(data_url()))),
        ("chat.jsonl", chat({"type": "image", "url": data_url()})),
        ("chat.jsonl", chat({"type": "image", "path": data_url()})),
        ("chat.jsonl", chat({"type": "image", "base64": b64encode(PHOTO).decode()})),
        ("chat.jsonl", chat({"type": "image", "base64": data_url()})),
        ("chat.json", [chat(shown(data_url(kind="application/octet-stream")))]),
        ("a.json", chat(shown(data_url()))),
        ("llava.jsonl", {"image": data_url(), "conversations": talk("<image>?")}),
        ("shared.json", {"images": [data_url()], "conversations": talk("?")}),
        ("metadata.jsonl", {"file_name": data_url(), "text": "x"}),
        ("b.json", {"images": [data_url()], "answer": "x"}),
        ("tasks.json", [{"data": {"image": data_url()}, "annotations": [{"result": [CHOSEN]}]}]),
    ],
)
def test_a_row_may_hold_its_picture_itself(name: str, values: Any) -> None:
    reading, kept = read(name, values)
    assert (reading.refusal, reading.problems) == (None, ())
    assert [row.images for row in reading.rows] == [(key_of(),)]
    assert kept == {PHOTO}


def test_a_row_may_show_pictures_of_its_own_beside_uploads() -> None:
    reading, kept = read("chat.jsonl", chat(shown("a.jpg"), shown(data_url()), shown(data_url(OTHER))))
    assert [row.images for row in reading.rows] == [(f"{DATASET}/a.jpg", key_of(), key_of(OTHER))]
    assert kept == {PHOTO, OTHER}


def test_base64_may_be_wrapped_and_its_padding_missing_as_in_browsers() -> None:
    text = b64encode(PHOTO + b"\0").decode().rstrip("=")
    wrapped = "\r\n".join(text[first : first + 76] for first in range(0, len(text), 76))
    assert read("chat.jsonl", chat(shown(f"data:image/jpeg;base64,{wrapped}")))[1] == {PHOTO + b"\0"}


def test_a_data_url_in_words_is_words() -> None:
    reading, kept = read("metadata.jsonl", {"file_name": "a.jpg", "text": data_url(b"x")})
    assert (len(reading.rows), kept) == (1, set())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:image/png,abc", "without ';base64,'"),
        ("data:image/png;base64", "without ';base64,'"),
        ("data:image/png;base64,", "of no bytes"),
        ("data:image/png;base64,====", "of no bytes"),
        ("data:image/png;base64,a", "cannot be read"),
        ("data:image/png;base64,ab_c", "cannot be read"),
        ("data:image/png;base64,äöü=", "cannot be read"),
    ],
)
def test_a_picture_that_cannot_be_decoded_is_told_with_its_place(url: str, said: str) -> None:
    reading, kept = read("chat.jsonl", chat(shown(url)))
    notes = reading.refusal.warnings if reading.refusal else ()
    problems = [(one.code, one.detail) for one in reading.problems] or [(one.code, one.detail) for one in notes]
    ((code, detail),) = problems
    assert (code, kept) == (Code.BAD_DATA_URL, set())
    assert "messages[0].content[1].image_url.url" in detail
    assert said in detail


def test_a_row_without_end_is_left_to_its_reader() -> None:
    values: Any = {"url": data_url()}
    for _ in range(900):
        values = {"image": values}
    assert read("chat.jsonl", {"messages": values})[1] == set()


# ------------------------------------------------------------------------------ from the file to the row


class Direct:
    """Converts in this process."""

    longest_seconds = 60.0

    def convert(self, data: bytes, recipe: Recipe) -> Converted:
        return convert(data, recipe)


class World(Table):
    """The reader, the gate and the join, and the queues between them."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = MemoryUploads()
        self.image_facts, self.annotation_facts = MemoryQueue(), MemoryQueue()
        self.reader = ReadAnnotations(self.uploads, self.annotation_facts, self.artifacts, self.images)
        self.gate = Gate(self.uploads, self.artifacts, Direct(), self.image_facts)
        self.count = 0

    def put(self, name: str, body: bytes | None) -> dict[str, Any]:
        """Upload (or, with None, delete), and the event S3 sends for it."""
        self.count += 1
        version = self.uploads.put(f"{DATASET}/{name}", body)
        item = {"key": version.key, "version-id": version.version_id, "sequencer": f"{self.count:04x}", "size": 1}
        detail: dict[str, Any] = {"bucket": {"name": "uploads"}, "object": item}
        if body is None:
            detail |= {"reason": "DeleteObject", "deletion-type": "Delete Marker Created"}
        return {"detail-type": "Object Deleted" if body is None else "Object Created", "detail": detail}

    def rows_file(self, *rows: Any) -> dict[str, Any]:
        return self.put("chat.jsonl", "\n".join(map(json.dumps, rows)).encode())

    def read_file(self, event: dict[str, Any]) -> None:
        assert self.reader.take([{"messageId": "1", "body": json.dumps(event)}]) == {}

    def work(self) -> None:
        """Until nothing waits in any queue."""
        while self.images.sent or self.image_facts.sent or self.annotation_facts.sent or self.annotations.sent:
            while self.annotations.sent:
                self.read_file(json.loads(self.annotations.sent.pop()))
            while self.images.sent:
                assert self.gate.take([{"messageId": "1", "body": self.images.sent.pop()}], lambda: 900.0) == {}
            for queue, kind in ((self.annotation_facts, "annotation"), (self.image_facts, "image")):
                while queue.sent:
                    self.each(*read_facts(kind, queue.sent.pop(0)))

    def missing(self) -> dict[str, str]:
        ingest = Ingest(self.uploads, self.table, self.join.images, self.join.annotations)
        return {one.key: one.reason for one in ingest.outstanding(DATASET, NOW.timestamp())}


@pytest.fixture
def world() -> World:
    return World()


def test_a_row_with_its_picture_becomes_ready_and_a_redelivery_changes_nothing(world: World) -> None:
    event = world.rows_file(chat(shown(data_url())))
    world.read_file(event)
    assert world.artifacts.objects[f"inline/{sha256(PHOTO).hexdigest()}"] == PHOTO
    world.work()
    (row,) = world.folded().values()
    assert (row.images[0].upload, row.images[0].version_id) == (key_of(), sha256(PHOTO).hexdigest())
    assert row.images[0].image.source_width == 320
    assert summary(world.table, DATASET)["inline"] == {"accepted": 1, "fixed": 0, "rejected": 0}
    assert summary(world.table, DATASET)["uploads"]["rejected"] == 0
    assert world.missing() == {}
    before = dict(world.table.items)
    world.read_file(event)
    world.work()
    assert {row.revision for row in world.log()} == {1}
    assert {place for place, item in world.table.items.items() if item != before[place]} <= {
        place for place in before if place.sk.startswith("EXAMPLE#")
    }  # an example's v counts every look


def test_whichever_of_the_row_and_its_picture_comes_first(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(data_url()))))
    facts, world.annotation_facts.sent = world.annotation_facts.sent, []
    world.work()
    assert world.folded() == {}
    world.annotation_facts.sent = facts
    world.work()
    assert len(world.folded()) == 1


def test_a_picture_that_cannot_be_used_leaves_its_row_waiting_with_the_verdict(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(data_url(b"no picture")))))
    world.work()
    example = world.only_example()
    assert example.state is State.WAITING
    assert "was rejected: not_an_image" in example.waiting_for[0]["reason"]
    judged = upload(world.table, DATASET, key_of(b"no picture"))
    assert judged
    assert judged["verdict"]["code"] == "not_an_image"
    assert summary(world.table, DATASET)["inline"]["rejected"] == 1
    assert world.missing() == {}


def test_rows_of_a_deleted_file_go_and_its_pictures_are_counted_no_more(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(data_url()))))
    world.work()
    world.read_file(world.put("chat.jsonl", None))
    world.work()
    assert world.folded() == {}
    assert summary(world.table, DATASET)["inline"]["accepted"] == 0
    assert world.missing() == {}


def test_training_waits_for_a_picture_inside_a_file(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(data_url()))))
    lost = world.images.sent.pop()
    world.work()
    assert world.missing() == {key_of(): f"the picture, inside {DATASET}/chat.jsonl, has no verdict yet"}
    ingest = Ingest(world.uploads, world.table, world.images, world.annotations)
    ingest.send_again(ingest.outstanding(DATASET, NOW.timestamp()))
    assert [json.loads(lost)] == world.images.bodies()
    world.work()
    assert (world.missing(), len(world.folded())) == ({}, 1)


def test_a_picture_inside_a_file_is_converted_again_under_another_recipe(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(data_url()))))
    world.work()
    world.read_file(world.put("dataset.toml", b'detail = "low"'))
    world.work()
    assert "it was converted as" in world.missing()[key_of()]
    ingest = Ingest(world.uploads, world.table, world.images, world.annotations)
    ingest.send_again(ingest.outstanding(DATASET, NOW.timestamp()))
    world.work()
    (row,) = world.folded().values()
    assert (world.missing(), row.images[0].image.recipe) == ({}, Recipe.low().id)


def test_an_upload_at_the_key_of_such_a_picture_is_refused_and_never_trained_on(world: World) -> None:
    world.images.sent.append(json.dumps(world.put(f"inline/{sha256(PHOTO).hexdigest()}", OTHER)))
    world.read_file(world.rows_file(chat(shown(data_url()))))
    world.work()
    assert "was rejected: reserved_key" in world.only_example().waiting_for[0]["reason"]
    world.images.sent.append(json.dumps(world.put(f"inline/{sha256(PHOTO).hexdigest()}", None)))
    world.work()
    world.read_file(world.rows_file(chat(shown(data_url()))))  # dropped again: looked for again
    world.work()
    (row,) = world.folded().values()
    assert row.images[0].image.source_width == 320


def test_a_row_that_names_such_a_picture_without_bringing_it_waits_and_holds_nobody_up(world: World) -> None:
    world.read_file(world.rows_file(chat(shown(f"s3://uploads/{key_of()}"))))
    world.work()
    assert world.only_example().waiting_for[0]["reason"] == "has not arrived"
    assert world.missing() == {}
    world.read_file(world.put("other.jsonl", json.dumps(chat(shown(data_url()), answer="a gradient")).encode()))
    world.work()
    assert len(world.folded()) == 1


def test_the_gate_answers_a_look_at_such_a_picture_with_its_hash_as_version(world: World) -> None:
    world.artifacts.put_once(f"inline/{sha256(PHOTO).hexdigest()}", PHOTO, "")
    message = {"messageId": "1", "body": json.dumps(reconcile_message("uploads", key_of(), None))}
    assert world.gate.take([message], lambda: 900.0) == {}
    (fact,) = read_facts("image", world.image_facts.sent[0])
    assert isinstance(fact, ImageFact)
    assert (fact.version_id, fact.sequencer, fact.expected) == (inline_hash(key_of()), "", None)


class Failing(MemoryArtifacts):
    def put_once(self, key: str, body: bytes, content_type: str) -> bool:
        raise OSError(key)


def test_nothing_is_sent_of_a_file_whose_pictures_cannot_be_stored() -> None:
    uploads, facts, images = MemoryUploads(), MemoryQueue(), MemoryQueue()
    reader = ReadAnnotations(uploads, facts, Failing(), images)
    uploads.put(f"{DATASET}/chat.jsonl", json.dumps(chat(shown(data_url()))).encode())
    event = reconcile_message("uploads", f"{DATASET}/chat.jsonl", None)
    assert list(reader.take([{"messageId": "1", "body": json.dumps(event)}])) == ["1"]
    assert (facts.sent, images.sent) == ([], [])


def test_pictures_are_stored_once_and_a_hundred_together() -> None:
    portions: list[int] = []
    artifacts = MemoryArtifacts()

    class Counting:
        def __call__(self, function: Callable[[T], R], values: Iterable[T], /) -> list[R]:
            answers = one_by_one(function, values)
            portions.append(len(answers))
            return answers

    pictures = Pictures(DATASET, artifacts, Counting())
    for number in [*range(250), *range(250)]:
        pictures.keep(b"%d" % number)
    pictures.store()
    assert (portions, len(artifacts.objects)) == ([100, 100, 50], 250)
