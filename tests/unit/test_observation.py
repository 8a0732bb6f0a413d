"""Whatever wakes it, however late and often it is answered: what is seen of a job moves its run only forward."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune.errors import FenceLost, ProviderRefused, ProviderUnavailable, RunNotPausable
from pixtune.providers.port import JobMessage, JobState, JobView
from pixtune.training.pausing import PAUSE, UNPAUSE, ask, cancel
from pixtune.training.poll import Seen, moves, observation, observe, said
from pixtune.training.run import Run, RunEvent, RunStatus, TrainingSettings

RUN = Run(
    "run_1",
    "plants",
    TrainingSettings("local", "tiny"),
    0.0,
    "api",
    "key",
    status=RunStatus.RUNNING,
    stage="PollTraining",
    deadline_at=1000.0,
    provider_job_id="job-1",
    provider_status="queued",
    task_token="token",
)
LIMIT = 100.0
STATES = st.sampled_from(list(JobState))


def view(state: JobState) -> JobView:
    return JobView("job-1", state, state.value, 0.0, "run_1")


class Post:
    """A run, its job, and turns that look at it; a turn may have read the run earlier than it writes."""

    def __init__(self, state: JobState = JobState.QUEUED) -> None:
        self.runs = FakeRuns({"run_1": RUN})
        self.provider = FakeProvider()
        self.workflow = FakeWorkflow()
        self.provider.add("run_1", state)

    @property
    def run(self) -> Run:
        return self.runs.get("run_1")

    def look(self, now: float, run: Run | None = None) -> Seen:
        return observe(run or self.run, now=now, queue_limit=LIMIT, runs=self.runs, provider=self.provider)

    def told(self) -> list[str]:
        return [event.name for event in self.runs.events("run_1")]

    def ask(self, wish: str, now: float = 50.0) -> Run:
        return ask("run_1", wish, now=now, can_pause=True, runs=self.runs, workflow=self.workflow)


# --- order


@given(st.lists(st.tuples(st.floats(1, 1e6), STATES), max_size=12))
def test_in_whatever_order_answers_arrive_an_ended_job_stays_ended_and_time_never_goes_back(
    answers: list[tuple[float, JobState]],
) -> None:
    run = RUN
    for asked_at, state in answers:
        seen = observation(run, view(state), asked_at, LIMIT)
        before = run
        run = replace(run, **seen.changes) if seen else run
        assert run.observed_at >= before.observed_at
        if before.provider_status and JobState(before.provider_status).ended:
            assert run == before


@given(STATES, STATES)
def test_between_two_states_there_is_a_way_forward_or_a_way_back_but_to_an_end_only_forward(
    one: JobState, other: JobState
) -> None:
    if other.ended:
        assert moves(one.value, other) is not one.ended
        assert not moves(other.value, one)
    assert moves(None, one)


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (JobState.RUNNING, JobState.QUEUED),
        (JobState.QUEUED, JobState.VALIDATING),
        (JobState.CANCELLING, JobState.RUNNING),
        (JobState.CANCELLING, JobState.PAUSED),
        (JobState.SUCCEEDED, JobState.FAILED),
    ],
)
def test_a_job_does_not_move_back(seen: JobState, found: JobState) -> None:
    assert not moves(seen.value, found)


def test_a_paused_job_is_queued_anew_which_is_no_way_back() -> None:
    assert moves("running", JobState.PAUSED)
    assert moves("paused", JobState.QUEUED)


def test_an_answer_asked_for_earlier_changes_nothing_and_gives_way_to_what_is_known() -> None:
    post = Post(JobState.RUNNING)
    early = post.run
    post.provider.set("job-1", JobState.SUCCEEDED)
    assert post.look(20.0) == Seen(JobState.SUCCEEDED)
    after = post.run
    post.provider.set("job-1", JobState.RUNNING)  # what the earlier turn was answered, on its way until now
    assert post.look(10.0, early) == Seen(JobState.SUCCEEDED)
    assert post.look(30.0, early) == Seen(JobState.SUCCEEDED)
    assert post.run == after


def test_two_turns_that_overlap_tell_a_change_once() -> None:
    post = Post(JobState.RUNNING)
    stale = post.run
    post.look(10.0, stale)
    post.look(11.0, stale)
    assert post.told() == ["job-running"]
    assert post.run.observed_at == 11.0


def test_a_turn_whose_run_was_settled_meanwhile_writes_nothing() -> None:
    post = Post(JobState.RUNNING)
    stale = post.run
    post.runs.settle("run_1", {"status": "failed"}, fence=0, release=False)
    with pytest.raises(FenceLost):
        post.look(10.0, stale)
    assert post.told() == []


# --- a queue that does not move


@pytest.mark.parametrize("state", [JobState.VALIDATING, JobState.QUEUED])
def test_a_job_that_waits_longer_than_the_limit_is_told_once_and_waited_for_still(state: JobState) -> None:
    post = Post(state)
    post.runs.update("run_1", {"provider_status": None})
    assert [post.look(now).stuck for now in (10.0, 110.0, 110.5, 300.0)] == [False, False, True, False]
    assert post.told() == [f"job-{state.value}", "job-stuck"]
    assert post.runs.events("run_1")[-1].level == "warn"
    assert (post.run.stuck_at, post.run.status) == (110.5, RunStatus.RUNNING)


def test_a_job_that_ran_or_was_paused_waits_anew() -> None:
    post = Post()
    post.look(10.0)
    post.provider.set("job-1", JobState.PAUSED)
    post.look(105.0)
    assert (post.run.waiting_since, post.run.stuck_at) == (None, None)
    post.provider.set("job-1", JobState.QUEUED)
    assert not post.look(120.0).stuck
    assert post.look(221.0).stuck


# --- what the provider says


def test_what_the_provider_says_is_kept_once_with_its_level() -> None:
    post = Post(JobState.RUNNING)
    post.provider.messages = [
        JobMessage("ev-1", 5.0, "warn", "line 3: the image was skipped, it shows people"),
        JobMessage("ev-2", 6.0, "info", "all checks passed", "moderation_checks"),
    ]
    post.look(10.0)
    post.look(11.0)
    kept = [event for event in post.runs.events("run_1") if event.id]
    assert kept == [
        RunEvent(5.0, "job-message", "line 3: the image was skipped, it shows people", "warn", "ev-1"),
        RunEvent(6.0, "job-moderation-checks", "all checks passed", "info", "ev-2"),
    ]
    assert post.run.heard_at == 6.0


def test_of_a_failed_job_the_last_words_are_kept_too() -> None:
    post = Post(JobState.FAILED)
    post.provider.messages = [JobMessage("ev-1", 5.0, "error", "the training file has no usable row")]
    assert post.look(10.0).state is JobState.FAILED
    assert "the training file has no usable row" in [event.text for event in post.runs.events("run_1")]


@pytest.mark.parametrize("reason", [ProviderUnavailable("503"), ProviderRefused("404 no such route")])
def test_a_provider_that_tells_its_events_to_nobody_is_watched_all_the_same(reason: Exception) -> None:
    class Mute(FakeProvider):
        def progress(self, job_id: str, since: float) -> object:  # type: ignore[override]  # it never answers
            raise reason

    post = Post(JobState.RUNNING)
    post.provider = Mute(post.provider.jobs)
    assert post.look(10.0) == Seen(JobState.RUNNING)


@given(st.text(max_size=60))
def test_any_word_of_a_providers_makes_a_stable_name(kind: str) -> None:
    name = said(JobMessage("1", 0.0, "info", "x", kind)).name
    assert name.isascii()
    assert name.startswith("job-")
    assert name == name.lower()


# --- pausing


def test_a_pause_is_carried_out_by_the_next_turn_which_is_woken_for_it() -> None:
    post = Post(JobState.RUNNING)
    assert post.ask(PAUSE).asked == PAUSE
    assert post.workflow.answers == [("token", {"status": "woken"})]
    assert post.look(51.0) == Seen(JobState.PAUSED)
    assert (post.run.provider_status, post.run.asked) == ("paused", None)
    post.ask(UNPAUSE, 60.0)
    assert post.look(61.0) == Seen(JobState.QUEUED)
    assert post.told() == ["job-paused", "job-queued"]


def test_a_pause_stays_asked_while_the_provider_cannot_be_reached() -> None:
    post = Post(JobState.RUNNING)
    post.ask(PAUSE)
    post.provider.refusing = ProviderUnavailable("503")
    with pytest.raises(ProviderUnavailable):
        post.look(51.0)
    assert post.run.asked == PAUSE
    post.provider.refusing = None
    assert post.look(52.0) == Seen(JobState.PAUSED)


def test_a_turn_that_began_before_the_wish_does_not_clear_it() -> None:
    post = Post(JobState.RUNNING)
    early = post.run
    post.ask(PAUSE)
    post.look(49.0, early)
    assert post.run.asked == PAUSE
    assert post.look(51.0) == Seen(JobState.PAUSED)


def test_a_second_wish_during_the_first_one_is_carried_out_in_the_end() -> None:
    post = Post(JobState.RUNNING)
    post.ask(PAUSE, 50.0)
    carrying = post.run
    post.ask(UNPAUSE, 52.0)
    post.look(51.0, carrying)  # pauses, and finds out that it must not say so
    assert post.run.asked == UNPAUSE
    assert post.look(53.0) == Seen(JobState.QUEUED)


def test_a_refusal_to_pause_is_told_and_the_training_goes_on() -> None:
    class Stubborn(FakeProvider):
        def pause(self, job_id: str) -> JobView:
            raise ProviderRefused("too late for that")

    post = Post(JobState.RUNNING)
    post.provider = Stubborn(post.provider.jobs)
    post.ask(PAUSE)
    assert post.look(51.0) == Seen(JobState.RUNNING)
    assert post.told() == ["job-pause-refused", "job-running"]
    assert post.run.asked is None


def test_a_pause_that_comes_after_the_end_changes_nothing() -> None:
    post = Post(JobState.RUNNING)
    post.ask(PAUSE)
    post.provider.set("job-1", JobState.SUCCEEDED)
    assert post.look(51.0) == Seen(JobState.SUCCEEDED)
    assert post.run.asked is None


@pytest.mark.parametrize(
    ("run", "can_pause", "said"),
    [
        (RUN, False, "does not pause"),
        (replace(RUN, status=RunStatus.FAILED), True, "has ended: failed"),
        (replace(RUN, provider_job_id=None), True, "no provider job yet"),
        (replace(RUN, provider_status="succeeded"), True, "training of run_1 has ended"),
    ],
)
def test_what_cannot_be_paused_is_refused_with_the_reason(run: Run, can_pause: bool, said: str) -> None:
    runs = FakeRuns({"run_1": run})
    with pytest.raises(RunNotPausable, match=said):
        ask("run_1", PAUSE, now=1.0, can_pause=can_pause, runs=runs, workflow=FakeWorkflow())


def test_calling_a_run_off_stops_its_execution_even_one_that_was_not_started_yet() -> None:
    post = Post()
    cancel("run_1", runs=post.runs, workflow=post.workflow)
    assert post.workflow.started == [("run_1", 1)]
    assert post.workflow.ended_badly("run_1", 1) == "ABORTED"
    ended = FakeRuns({"run_1": replace(RUN, status=RunStatus.SUCCEEDED)})
    idle = FakeWorkflow()
    assert cancel("run_1", runs=ended, workflow=idle).status is RunStatus.SUCCEEDED
    assert (idle.started, idle.ended) == ([], {})
