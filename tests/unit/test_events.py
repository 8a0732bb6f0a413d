"""What is announced when an item changes: which event, about what, under which id; and that schemas hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pixtune.errors import BusRefused
from pixtune.events import schema_files
from pixtune.events.announce import ItemChange, announce, events_for
from pixtune.events.announced import DATA
from pixtune.events.cloud_events import CloudEvent
from pixtune.examples.annotation import Annotation, Part, Turn
from pixtune.examples.facts import ImageData
from pixtune.examples.items import ExampleItem, Slot, State, UploadItem
from pixtune.registry.models import AliasMove, Retiring
from pixtune.training.run import Checkpoint, Failure, Run, RunStatus, TrainingSettings
from pixtune.verdicts import Code, Note, Outcome, Verdict, accepted, rejected

IMAGE = ImageData("a" * 64, "jpeg", 640, 480, 1000, "b" * 64, "png", 640, 480, 1, 0.5, "0" * 16, "r1")
UPLOAD = UploadItem("image", "cats", "cats/a.png", "v1", "01", size=1000, verdict=accepted(), image=IMAGE)
FILE = UploadItem("file", "cats", "cats/a.csv", "v1", "01", size=10, verdict=accepted(), rows=3)
SAID = Annotation((Turn("user", (Part(image=0),)), Turn("assistant", (Part("cat"),))))
SLOT = Slot("file", "cats/a.csv", "v1", "01", "", ("cats/a.png",), (SAID,), "line 2")
EXAMPLE = ExampleItem("cats", "ex_1", {"file-1": SLOT}, state=State.READY, revision=1)
RUN = Run("run_1", "cats", TrainingSettings("local", "local-vision-1"), 1.0, "api", "k")
ASKED = {"state": "asked", "version_digest": "d1", "usd": 9.5, "attempt": 1, "asked_at": 2.0}
WAITING = replace(
    RUN, status=RunStatus.RUNNING, version=3, estimate={"usd": {"low": 1, "mid": 5.5, "high": 9.5}}, approval=ASKED
)
MOVE = AliasMove("cats", "champion", 2, 7, 6, "better", "me", 1.0, "run_1")


def item(value: Any, sk: str, pk: str = "DS#cats#00") -> dict[str, Any]:
    return {**json.loads(json.dumps(value.to_json())), "pk": pk, "sk": sk}


def said(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[CloudEvent]:
    return events_for(ItemChange("e1", "100", 1_800_000_000.25, old, new))


def types(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
    return [event.type for event in said(old, new)]


REJECTED = rejected(Code.TRUNCATED, "ends early", "upload it again", Note(Code.DUPLICATE, "same as b.png"))
FIXED = Verdict(Outcome.FIXED, Code.CONVERTED, "rotated")
NUMBERED = {"pk": "DS#cats", "sk": "VERSION#d1", "dataset": "cats", "version": 3, "digest": "d1"}
CASES: dict[str, dict[str, Any]] = {
    "pixtune.image.accepted.v1": item(UPLOAD, "IMAGE#1"),
    "pixtune.image.fixed.v1": item(replace(UPLOAD, verdict=FIXED), "IMAGE#1"),
    "pixtune.image.rejected.v1": item(replace(UPLOAD, verdict=REJECTED, image=None), "IMAGE#1"),
    "pixtune.annotations.accepted.v1": item(FILE, "SOURCE#1"),
    "pixtune.annotations.rejected.v1": item(replace(FILE, verdict=REJECTED), "SOURCE#1"),
    "pixtune.example.ready.v1": item(EXAMPLE, "EXAMPLE#1"),
    "pixtune.example.held.v1": item(
        replace(EXAMPLE, state=State.HELD, conflict=({"key": "cats/a.csv", "reason": "says dog"},)), "EXAMPLE#1"
    ),
    "pixtune.example.waiting.v1": item(
        replace(EXAMPLE, state=State.WAITING, waiting_for=({"key": "cats/a.png", "reason": "not there"},)),
        "EXAMPLE#1",
    ),
    "pixtune.dataset.published.v1": NUMBERED | {"counts": {"train": 9}, "manifest_key": "versions/cats/3-d1/m.json"},
    "pixtune.run.requested.v1": item(RUN, "RUN", "RUN#run_1"),
    "pixtune.run.started.v1": item(replace(RUN, status=RunStatus.RUNNING), "RUN"),
    "pixtune.run.succeeded.v1": item(replace(RUN, status=RunStatus.SUCCEEDED, model_version=2), "RUN"),
    "pixtune.run.failed.v1": item(
        replace(RUN, status=RunStatus.FAILED, failure=Failure("dataset_empty", "empty", "add images")), "RUN"
    ),
    "pixtune.run.cancelled.v1": item(replace(RUN, status=RunStatus.CANCELLED), "RUN"),
    "pixtune.run.joined.v1": item(replace(RUN, status=RunStatus.JOINED, joined="run_0"), "RUN"),
    "pixtune.checkpoint.recorded.v1": item(
        Checkpoint("run_1", 10, "ft:1", {"train_loss": 0.5}), "CHECKPOINT#00000010"
    ),
    "pixtune.model.promoted.v1": item(MOVE, "HISTORY#champion#000002"),
    "pixtune.model.retiring.v1": item(
        Retiring("cats", "champion", 7, 3, "openai", "gpt-4o", "2027-01-14", 29, ("local/local-vision-1",)),
        "RETIRING#champion#000007#2027-01-14",
    ),
    "pixtune.model.rolled_back.v1": item(replace(MOVE, returns_to=1), "HISTORY#champion#000002"),
}
OF_OTHERS = {"pixtune.training.requested"}
FROM_A_LIVE_ONE = {"pixtune.example.deleted.v1", "pixtune.run.approval_requested.v1", "pixtune.run.stuck.v1"}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without room for unknown fields, so that a field it forgot is noticed."""
    for part in (schema, *schema.get("$defs", {}).values()):
        part.setdefault("additionalProperties", False)
    return schema


