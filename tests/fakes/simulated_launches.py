"""A seeded world in which runs are asked for, launched, failed and resumed: every IO step may lose its process.

The shipped functions run in greenlets over fake ports. Before and after every call of a port another greenlet may
go on, the process may be killed, or the call may be made twice (a retry inside the AWS client). The provider loses
answers, lets creates arrive late and its list lags, all within its quiet window. Invocations whose answer is lost
go on working beside their own retry. The clock is virtual; a seed replays its world exactly.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast

import greenlet
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRequests, FakeRuns

from pixtune.errors import PixtuneError, ProviderJobEnded, ProviderRefused, ProviderUnavailable, RunNotResumable
from pixtune.providers.port import JobRequest, JobState, JobView, TrainingProvider
from pixtune.training.failure import Failed, record_failure
from pixtune.training.launch import Launch, LaunchLimits, launch
from pixtune.training.ports import Requests, TrainingRuns, Workflow
from pixtune.training.request import Requested, TrainingOrder, request_training
from pixtune.training.resume import resume
from pixtune.training.run import Run, RunStatus, TrainingSettings
from pixtune.training.sweep import cancel_strays, start_unstarted, tidy_up

WINDOW = 60.0
LATE, LAG = 30.0, 20.0  # a create arrives, and a list shows it, within these seconds: together inside the window
_Result = TypeVar("_Result")


class Killed(BaseException):
    """The process is gone; nothing in it can catch this."""


@dataclass
class Rules:
    """What a mutant leaves out. The protocol is all of them."""

    fence: bool = True
    window: bool = True
    intent: bool = True
    lookup: bool = True
    reservation: bool = True


class MutableRuns(FakeRuns):
    """FakeRuns in which rules can be switched off."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules

    def update(self, run_id: str, changes: Mapping[str, Any], *, fence: int | None = None) -> None:
        kept = {name: value for name, value in changes.items() if self._rules.intent or name != "intent_at"}
        super().update(run_id, kept, fence=fence if self._rules.fence else None)

    def reserve(self, run_id: str, training_id: str, *, fence: int, **others: Any) -> bool:
        if not self._rules.reservation:
            return True
        held = fence if self._rules.fence else self.get(run_id).fence
        return super().reserve(run_id, training_id, fence=held, **others)

    def holder(self, training_id: str) -> str | None:
        return super().holder(training_id) if self._rules.reservation else None


class LaggingProvider(FakeProvider):
    """Jobs that arrive late and show up later still."""

    def __init__(self, world: World) -> None:
        super().__init__(clock=lambda: world.now)
        self._world = world
        self._shown_from: dict[str, float] = {}
        self.doubles = 0

    def _arrive(self, run_id: str) -> JobView:
        if any(job.state not in (JobState.FAILED, JobState.CANCELLED) for job in self.jobs.values()):
            self.doubles += 1
        job = self.add(run_id, JobState.QUEUED)
        self._shown_from[job.job_id] = self._world.now + self._world.dice.uniform(0, LAG)
        return job

    def _arrive_late(self, run_id: str) -> None:
        self._world.sleep(self._world.dice.uniform(0, LATE))
        self._arrive(run_id)

    def launch(self, request: JobRequest) -> JobView:
        self.launches.append(request)
        if request.training_file not in self.files:
            raise ProviderRefused("400 invalid training_file")
        fate = self._world.dice.random() if self._world.faulty else 1.0
        if fate < 0.10:  # never arrives
            raise ProviderUnavailable("lost")
        if fate < 0.25:  # arrives late, after the caller gave up
            self._world.spawn(lambda: self._arrive_late(request.run_id))
            raise ProviderUnavailable("timeout")
        if fate < 0.40:  # arrives, its answer does not
            self._arrive(request.run_id)
            raise ProviderUnavailable("dropped")
        if fate < 0.43:
            raise ProviderRefused("403")
        return self._arrive(request.run_id)

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        self._world.stumble(ProviderUnavailable("503"), 0.05)
        if not self._world.rules.lookup:
            return []
        return [job for job in super().find_jobs(run_id) if self._shown_from[job.job_id] <= self._world.now]

    def cancel(self, job_id: str) -> JobView:
        self._world.stumble(ProviderUnavailable("503"), 0.1)
        if self.jobs[job_id].state.ended:
            return self.jobs[job_id]
        return super().cancel(job_id)


