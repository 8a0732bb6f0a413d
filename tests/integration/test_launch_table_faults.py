"""The process dies, or the AWS client sends again, at every call to DynamoDB from launch to end: one job, none left.

PIXTUNE_FAULT_PAIRS says how many pairs of such calls are tried; from 1,000 on every single call is, else each fourth.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, count, product
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeWorkflow
from tests.integration.tables import make_tables

from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.training.failure import Failed, record_failure
from pixtune.training.launch import LaunchLimits, launch
from pixtune.training.poll import poll
from pixtune.training.run import Request, Run, RunStatus, TrainingSettings
from pixtune.training.sweep import cancel_strays, tidy_up

PAIRS = int(os.environ.get("PIXTUNE_FAULT_PAIRS", "2"))
STRIDE = 1 if PAIRS >= 1000 else 4
_ids = count(1)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class FaultyClient:
    """A DynamoDB client. at: number of the call -> "after" (it is carried out, then the process dies) or "twice" (its
    answer is lost and it is sent again)."""

    target: Any  # the client it stands for
    at: Mapping[int, str] = field(default_factory=dict)
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if name in ("exceptions", "meta"):
            return found

        def call(*args: Any, **named: Any) -> Any:
            mode = self.at.get(self.calls)
            self.calls += 1
            answer = found(*args, **named)
            if mode == "after":
                raise Killed
            return found(*args, **named) if mode == "twice" else answer

        return call


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        made = boto3.client("dynamodb", region_name="eu-central-1")
        make_tables(made)
        yield made


class Scene:
    """One run from its launch to being called off, every step made again until it comes through."""

    def __init__(self, client: Any, at: Mapping[int, str]) -> None:
        self.now = 1000.0
        self.run_id = f"run_{next(_ids)}"
        self.jobs = FakeProvider(clock=lambda: self.now, files={"f"})
        run = Run(self.run_id, self.run_id, TrainingSettings("local", "tiny"), self.now, "api", self.run_id)
        assert RequestsTable(client, "requests", "runs").open(
            Request("api", self.run_id, self.run_id, "hash", False), run, self.now
        )
        plain = RunsTable(client, "runs")
        estimate = {"usd": {"low": 1.0, "mid": 2.0, "high": 3.0}}
        changes = {"version": 1, "version_digest": self.run_id, "files": {"training": "f"}, "estimate": estimate}
        plain.update(self.run_id, changes)
        self.plain, self.client = plain, FaultyClient(client, at)
        self.runs = RunsTable(cast(Any, self.client), "runs")

    def until_done(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except Killed:
                self.now += 5.0

    def play(self) -> None:
        while (answer := self.until_done(self._launch)).outcome == "unknown":
            self.now += answer.wait_seconds
        assert answer.outcome == "launched"
        (job,) = self.jobs.jobs.values()
        run = self.plain.get(self.run_id)
        assert (run.provider_job_id, run.status) == (job.job_id, RunStatus.RUNNING)
        turns = count(1)
        self.until_done(lambda: self._poll(next(turns)))
        names = [event.name for event in self.plain.events(self.run_id)]
        assert len(names) == len(set(names)), f"told twice: {names}"
        self.until_done(self._fail)
        self.until_done(self._sweep)
        run = self.plain.get(self.run_id)
        assert (run.status, run.untidy, len(self.jobs.jobs)) == (RunStatus.CANCELLED, False, 1)
        assert all(job.state.ended for job in self.jobs.jobs.values())

    def _launch(self) -> Any:
        limits = LaunchLimits(window=60.0, deadline=1e6)
        return launch(
            *(self.run_id, 1),
            limits=limits,
            clock=lambda: self.now,
            seconds_left=lambda: 120.0,
            runs=self.runs,
            provider=self.jobs,
        )

    def _poll(self, turn: int) -> None:
        self.now += 30.0
        poll(
            *(self.run_id, 1, turn, f"token-{turn}"),
            now=self.now,
            queue_limit=1e6,
            runs=self.runs,
            provider=self.jobs,
            workflow=FakeWorkflow(),
        )

    def _fail(self) -> None:
        failed = Failed(self.run_id, 1, "ABORTED", "called off")
        record_failure(failed, now=self.now, runs=self.runs, provider_of=lambda _: self.jobs, named=lambda _: ())

    def _sweep(self) -> None:
        self.now += 3600.0
        tidy_up(now=self.now, runs=self.runs, provider_of=lambda _: self.jobs, named=lambda _: ())
        cancel_strays(now=self.now, window=60.0, runs=self.runs, provider=self.jobs)


def calls_without_a_fault(client: Any) -> int:
    scene = Scene(client, {})
    scene.play()
    return scene.client.calls


@pytest.mark.parametrize("mode", ["after", "twice"])
def test_any_call_that_kills_or_is_sent_twice_leaves_one_job_and_then_none(client: Any, mode: str) -> None:
    calls = calls_without_a_fault(client)
    assert calls > 15
    for number in range(0 if mode == "after" else 1, calls, STRIDE):
        Scene(client, {number: mode}).play()


def test_any_two_such_calls_leave_one_job_and_then_none(client: Any) -> None:
    longest = calls_without_a_fault(client) + 6
    pairs = [
        {first: one, second: other}
        for first, second in combinations(range(longest), 2)
        for one, other in product(("after", "twice"), repeat=2)
    ]
    for at in random.Random(5).sample(pairs, min(PAIRS, len(pairs))):
        Scene(client, at).play()