def test_every_type_is_either_sent_by_a_case_below_or_asked_by_others() -> None:
    assert CASES.keys() | OF_OTHERS | FROM_A_LIVE_ONE == DATA.keys()


@pytest.mark.parametrize("event_type", CASES)
def test_a_new_item_is_announced_as_its_schema_says(event_type: str) -> None:
    (event,) = said(None, CASES[event_type])
    assert event.type == event_type
    detail = json.loads(json.dumps(event.to_json()))
    Draft202012Validator(strict(schema_files.schema(event_type))).validate(detail["data"])
    assert detail["specversion"] == "1.0"
    assert detail["time"] == "2027-01-15T08:00:00.250Z"
    assert detail["dataschema"] == schema_files.schema(event_type)["$id"]


@pytest.mark.parametrize("event_type", CASES)
def test_writing_an_item_again_unchanged_announces_nothing(event_type: str) -> None:
    again = CASES[event_type] | ({"v": 9} if "v" in CASES[event_type] else {})
    assert types(CASES[event_type], again) == []


def test_a_job_found_stuck_is_announced_once_and_again_after_it_has_moved() -> None:
    waiting = replace(
        RUN, status=RunStatus.RUNNING, provider_job_id="j1", provider_status="queued", waiting_since=100.0
    )
    before, stuck = item(waiting, "RUN"), item(replace(waiting, stuck_at=400.0), "RUN")
    (event,) = said(before, stuck)
    assert (event.type, event.data["waited_seconds"], event.data["provider_job_id"]) == (
        ("pixtune.run.stuck.v1", 300, "j1")
    )
    Draft202012Validator(strict(schema_files.schema(event.type))).validate(json.loads(json.dumps(event.data)))
    assert types(stuck, stuck | {"observed_at": 500.0}) == []
    moved = item(replace(waiting, provider_status="running", waiting_since=None), "RUN")
    assert types(stuck, moved) == []
    assert types(moved, stuck) == ["pixtune.run.stuck.v1"]


def test_the_committed_schemas_are_the_ones_the_classes_make() -> None:
    committed = {path.stem: path.read_text() for path in schema_files.FOLDER.glob("*.json")}
    assert committed == {event_type: schema_files.text(event_type) for event_type in DATA}, (
        "run: python -m pixtune.events.schema_files"
    )


def test_what_others_ask_with_may_name_the_dataset_alone() -> None:
    validator = Draft202012Validator(schema_files.schema("pixtune.training.requested"))
    validator.validate({"dataset": "cats"})
    assert not validator.is_valid({"provider": "local"})


def test_the_same_record_gets_the_same_event_id_and_another_record_another() -> None:
    new = CASES["pixtune.run.requested.v1"]
    first, again = said(None, new)[0].id, said(None, new)[0].id
    other = events_for(ItemChange("e2", "101", 0.0, None, new))[0].id
    assert first == again != other


