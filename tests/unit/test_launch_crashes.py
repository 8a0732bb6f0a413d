"""A crash at every single call between a request and its job, and at every pair of calls: one run, one job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar, cast

from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRequests, FakeRuns, FakeWorkflow

from pixtune.providers.port import TrainingProvider
from pixtune.training.launch import Launch, LaunchLimits, launch
from pixtune.training.ports import Requests, TrainingRuns, Workflow
from pixtune.training.request import Requested, TrainingOrder, request_training
from pixtune.training.run import RunStatus, TrainingSettings

_Result = TypeVar("_Result")


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Crashes:
    """Kills the process at these calls, counted over all ports and processes; before the call, or after it."""

    at: dict[int, str]
    calls: int = 0

    def port(self, target: object) -> Any:
        """A port whose calls are counted. Any: it stands for whichever port it wraps."""
        return _Port(target, self)


@dataclass
class _Port:
    target: object
    crashes: Crashes

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            mode = self.crashes.at.get(self.crashes.calls)
            self.crashes.calls += 1
            if mode == "before":
                raise Killed
            result = getattr(self.target, name)(*args, **named)
            if mode == "after":
                raise Killed
            return result

        return call


@dataclass
class Scene:
    """One request and its launch, each made again until it succeeds, with time passing in between."""

    crashes: Crashes
    now: float = 1000.0
    store: FakeRuns = field(default_factory=FakeRuns)
    machine: FakeWorkflow = field(default_factory=FakeWorkflow)

    def __post_init__(self) -> None:
        self.jobs = FakeProvider(clock=lambda: self.now)
        ids = count(1)
        self.new_run_id = lambda: f"run_{next(ids)}"
        self.requests = FakeRequests(self.store)

    def until_done(self, work: Callable[[], _Result]) -> _Result:
        while True:
            try:
                return work()
            except Killed:
                self.now += 5.0

    def ask(self) -> Requested:
        return request_training(
            TrainingOrder("plants", TrainingSettings("local", "tiny"), "event", "key", "hash"),
            now=self.now,
            new_run_id=self.new_run_id,
            runs=cast(TrainingRuns, self.crashes.port(self.store)),
            requests=cast(Requests, self.crashes.port(self.requests)),
            workflow=cast(Workflow, self.crashes.port(self.machine)),
        )

    def launch(self, run_id: str) -> Launch:
        return launch(
            run_id,
            1,
            limits=LaunchLimits(window=60.0, deadline=1e6),
            clock=lambda: self.now,
            seconds_left=lambda: 120.0,
            runs=cast(TrainingRuns, self.crashes.port(self.store)),
            provider=cast(TrainingProvider, self.crashes.port(self.jobs)),
        )

    def play(self) -> None:
        run_id = self.until_done(self.ask).run_id
        self.store.update(run_id, {"version": 1, "version_digest": "d", "files": {"training": "f"}})
        while (answer := self.until_done(lambda: self.launch(run_id))).outcome == "unknown":
            self.now += answer.wait_seconds
        assert answer.outcome == "launched"
        assert list(self.store.records) == [run_id]
        assert self.machine.started == [(run_id, 1)]
        assert [job.job_id for job in self.jobs.jobs.values()] == [self.store.get(run_id).provider_job_id]
        assert self.store.get(run_id).status is RunStatus.RUNNING


def calls_without_a_crash() -> int:
    crashes = Crashes({})
    Scene(crashes).play()
    return crashes.calls


def test_a_crash_before_or_after_any_call_leaves_one_run_with_one_job() -> None:
    calls = calls_without_a_crash()
    assert calls > 12
    for call in range(calls):
        for mode in ("before", "after"):
            Scene(Crashes({call: mode})).play()


def test_a_crash_at_any_two_calls_leaves_one_run_with_one_job() -> None:
    longest = 2 * calls_without_a_crash()
    for first in range(longest):
        for second in range(first + 1, longest):
            for modes in (("before", "before"), ("before", "after"), ("after", "before"), ("after", "after")):
                Scene(Crashes({first: modes[0], second: modes[1]})).play()
