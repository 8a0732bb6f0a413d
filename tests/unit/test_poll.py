"""Watching a training: ask once a turn, trust only the provider's own answer, never lose the run to an outage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.port import JobState, ProviderCheckpoint
from pixtune.training.checkpoints import record_checkpoints
from pixtune.training.poll import Turn, poll
from pixtune.training.run import Checkpoint, Run, RunStatus, TrainingSettings

RUN = Run(
    "run_1",
    "plants",
    TrainingSettings("local", "tiny"),
    0.0,
    "api",
    "key",
    status=RunStatus.RUNNING,
    deadline_at=1000.0,
    provider_job_id="job-1",
    provider_status="queued",
)


@dataclass
class Watch:
    runs: FakeRuns = field(default_factory=lambda: FakeRuns({"run_1": RUN}))
    provider: FakeProvider = field(default_factory=FakeProvider)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)

    def __post_init__(self) -> None:
        self.provider.add("run_1", JobState.QUEUED)

    def turn(self, turn: int = 1, now: float | None = None, attempt: int = 1) -> Turn:
        return poll(
            "run_1",
            attempt,
            turn,
            f"token-{turn}",
            now=10.0 + turn if now is None else now,
            queue_limit=100.0,
            runs=self.runs,
            provider=self.provider,
            workflow=self.workflow,
        )


def test_a_turn_keeps_its_token_before_it_asks_and_leaves_a_running_job_alone() -> None:
    watch = Watch()
    watch.provider.refusing = ProviderUnavailable("503")
    assert watch.turn(3) == Turn("unreachable", "503")
    assert (watch.runs.get("run_1").turn, watch.runs.get("run_1").task_token) == (3, "token-3")
    watch.provider.refusing = None
    watch.provider.set("job-1", JobState.RUNNING)
    assert watch.turn(4) == Turn("running", "running")
    assert (watch.workflow.answers, watch.workflow.failures) == ([], [])
    assert [event.name for event in watch.runs.events("run_1")] == ["job-running"]
    watch.turn(5)
    assert len(watch.runs.events("run_1")) == 1


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_an_ended_job_is_answered_at_once(state: JobState) -> None:
    watch = Watch()
    watch.provider.set("job-1", state)
    assert watch.turn() == Turn("ended", state.value)
    assert watch.workflow.answers == [("token-1", {"status": state.value})]
    assert watch.runs.get("run_1").provider_status == state.value


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.CANCELLING, JobState.VALIDATING])
def test_a_state_that_is_no_end_is_waited_on(state: JobState) -> None:
    watch = Watch()
    watch.provider.set("job-1", state)
    assert watch.turn().outcome == "running"
    assert watch.workflow.answers == []


def test_an_older_turn_and_an_older_attempt_do_nothing() -> None:
    watch = Watch()
    watch.provider.set("job-1", JobState.SUCCEEDED)
    watch.runs.update("run_1", {"turn": 5, "attempt": 2})
    assert watch.turn(4, attempt=2) == Turn("superseded")
    assert watch.turn(6, attempt=1) == Turn("superseded")
    assert watch.workflow.answers == []


def test_a_run_that_ended_meanwhile_lets_its_task_go() -> None:
    watch = Watch()
    watch.runs.update("run_1", {"status": "cancelled"})
    assert watch.turn() == Turn("superseded", "cancelled")
    assert watch.workflow.answers == [("token-1", {"status": "cancelled"})]


@pytest.mark.parametrize("unreachable", [True, False])
def test_the_deadline_fails_the_task_whether_the_provider_answers_or_not(unreachable: bool) -> None:
    watch = Watch()
    watch.provider.refusing = ProviderUnavailable("503") if unreachable else None
    assert watch.turn(now=1000.5).outcome == "overdue"
    ((token, error, cause),) = watch.workflow.failures
    assert (token, error) == ("token-1", "RunDeadlinePassed")
    assert ("503" if unreachable else "queued") in cause


def test_a_job_that_ended_in_time_counts_even_when_it_is_seen_after_the_deadline() -> None:
    watch = Watch()
    watch.provider.set("job-1", JobState.SUCCEEDED)
    assert watch.turn(now=2000.0).outcome == "ended"
    assert watch.workflow.failures == []


def test_a_refusal_fails_the_task() -> None:
    watch = Watch()
    watch.provider.refusing = ProviderRefused("401 key revoked")
    with pytest.raises(ProviderRefused):
        watch.turn()


def test_metric_points_are_stored_as_they_come_and_an_incomplete_one_is_completed() -> None:
    watch = Watch()
    watch.provider.points = [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 1.5}]
    watch.turn(1)
    watch.provider.points = [{"step": 1, "train_loss": -1.0}, {"step": 2, "train_loss": 1.5, "valid_loss": 1.75}]
    watch.turn(2)
    assert watch.runs.metrics("run_1") == [
        {"step": 1, "train_loss": 2.0},
        {"step": 2, "train_loss": 1.5, "valid_loss": 1.75},
    ]


def test_checkpoints_are_recorded_with_the_base_model_as_step_0_and_keep_their_scores() -> None:
    watch = Watch()
    watch.provider.jobs["job-1"] = replace(
        watch.provider.jobs["job-1"], state=JobState.SUCCEEDED, model_id="ft:2", trained_tokens=99
    )
    watch.provider.points = [{"step": 1, "train_loss": 2.0}]
    watch.provider.saved = [
        ProviderCheckpoint(10, "ft:1", {"valid_loss": 0.5}),
        ProviderCheckpoint(20, "ft:2", {"full_valid_loss": 0.25}),
    ]

    def record() -> tuple[int, ...]:
        return record_checkpoints("run_1", now=5.0, runs=watch.runs, provider=watch.provider)

    assert record() == (0, 10, 20)
    run = watch.runs.get("run_1")
    assert (run.steps, run.trained_tokens, run.provider_status) == ((0, 10, 20), 99, "succeeded")
    assert watch.runs.checkpoints("run_1")[0] == Checkpoint("run_1", 0, "tiny")
    assert watch.runs.checkpoints("run_1")[2] == Checkpoint("run_1", 20, "ft:2", {"full_valid_loss": 0.25})
    assert watch.runs.metrics("run_1") == [{"step": 1, "train_loss": 2.0}]
    watch.runs.put_checkpoint(replace(watch.runs.checkpoints("run_1")[1], score=0.75, evaluation_key="e"))
    assert record() == (0, 10, 20)
    assert [(item.score, item.evaluation_key) for item in watch.runs.checkpoints("run_1")] == [
        (None, None),
        (0.75, "e"),
        (None, None),
    ]
