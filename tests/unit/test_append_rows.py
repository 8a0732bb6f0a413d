"""Facts in any order, any number of times: what the table and the log of rows come to."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest
from tests.fakes.facts import DATASET, NOW, Table, closing, deleted_image, put_image, row_fact, said, source

from pixtune.errors import SegmentNotStored
from pixtune.events.s3 import Change, Generation, padded
from pixtune.examples.append import Message, messages_of
from pixtune.examples.facts import Fact, Source
from pixtune.examples.items import State


@pytest.fixture
def ingest() -> Table:
    return Table()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_image_row_and_closing_fact_make_one_row_in_any_order(ingest: Table, order: tuple[int, ...]) -> None:
    facts: list[Fact] = [put_image(), row_fact("cat"), closing()]
    ingest.each(*(facts[number] for number in order))
    (row,) = ingest.folded().values()
    assert row.annotation == said("cat")
    assert [(image.upload, image.version_id) for image in row.images] == [("pets/a.jpg", "v1")]
    assert row.sources == ("pets/metadata.csv",)


def test_a_redelivery_appends_an_equal_row_that_folds_away(ingest: Table) -> None:
    for _ in range(3):
        ingest.each(put_image(), row_fact(), closing())
    assert len({row.to_line() for row in ingest.log()}) == 1
    assert ingest.only_example().revision == 1


def test_a_late_put_does_not_resurrect_a_deleted_image(ingest: Table) -> None:
    ingest.each(row_fact(), closing(), deleted_image(at=2), put_image(at=1))
    assert ingest.only_example().state is State.WAITING
    assert ingest.folded() == {}


def test_deleting_the_image_leaves_a_tombstone_and_says_what_is_waited_for(ingest: Table) -> None:
    ingest.each(put_image(at=1), row_fact(), closing(), deleted_image(at=2))
    assert [row.deleted for row in ingest.log()] == [False, True]
    assert ingest.only_example().waiting_for == ({"key": "pets/a.jpg", "reason": "was deleted"},)


def test_an_overwritten_image_gives_a_row_with_its_new_version(ingest: Table) -> None:
    ingest.each(put_image(at=1, number=1), row_fact(), closing(), put_image(at=2, number=2))
    (row,) = ingest.folded().values()
    assert (row.revision, row.images[0].version_id, row.images[0].image.sha256) == (2, "v2", f"{2:064x}")


def test_a_lifecycle_rule_archives_the_upload_and_leaves_its_example_alone(ingest: Table) -> None:
    ingest.each(put_image(at=1), row_fact(), closing(), deleted_image(at=2, change=Change.ARCHIVED))
    assert ingest.only_example().state is State.READY
    assert len(ingest.folded()) == 1


def test_an_archived_image_whose_put_comes_late_is_still_used(ingest: Table) -> None:
    ingest.each(deleted_image(at=2, change=Change.ARCHIVED), row_fact(), closing(), put_image(at=1))
    assert ingest.only_example().state is State.READY


def test_a_rejected_image_is_named_with_its_reason(ingest: Table) -> None:
    ingest.each(row_fact(), closing(), put_image(bad=True))
    (waiting,) = ingest.only_example().waiting_for
    assert waiting == {"key": "pets/a.jpg", "reason": "was rejected: truncated: it ends early"}


def test_two_questions_about_one_photo_are_two_examples(ingest: Table) -> None:
    ingest.each(put_image(), row_fact("cat", "what?"), row_fact("two", "how many?"), closing(2))
    assert sorted(
        row.annotation.turns[-1].parts[0].text or "" for row in ingest.folded().values() if row.annotation
    ) == [
        "cat",
        "two",
    ]


def test_two_sources_that_disagree_hold_the_example_and_both_are_shown(ingest: Table) -> None:
    other = source("more.jsonl", at=5)
    ingest.each(put_image(), row_fact("cat"), closing(), row_fact("dog", by=other), closing(by=other))
    example = ingest.only_example()
    assert example.state is State.HELD
    assert {(shown["key"], shown["where"], shown["reason"]) for shown in example.conflict} == {
        ("pets/metadata.csv", "line 1", "says 'cat'"),
        ("pets/more.jsonl", "line 1", "says 'dog'"),
    }
    assert ingest.folded() == {}


def test_a_conflict_ends_when_one_of_the_files_is_deleted(ingest: Table) -> None:
    other = source("more.jsonl", at=5)
    ingest.each(put_image(), row_fact("cat"), closing(), row_fact("dog", by=other), closing(by=other))
    ingest.each(closing(0, by=source("more.jsonl", at=6), change=Change.DELETED))
    (row,) = ingest.folded().values()
    assert row.annotation == said("cat")


def test_sources_that_agree_are_one_annotation_and_complete_each_other(ingest: Table) -> None:
    other = source("more.jsonl", at=5)
    ingest.each(
        put_image(),
        row_fact("cat", fields={"license": "CC0"}),
        closing(),
        row_fact("cat", by=other, split="test"),
        closing(by=other),
    )
    (row,) = ingest.folded().values()
    assert row.annotation == said("cat", split="test", fields={"license": "CC0"})
    assert row.sources == ("pets/metadata.csv", "pets/more.jsonl")


def test_the_api_decides_a_conflict(ingest: Table) -> None:
    other, api = source("more.jsonl", at=5), Source("api", "api", "1", padded("01"))
    ingest.each(put_image(), row_fact("cat"), closing(), row_fact("dog", by=other), closing(by=other))
    ingest.each(row_fact("fox", by=api))
    (row,) = ingest.folded().values()
    assert (row.annotation, row.sources) == (said("fox"), ("api",))
    ingest.each(replace(row_fact("fox", by=replace(api, version_id="2", sequencer=padded("02"))), annotations=()))
    assert ingest.only_example().state is State.HELD


def test_a_row_dropped_from_its_file_dies_and_a_late_one_of_the_old_version_is_born_dead(ingest: Table) -> None:
    ingest.each(put_image("a.jpg"), put_image("b.jpg"), row_fact("cat"), closing(2))
    new = source(at=2)
    ingest.each(row_fact("cat", by=new), closing(1, by=new))
    ingest.each(row_fact("dog", images=("b.jpg",)))  # the old version's second row, late
    assert [row.annotation for row in ingest.folded().values()] == [said("cat")]
    assert sorted(example.state for example in ingest.examples()) == [State.DELETED, State.READY]


def test_deleting_an_annotation_file_deletes_its_examples(ingest: Table) -> None:
    ingest.each(put_image(), row_fact(), closing(), closing(0, by=source(at=2), change=Change.DELETED))
    assert ingest.only_example().state is State.DELETED
    assert [row.deleted for row in ingest.log()] == [False, True]


def test_an_images_own_metadata_live_and_die_with_its_version(ingest: Table) -> None:
    own = source("a.jpg", at=1, kind="object")
    ingest.each(put_image(at=1, annotated=True), row_fact("cat", by=own), closing(by=own))
    assert len(ingest.folded()) == 1
    ingest.each(put_image(at=2, number=2))
    assert ingest.only_example().state is State.DELETED


def test_an_image_with_metadata_sends_the_reader_to_that_very_version(ingest: Table) -> None:
    ingest.each(put_image(at=1, annotated=True))
    (message,) = ingest.annotations.bodies()
    assert message["detail-type"] == "Upload Metadata"
    assert message["detail"]["object"] == {"key": "pets/a.jpg", "version-id": "v1"}


def test_an_event_that_does_not_say_what_is_current_asks_for_a_reconcile_of_what_the_table_shows(
    ingest: Table,
) -> None:
    ingest.each(put_image(at=1), deleted_image(change=Change.RECHECK))
    (message,) = ingest.images.bodies()
    assert message["detail"]["expected"] == {"version_id": "v1", "sequencer": padded("0001")}


def test_a_reconcile_writes_only_over_what_its_asker_saw(ingest: Table) -> None:
    ingest.each(put_image(at=1), put_image(at=3, number=3))
    stale = replace(put_image(at=2, number=2), sequencer="", expected=Generation("v1", padded("0001")))
    ingest.each(stale, row_fact(), closing())
    (row,) = ingest.folded().values()
    assert row.images[0].version_id == "v3"
    assert [body["detail"]["expected"]["version_id"] for body in ingest.images.bodies()] == ["v3"]  # look again


def test_a_reconcile_keeps_the_sequencer_it_found_so_that_a_late_event_stays_late(ingest: Table) -> None:
    ingest.each(put_image(at=5), replace(put_image(at=1), sequencer="", expected=Generation("v5", padded("0005"))))
    ingest.each(deleted_image(at=4), row_fact(), closing())
    (row,) = ingest.folded().values()
    assert row.images[0].version_id == "v1"


def test_a_sidecar_is_read_again_when_a_second_image_of_its_stem_arrives(ingest: Table) -> None:
    by = source("a.json", at=1, reading="r1")
    sidecar = closing(by=by, stems=("pets/a",), resolved=("pets/a.jpg",))
    ingest.each(sidecar, row_fact(by=by), put_image("a.jpg"))
    assert ingest.annotations.sent == []
    ingest.each(put_image("a.png"))
    (message,) = ingest.annotations.bodies()
    assert message["detail"]["object"] == {"key": "pets/a.json"}
    again = source("a.json", expected=Generation("v1", padded("0001")), reading="r2")
    ambiguous = closing(0, by=again, stems=("pets/a",), resolved=("pets/a.jpg", "pets/a.png"))
    ingest.each(replace(ambiguous, because=message["detail"]["because"]))
    assert ingest.only_example().state is State.DELETED
    assert len(ingest.annotations.sent) == 1


def test_a_sidecar_that_found_what_the_table_does_not_know_yet_is_asked_for_once_a_state(ingest: Table) -> None:
    # The image is gone from the bucket and its deletion has not arrived: reading again would find the same.
    ingest.each(put_image("a.jpg"), closing(0, by=source("a.json"), stems=("pets/a",)))
    (message,) = ingest.annotations.bodies()
    again = source("a.json", expected=Generation("v1", padded("0001")))
    ingest.each(closing(0, by=again, stems=("pets/a",), because=message["detail"]["because"]))
    assert len(ingest.annotations.sent) == 1


def test_a_fact_that_touches_more_than_a_hundred_examples_goes_back_in_pieces(ingest: Table) -> None:
    rows = [row_fact("yes", f"question {number}?") for number in range(230)]
    assert ingest.take(*rows, closing(230)) == {}
    assert ingest.take(put_image()) == {}
    assert [len(body["examples"]) for body in ingest.facts.bodies()] == [100, 100, 30]
    assert ingest.folded() == {}
    ingest.each()
    assert len(ingest.folded()) == 230


def test_a_batch_appends_one_segment_for_each_dataset(ingest: Table) -> None:
    ingest.take(put_image(), put_image("b.jpg", number=2), row_fact(), row_fact(images=("b.jpg",)), closing(2))
    (key,) = ingest.artifacts.objects
    assert key == "rows/pets/2026/11/20/00000000000000000000000001.jsonl"
    assert len(ingest.folded()) == 2


def test_when_the_segment_is_not_stored_every_message_with_a_row_in_it_comes_again(ingest: Table) -> None:
    def refuse(step: str) -> None:
        if step == "put":
            raise ConnectionError("no answer")

    ingest.artifacts.step = refuse
    failed = ingest.take(put_image(), row_fact(), closing(), put_image("lonely.jpg", number=9))
    assert sorted(failed) == ["0", "1", "2"]  # the lonely image has no row
    assert all(isinstance(error, SegmentNotStored) for error in failed.values())


def test_a_bad_message_holds_back_no_other(ingest: Table) -> None:
    good = json.dumps(put_image().to_json())
    messages = [
        Message("no JSON", "image", "{"),
        Message("no fact", "image", "{}"),
        Message("good", "image", good),
        Message("elsewhere", "image", good.replace("pets/a.jpg", "birds/a.jpg")),
    ]
    assert sorted(ingest.join.take(messages, NOW, "s")) == ["elsewhere", "no JSON", "no fact"]


def test_an_annotation_that_comes_through_the_image_facts_queue_is_refused(ingest: Table) -> None:
    records = [
        {
            "messageId": "1",
            "body": json.dumps(row_fact().to_json()),
            "eventSourceARN": "arn:aws:sqs:eu:1:image-facts",
        },
        {"messageId": "2", "body": json.dumps(closing().to_json()), "eventSourceARN": "arn:aws:sqs:eu:1:image-facts"},
        {"messageId": "3", "body": json.dumps(row_fact().to_json()), "eventSourceARN": "arn:aws:sqs:eu:1:other"},
    ]
    failed = ingest.join.take(messages_of(records, "image-facts"), NOW, "s")
    assert sorted(failed) == ["1", "2"]
    assert "came through the image facts queue" in str(failed["1"])


def test_a_decoder_cannot_make_up_where_an_image_lies(ingest: Table) -> None:
    data = put_image().to_json()
    data["image"]["sha256"] = "../verdicts/x"
    failed = ingest.join.take([Message("1", "image", json.dumps(data))], NOW, "s")
    assert list(failed) == ["1"]


def test_a_key_with_every_awkward_character_is_joined(ingest: Table) -> None:
    name = "füß#%41/a b+ü#" + "ж" * 400 + ".jpg"
    ingest.each(put_image(name), row_fact(images=(name,)), closing())
    (row,) = ingest.folded().values()
    assert row.images[0].upload == f"{DATASET}/{name}"


def test_composed_and_decomposed_spellings_of_a_name_are_one_image(ingest: Table) -> None:
    ingest.each(put_image("u\u0308.jpg"), row_fact(images=("\u00fc.jpg",)), closing())
    assert len(ingest.folded()) == 1
