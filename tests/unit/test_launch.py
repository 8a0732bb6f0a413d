"""Launching: one provider job, an honest unknown, and never a second create inside the quiet window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns

from pixtune.errors import (
    BudgetExceeded,
    FenceLost,
    LaunchUnknown,
    ProviderRefused,
    ProviderUnavailable,
    RunDeadlinePassed,
    RunEnded,
    TooManyJobs,
)
from pixtune.providers.port import JobState
from pixtune.training.budget import Budget
from pixtune.training.launch import Launch, LaunchLimits, launch
from pixtune.training.run import Hyperparameters, Run, RunStatus, Terms, TrainingSettings

SETTINGS = TrainingSettings("local", "tiny", Hyperparameters(3), seed=7)
FILES = {"training": "file-1", "validation": "file-2"}


@dataclass
class Bench:
    """A published run and a provider. now: Unix seconds."""

    runs: FakeRuns = field(default_factory=FakeRuns)
    now: float = 1000.0
    left: float = 120.0
    limits: LaunchLimits = field(default_factory=lambda: LaunchLimits(window=900.0, deadline=86400.0))

    def __post_init__(self) -> None:
        self.provider = FakeProvider(clock=lambda: self.now)
        self.add("run_1")

    def add(self, run_id: str, settings: TrainingSettings = SETTINGS, **changes: Any) -> None:
        run = Run(run_id, "plants", settings, 900.0, "api", "key", version=4, version_digest="digest", files=FILES)
        self.runs.records[run_id] = run
        if changes:
            self.runs.update(run_id, changes)

    def launch(self, run_id: str = "run_1", attempt: int = 1) -> Launch:
        return launch(
            run_id,
            attempt,
            limits=self.limits,
            clock=lambda: self.now,
            seconds_left=lambda: self.left,
            runs=self.runs,
            provider=self.provider,
        )


def test_a_launch_creates_one_job_tagged_with_the_run() -> None:
    bench = Bench()
    assert bench.launch() == Launch("launched")
    (sent,) = bench.provider.launches
    assert (sent.run_id, sent.base_model, sent.training_file, sent.validation_file, sent.seed, sent.suffix) == (
        ("run_1", "tiny", "file-1", "file-2", 7, "plants-v4")
    )
    run = bench.runs.get("run_1")
    assert (run.status, run.provider_job_id, run.provider_status) == (RunStatus.RUNNING, "job-1", "queued")
    assert run.deadline_at == 1000.0 + 86400.0
    assert bench.runs.run_of_job("local", "job-1") == "run_1"
    assert [event.name for event in bench.runs.events("run_1")] == ["launched"]


def test_launching_again_changes_nothing() -> None:
    bench = Bench()
    bench.launch()
    assert bench.launch() == Launch("launched")
    assert len(bench.provider.launches) == 1


def test_an_unknown_outcome_is_waited_out_and_the_job_that_appeared_is_adopted() -> None:
    bench = Bench()
    bench.provider.refusing = ProviderUnavailable("timeout")
    bench.runs.update("run_1", {"intent_at": 1000.0})
    bench.now = 1300.5
    assert bench.launch() == Launch("unknown", 600)
    bench.provider.refusing = None
    bench.provider.add("run_1")
    assert bench.launch() == Launch("unknown", 600)
    bench.now = 1900.0
    assert bench.launch() == Launch("launched")
    assert bench.runs.get("run_1").provider_job_id == "job-1"
    assert bench.provider.launches == []


def test_a_create_without_an_answer_is_unknown_for_the_whole_window(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    lost = bench.provider.add

    def swallow(*args: Any) -> Any:
        lost(*args)
        raise ProviderUnavailable("the answer was lost")

    monkeypatch.setattr(bench.provider, "add", swallow)  # the create arrives, its answer does not
    assert bench.launch() == Launch("unknown", 900)
    bench.now += 900
    assert bench.launch() == Launch("launched")
    assert len(bench.provider.launches) == 1


def test_after_the_window_without_a_job_it_is_created() -> None:
    bench = Bench()
    bench.runs.update("run_1", {"intent_at": 99.0})
    assert bench.launch() == Launch("launched")
    assert len(bench.provider.launches) == 1


def test_where_jobs_may_not_be_found_again_a_lost_answer_is_a_failure_and_never_a_second_create() -> None:
    bench = Bench(limits=LaunchLimits(window=900.0, deadline=86400.0, finds_jobs=False))
    bench.runs.update("run_1", {"intent_at": 99.0})
    for _ in range(2):
        with pytest.raises(LaunchUnknown, match=r"asked for at 1970-01-01 00:01:39 UTC"):
            bench.launch()
    assert bench.provider.launches == []
    bench.runs.update("run_1", {"status": RunStatus.FAILED.value})
    bench.add("run_2")
    assert bench.launch("run_2") == Launch("joined")  # the training stays taken: its job may exist


def test_where_jobs_may_not_be_found_again_one_that_is_found_is_adopted_and_a_first_create_is_sent() -> None:
    limits = LaunchLimits(window=900.0, deadline=86400.0, finds_jobs=False)
    bench = Bench(limits=limits)
    bench.runs.update("run_1", {"intent_at": 99.0})
    bench.provider.add("run_1")
    assert bench.launch() == Launch("launched")
    assert bench.provider.launches == []
    first = Bench(limits=limits)
    assert first.launch() == Launch("launched")
    assert len(first.provider.launches) == 1


def test_the_oldest_job_that_came_to_something_is_adopted() -> None:
    bench = Bench()
    bench.provider.add("run_1", JobState.CANCELLED, created_at=1.0)
    bench.provider.add("run_1", JobState.RUNNING, created_at=3.0)
    bench.provider.add("run_1", JobState.RUNNING, created_at=2.0)
    assert bench.launch() == Launch("launched")
    assert bench.runs.get("run_1").provider_job_id == "job-3"


def test_a_lookup_without_an_answer_sends_nothing() -> None:
    bench = Bench()
    bench.provider.refusing = ProviderUnavailable("503")
    answer = bench.launch()
    assert (answer.outcome, answer.wait_seconds > 0) == ("unknown", True)
    assert bench.runs.get("run_1").intent_at is None


def test_a_refusal_is_definite_and_leaves_no_doubt_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    sent: list[object] = []

    def refuse(request: object) -> Any:
        sent.append(request)
        raise ProviderRefused("403 training_not_available", "Train elsewhere.")

    monkeypatch.setattr(bench.provider, "launch", refuse)  # only the create is refused
    with pytest.raises(ProviderRefused):
        bench.launch()
    assert len(sent) == 1
    assert bench.runs.get("run_1").intent_at is None


def test_nothing_is_sent_when_little_time_is_left_or_the_process_was_frozen_after_its_intent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.left = 60.0
    assert bench.launch() == Launch("unknown", 1)
    assert bench.runs.get("run_1").intent_at is None
    bench.left = 120.0
    update = bench.runs.update

    def freeze(run_id: str, changes: Any, *, fence: int | None = None) -> None:
        update(run_id, changes, fence=fence)
        bench.now += 60.0 if "intent_at" in changes else 0.0

    monkeypatch.setattr(bench.runs, "update", freeze)  # a sandbox that thaws a minute later
    assert bench.launch().outcome == "unknown"
    assert bench.provider.launches == []


def test_an_older_attempt_and_an_ended_run_launch_nothing() -> None:
    bench = Bench()
    bench.runs.update("run_1", {"attempt": 2})
    with pytest.raises(FenceLost):
        bench.launch(attempt=1)
    bench.runs.update("run_1", {"status": "cancelled"})
    with pytest.raises(RunEnded):
        bench.launch(attempt=2)
    assert bench.provider.launches == []


def test_the_loop_of_unknown_outcomes_ends_at_the_deadline() -> None:
    bench = Bench()
    bench.provider.refusing = ProviderUnavailable("down")
    assert bench.launch().outcome == "unknown"
    bench.now += 86401
    with pytest.raises(RunDeadlinePassed, match="resume run_1"):
        bench.launch()


def test_the_same_training_by_a_live_or_succeeded_run_is_joined() -> None:
    bench = Bench()
    bench.launch()
    bench.add("run_2")
    assert bench.launch("run_2") == Launch("joined")
    bench.runs.update("run_1", {"status": "succeeded"})
    bench.add("run_3")
    assert bench.launch("run_3") == Launch("joined")
    run = bench.runs.get("run_3")
    assert (run.status, run.joined, run.ended_at) == (RunStatus.JOINED, "run_1", 1000.0)
    assert bench.launch("run_3") == Launch("joined")
    assert len(bench.provider.launches) == 1


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"provider_job_id": "job-9", "provider_status": "running"}, "joined"),
        ({"provider_job_id": "job-9", "provider_status": "succeeded"}, "joined"),
        ({"provider_job_id": "job-9", "provider_status": None}, "joined"),
        ({"intent_at": 5.0}, "joined"),
        ({"provider_job_id": "job-9", "provider_status": "failed"}, "launched"),
        ({"provider_job_id": "job-9", "provider_status": "cancelled"}, "launched"),
        ({}, "launched"),
    ],
)
def test_a_failed_run_keeps_its_training_while_its_job_lives_or_may_exist(
    changes: dict[str, Any], outcome: str
) -> None:
    bench = Bench()
    run = bench.runs.take_fence("run_1", 1)
    bench.provider.refusing = ProviderUnavailable("reserve only")
    bench.launch()
    bench.provider.refusing = None
    bench.runs.update("run_1", {"status": "failed", **changes})
    bench.add("run_2")
    assert bench.launch("run_2").outcome == outcome
    assert bench.runs.get("run_2").joined == ("run_1" if outcome == "joined" else None)
    assert run.fence == 1


def test_training_again_is_another_training() -> None:
    bench = Bench()
    bench.launch()
    bench.add("run_2", TrainingSettings("local", "tiny", Hyperparameters(3), 7, again=True, nonce="api:k2"))
    assert bench.launch("run_2") == Launch("launched")
    assert len(bench.provider.launches) == 2


def test_the_budget_is_charged_once_per_training_and_refuses_what_is_beyond_it() -> None:
    bench = Bench(limits=LaunchLimits(900.0, 86400.0, Budget(per_month=10.0)))
    other = TrainingSettings("local", "tiny", seed=8)
    estimate = {"usd": {"low": 4.0, "mid": 5.0, "high": 6.0}}
    bench.runs.update("run_1", {"estimate": estimate})
    bench.launch(), bench.launch()
    assert bench.runs.reserved == {"1970-01": 6.0}
    bench.add("run_2", other, estimate=estimate)
    with pytest.raises(BudgetExceeded):
        bench.launch("run_2")
    assert len(bench.provider.launches) == 1


@pytest.mark.parametrize(
    ("budget", "refusal"),
    [
        (Budget(per_month=10.0), BudgetExceeded),
        (Budget(live_jobs=1), TooManyJobs),
        (Budget(per_run=5.0), BudgetExceeded),
    ],
)
def test_of_fifty_different_trainings_only_those_that_fit_are_launched(
    budget: Budget, refusal: type[Exception]
) -> None:
    bench = Bench(limits=LaunchLimits(900.0, 86400.0, budget))
    refused = 0
    for number in range(50):
        settings = TrainingSettings("local", "tiny", seed=number)
        bench.add(f"run_{number}", settings, estimate={"usd": {"low": 4.0, "mid": 5.0, "high": 6.0}})
        try:
            bench.launch(f"run_{number}")
        except refusal:
            refused += 1
    fit = 0 if budget.per_run else 1
    assert (len(bench.provider.launches), refused) == (fit, 50 - fit)
    assert len(bench.runs.live_jobs()) == fit


def test_a_training_whose_price_nobody_knows_cannot_be_held_to_a_budget() -> None:
    unpriced = {"usd": None, "tokens": {"low": 1, "mid": 2, "high": 3}}
    for number, budget in enumerate((Budget(per_month=1e6), Budget(per_run=1e6), Budget())):
        bench = Bench(limits=LaunchLimits(900.0, 86400.0, budget))
        bench.runs.update("run_1", {"estimate": unpriced})
        if number < 2:
            with pytest.raises(BudgetExceeded, match="not known"):
                bench.launch()
        else:
            assert bench.launch() == Launch("launched")
            assert bench.runs.live_jobs() == {"run_1"}


def test_a_request_may_be_stricter_than_the_deployment_and_never_laxer() -> None:
    for asked, allowed, fits in ((5.0, None, False), (7.0, None, True), (7.0, 5.0, False), (None, 5.0, False)):
        bench = Bench(limits=LaunchLimits(900.0, 86400.0, Budget(per_run=allowed)))
        settings = TrainingSettings("local", "tiny", terms=Terms(max_usd=asked))
        bench.add("run_2", settings, estimate={"usd": {"low": 4.0, "mid": 5.0, "high": 6.0}})
        if fits:
            assert bench.launch("run_2") == Launch("launched")
        else:
            with pytest.raises(BudgetExceeded, match=r"6\.00 USD"):
                bench.launch("run_2")
