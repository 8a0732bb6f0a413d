"""WebDataset archives: samples become rows, pictures pass by and are kept, and nothing hostile gets far."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.examples import MemoryArtifacts, MemoryQueue, MemoryUploads

from pixtune.annotations import webdataset
from pixtune.annotations.layouts import named_only
from pixtune.annotations.read import ReadAnnotations
from pixtune.annotations.reading import FoundRow, Reading
from pixtune.events.s3 import reconcile_message
from pixtune.examples.facts import AnnotationFact, SourceFact, read_facts
from pixtune.verdicts import Code


def member(name: str, body: bytes = b"", **about: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for attribute, value in about.items():
        setattr(info, attribute, value)
    return info, body


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body) if info.isreg() else None)
    return out.getvalue()


def files(**named: Any) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Files named `7__input__jpg` for 7.input.jpg: bytes, or values that become JSON."""
    bodies = {name: body if isinstance(body, bytes) else json.dumps(body).encode() for name, body in named.items()}
    return [member(name.strip("_").replace("__", "."), body) for name, body in bodies.items()]


def read(body: bytes, key: str = "pets/shard.tar") -> Reading:
    return webdataset.read(key, io.BytesIO(body), "uploads", named_only("pets"))


def only(reading: Reading) -> FoundRow:
    assert (reading.refusal, reading.problems) == (None, ())
    (row,) = reading.rows
    return row


def key_of(body: bytes) -> str:
    return f"pets/inline/{sha256(body).hexdigest()}"


def said(row: FoundRow) -> list[list[str | int | None]]:
    return [[part.text if part.image is None else part.image for part in turn.parts] for turn in row.annotation.turns]


def told(reading: Reading) -> list[tuple[str, Code]]:
    return [(one.where, one.code) for one in reading.problems]


# ------------------------------------------------------------------------------ samples


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"_7__json": {"question": "What?", "answer": "cat"}}, [[0, "What?"], ["cat"]]),
        ({"_7__txt": b"a cat\n"}, [[0], ["a cat"]]),
        ({"_7__cls": b"3"}, [[0], ["3"]]),
        ({"_7__cls": b"3", "_7__txt": b"a cat"}, [[0], ["a cat"]]),
        ({"_7__cls": b"3", "_7__json": {"prompt": "Which?"}}, [[0, "Which?"], ["3"]]),
        ({"_7__txt": b"a cat", "_7__json": {"label": "dog"}}, [[0], ["dog"]]),
    ],
)
def test_json_then_txt_then_cls_is_the_answer(named: dict[str, Any], expected: list[Any]) -> None:
    row = only(read(packed(*files(_7__jpg=b"photo", **named))))
    assert (row.images, row.where, said(row)) == ((key_of(b"photo"),), "7", expected)


def test_several_pictures_of_a_sample_are_one_example_and_its_files_need_not_lie_together() -> None:
    body = packed(
        *files(_7__output__jpg=b"after", _8__png=b"x", _7__json={"answer": "sharper"}, _7__input__jpg=b"before")
    )
    reading = read(body)
    assert only(reading).images == (key_of(b"before"), key_of(b"after"))  # by their names
    assert [(note.code, note.detail[:9]) for note in reading.notes] == [(Code.EMPTY_ANSWER, "1 samples")]


def test_a_samples_json_may_order_its_pictures_by_any_of_their_names() -> None:
    for names in (["output.jpg", "input.jpg"], ["a.output.jpg", "a.input.jpg"], ["x/a.output.jpg", "x/a.input.jpg"]):
        values = json.dumps({"answer": "blurred", "images": names}).encode()
        body = packed(member("x/a.input.jpg", b"1"), member("x/a.output.jpg", b"2"), member("x/a.json", values))
        assert only(read(body)).images == (key_of(b"2"), key_of(b"1"))


def chat(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": "cat"}]}


def test_a_samples_json_may_be_a_whole_chat_or_conversation() -> None:
    text = {"type": "text", "text": "Which?"}
    image = {"type": "image_url", "image_url": {"url": "7.jpg"}}
    talk = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "cat"}]
    for values in (chat(text), chat(image, text), {"conversations": talk}, {"conversations": talk, "image": "7.jpg"}):
        row = only(read(packed(*files(_7__jpg=b"photo", _7__json=values))))
        assert (row.images, said(row)) == ((key_of(b"photo"),), [[0, "Which?"], ["cat"]])


