"""A seeded world of several trainings at once under a budget and a limit of live jobs, in which everything fails.

As `simulated_launches`, whose scheduler, crashes and lagging provider it uses; but each run is a training of its own,
jobs end, and after every step of any process the money is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from tests.fakes.simulated_launches import WINDOW, Died, MutableRuns, Port, Rules, World

from pixtune.errors import PixtuneError, ProviderJobEnded, RunDeadlinePassed
from pixtune.providers.port import JobState
from pixtune.training.budget import Budget
from pixtune.training.launch import LaunchLimits
from pixtune.training.live_jobs import count_out
from pixtune.training.ports import TrainingRuns
from pixtune.training.request import TrainingOrder
from pixtune.training.run import Run, RunStatus, Terms, TrainingSettings

PRICE = 7.0
LIVE_JOBS = 1
TRAININGS = 3


@dataclass
class MoneyRules(Rules):
    """What a mutant leaves out besides.

    limit: no launch beyond the live jobs allowed. keep: a run that ended while its job may run still counts. sweep:
    such runs are counted out once nothing runs. charge_again: another attempt's other job is charged too. give_back:
    a run without a job gives its charge back.
    """

    limit: bool = True
    keep: bool = True
    sweep: bool = True
    charge_again: bool = True
    give_back: bool = True


class MutableMoney(MutableRuns):
    """The runs, in which the rules about money can be switched off too."""

    def __init__(self, rules: MoneyRules) -> None:
        super().__init__(rules)
        self._money = rules

    def reserve(self, run_id: str, training_id: str, *, fence: int, **others: Any) -> bool:
        renewed = others["instead_of"] is not None and others["instead_of"].run_id == run_id
        if renewed and not self._money.charge_again:
            others["charge"] = None
        if not self._money.limit:
            others["max_live"] = None
        return super().reserve(run_id, training_id, fence=fence, **others)

    def settle(self, run_id: str, changes: Any, *, fence: int, release: bool, job_may_run: bool = False) -> bool:
        return super().settle(
            run_id,
            changes,
            fence=fence,
            release=release and self._money.give_back,
            job_may_run=job_may_run and self._money.keep,
        )


class MoneyWorld(World):
    """Three people, three trainings, one job at a time. too_many: moments with more jobs at once than allowed."""

    def __init__(self, seed: int, rules: MoneyRules) -> None:
        super().__init__(seed, rules)
        self.money = rules
        self.store = MutableMoney(rules)
        self.requests = cast(Any, Port(_requests(self.store), self))
        self.runs = cast(TrainingRuns, Port(self.store, self))
        self.limits = LaunchLimits(WINDOW, deadline=1e9, budget=Budget(per_month=1e6, live_jobs=LIVE_JOBS))
        self.too_many = 0
        self.abandoned: set[str] = set()

    def switch(self) -> None:
        self.too_many += sum(not job.state.ended for job in self.jobs.jobs.values()) > LIVE_JOBS
        super().switch()

    def ask(self, key: str) -> None:
        self.sleep(self.dice.uniform(0, 30))
        settings = TrainingSettings("local", "tiny", seed=int(key), terms=Terms(max_usd=PRICE))
        order = TrainingOrder("plants", settings, "event", key, "hash")
        while True:
            try:
                self.invoke(lambda: self._request(order))
                return
            except (PixtuneError, Died):
                self.sleep(5)

    def _publish(self, run_id: str) -> None:
        super()._publish(run_id)
        self.runs.update(run_id, {"estimate": {"usd": {"low": 1.0, "mid": 2.0, "high": PRICE}}})

    def _end(self, run_id: str) -> None:
        """The job ends, and with it the run; or a later step fails after the job has succeeded; or the run ends
        first, and its job lives on where the provider does not hear that it is to stop."""
        if self.faulty and self.dice.random() < 0.2:
            raise RunDeadlinePassed("the job still runs")
        super()._end(run_id)
        job_id = self.store.get(run_id).provider_job_id
        if job_id is None:
            return
        self.jobs.set(job_id, JobState.SUCCEEDED)
        if self.faulty and self.dice.random() < 0.2:
            raise ProviderJobEnded("a later step failed")
        self.invoke(lambda: self.runs.update(run_id, {"status": RunStatus.SUCCEEDED.value, "ended_at": self.now}))

    def _sweep(self) -> None:
        super()._sweep()
        if self.money.sweep:
            count_out(
                now=self.now, window_of=lambda *_: WINDOW, runs=self.runs, provider_named=lambda *_: self.provider
            )

    def insist(self) -> None:
        """A person who takes up again whatever has failed, without waiting for it to be sorted out."""
        for _ in range(8):
            self.sleep(self.dice.uniform(5, 40))
            for run in list(self.store.records.values()):
                if run.status in (RunStatus.FAILED, RunStatus.CANCELLED) and self.dice.random() < 0.5:
                    self.spawn(partial(self._resume, run.run_id))

    def live_through(self) -> None:
        for person in range(TRAININGS):
            self.spawn(partial(self.ask, str(person)))
        self.spawn(self.meddle)
        self.spawn(self.insist)
        self.run()
        self.faulty = False
        # One run that ended while its job might go on is never taken up again; the others must not wait for it.
        self.abandoned = {run for run in sorted(self.store.live_jobs()) if self.store.get(run).status.ended}
        for job in list(self.jobs.jobs.values()):
            if job.run_id in self.abandoned and not job.state.ended:
                self.jobs.set(job.job_id, JobState.SUCCEEDED)  # nobody stopped it, and it came to its end
        for _ in range(6 * TRAININGS):
            self.now += 1000.0
            self.spawn(self._sweep)
            self.run()
            for run in list(self.store.records.values()):
                if run.status in (RunStatus.FAILED, RunStatus.CANCELLED) and run.run_id not in self.abandoned:
                    self.spawn(partial(self._resume, run.run_id))
            self.run()

    # what there is to see at the end

    @property
    def charged(self) -> float:
        return sum(self.store.reserved.values())

    @property
    def cancelled(self) -> int:
        return sum(job.state is JobState.CANCELLED for job in self.jobs.jobs.values())

    def left_over(self) -> list[Run]:
        runs = self.store.records.values()
        return [run for run in runs if run.status is not RunStatus.SUCCEEDED and run.run_id not in self.abandoned]


def _requests(store: MutableMoney) -> Any:
    from tests.fakes.runs import FakeRequests

    return FakeRequests(store)