class Port:
    """Every call of the port behind it is a switch point before and after, and may be made twice."""

    def __init__(self, target: object, world: World, twice: bool = True) -> None:
        self._target, self._world, self._twice = target, world, twice

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method, world = getattr(self._target, name), self._world

        def call(*args: Any, **named: Any) -> Any:
            world.switch()
            result = method(*args, **named)
            if self._twice and world.faulty and world.dice.random() < 0.02:
                result = method(*args, **named)
            world.switch()
            return result

        return call


class World:
    """One seed's world: two or three people ask for the same training while everything goes wrong."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.dice = random.Random(seed)
        self.rules = rules
        self.now = 1_000_000.0
        self.faulty = True
        self.crashes = 0
        self._hub = greenlet.getcurrent()
        self._ready: list[greenlet.greenlet] = []
        self._asleep: list[tuple[float, int, greenlet.greenlet]] = []
        self._order = count()
        self._started: set[tuple[str, int]] = set()
        self._ids: Iterator[int] = count(1)
        self.store = MutableRuns(rules)
        self.jobs = LaggingProvider(self)
        self.runs = cast(TrainingRuns, Port(self.store, self))
        self.requests = cast(Requests, Port(FakeRequests(self.store), self))
        self.provider = cast(TrainingProvider, Port(self.jobs, self, twice=False))
        self.workflow = cast(Workflow, Port(self, self))
        self.limits = LaunchLimits(WINDOW if rules.window else 0.0, deadline=1e9)

    # the scheduler

    def spawn(self, work: Callable[[], object]) -> None:
        def process() -> None:
            try:
                work()
            except Killed:
                self.crashes += 1

        self._ready.append(greenlet.greenlet(process, parent=self._hub))

    def switch(self) -> None:
        """Let others go on; this process may be killed meanwhile."""
        self._ready.append(greenlet.getcurrent())
        self._hub.switch()
        if self.faulty and self.dice.random() < 0.02:
            raise Killed

    def sleep(self, seconds: float) -> None:
        heapq.heappush(self._asleep, (self.now + seconds, next(self._order), greenlet.getcurrent()))
        self._hub.switch()

    def stumble(self, error: Exception, share: float) -> None:
        if self.faulty and self.dice.random() < share:
            raise error

    def run(self) -> None:
        """Until nothing is left to do."""
        while self._ready or self._asleep:
            if self._asleep and (not self._ready or self._asleep[0][0] <= self.now):
                due, _, sleeper = heapq.heappop(self._asleep)
                self.now = max(self.now, due)
                self._ready.append(sleeper)
            chosen = self._ready.pop(self.dice.randrange(len(self._ready)))
            self.now += self.dice.uniform(0, 0.05)
            chosen.switch()

    # what calls the shipped functions

    def invoke(self, work: Callable[[], _Result]) -> _Result:
        """Invoke a function as a state machine does: again when it died or its answer was lost, a few times. A lost
        answer leaves the first call working beside its retry."""
        for _ in range(4):
            answers: list[_Result] = []
            errors: list[Exception] = []
            ended: list[bool] = []

            def process(
                answers: list[_Result] = answers, errors: list[Exception] = errors, ended: list[bool] = ended
            ) -> None:
                try:
                    answers.append(work())
                except PixtuneError as error:
                    errors.append(error)
                finally:
                    ended.append(True)

            self.spawn(process)
            lost = self.faulty and self.dice.random() < 0.1
            patience = self.dice.uniform(0, 2)
            while not ended and not (lost and patience < 0):
                self.sleep(0.2)
                patience -= 0.2
            if answers:
                return answers[0]
            if errors:
                raise errors[0]
            self.sleep(self.dice.uniform(0, 5))
        raise Died

    def start(self, run_id: str, attempt: int) -> None:
        """As the state machine's StartExecution: a name is used once."""
        if (run_id, attempt) not in self._started:
            self._started.add((run_id, attempt))
            self.spawn(lambda: self.execute(run_id, attempt))

    def execute(self, run_id: str, attempt: int) -> None:
        """One execution: publish, launch until the outcome is known, wait for the end."""
        try:
            self.invoke(lambda: self._publish(run_id))
            while (answer := self.invoke(lambda: self._launch(run_id, attempt))).outcome == "unknown":
                self.sleep(answer.wait_seconds)
            if answer.outcome == "launched":
                self.sleep(self.dice.uniform(0, 50))
                self._end(run_id)
        except (PixtuneError, Died) as error:
            failed = Failed(run_id, attempt, type(error).__name__, str(error))
            while True:  # a rule on failed executions brings what the machine itself could not record
                try:
                    self.invoke(lambda: self._record(failed))
                    return
                except (PixtuneError, Died):
                    self.sleep(5)

    def _publish(self, run_id: str) -> None:
        """Version and training file are those of all runs here: the content is the same."""
        run = self.runs.get(run_id)
        if run.version is None:
            self.runs.update(run_id, {"version": 1, "version_digest": "digest"})
        if not run.files:
            self.jobs.files.add("file")
            self.runs.update(run_id, {"files": {"training": "file"}})

    def _launch(self, run_id: str, attempt: int) -> Launch:
        return launch(
            run_id,
            attempt,
            limits=self.limits,
            clock=lambda: self.now,
            seconds_left=lambda: 120.0,
            runs=self.runs,
            provider=self.provider,
        )

    def _end(self, run_id: str) -> None:
        """What polling finds in the end: a job that failed, or was cancelled; or a later step that fails."""
        fate = self.dice.random() if self.faulty else 1.0
        job_id = self.store.get(run_id).provider_job_id
        if job_id is None:  # resumed meanwhile: another execution watches it
            return
        if not self.jobs.jobs[job_id].state.ended:
            self.jobs.set(job_id, JobState.FAILED if fate < 0.2 else JobState.SUCCEEDED)
        if fate < 0.4 or self.jobs.jobs[job_id].state in (JobState.FAILED, JobState.CANCELLED):
            raise ProviderJobEnded("the job or a later step failed")

    def _record(self, failed: Failed) -> None:
        record_failure(failed, now=self.now, runs=self.runs, provider_of=lambda _: self.provider, named=lambda _: ())

    def ask(self, key: str) -> None:
        """A request, delivered again until it was answered, and sometimes once more."""
        self.sleep(self.dice.uniform(0, 30))
        order = TrainingOrder("plants", TrainingSettings("local", "tiny"), "event", key, "hash")
        for _ in range(self.dice.randint(1, 2)):
            while True:
                try:
                    self.invoke(lambda: self._request(order))
                    break
                except (PixtuneError, Died):
                    self.sleep(5)

    def _request(self, order: TrainingOrder) -> Requested:
        return request_training(
            order,
            now=self.now,
            new_run_id=lambda: f"run_{next(self._ids)}",
            runs=self.runs,
            requests=self.requests,
            workflow=self.workflow,
        )

    def meddle(self) -> None:
        """A person redrives and resumes at the worst moment; the sweep comes by."""
        for _ in range(3):
            self.sleep(self.dice.uniform(0, 100))
            runs = list(self.store.records.values())
            if runs:
                self._touch(self.dice.choice(runs))

    def _touch(self, run: Run) -> None:
        choice = self.dice.random()
        if choice < 0.4:
            self.spawn(lambda: self.execute(run.run_id, run.attempt))
        elif choice < 0.8 and run.status in (RunStatus.FAILED, RunStatus.CANCELLED):
            self.spawn(partial(self._resume, run.run_id))
        else:
            self.spawn(self._sweep)

    def _resume(self, run_id: str) -> None:
        try:
            resume(run_id, now=self.now, runs=self.runs, workflow=self.workflow)
        except RunNotResumable:
            return

    def _sweep(self) -> None:
        start_unstarted(now=self.now, runs=self.runs, workflow=self.workflow)
        tidy_up(now=self.now, runs=self.runs, provider_of=lambda _: self.provider, named=lambda _: ())
        try:
            cancel_strays(now=self.now, window=WINDOW, runs=self.runs, provider=self.provider)
        except ProviderUnavailable:
            return

    def live_through(self) -> None:
        """The faulty part, then a quiet one in which failed runs are resumed until there is nothing left to do."""
        for person in range(self.dice.randint(2, 3)):
            self.spawn(partial(self.ask, f"key-{person % 2}"))
        self.spawn(self.meddle)
        self.run()
        self.faulty = False
        for _ in range(6):
            self.now += 1000.0
            self.spawn(self._sweep)
            self.run()
            for run in list(self.store.records.values()):
                if run.status is RunStatus.FAILED:
                    self.spawn(partial(self._resume, run.run_id))
            self.run()

    def unserved(self) -> list[Run]:
        """Runs that end up without a job of their own or of the run they joined."""
        records = self.store.records
        by_run = {run.run_id: records[run.joined] if run.joined else run for run in records.values()}
        return [
            records[run_id]
            for run_id, serving in by_run.items()
            if serving.provider_job_id is None
            or self.jobs.jobs[serving.provider_job_id].state in (JobState.FAILED, JobState.CANCELLED)
        ]


class Died(Exception):
    """An invocation died as often as it was tried."""