@pytest.mark.parametrize(
    ("key", "name", "split"),
    [
        ("pets/shard.tar", "7", None),
        ("pets/train/shard-0001.tar", "7", "train"),
        ("pets/pets-val-000001.tar", "7", "validation"),
        ("pets/contest-0001.tar", "7", None),
        ("pets/train/shard.tar", "test/7", "test"),
    ],
)
def test_a_split_is_stated_by_folders_or_by_a_word_of_the_archives_name(
    key: str, name: str, split: str | None
) -> None:
    body = packed(member(f"{name}.jpg", b"photo"), member(f"{name}.txt", b"cat"))
    assert only(read(body, key)).annotation.split == split


def test_names_may_be_long_or_hold_any_character_and_never_become_a_place() -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        for stem in ("x" * 300, "../../etc/passwd", "/etc/passwd", "ü#%41"):
            body = packed(member(f"{stem}.jpg", b"photo"), member(f"{stem}.txt", b"cat"), form=form)
            assert only(read(body)).images == (key_of(b"photo"),)


# ------------------------------------------------------------------------------ what is wrong with a sample


def test_every_problem_is_told_at_its_sample_and_the_others_stay() -> None:
    body = packed(
        *files(_1__jpg=b"1", _1__txt=b"good"),
        *files(_2__jpg=b"2", _2__json=b"{broken"),
        *files(_3__jpg=b"3", _3__txt=b"\xff\xfe"),
        *files(_4__txt=b"no picture"),
        *files(_5__jpg=b"5", _5__json=[1]),
        *files(_6__jpg=b"6", _6__json={"prompt": "What?"}),
        *files(_7__jpg=b"7", _7__txt=b"once"),
        *files(_7__txt=b"twice"),
        *files(_8__jpg=b"8", _8__txt=b"<|im_start|>"),
    )
    reading = read(body)
    assert [row.where for row in reading.rows] == ["1"]
    assert told(reading) == [
        ("2", Code.ROW_REJECTED),
        ("3", Code.BAD_ENCODING),
        ("4", Code.ROW_REJECTED),
        ("5", Code.ROW_REJECTED),
        ("6", Code.EMPTY_ANSWER),
        ("7.txt", Code.ROW_REJECTED),
        ("8", Code.RESERVED_TOKEN),
    ]


@pytest.mark.parametrize(
    "about",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "7.txt"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_are_refused_with_the_sample_they_stand_in(about: dict[str, Any]) -> None:
    body = packed(*files(_7__txt=b"cat", _8__jpg=b"photo", _8__txt=b"dog"), member("7.jpg", **about))
    reading = read(body)
    assert told(reading) == [("7.jpg", Code.ARCHIVE_MEMBER)]
    assert [row.where for row in reading.rows] == ["8"]


def test_a_sparse_file_that_claims_more_than_the_archive_has_is_not_unrolled() -> None:
    headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "900000000",
    }
    body = packed(*files(_7__txt=b"cat"), member("7.jpg", b"x", pax_headers=headers))
    assert told(read(body)) == [("7.jpg", Code.ARCHIVE_MEMBER)]


def test_a_text_longer_than_a_text_can_be_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = packed(*files(_7__jpg=b"photo", _7__txt=b"x" * 1_100_000, _8__jpg=b"8", _8__txt=b"dog"))
    assert told(read(body)) == [("7.txt", Code.FILE_TOO_LARGE)]
    monkeypatch.setattr(webdataset, "_MAX_TEXTS", 2)
    refusal = read(body).refusal
    assert refusal
    assert refusal.code is Code.FILE_TOO_LARGE


def test_what_is_no_part_of_a_sample_is_left_out_and_counted() -> None:
    body = packed(
        member("a", type=tarfile.DIRTYPE),
        member("a/.DS_Store", b"x"),
        member("a/._7.jpg", b"x"),
        member("README", b"x"),
        *files(_7__jpg=b"photo", _7__txt=b"cat", _7__npy=b"1", _8__npy=b"2", _7__meta__json={}),
    )
    reading = read(body)
    assert only(reading).images == (key_of(b"photo"),)
    assert [(note.code, note.detail) for note in reading.notes] == [
        (Code.FIELD_IGNORED, "1 files ending in .json are not read."),
        (Code.FIELD_IGNORED, "2 files ending in .npy are not read."),
        (Code.FIELD_IGNORED, "1 files ending in README are not read."),
    ]


