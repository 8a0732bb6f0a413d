"""What read_annotations sends for each kind of event about an annotation file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.examples import MemoryArtifacts, MemoryQueue, MemoryUploads
from tests.fakes.facts import Table, put_image

from pixtune.annotations.read import ReadAnnotations
from pixtune.events.s3 import Change, Generation, metadata_message, padded, reconcile_message
from pixtune.examples.facts import AnnotationFact, Fact, SourceFact, read_facts
from pixtune.examples.overview import summary, upload
from pixtune.verdicts import Code, Outcome


class Reader:
    def __init__(self) -> None:
        self.uploads = MemoryUploads()
        self.queue = MemoryQueue()
        self.artifacts, self.images = MemoryArtifacts(), MemoryQueue()
        self.read = ReadAnnotations(self.uploads, self.queue, self.artifacts, self.images)

    def drop(self, key: str, body: str | None, **metadata: str) -> dict[str, Any]:
        """Upload (or, with None, delete), and the event S3 sends for it."""
        version = self.uploads.put(key, None if body is None else body.encode(), metadata)
        item = {"key": key, "version-id": version.version_id, "sequencer": "0a", "size": version.size}
        detail: dict[str, Any] = {"bucket": {"name": "uploads"}, "object": item}
        if body is None:
            detail |= {"reason": "DeleteObject", "deletion-type": "Delete Marker Created"}
        return {"detail-type": "Object Deleted" if body is None else "Object Created", "detail": detail}

    def facts(self, event: dict[str, Any]) -> list[Fact]:
        self.queue.sent.clear()
        assert self.read.take([{"messageId": "1", "body": json.dumps(event)}]) == {}
        return [fact for body in self.queue.sent for fact in read_facts("annotation", body)]


@pytest.fixture
def reader() -> Reader:
    return Reader()


def closing(facts: list[Fact]) -> SourceFact:
    (fact,) = (fact for fact in facts if isinstance(fact, SourceFact))
    return fact


def rows(facts: list[Fact]) -> list[AnnotationFact]:
    return [fact for fact in facts if isinstance(fact, AnnotationFact)]


def test_a_file_comes_to_a_closing_fact_and_a_fact_a_row(reader: Reader) -> None:
    facts = reader.facts(reader.drop("pets/metadata.csv", "file_name,text\na.jpg,cat\nb.jpg,dog\n"))
    assert isinstance(facts[0], SourceFact)
    assert facts[0].rows == 2
    assert facts[0].verdict
    assert facts[0].verdict.detail == "Read as image folder metadata (CSV): 2 rows."
    assert [(fact.images, fact.where) for fact in rows(facts)] == [
        (("pets/a.jpg",), "line 2"),
        (("pets/b.jpg",), "line 3"),
    ]
    assert {fact.source.sequencer for fact in rows(facts)} == {padded("0a")}


def test_equal_rows_are_one_and_contradicting_rows_are_one_example_in_conflict(reader: Reader) -> None:
    text = "file_name,text\na.jpg,cat\na.jpg,cat\na.jpg,dog\n"
    facts = reader.facts(reader.drop("pets/metadata.csv", text))
    (row,) = rows(facts)
    assert len(row.annotations) == 2
    verdict = closing(facts).verdict
    assert verdict
    assert [(note.code, note.detail[:18]) for note in verdict.warnings] == [(Code.CONFLICT, "line 2, line 4: th")]


def test_an_id_used_for_other_images_is_a_problem_of_the_later_row(reader: Reader) -> None:
    text = "file_name,text,id\na.jpg,cat,1\nb.jpg,dog,1\n"
    facts = reader.facts(reader.drop("pets/metadata.csv", text))
    assert [row.images for row in rows(facts)] == [("pets/a.jpg",)]
    verdict = closing(facts).verdict
    assert verdict
    assert "line 3: The id '1' was used for other images at line 2." in verdict.warnings[0].detail


def test_a_file_without_one_good_row_is_rejected_and_lists_at_most_a_hundred_problems(reader: Reader) -> None:
    text = "file_name,text\n" + "../a.jpg,x\n" * 250
    verdict = closing(reader.facts(reader.drop("pets/metadata.csv", text))).verdict
    assert verdict
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, Code.NO_VALID_ROWS)
    assert len(verdict.warnings) == 101
    assert verdict.warnings[-1].detail == "and 150 more rows."


def test_a_sidecar_is_about_the_one_image_that_shares_its_stem(reader: Reader) -> None:
    reader.drop("pets/a.jpg", "")
    reader.drop("pets/a.b.jpg", "")
    reader.drop("pets/ab.jpg", "")
    facts = reader.facts(reader.drop("pets/a.json", '{"answer": "cat"}'))
    assert [row.images for row in rows(facts)] == [("pets/a.jpg",)]
    assert (closing(facts).stems, closing(facts).resolved) == (("pets/a",), ("pets/a.jpg",))
    assert len(reader.queue.sent) == 1  # one message: all of it arrives or none


def test_a_sidecar_without_an_image_waits_and_says_so(reader: Reader) -> None:
    fact = closing(reader.facts(reader.drop("pets/a.txt", "cat")))
    assert (fact.rows, fact.stems) == (0, ("pets/a",))
    assert fact.verdict
    assert [(fact.verdict.outcome, note.code) for note in fact.verdict.warnings] == [
        (Outcome.ACCEPTED, Code.WAITING_FOR_IMAGE)
    ]


def test_a_sidecar_that_could_mean_two_images_says_which(reader: Reader) -> None:
    for name in ("a.jpg", "a.png", "a.pdf"):
        reader.drop(f"pets/{name}", "")
    fact = closing(reader.facts(reader.drop("pets/a.json", '{"answer": "cat"}')))
    assert (fact.rows, fact.resolved) == (0, ("pets/a.jpg", "pets/a.png"))
    assert fact.verdict
    assert fact.verdict.warnings[0].code is Code.AMBIGUOUS_IMAGE


def test_a_reconcile_reads_what_is_current_and_repeats_what_it_was_asked(reader: Reader) -> None:
    reader.drop("pets/metadata.csv", "file_name,text\na.jpg,cat\n")
    reader.drop("pets/metadata.csv", "file_name,text\na.jpg,dog\n")
    expected = Generation("v1", padded("01"))
    facts = reader.facts(reconcile_message("uploads", "pets/metadata.csv", expected, because="state"))
    assert {fact.source.version_id for fact in rows(facts)} == {"v2"}
    assert (closing(facts).source.sequencer, closing(facts).source.expected) == ("", expected)
    assert closing(facts).because == "state"


def test_a_reconcile_of_a_deleted_file_says_that_it_is_deleted(reader: Reader) -> None:
    reader.drop("pets/metadata.csv", "file_name,text\na.jpg,cat\n")
    reader.drop("pets/metadata.csv", None)
    fact = closing(reader.facts(reconcile_message("uploads", "pets/metadata.csv", None)))
    assert (fact.change, fact.source.version_id, fact.rows) == (Change.DELETED, "v2", 0)


def test_a_deleted_file_is_a_closing_fact_without_rows(reader: Reader) -> None:
    reader.drop("pets/metadata.csv", "file_name,text\na.jpg,cat\n")
    fact = closing(reader.facts(reader.drop("pets/metadata.csv", None)))
    assert (fact.change, fact.rows, fact.verdict) == (Change.DELETED, 0, None)


def test_a_version_that_is_gone_asks_for_a_look_at_what_is_current(reader: Reader) -> None:
    event = reader.drop("pets/metadata.csv", "file_name,text\na.jpg,cat\n")
    reader.uploads.versions["pets/metadata.csv"].clear()
    assert closing(reader.facts(event)).change is Change.RECHECK


def test_an_images_own_metadata_are_read_at_the_version_that_was_named(reader: Reader) -> None:
    reader.drop(
        "pets/a.jpg", "", **{"pixtune-prompt": "=?UTF-8?B?V2FzIGlzdCBkYXM/?=", "pixtune-label": "cat", "owner": "me"}
    )
    reader.drop("pets/a.jpg", "", **{"pixtune-label": "dog"})
    facts = reader.facts(metadata_message("uploads", "pets/a.jpg", "v1", padded("01"), None))
    (row,) = rows(facts)
    assert (row.source.type, row.source.version_id) == ("object", "v1")
    assert row.annotations[0].question() == "Was ist das?"
    assert row.annotations[0].fields == {}
    assert closing(facts).rows == 1


def test_metadata_without_an_answer_describe_no_example_and_say_so(reader: Reader) -> None:
    reader.drop("pets/a.jpg", "", **{"pixtune-license": "CC0"})
    fact = closing(reader.facts(metadata_message("uploads", "pets/a.jpg", "v1", padded("01"), None)))
    assert fact.rows == 0
    assert fact.verdict
    assert fact.verdict.warnings[0].code is Code.FIELD_IGNORED


# ------------------------------------------------------------------------------ tags


def tagged(reader: Reader, tags: dict[str, str], **metadata: str) -> list[Fact]:
    """What the reader says of a picture with these tags and metadata; its version is `v1`."""
    if not reader.uploads.versions:
        reader.drop("pets/a.jpg", "", **metadata)
        reader.read = replace(reader.read, reads_tags=True)
    reader.uploads.versions["pets/a.jpg"][0].tags.clear()
    reader.uploads.versions["pets/a.jpg"][0].tags.update(tags)
    return reader.facts(metadata_message("uploads", "pets/a.jpg", "v1", padded("01"), None))


def answers(facts: list[Fact]) -> list[str | None]:
    return [said.turns[-1].parts[0].text for row in rows(facts) for said in row.annotations]


def test_tags_state_class_split_and_license_and_nothing_else(reader: Reader) -> None:
    facts = tagged(reader, {"class": "cat", "split": "val", "license": "CC0", "team": "x", "pixtune-label": "dog"})
    assert answers(facts) == ["cat"]
    ((said,),) = (row.annotations for row in rows(facts))
    assert (said.split, said.fields) == ("validation", {"license": "CC0"})
    verdict = closing(facts).verdict
    assert verdict
    assert verdict.detail == "Read as object metadata and tags: 1 rows."


def test_tags_fill_what_the_metadata_leave_out(reader: Reader) -> None:
    facts = tagged(
        reader, {"class": "cat", "split": "test"}, **{"pixtune-answer": "a grey cat", "pixtune-prompt": "?"}
    )
    ((said,),) = (row.annotations for row in rows(facts))
    assert (answers(facts), said.question(), said.split) == (["a grey cat"], "?", "test")
    assert said.fields == {"label": "cat"}


def test_tags_that_contradict_the_metadata_are_shown_beside_them(reader: Reader) -> None:
    facts = tagged(reader, {"class": "dog"}, **{"pixtune-label": "cat"})
    assert answers(facts) == ["cat", "dog"]
    verdict = closing(facts).verdict
    assert verdict
    assert [note.code for note in verdict.warnings] == [Code.CONFLICT]


@pytest.mark.parametrize("tags", [{"team": "x"}, {"license": "CC0"}, {"class": "cat", "split": "nowhere"}])
def test_tags_that_say_nothing_take_back_what_they_said_before(reader: Reader, tags: dict[str, str]) -> None:
    before, after = tagged(reader, {"class": "cat"}), tagged(reader, tags)
    assert answers(before) == ["cat"]
    assert (answers(after), closing(after).rows) == ([], 1)
    assert [row.example_id for row in rows(after)] == [row.example_id for row in rows(before)]


def test_tags_are_not_even_asked_for_where_the_deployment_does_not_read_them(reader: Reader) -> None:
    reader.drop("pets/a.jpg", "", **{"pixtune-label": "cat"})
    reader.uploads.step = lambda step: pytest.fail(step) if step == "get tags" else None
    facts = reader.facts(metadata_message("uploads", "pets/a.jpg", "v1", padded("01"), None))
    assert answers(facts) == ["cat"]


def test_an_image_whose_tags_say_nothing_is_unlabelled_and_no_example(reader: Reader) -> None:
    table = Table()
    table.each(put_image("a.jpg", annotated=True), *tagged(reader, {"team": "x"}))
    shown = summary(table.table, "pets")
    assert (shown["unlabelled"], sum(shown["examples"].values())) == (1, 0)
    story = upload(table.table, "pets", "pets/a.jpg")
    assert story
    assert story["examples"] == []


@pytest.mark.parametrize(
    ("key", "code"),
    [("metadata.csv", Code.NO_DATASET), ("Pets/metadata.csv", Code.NO_DATASET), ("pets/._a.json", Code.JUNK_FILE)],
)
def test_a_file_that_is_out_of_place_gets_its_verdict(reader: Reader, key: str, code: Code) -> None:
    fact = closing(reader.facts(reader.drop(key, "x")))
    assert fact.verdict
    assert fact.verdict.code is code


def test_a_huge_file_is_refused_by_its_size_before_a_byte_is_read(reader: Reader) -> None:
    event = reader.drop("pets/metadata.csv", "x")
    event["detail"]["object"]["size"] = 60_000_000
    reader.uploads.step = lambda step: pytest.fail(step)
    fact = closing(reader.facts(event))
    assert fact.verdict
    assert fact.verdict.code is Code.FILE_TOO_LARGE


def test_settings_travel_in_the_closing_fact(reader: Reader) -> None:
    fact = closing(reader.facts(reader.drop("pets/dataset.toml", 'prompt = "What is it?"')))
    assert (fact.rows, fact.settings) == (0, {"prompt": "What is it?"})
    assert fact.verdict
    assert fact.verdict.outcome is Outcome.ACCEPTED


def test_a_bad_message_holds_back_no_other(reader: Reader) -> None:
    good = json.dumps(reader.drop("pets/a.txt", "cat"))
    unversioned = json.dumps(
        {"detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": {"key": "pets/a.txt"}}}
    )
    records = [{"messageId": name, "body": body} for name, body in (("1", unversioned), ("2", good), ("3", "{"))]
    assert sorted(reader.read.take(records)) == ["1", "3"]
    assert len(reader.queue.sent) == 1