def test_a_deleted_example_is_announced_only_if_it_ever_was_one() -> None:
    tombstone = item(replace(EXAMPLE, state=State.DELETED, revision=2), "EXAMPLE#1")
    assert types(item(EXAMPLE, "EXAMPLE#1"), tombstone) == ["pixtune.example.deleted.v1"]
    assert types(None, tombstone) == []


def test_an_example_that_changes_while_ready_is_announced_again() -> None:
    assert types(item(EXAMPLE, "E"), item(EXAMPLE, "E")) == []
    changed = item(replace(EXAMPLE, revision=2), "EXAMPLE#1")
    assert types(item(EXAMPLE, "EXAMPLE#1"), changed) == ["pixtune.example.ready.v1"]


def test_a_version_is_announced_when_its_manifest_lies_there_not_when_it_gets_its_number() -> None:
    assert types(None, NUMBERED) == []
    assert types(NUMBERED, CASES["pixtune.dataset.published.v1"]) == ["pixtune.dataset.published.v1"]


def test_a_new_version_of_an_upload_is_judged_again_even_with_the_same_verdict() -> None:
    again = item(replace(UPLOAD, version_id="v2", sequencer="02"), "IMAGE#1")
    assert types(CASES["pixtune.image.accepted.v1"], again) == ["pixtune.image.accepted.v1"]


def test_a_deleted_upload_and_a_base_model_s_checkpoint_announce_nothing() -> None:
    assert types(CASES["pixtune.image.accepted.v1"], item(replace(UPLOAD, deleted=True), "IMAGE#1")) == []
    assert types(None, item(Checkpoint("run_1", 0, "base"), "CHECKPOINT#00000000")) == []


def test_a_question_of_costs_is_announced_once_and_its_answer_is_no_question() -> None:
    before, waiting = item(replace(WAITING, approval=None), "RUN"), item(WAITING, "RUN")
    (event,) = said(before, waiting)
    assert event.type == "pixtune.run.approval_requested.v1"
    data = json.loads(json.dumps(event.to_json()))["data"]
    Draft202012Validator(strict(schema_files.schema(event.type))).validate(data)
    assert (data["usd_mid"], data["usd_high"], data["version"]) == (5.5, 9.5, 3)
    assert types(waiting, item(replace(WAITING, turn=1), "RUN")) == []
    assert types(waiting, item(replace(WAITING, approval=ASKED | {"state": "approved"}), "RUN")) == []
    asked_again = replace(WAITING, approval=ASKED | {"attempt": 2, "usd": None}, estimate=None)
    (event,) = said(waiting, item(asked_again, "RUN"))
    assert event.to_json()["data"]["usd_high"] is None


def test_a_resumed_run_is_requested_again_under_its_next_attempt() -> None:
    failed = CASES["pixtune.run.failed.v1"]
    (event,) = said(failed, item(replace(RUN, attempt=2), "RUN"))
    assert (event.type, event.data["attempt"]) == ("pixtune.run.requested.v1", 2)


@pytest.mark.parametrize(
    "sk", ["REF#1#2", "FROM#1#2", "STEM#1#2", "METRIC#1", "EVENT#1#x", "TRAINING", "OPEN", "COUNTER"]
)
def test_hints_and_bookkeeping_mean_nothing_to_others(sk: str) -> None:
    assert types(None, {"pk": "x", "sk": sk}) == []


def test_an_item_that_expired_or_was_removed_announces_nothing() -> None:
    assert types(CASES["pixtune.run.requested.v1"], None) == []


class Heard:
    def __init__(self, refusing: bool = False) -> None:
        self.events: list[CloudEvent] = []
        self._refusing = refusing

    def publish(self, events: Sequence[CloudEvent]) -> None:
        if self._refusing:
            raise BusRefused("took 0 of 1")
        self.events += events


def test_an_unreadable_change_stops_the_batch_there_and_holds_up_nothing_before_it() -> None:
    good, bad = CASES["pixtune.run.requested.v1"], {"pk": "RUN#x", "sk": "RUN"}
    changes = [ItemChange(f"e{n}", str(n), 0.0, None, new) for n, new in enumerate([good, bad, good])]
    bus = Heard()
    done = announce(changes, bus)
    assert (done.events, done.stuck_at) == (1, "1")
    assert isinstance(done.error, KeyError)
    assert [event.id for event in bus.events] == ["e0-0"]


def test_a_bus_that_refuses_brings_the_whole_batch_back() -> None:
    with pytest.raises(BusRefused):
        announce([ItemChange("e", "1", 0.0, None, CASES["pixtune.run.requested.v1"])], Heard(refusing=True))
