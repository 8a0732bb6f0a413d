"""The runs and requests tables and their fakes keep the same promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from tests.fakes.runs import FakeRequests, FakeRuns
from tests.integration.tables import make_tables

from pixtune.aws.items import to_item
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.costs.calibration import Observation
from pixtune.errors import BudgetExceeded, FenceLost, RunEnded, TooManyJobs
from pixtune.training.ports import Requests, TrainingRuns
from pixtune.training.run import (
    Charge,
    Checkpoint,
    Hyperparameters,
    Request,
    Run,
    RunEvent,
    RunStatus,
    TrainingSettings,
)

SETTINGS = TrainingSettings("local", "tiny")
NOW = 1_800_000_000.5
CHARGE = Charge("2026-11", 5.0, None)


@dataclass
class Store:
    runs: TrainingRuns
    requests: Requests

    def store(self, run: Run) -> None:
        """Without the request that it would come from."""
        if isinstance(self.runs, FakeRuns):
            self.runs.records[run.run_id] = run
        else:
            said = {name: value for name, value in run.to_json().items() if value}  # the simulation copies it often
            item = to_item(said | {"pk": f"RUN#{run.run_id}", "sk": "RUN"})
            boto3.client("dynamodb", region_name="eu-central-1").put_item(TableName="runs", Item=item)

    def run(self, run_id: str, dataset: str = "plants") -> Run:
        """A new open run."""
        request = Request("api", f"key-{run_id}", run_id, "hash", False)
        assert self.requests.open(request, Run(run_id, dataset, SETTINGS, NOW, "api", request.key), NOW)
        return self.runs.get(run_id)


def _fakes() -> Store:
    runs = FakeRuns()
    return Store(runs, FakeRequests(runs))


def _tables() -> Store:
    client = boto3.client("dynamodb", region_name="eu-central-1")
    make_tables(client)
    return Store(RunsTable(client, "runs"), RequestsTable(client, "requests", "runs"))


@pytest.fixture(params=[_fakes, _tables], ids=["fakes", "tables"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    # Each call to DynamoDB is atomic; the simulation of it is not, under threads.
    base: Any = BaseClient  # Any: the stubs leave the method out
    lock, call = Lock(), base._make_api_call

    def one_at_a_time(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        with lock:
            return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", one_at_a_time)
    with mock_aws():
        make: Callable[[], Store] = request.param
        yield make()


def test_a_run_comes_back_as_it_was_stored(store: Store) -> None:
    run = store.run("run_1")
    assert run == Run("run_1", "plants", SETTINGS, NOW, "api", "key-run_1")
    with pytest.raises(KeyError):
        store.runs.get("run_2")
    with pytest.raises(KeyError):
        store.runs.update("run_2", {"stage": "X"})


def test_a_key_is_used_once_and_a_dataset_has_one_open_run_per_settings(store: Store) -> None:
    store.run("run_1")
    found = store.requests.find("api", "key-run_1", NOW)
    assert found == Request("api", "key-run_1", "run_1", "hash", False)
    assert store.requests.find("marker", "key-run_1", NOW) is None
    assert store.runs.open_run("plants", SETTINGS.digest()) == "run_1"
    other = Run("run_2", "plants", SETTINGS, NOW, "api", "key-2")
    assert not store.requests.open(Request("api", "key-2", "run_2", "hash", False), other, NOW)
    assert store.requests.find("api", "key-2", NOW) is None
    cats = replace(other, dataset="cats")
    assert not store.requests.open(Request("api", "key-run_1", "run_2", "hash", False), cats, NOW)


def test_a_shared_run_awaits_uploads_up_to_its_newest_request(store: Store) -> None:
    store.run("run_1")
    assert store.requests.share(Request("marker", "k", "run_1", "h", True), NOW + 60)
    assert store.runs.get("run_1").requested_at == NOW + 60
    assert not store.requests.share(Request("marker", "k", "run_1", "h", True), NOW + 90)
    store.runs.update("run_1", {"stage": "SettleUploads"})
    assert store.requests.share(Request("marker", "k2", "run_1", "h", True), NOW + 90)


def test_changes_are_json_values_and_come_back_as_the_run_types_them(store: Store) -> None:
    run = store.run("run_1")
    changes = {
        "status": "running",
        "steps": [0, 10],
        "failure": {"code": "c", "cause": "why", "fix": "this"},
        "settings": TrainingSettings("openai", "big", Hyperparameters(3, learning_rate_multiplier=0.5)).to_json(),
        "files": {"training": "f"},
        "estimate": {"usd": {"high": 1.25}},
        "deadline_at": NOW + 0.25,
    }
    store.runs.update("run_1", changes)
    assert store.runs.get("run_1") == Run.from_json(run.to_json() | changes)


@pytest.mark.parametrize(
    "changes", [{"version": 3, "version_digest": "d"}, {"stage": "PublishDataset"}, {"status": "failed"}]
)
def test_publishing_or_ending_closes_a_run_to_further_requests(store: Store, changes: dict[str, object]) -> None:
    store.run("run_1")
    store.runs.update("run_1", changes)
    assert store.runs.open_run("plants", SETTINGS.digest()) is None
    assert not store.requests.share(Request("marker", "k", "run_1", "h", True), NOW)
    store.run("run_2")
    store.runs.update("run_1", {"stage": "UploadFiles"})  # the older run closes nothing of the newer one's
    assert store.runs.open_run("plants", SETTINGS.digest()) == "run_2"


def test_a_write_with_an_older_fence_is_refused(store: Store) -> None:
    store.run("run_1")
    first, second = store.runs.take_fence("run_1", 1), store.runs.take_fence("run_1", 1)
    assert second.fence == first.fence + 1
    with pytest.raises(FenceLost):
        store.runs.update("run_1", {"intent_at": NOW}, fence=first.fence)
    with pytest.raises(FenceLost):
        store.runs.record_job("run_1", "local", "job-1", {}, fence=first.fence)
    with pytest.raises(FenceLost):
        store.runs.reserve("run_1", "trn_1", fence=first.fence, instead_of=None, charge=None)
    assert store.runs.run_of_job("local", "job-1") is None
    store.runs.update("run_1", {"intent_at": NOW}, fence=second.fence)
    store.runs.record_job("run_1", "local", "job-1", {"status": "running"}, fence=second.fence)
    assert store.runs.run_of_job("local", "job-1") == "run_1"
    run = store.runs.get("run_1")
    assert (run.provider_job_id, run.status, run.intent_at) == ("job-1", RunStatus.RUNNING, NOW)


def test_no_fence_for_an_older_attempt_nor_for_an_ended_run(store: Store) -> None:
    store.run("run_1")
    with pytest.raises(FenceLost):
        store.runs.take_fence("run_1", 2)
    store.runs.update("run_1", {"status": "failed"})
    with pytest.raises(RunEnded):
        store.runs.take_fence("run_1", 1)


def test_an_ended_run_keeps_its_status_until_it_is_resumed(store: Store) -> None:
    store.run("run_1")
    assert store.runs.settle("run_1", {"status": "failed", "ended_at": NOW}, fence=0, release=True)
    assert store.runs.get("run_1").fence == 1
    assert not store.runs.settle("run_1", {"status": "cancelled"}, fence=1, release=True)
    with pytest.raises(RunEnded):
        store.runs.update("run_1", {"status": "succeeded"})
    store.runs.update("run_1", {"status": "failed"})
    assert list(store.runs.live()) == []
    assert store.runs.begin_attempt("run_1", 1, {"attempt": 2, "status": "queued", "ended_at": None})
    assert not store.runs.begin_attempt("run_1", 1, {"attempt": 2, "status": "queued"})
    assert [(run.run_id, run.attempt) for run in store.runs.live()] == [("run_1", 2)]
    assert not store.runs.settle("run_1", {"status": "failed"}, fence=0, release=True)
    assert store.runs.settle("run_1", {"status": "failed"}, fence=1, release=True)


def test_a_training_is_held_by_one_run_and_taken_over_only_as_seen(store: Store) -> None:
    store.run("run_1"), store.run("run_2", "cats")
    fences = {run_id: store.runs.take_fence(run_id, 1).fence for run_id in ("run_1", "run_2")}
    assert store.runs.reserve("run_1", "trn", fence=fences["run_1"], instead_of=None, charge=None)
    assert not store.runs.reserve("run_2", "trn", fence=fences["run_2"], instead_of=None, charge=None)
    seen = store.runs.get("run_1")
    store.runs.update("run_1", {"status": "failed"})
    assert not store.runs.reserve("run_2", "trn", fence=fences["run_2"], instead_of=seen, charge=None)
    assert store.runs.holder("trn") == "run_1"
    ended = store.runs.get("run_1")
    assert store.runs.reserve("run_2", "trn", fence=fences["run_2"], instead_of=ended, charge=None)
    assert store.runs.holder("trn") == "run_2"
    assert store.runs.get("run_2").training_id == "trn"


def test_a_budget_is_charged_with_the_reservation_and_given_back_when_no_job_was_made(store: Store) -> None:
    charge = Charge("2026-11", 6.0, 10.0)
    for run_id, dataset in (("run_1", "plants"), ("run_2", "cats")):
        store.run(run_id, dataset)
        store.runs.take_fence(run_id, 1)
    assert store.runs.reserve("run_1", "trn_1", fence=1, instead_of=None, charge=charge)
    with pytest.raises(BudgetExceeded):
        store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=charge)
    assert store.runs.holder("trn_2") is None
    assert store.runs.settle("run_1", {"status": "failed"}, fence=1, release=True)
    assert store.runs.holder("trn_1") is None
    assert store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=charge)
    assert store.runs.settle("run_2", {"status": "failed"}, fence=1, release=False)
    assert store.runs.holder("trn_2") == "run_2"
    store.run("run_3", "dogs"), store.runs.take_fence("run_3", 1)
    with pytest.raises(BudgetExceeded):
        store.runs.reserve("run_3", "trn_3", fence=1, instead_of=None, charge=Charge("2026-12", 11.0, 10.0))


def test_as_many_runs_have_a_live_job_as_are_allowed_and_ending_makes_room(store: Store) -> None:
    for number in range(1, 5):
        store.run(f"run_{number}", f"set-{number}"), store.runs.take_fence(f"run_{number}", 1)

    def reserve(number: int, fence: int = 1) -> bool:
        return store.runs.reserve(
            f"run_{number}", f"trn_{number}", fence=fence, instead_of=None, charge=CHARGE, max_live=2
        )

    assert reserve(1)
    assert reserve(2)
    with pytest.raises(TooManyJobs):
        reserve(3)
    assert store.runs.holder("trn_3") is None
    assert store.runs.live_jobs() == {"run_1", "run_2"}
    store.runs.update("run_1", {"status": "succeeded"})
    assert reserve(3)
    assert store.runs.settle("run_2", {"status": "failed"}, fence=1, release=False, job_may_run=True)
    with pytest.raises(TooManyJobs):
        reserve(4)
    store.runs.no_job_runs("run_3", 1)  # it has not ended
    store.runs.no_job_runs("run_2", 2)  # it is at another attempt
    assert store.runs.live_jobs() == {"run_2", "run_3"}
    store.runs.no_job_runs("run_2", 1)
    assert store.runs.settle("run_3", {"status": "failed"}, fence=1, release=True)
    assert store.runs.live_jobs() == set()
    assert reserve(4)


def test_a_refused_budget_takes_no_place_among_the_live_jobs_and_the_other_way_round(store: Store) -> None:
    for number in (1, 2):
        store.run(f"run_{number}", f"set-{number}"), store.runs.take_fence(f"run_{number}", 1)
    assert store.runs.reserve("run_1", "trn_1", fence=1, instead_of=None, charge=CHARGE, max_live=1)
    with pytest.raises(TooManyJobs):
        store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=CHARGE, max_live=1)
    with pytest.raises(BudgetExceeded):
        store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=replace(CHARGE, limit=9.0), max_live=2)
    assert store.runs.live_jobs() == {"run_1"}
    assert store.runs.reserve(
        "run_2", "trn_2", fence=1, instead_of=None, charge=replace(CHARGE, limit=10.0), max_live=2
    )


def test_an_attempt_that_may_make_another_job_is_charged_once_more_and_only_once(store: Store) -> None:
    store.run("run_1"), store.runs.take_fence("run_1", 1)

    def reserve(charge: Charge | None, fence: int) -> bool:
        held_by = store.runs.get("run_1") if store.runs.holder("trn") else None
        return store.runs.reserve("run_1", "trn", fence=fence, instead_of=held_by, charge=charge)

    assert reserve(CHARGE, 1)
    assert not reserve(CHARGE, 1)  # its answer was lost, and the call is made again
    assert store.runs.settle("run_1", {"status": "failed"}, fence=1, release=False)
    for attempt, fence, charge in ((2, 2, CHARGE), (3, 3, None)):
        assert store.runs.begin_attempt("run_1", attempt - 1, {"attempt": attempt, "status": "queued"})
        assert reserve(charge, fence)
        assert not reserve(charge, fence)
        assert store.runs.live_jobs() == {"run_1"}
        assert store.runs.settle("run_1", {"status": "failed"}, fence=fence, release=attempt == 3)
    # Two charges were taken, and the last one given back: the budget has room for exactly one more below 10.
    store.run("run_2", "cats"), store.runs.take_fence("run_2", 1)
    with pytest.raises(BudgetExceeded):
        store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=replace(CHARGE, limit=9.9))
    assert store.runs.reserve("run_2", "trn_2", fence=1, instead_of=None, charge=replace(CHARGE, limit=10.0))


def test_fifty_launches_at_once_with_budget_for_one_reserve_one(store: Store) -> None:
    _race(store, 50, replace(CHARGE, limit=9.0), None)


def test_launches_at_once_with_room_for_one_live_job_reserve_one(store: Store) -> None:
    _race(store, 10, CHARGE, 1)


def _race(store: Store, runs: int, charge: Charge, max_live: int | None) -> None:
    for number in range(runs):
        store.store(Run(f"run_{number}", f"set-{number}", SETTINGS, NOW, "api", f"key-{number}", fence=1))

    def reserve(number: int) -> bool:
        training = f"trn_{number}"
        try:
            return store.runs.reserve(
                f"run_{number}", training, fence=1, instead_of=None, charge=charge, max_live=max_live
            )
        except (BudgetExceeded, TooManyJobs):
            return False

    with ThreadPoolExecutor(16) as pool:
        reserved = list(pool.map(reserve, range(runs)))
    assert reserved.count(True) == 1
    assert store.runs.live_jobs() == {f"run_{reserved.index(True)}"}


def test_the_last_twenty_bills_of_a_base_model_are_remembered_one_for_each_run(store: Store) -> None:
    assert list(store.runs.observations("local", "tiny")) == []
    for number in range(25):
        store.runs.remember_bill("local", "tiny", Observation(f"run_{number}", 100.5, 90 + number))
    store.runs.remember_bill("local", "tiny", Observation("run_24", 100.5, 50))
    store.runs.remember_bill("local", "other", Observation("run_1", 1.0, 1))
    found = store.runs.observations("local", "tiny")
    assert [bill.run_id for bill in found] == [f"run_{number}" for number in range(5, 25)]
    assert found[-1] == Observation("run_24", 100.5, 50)


def test_only_a_newer_turn_of_the_same_attempt_stores_its_token(store: Store) -> None:
    store.run("run_1")
    assert store.runs.store_token("run_1", 1, 2, "two") == store.runs.get("run_1")
    assert store.runs.store_token("run_1", 1, 1, "one") is None
    assert store.runs.store_token("run_1", 2, 3, "three") is None
    assert store.runs.get("run_1").task_token == "two"


def test_checkpoints_and_metrics_come_back_in_order_of_step(store: Store) -> None:
    store.run("run_1")
    for step in (30, 0, 7):
        store.runs.put_checkpoint(Checkpoint("run_1", step, f"m{step}", {"valid_loss": step / 10}))
    store.runs.put_checkpoint(Checkpoint("run_1", 7, "m7", score=0.5))
    assert [(item.step, item.score) for item in store.runs.checkpoints("run_1")] == [(0, None), (7, 0.5), (30, None)]
    assert store.runs.last_metric_step("run_1") == -1
    store.runs.put_metrics("run_1", [{"step": step, "train_loss": 1.5} for step in range(1, 61)])
    store.runs.put_metrics("run_1", [{"step": 2, "train_loss": 0.25}, {"step": 2, "train_loss": 0.5}])
    assert store.runs.last_metric_step("run_1") == 60
    assert store.runs.metrics("run_1")[1] == {"step": 2, "train_loss": 0.5}
    assert len(store.runs.metrics("run_1")) == 60


def test_a_webhook_id_is_new_once(store: Store) -> None:
    assert store.requests.first_time("webhook:local", "msg_1", NOW)
    assert not store.requests.first_time("webhook:local", "msg_1", NOW)
    assert store.requests.first_time("webhook:other", "msg_1", NOW)


def test_a_key_is_forgotten_after_seven_days_even_when_its_item_is_still_there(store: Store) -> None:
    store.run("run_1")
    later = NOW + 8 * 24 * 3600
    assert store.requests.find("api", "key-run_1", later) is None
    assert store.requests.share(Request("api", "key-run_1", "run_1", "other", True), later)
    assert store.requests.first_time("webhook:local", "msg_1", NOW)
    assert store.requests.first_time("webhook:local", "msg_1", later)


def test_what_is_observed_is_stored_with_its_events_or_not_at_all(store: Store) -> None:
    store.run("run_1")
    moved = RunEvent(NOW, "job-running", "It runs.")
    seen = {"provider_status": "running", "observed_at": NOW}
    assert store.runs.observe("run_1", seen, [moved], fence=0, seen=0.0)
    assert not store.runs.observe("run_1", {"provider_status": "queued"}, [moved], fence=0, seen=0.0)
    later = RunEvent(NOW + 1, "job-stuck", "It waits.", "warn")
    assert store.runs.observe("run_1", {"observed_at": NOW + 1, "asked": None}, [later], fence=0, seen=NOW)
    run = store.runs.get("run_1")
    assert (run.provider_status, run.observed_at) == ("running", NOW + 1)
    assert told(store) == [moved, later]
    store.runs.take_fence("run_1", 1)
    with pytest.raises(FenceLost):
        store.runs.observe("run_1", {"observed_at": NOW + 2}, [later], fence=0, seen=NOW + 1)
    assert told(store) == [moved, later]


def told(store: Store) -> list[RunEvent]:
    events: list[RunEvent] = list(store.runs.events("run_1"))  # type: ignore[attr-defined]  # the API's, not the port's
    return events


def test_events_with_an_id_are_stored_once_and_in_order_of_time(store: Store) -> None:
    store.run("run_1")
    said = [RunEvent(NOW + 5 - n, "job-message", f"words {n}", "info", f"ev-{n}") for n in range(30)]
    store.runs.add_events("run_1", [*said, *said])
    store.runs.add_events("run_1", said[:3])
    store.runs.add_events("run_1", [])
    assert told(store) == said[::-1]


def test_an_untidy_run_is_listed_until_it_is_tidied_up_or_resumed(store: Store) -> None:
    for run_id in ("run_1", "run_2", "run_3"):
        store.run(run_id, run_id.replace("_", "-"))
        untidy = run_id != "run_3"
        assert store.runs.settle(run_id, {"status": "failed", "untidy": untidy}, fence=0, release=False)
    assert [run.run_id for run in store.runs.untidy()] == ["run_1", "run_2"]
    assert list(store.runs.live()) == []
    store.runs.update("run_1", {"untidy": False, "files": {}}, fence=1)
    assert store.runs.begin_attempt("run_2", 1, {"attempt": 2, "status": "queued", "untidy": False})
    assert list(store.runs.untidy()) == []
    assert [run.run_id for run in store.runs.live()] == ["run_2"]


def test_only_points_of_later_steps_are_read_when_asked_so(store: Store) -> None:
    store.run("run_1")
    store.runs.put_metrics("run_1", [{"step": step, "train_loss": 1.0} for step in (1, 2, 9, 10, 11)])
    assert [point["step"] for point in store.runs.metrics("run_1", 9)] == [10, 11]
    assert len(store.runs.metrics("run_1")) == 5