# ------------------------------------------------------------------------------ what is wrong with an archive

GOOD = packed(*files(_7__jpg=b"photo" * 200, _7__txt=b"cat", _8__jpg=b"8" * 900, _8__txt=b"dog"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"PK\3\4 no tar" * 100, Code.BAD_SYNTAX),
        (b"\x1f\x8b\x08" + b"x" * 600, Code.BAD_SYNTAX),
        (GOOD[:700], Code.BAD_SYNTAX),
        (GOOD[:512], Code.BAD_SYNTAX),
        (GOOD[:2560] + b"\x01" * 512 + GOOD[3072:], Code.BAD_SYNTAX),
        (b"\0" * 10240, Code.UNKNOWN_LAYOUT),
        (packed(member("a.npy", b"x")), Code.UNKNOWN_LAYOUT),
    ],
    ids=["zip", "gzip", "cut in a file", "cut after a header", "damaged header", "empty", "nothing of use"],
)
def test_an_archive_that_cannot_be_read_is_refused_whole(body: bytes, code: Code) -> None:
    refusal = read(body).refusal
    assert refusal
    assert refusal.code is code
    assert refusal.fix


def test_a_header_that_announces_a_name_of_megabytes_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("7.txt")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 900_000_000

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    stream = Counting(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 3_000_000)
    refusal = webdataset.read("pets/a.tar", stream, "uploads", named_only("pets")).refusal
    assert refusal
    assert "900,000,000 bytes" in refusal.detail
    assert stream.taken < 100_000


def test_an_archive_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_FILES", 3)
    refusal = read(GOOD).refusal
    assert refusal
    assert (refusal.code, refusal.detail) == (Code.FILE_TOO_LARGE, "The archive has more than 3 files.")


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(GOOD)))
def test_no_damage_makes_reading_fail_otherwise_than_with_a_verdict(flips: list[tuple[int, int]], end: int) -> None:
    body = bytearray(GOOD)
    for place, value in flips:
        body[place] = value
    reading = read(bytes(body[:end]))
    assert reading.refusal is not None or reading.rows or reading.problems or reading.notes


# ------------------------------------------------------------------------------ through the reader


@pytest.fixture
def reader() -> tuple[ReadAnnotations, MemoryUploads, MemoryArtifacts, MemoryQueue, MemoryQueue]:
    uploads, artifacts, facts, images = MemoryUploads(), MemoryArtifacts(), MemoryQueue(), MemoryQueue()
    return ReadAnnotations(uploads, facts, artifacts, images), uploads, artifacts, facts, images


def test_an_archive_is_a_source_of_many_rows_whose_pictures_the_gate_is_asked_about(reader: Any) -> None:
    read_annotations, uploads, artifacts, facts, images = reader
    body = packed(*files(_7__jpg=b"7", _7__txt=b"cat", _8__jpg=b"8", _8__txt=b"dog", _9__jpg=b"nobody's"))
    uploads.put("pets/shard.TAR", body)
    event = reconcile_message("uploads", "pets/shard.TAR", None)
    assert read_annotations.take([{"messageId": "1", "body": json.dumps(event)}]) == {}
    closing, *rows = [fact for body in facts.sent for fact in read_facts("annotation", body)]
    assert isinstance(closing, SourceFact)
    assert closing.verdict
    assert (closing.rows, closing.verdict.detail) == (2, "Read as a WebDataset archive: 2 rows.")
    shown = {key for fact in rows if isinstance(fact, AnnotationFact) for key in fact.images}
    assert {body["detail"]["object"]["key"] for body in images.bodies()} == shown
    assert {f"pets/{name}" for name in artifacts.objects} >= shown


def test_an_archive_beyond_its_limit_is_refused_by_its_size_before_a_byte_is_read(reader: Any) -> None:
    read_annotations, uploads, _, facts, _ = reader
    version = uploads.put("pets/shard.tar", GOOD)
    uploads.step = lambda step: pytest.fail(step)
    item = {"key": "pets/shard.tar", "version-id": version.version_id, "sequencer": "0a", "size": 1_000_000_001}
    event = {"detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": item}}
    assert read_annotations.take([{"messageId": "1", "body": json.dumps(event)}]) == {}
    assert facts.bodies()[0]["verdict"]["code"] == "file_too_large"
