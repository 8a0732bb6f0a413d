"""Runs and requests in memory, typed to the ports; a conformance test runs them and the tables alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pixtune.costs.calibration import Observation, remembered
from pixtune.errors import BudgetExceeded, FenceLost, RunEnded, TooManyJobs
from pixtune.training.run import (
    Charge,
    Checkpoint,
    Failure,
    Request,
    Run,
    RunEvent,
    RunStatus,
    TrainingSettings,
    open_to_requests,
)


@dataclass
class FakeRuns:
    """`training.ports.TrainingRuns` on dicts."""

    records: dict[str, Run] = field(default_factory=dict)
    opened: dict[tuple[str, str], str] = field(default_factory=dict)
    reservations: dict[str, tuple[str, Charge | None]] = field(default_factory=dict)
    reserved: dict[str, float] = field(default_factory=dict)
    jobs: dict[tuple[str, str], str] = field(default_factory=dict)
    with_live_jobs: set[str] = field(default_factory=set)
    bills: dict[tuple[str, str], list[Observation]] = field(default_factory=dict)
    saved_checkpoints: dict[tuple[str, int], Checkpoint] = field(default_factory=dict)
    points: dict[tuple[str, int], Mapping[str, float]] = field(default_factory=dict)
    saved_events: dict[str, list[RunEvent]] = field(default_factory=dict)

    def get(self, run_id: str) -> Run:
        return self.records[run_id]

    def open_run(self, dataset: str, settings_digest: str) -> str | None:
        return self.opened.get((dataset, settings_digest))

    def holder(self, training_id: str) -> str | None:
        held = self.reservations.get(training_id)
        return held[0] if held else None

    def run_of_job(self, provider: str, job_id: str) -> str | None:
        return self.jobs.get((provider, job_id))

    def live(self) -> Iterable[Run]:
        return [run for _, run in sorted(self.records.items()) if not run.status.ended]

    def untidy(self) -> Iterable[Run]:
        return [run for _, run in sorted(self.records.items()) if run.status.ended and run.untidy]

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        return [saved for (owner, _), saved in sorted(self.saved_checkpoints.items()) if owner == run_id]

    def metrics(self, run_id: str, after: int = -1) -> Sequence[Mapping[str, float]]:
        return [point for (owner, step), point in sorted(self.points.items()) if owner == run_id and step > after]

    def last_metric_step(self, run_id: str) -> int:
        return max((step for owner, step in self.points if owner == run_id), default=-1)

    def events(self, run_id: str) -> Sequence[RunEvent]:
        return self.saved_events.get(run_id, [])

    def update(self, run_id: str, changes: Mapping[str, Any], *, fence: int | None = None) -> None:
        run = self.records[run_id]
        if fence is not None and run.fence != fence:
            raise FenceLost(run_id)
        if "status" in changes and run.status.ended and run.status != changes["status"]:
            raise RunEnded(run_id)
        if "status" in changes and RunStatus(changes["status"]).ended:
            self.with_live_jobs.discard(run_id)
        self._change(run_id, changes)

    def take_fence(self, run_id: str, attempt: int) -> Run:
        run = self.records[run_id]
        if run.attempt != attempt:
            raise FenceLost(run_id)
        if run.status.ended:
            raise RunEnded(run_id)
        self.records[run_id] = replace(run, fence=run.fence + 1)
        return self.records[run_id]

    def store_token(self, run_id: str, attempt: int, turn: int, task_token: str) -> Run | None:
        run = self.records[run_id]
        if run.attempt != attempt or run.turn > turn:
            return None
        return self._change(run_id, {"turn": turn, "task_token": task_token})

    def record_job(self, run_id: str, provider: str, job_id: str, changes: Mapping[str, Any], *, fence: int) -> None:
        self.update(run_id, {**changes, "provider_job_id": job_id}, fence=fence)
        self.jobs[provider, job_id] = run_id

    def observe(
        self, run_id: str, changes: Mapping[str, Any], events: Sequence[RunEvent], *, fence: int, seen: float
    ) -> bool:
        run = self.records[run_id]
        if run.fence != fence:
            raise FenceLost(run_id)
        if run.observed_at != seen:
            return False
        self._change(run_id, changes)
        self.add_events(run_id, events)
        return True

    def settle(
        self, run_id: str, changes: Mapping[str, Any], *, fence: int, release: bool, job_may_run: bool = False
    ) -> bool:
        run = self.records[run_id]
        if run.fence != fence or run.status.ended:
            return False
        if not job_may_run:
            self.with_live_jobs.discard(run_id)
        if release and run.training_id and self.holder(run.training_id) == run_id:
            _, charge = self.reservations.pop(run.training_id)
            if charge:
                self.reserved[charge.month] -= charge.dollars
        self._change(run_id, {**changes, "fence": fence + 1})
        return True

    def begin_attempt(self, run_id: str, ended_attempt: int, changes: Mapping[str, Any]) -> bool:
        run = self.records[run_id]
        if run.attempt != ended_attempt or run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
            return False
        self._change(run_id, changes)
        return True

    def reserve(
        self,
        run_id: str,
        training_id: str,
        *,
        fence: int,
        instead_of: Run | None,
        charge: Charge | None,
        max_live: int | None = None,
    ) -> bool:
        run = self.records[run_id]
        if run.fence != fence:
            raise FenceLost(run_id)
        if run.reserved_attempt >= run.attempt or self.holder(training_id) != (
            instead_of.run_id if instead_of else None
        ):
            return False
        if instead_of and instead_of.run_id != run_id:
            now = self.records[instead_of.run_id]
            if (now.status, now.attempt) != (instead_of.status, instead_of.attempt):
                return False
        total = self.reserved.get(charge.month, 0.0) + charge.dollars if charge else 0.0
        if charge and charge.limit is not None and total > charge.limit:
            raise BudgetExceeded("over")
        if max_live is not None and run_id not in self.with_live_jobs and len(self.with_live_jobs) >= max_live:
            raise TooManyJobs("full")
        if charge:
            self.reserved[charge.month] = total
        if charge or not instead_of or instead_of.run_id != run_id:
            self.reservations[training_id] = (run_id, charge)
        self.with_live_jobs.add(run_id)
        self._change(run_id, {"training_id": training_id, "reserved_attempt": run.attempt})
        return True

    def live_jobs(self) -> frozenset[str]:
        return frozenset(self.with_live_jobs)

    def no_job_runs(self, run_id: str, attempt: int) -> None:
        run = self.records[run_id]
        if run.status.ended and run.attempt == attempt:
            self.with_live_jobs.discard(run_id)

    def observations(self, provider: str, base_model: str) -> Sequence[Observation]:
        return self.bills.get((provider, base_model), [])

    def remember_bill(self, provider: str, base_model: str, bill: Observation) -> None:
        self.bills[provider, base_model] = remembered(self.observations(provider, base_model), bill)

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.saved_checkpoints[checkpoint.run_id, checkpoint.step] = checkpoint

    def put_metrics(self, run_id: str, points: Sequence[Mapping[str, float]]) -> None:
        self.points |= {(run_id, int(point["step"])): dict(point) for point in points}

    def add_event(self, run_id: str, event: RunEvent) -> None:
        self.add_events(run_id, [event])

    def add_events(self, run_id: str, events: Sequence[RunEvent]) -> None:
        kept = {_event_key(event): event for event in [*self.saved_events.get(run_id, []), *events]}
        self.saved_events[run_id] = [kept[key] for key in sorted(kept)]

    def _change(self, run_id: str, changes: Mapping[str, Any]) -> Run:
        """Apply JSON values; the conformance test holds this to what Run.from_json would make of them."""
        values = dict(changes)
        for name, read in _READERS.items():
            if values.get(name) is not None:
                values[name] = read(values[name])
        run = self.records[run_id] = replace(self.records[run_id], **values)
        if not open_to_requests(changes):
            self.opened = {key: opened for key, opened in self.opened.items() if opened != run_id}
        return run


def _event_key(event: RunEvent) -> tuple[int, str]:
    return int(event.at * 1000), event.id or event.name


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "status": RunStatus,
    "steps": tuple,
    "failure": lambda failure: Failure(**failure),
    "settings": TrainingSettings.from_json,
}


@dataclass
class FakeRequests:
    """`training.ports.Requests` on dicts, sharing its transactions with FakeRuns."""

    runs: FakeRuns
    kept: dict[tuple[str, str], tuple[Request, float]] = field(default_factory=dict)

    def find(self, door: str, key: str, now: float) -> Request | None:
        request, expires_at = self.kept.get((door, key), (None, 0.0))
        return request if expires_at > now else None

    def open(self, request: Request, run: Run, now: float) -> bool:
        key = (run.dataset, run.settings.digest())
        if key in self.runs.opened or not self._keep(request, now):
            return False
        self.runs.records[run.run_id] = run
        self.runs.opened[key] = run.run_id
        return True

    def share(self, request: Request, now: float) -> bool:
        if request.run_id not in self.runs.opened.values() or not self._keep(request, now):
            return False
        run = self.runs.records[request.run_id]
        self.runs.records[request.run_id] = replace(run, requested_at=now)
        return True

    def first_time(self, door: str, key: str, now: float) -> bool:
        return self._keep(Request(door, key, "", "", False), now)

    def _keep(self, request: Request, now: float) -> bool:
        if self.find(request.door, request.key, now):
            return False
        self.kept[request.door, request.key] = (request, now + 7 * 24 * 3600)
        return True


@dataclass
class FakeWorkflow:
    """`training.ports.Workflow`: what was started and answered."""

    started: list[tuple[str, int]] = field(default_factory=list)
    answers: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    ended: dict[tuple[str, int], str] = field(default_factory=dict)

    def stop(self, run_id: str, attempt: int, cause: str) -> None:
        self.ended.setdefault((run_id, attempt), "ABORTED")

    def ended_badly(self, run_id: str, attempt: int) -> str | None:
        return self.ended.get((run_id, attempt))

    def start(self, run_id: str, attempt: int) -> None:
        if (run_id, attempt) not in self.started:
            self.started.append((run_id, attempt))

    def succeed(self, task_token: str, output: Mapping[str, Any]) -> None:
        self.answers.append((task_token, output))

    def fail(self, task_token: str, error: str, cause: str) -> None:
        self.failures.append((task_token, error, cause))
