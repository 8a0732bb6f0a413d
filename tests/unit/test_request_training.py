"""Asking for a training: one run for every way of asking twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from tests.fakes.runs import FakeRequests, FakeRuns, FakeWorkflow

from pixtune.errors import RequestConflict
from pixtune.training.request import Requested, TrainingOrder, request_training
from pixtune.training.run import TrainingSettings

ORDER = TrainingOrder("plants", TrainingSettings("local", "tiny"), "api", "key-1", "hash-1")


@dataclass
class Desk:
    runs: FakeRuns = field(default_factory=FakeRuns)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.requests = FakeRequests(self.runs)

    def ask(self, order: TrainingOrder, now: float = 100.0) -> Requested:
        return request_training(
            order,
            now=now,
            new_run_id=lambda: f"run_{next(self.ids)}",
            runs=self.runs,
            requests=self.requests,
            workflow=self.workflow,
        )


def test_a_new_order_becomes_a_run_and_an_execution() -> None:
    desk = Desk()
    assert desk.ask(ORDER) == Requested("run_1", replayed=False, shared=False)
    run = desk.runs.get("run_1")
    assert (run.dataset, run.door, run.request_key, run.requested_at) == ("plants", "api", "key-1", 100.0)
    assert desk.workflow.started == [("run_1", 1)]


def test_a_redelivered_key_is_nothing_new_and_starts_what_a_crash_left_unstarted() -> None:
    desk = Desk()
    desk.ask(ORDER)
    desk.workflow.started.clear()
    assert desk.ask(ORDER, now=500.0) == Requested("run_1", replayed=True, shared=False)
    assert desk.workflow.started == [("run_1", 1)]
    assert desk.runs.get("run_1").requested_at == 100.0


def test_a_redelivered_key_of_an_ended_run_starts_nothing() -> None:
    desk = Desk()
    desk.ask(ORDER)
    desk.runs.update("run_1", {"status": "failed"})
    desk.workflow.started.clear()
    assert desk.ask(ORDER).run_id == "run_1"
    assert desk.workflow.started == []


def test_a_key_used_for_something_else_is_a_conflict() -> None:
    desk = Desk()
    desk.ask(ORDER)
    with pytest.raises(RequestConflict, match="key-1"):
        desk.ask(replace(ORDER, body_hash="hash-2"))
    desk.ask(replace(ORDER, door="marker", body_hash="hash-2"))  # another door's keys are other keys


def test_another_request_before_publishing_shares_the_run_which_then_awaits_what_was_dropped_since() -> None:
    desk = Desk()
    desk.ask(ORDER)
    assert desk.ask(replace(ORDER, request_key="key-2"), now=160.0) == Requested("run_1", False, shared=True)
    assert desk.ask(replace(ORDER, request_key="key-2"), now=170.0) == Requested("run_1", True, shared=True)
    assert desk.runs.get("run_1").requested_at == 160.0


@pytest.mark.parametrize("change", [{"version": 1}, {"status": "failed"}, {"stage": "PublishDataset"}])
def test_another_request_after_publishing_or_ending_gets_a_new_run(change: dict[str, object]) -> None:
    desk = Desk()
    desk.ask(ORDER)
    desk.runs.update("run_1", change)
    assert desk.ask(replace(ORDER, request_key="key-2")) == Requested("run_2", False, False)


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, request_key="key-2", dataset="cats"),
        replace(ORDER, request_key="key-2", settings=TrainingSettings("local", "other")),
        replace(ORDER, request_key="key-2", settings=TrainingSettings("local", "tiny", seed=7)),
        replace(ORDER, request_key="key-2", settings=TrainingSettings("local", "tiny", again=True)),
    ],
)
def test_another_dataset_other_settings_and_training_again_are_other_runs(other: TrainingOrder) -> None:
    desk = Desk()
    desk.ask(ORDER)
    assert desk.ask(other) == Requested("run_2", False, False)


def test_asking_again_twice_trains_twice_but_each_key_once() -> None:
    desk = Desk()
    again = replace(ORDER, settings=TrainingSettings("local", "tiny", again=True))
    keys = ["key-1", "key-2", "key-1"]
    assert [desk.ask(replace(again, request_key=key)).run_id for key in keys] == ["run_1", "run_2", "run_1"]
