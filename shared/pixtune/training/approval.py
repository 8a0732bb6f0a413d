"""Whether a person lets a training be paid for: a run that waits and a decision in, the wait answered out.

An approval is for what was shown: a version and the high end of its estimate. What costs more later is asked for
again. Launching checks it once more, so no way around the question leads to a bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pixtune.errors import ApprovalDenied, ApprovalNotAwaited, FenceLost, RunEnded
from pixtune.training.budget import Budget, check_run_budget, priced, strictest
from pixtune.training.ports import TrainingRuns, Workflow
from pixtune.training.run import Run, RunEvent

_TRIES = 20  # each means that somebody else wrote to the run in between
_CENT = 0.005  # estimates are rounded where they are shown


@dataclass(frozen=True, slots=True)
class Approval:
    """What was asked, and what came of it. state: asked, approved or denied. usd: the estimate's high end, None where
    no price is known. Times are Unix seconds. by, why: who decided, and what they said."""

    state: Literal["asked", "approved", "denied"]
    version_digest: str
    usd: float | None
    attempt: int
    asked_at: float
    decided_at: float | None = None
    by: str = ""
    why: str = ""

    def covers(self, run: Run) -> bool:
        """Whether it lets this run be paid for as it is estimated now."""
        dollars = priced(run.estimate)
        if self.state != "approved" or self.version_digest != run.version_digest:
            return False
        return dollars == self.usd if dollars is None or self.usd is None else dollars <= self.usd + _CENT


def approval_of(run: Run) -> Approval | None:
    return Approval(**run.approval) if run.approval else None


def needs_approval(run: Run, budget: Budget) -> bool:
    """Whether a person has to be asked: the estimate reaches the threshold, or says no price, and no approval of
    these costs was given."""
    threshold = strictest(budget.approval_from, run.settings.terms.approval_above_usd)
    if threshold is None:
        return False
    dollars = priced(run.estimate)
    given = approval_of(run)
    return (dollars is None or dollars >= threshold) and not (given and given.covers(run))


def permission(run: Run, budget: Budget, timeout_seconds: int) -> dict[str, Any]:
    """What the state machine is told of a run that has its estimate. Raises BudgetExceeded when it may cost more than
    one training may: then nobody has to be asked."""
    check_run_budget(priced(run.estimate), run.settings.terms, budget)
    return {"needs_approval": needs_approval(run, budget), "approval_seconds": timeout_seconds}


def refuse_unapproved(run: Run, budget: Budget) -> None:
    """Raises ApprovalDenied for a run that nobody let be paid for."""
    if needs_approval(run, budget):
        raise ApprovalDenied(f"Nobody has approved that {run.run_id} is paid for.")


def ask(
    run_id: str, attempt: int, task_token: str, *, now: float, runs: TrainingRuns, workflow: Workflow
) -> Approval:
    """Keep the task that waits, and the question; the table's stream announces it. A repeat changes nothing, and
    answers the task if it was decided meanwhile. Raises RunEnded, and FenceLost when a newer attempt exists."""
    for _ in range(_TRIES):
        run = runs.get(run_id)
        if run.attempt != attempt:
            raise FenceLost(f"{run_id} is at attempt {run.attempt}, not {attempt}.")
        if run.status.ended:
            raise RunEnded(f"{run_id} has ended already: {run.status.value}.")
        known = approval_of(run)
        if known and run.approval_token == task_token:
            _answer(run, known, workflow)
            return known
        assert run.version_digest is not None, "a run is approved after its version was published"
        asked = Approval("asked", run.version_digest, priced(run.estimate), attempt, now)
        dollars = "an unknown sum" if asked.usd is None else f"up to {asked.usd:.2f} USD"
        text = f"It may cost {dollars}, and waits for approval."
        more = {"stage": "AwaitApproval", "approval_token": task_token}
        if _write(run, asked, runs, RunEvent(now, "approval-requested", text), more):
            return asked
    raise FenceLost(f"{run_id}: others kept writing to it while approval was asked for.")


def decide(
    run_id: str,
    decision: Literal["approved", "denied"],
    *,
    by: str,
    why: str,
    now: float,
    runs: TrainingRuns,
    workflow: Workflow,
) -> Run:
    """Approve or deny. The same decision again only answers the task again, should a crash have kept that from it.
    Raises KeyError for an unknown run, ApprovalNotAwaited when it does not wait, or was decided otherwise."""
    for _ in range(_TRIES):
        run = runs.get(run_id)
        known = approval_of(run)
        if run.status.ended:
            raise ApprovalNotAwaited(f"{run_id} has ended: {run.status.value}.")
        if known is None or known.attempt != run.attempt:
            raise ApprovalNotAwaited(f"{run_id} does not wait for approval; it is in {run.stage}.")
        if known.state not in ("asked", decision):
            raise ApprovalNotAwaited(f"{run_id} was {known.state} by {known.by}.")
        if known.state == "asked":
            known = replace(known, state=decision, decided_at=now, by=by, why=why)
            text = f"{decision.capitalize()} by {by}{f': {why}' if why else ''}."
            if not _write(run, known, runs, RunEvent(now, f"approval-{decision}", text), {}):
                continue
        _answer(run, known, workflow)
        return runs.get(run_id)
    raise FenceLost(f"{run_id}: others kept writing to it while it was {decision}.")


def _write(run: Run, approval: Approval, runs: TrainingRuns, event: RunEvent, more: Mapping[str, Any]) -> bool:
    """Store it unless anything was decided, launched or ended since the run was read: each raises the fence."""
    changes = {**more, "approval": asdict(approval), "fence": run.fence + 1}
    try:
        runs.update(run.run_id, changes, fence=run.fence)
    except FenceLost:
        return False
    runs.add_event(run.run_id, event)
    return True


def answer_decided(runs: TrainingRuns, workflow: Workflow) -> list[str]:
    """Answer the tasks of runs that were decided about, should a crash have kept the answer from them."""
    answered = []
    for run in runs.live():
        approval = approval_of(run)
        if approval and run.stage == "AwaitApproval" and approval.state != "asked" and run.approval_token:
            _answer(run, approval, workflow)
            answered.append(run.run_id)
    return answered


def _answer(run: Run, approval: Approval, workflow: Workflow) -> None:
    assert run.approval_token is not None, "a run is decided about after its task was kept"
    if approval.state == "approved":
        workflow.succeed(run.approval_token, {"approved": True})
    elif approval.state == "denied":
        said = f" It was said: {approval.why}" if approval.why else ""
        workflow.fail(run.approval_token, ApprovalDenied.__name__, f"Denied by {approval.by}.{said}")
