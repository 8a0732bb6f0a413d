"""A person lets a training be paid for, or not: asked once per estimate, answered once, and never gone around."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune.errors import ApprovalDenied, ApprovalNotAwaited, BudgetExceeded, FenceLost, RunEnded
from pixtune.training.approval import answer_decided, approval_of, ask, decide, needs_approval, permission
from pixtune.training.budget import Budget
from pixtune.training.failure import Failed, record_failure
from pixtune.training.launch import Launch, LaunchLimits, launch
from pixtune.training.resume import resume
from pixtune.training.run import Run, RunStatus, Terms, TrainingSettings

ABOVE_FIVE = Budget(approval_from=5.0)


def costing(high: float | None) -> dict[str, Any]:
    return {"usd": None if high is None else {"low": 1.0, "mid": 2.0, "high": high}}


@dataclass
class Desk:
    """One published run that may cost 6 USD, where a person is asked from 5 USD on."""

    runs: FakeRuns = field(default_factory=FakeRuns)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    provider: FakeProvider = field(default_factory=FakeProvider)
    budget: Budget = ABOVE_FIVE

    def __post_init__(self) -> None:
        settings = TrainingSettings("local", "tiny")
        self.runs.records["run_1"] = Run(
            "run_1", "plants", settings, 1.0, "api", "k", version=1, version_digest="d1", estimate=costing(6.0),
            files={"training": "f"}, status=RunStatus.RUNNING,
        )  # fmt: skip

    @property
    def run(self) -> Run:
        return self.runs.get("run_1")

    def ask(self, token: str = "token-1", attempt: int = 1) -> None:
        ask("run_1", attempt, token, now=10.0, runs=self.runs, workflow=self.workflow)

    def say(self, decision: Any, by: str = "ann", why: str = "") -> Run:
        return decide("run_1", decision, by=by, why=why, now=20.0, runs=self.runs, workflow=self.workflow)

    def launch(self) -> Launch:
        return launch(
            "run_1",
            self.run.attempt,
            limits=LaunchLimits(0.0, 1e6, self.budget),
            clock=lambda: 30.0,
            seconds_left=lambda: 120.0,
            runs=self.runs,
            provider=self.provider,
        )

    def fail(self, error: str = "ApprovalDenied") -> None:
        failed = Failed("run_1", self.run.attempt, error, "Nobody approved.")
        record_failure(
            failed, now=40.0, runs=self.runs, provider_of=lambda _: self.provider, named=lambda *_: frozenset()
        )


@pytest.mark.parametrize(
    ("high", "deployment", "request_", "needed"),
    [
        (6.0, None, None, False),
        (6.0, 5.0, None, True),
        (4.9, 5.0, None, False),
        (5.0, 5.0, None, True),
        (0.0, None, 0.0, True),
        (6.0, 10.0, 5.0, True),  # whichever asks sooner
        (6.0, 5.0, 10.0, True),  # a request cannot lift what the deployment says
        (None, 5.0, None, True),  # a price that is not known is above every threshold
        (None, None, None, False),
    ],
)
def test_a_person_is_asked_from_the_threshold_on(
    high: float | None, deployment: float | None, request_: float | None, needed: bool
) -> None:
    run = Desk().run
    settings = replace(run.settings, terms=Terms(approval_above_usd=request_))
    run = replace(run, settings=settings, estimate=costing(high))
    assert needs_approval(run, Budget(approval_from=deployment)) is needed


def test_nobody_is_asked_about_what_is_over_budget_anyway() -> None:
    with pytest.raises(BudgetExceeded):
        permission(Desk().run, Budget(per_run=5.5, approval_from=5.0), 60)
    assert permission(Desk().run, ABOVE_FIVE, 60) == {"needs_approval": True, "approval_seconds": 60}


def test_an_approval_answers_the_waiting_task_and_the_training_is_launched() -> None:
    desk = Desk()
    desk.ask()
    assert (desk.run.stage, desk.workflow.answers) == ("AwaitApproval", [])
    run = desk.say("approved", why="it is worth it")
    approval = approval_of(run)
    assert approval is not None
    assert (approval.state, approval.by, approval.why, approval.usd) == ("approved", "ann", "it is worth it", 6.0)
    assert desk.workflow.answers == [("token-1", {"approved": True})]
    assert not needs_approval(run, ABOVE_FIVE)
    assert desk.launch() == Launch("launched")
    assert [event.name for event in desk.runs.events("run_1")][:2] == ["approval-requested", "approval-approved"]


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_the_same_answer_twice_is_one_answer_and_the_other_one_comes_too_late(decision: str) -> None:
    desk = Desk()
    desk.ask()
    desk.say(decision)
    fence = desk.run.fence
    assert desk.say(decision, by="bob").approval == desk.run.approval
    assert desk.run.fence == fence, "a launch under way must not lose its fence to a repeated answer"
    with pytest.raises(ApprovalNotAwaited, match=f"was {decision} by ann"):
        desk.say("denied" if decision == "approved" else "approved")
    answers = [*desk.workflow.answers, *desk.workflow.failures]
    assert {answer[0] for answer in answers} == {"token-1"}


def test_a_denial_fails_the_task_charges_nothing_and_a_resumed_run_asks_again() -> None:
    desk = Desk()
    desk.ask()
    desk.say("denied", why="too much")
    assert desk.workflow.failures == [("token-1", "ApprovalDenied", "Denied by ann. It was said: too much")]
    with pytest.raises(ApprovalDenied):
        desk.launch()
    desk.fail()
    assert (desk.run.status, desk.run.failure and desk.run.failure.code) == (RunStatus.FAILED, "approval_denied")
    assert not desk.runs.reserved
    assert not desk.runs.live_jobs()
    assert not desk.provider.launches
    resume("run_1", now=50.0, runs=desk.runs, workflow=desk.workflow)
    assert needs_approval(desk.run, ABOVE_FIVE)
    with pytest.raises(ApprovalNotAwaited):  # of the first attempt
        desk.say("approved")
    desk.ask("token-2", attempt=2)
    desk.say("approved")
    assert desk.workflow.answers == [("token-2", {"approved": True})]


def test_only_a_run_that_waits_can_be_decided_about() -> None:
    desk = Desk()
    with pytest.raises(ApprovalNotAwaited):
        desk.say("approved")
    desk.ask()
    desk.fail("ABORTED")
    with pytest.raises(ApprovalNotAwaited, match="ended: cancelled"):
        desk.say("approved")
    with pytest.raises(RunEnded):
        desk.ask("token-2")
    with pytest.raises(FenceLost):
        desk.ask("token-2", attempt=2)
    with pytest.raises(KeyError):
        decide("run_9", "approved", by="", why="", now=1.0, runs=desk.runs, workflow=desk.workflow)


def test_no_way_around_the_question_leads_to_a_bill() -> None:
    desk = Desk()
    with pytest.raises(ApprovalDenied):
        desk.launch()
    desk.ask()
    with pytest.raises(ApprovalDenied):
        desk.launch()
    assert desk.provider.launches == []


@pytest.mark.parametrize(
    "changes", [{"estimate": costing(6.5)}, {"version_digest": "d2"}, {"estimate": costing(None)}]
)
def test_an_approval_is_for_what_was_shown_and_what_costs_more_is_asked_again(changes: dict[str, Any]) -> None:
    desk = Desk()
    desk.ask()
    desk.say("approved")
    assert not needs_approval(replace(desk.run, estimate=costing(5.5)), ABOVE_FIVE)
    desk.runs.update("run_1", changes)
    assert needs_approval(desk.run, ABOVE_FIVE)
    with pytest.raises(ApprovalDenied):
        desk.launch()


def test_asking_twice_for_one_task_is_one_question_and_brings_the_answer_that_was_lost() -> None:
    desk = Desk()
    desk.ask()
    desk.ask()
    assert [event.name for event in desk.runs.events("run_1")] == ["approval-requested"]
    desk.say("approved")
    desk.workflow.answers.clear()  # the process died before it could answer the task
    desk.ask()
    assert desk.workflow.answers == [("token-1", {"approved": True})]


def test_the_sweep_answers_what_a_crash_kept_from_its_task() -> None:
    desk = Desk()
    assert answer_decided(desk.runs, desk.workflow) == []
    desk.ask()
    assert answer_decided(desk.runs, desk.workflow) == []
    desk.say("denied")
    desk.workflow.failures.clear()
    assert answer_decided(desk.runs, desk.workflow) == ["run_1"]
    assert [failure[0] for failure in desk.workflow.failures] == ["token-1"]


def test_whoever_writes_in_between_is_seen_before_a_decision_is_stored() -> None:
    """Two people, one of them slower: the second one's write meets a raised fence and reads the first one's word."""
    desk = Desk()
    desk.ask()
    update = desk.runs.update

    def overtaken(run_id: str, changes: Any, *, fence: int | None = None) -> None:
        desk.runs.update = update  # type: ignore[method-assign]  # once
        desk.say("denied", by="bob")
        update(run_id, changes, fence=fence)

    desk.runs.update = overtaken  # type: ignore[method-assign]
    with pytest.raises(ApprovalNotAwaited, match="denied by bob"):
        desk.say("approved")
    assert desk.workflow.answers == []
