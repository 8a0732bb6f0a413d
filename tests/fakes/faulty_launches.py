"""One run's launch through the real adapter to a real local provider, with faults at chosen requests; and what is
left of it in the end. The run's record is in memory and time is virtual: only the provider goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune.errors import ProviderRefused
from pixtune.providers.openai_shaped import OpenAIShapedProvider
from pixtune.providers.port import JobView
from pixtune.training.failure import Failed, record_failure
from pixtune.training.launch import LaunchLimits, launch
from pixtune.training.poll import poll
from pixtune.training.run import Run, RunStatus, TrainingSettings
from pixtune.training.sweep import cancel_strays, tidy_up
from pixtune_local.provider.testing import Provider

JOBS = "/v1/fine_tuning/jobs"
WINDOW = 60.0
LATE = 0.6  # how much longer a slow answer takes than the adapter waits
MODES: Mapping[str, Mapping[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "429": {"kind": "status", "status": 429},
    "403": {"kind": "status", "status": 403},
    "drop-before": {"kind": "drop_before"},
    "drop-after": {"kind": "drop_after"},
    "timeout-before": {"kind": "delay", "seconds": LATE},
    "timeout-after": {"kind": "delay_after", "seconds": LATE},
}
_ids = count(1)


@dataclass
class FaultyLaunch:
    """faults: number of the request that goes wrong -> a name in MODES. called_off: whether the run is stopped after
    its launch, so that its job has to be cancelled. at_create: what the first create runs into, instead of `faults`.
    patient: the same provider for what is done and looked at when the faults are over."""

    server: Provider
    adapter: OpenAIShapedProvider
    patient: OpenAIShapedProvider
    file_id: str
    called_off: bool
    faults: Mapping[int, str] = field(default_factory=dict)
    at_create: str | None = None

    def __post_init__(self) -> None:
        self.run_id = f"run_{next(_ids)}"
        self.now = 1e10  # after whatever the provider dates its jobs by
        settings = TrainingSettings("local", "local-vision-1")
        self.runs = FakeRuns()
        self.runs.records[self.run_id] = Run(
            self.run_id, "plants", settings, 0.0, "api", "k", version=1, version_digest=self.run_id
        )
        self.runs.update(self.run_id, {"files": {"training": self.file_id}})
        self.workflow = FakeWorkflow()
        self.creates = 0

    def play(self) -> list[tuple[str, str]]:
        """Launch and follow as the state machine does, then let sweeps drain what is left; the requests made while
        faults were in force."""
        self.server.admin("POST", "reset")
        rules = [{"skip": number, **MODES[mode]} for number, mode in sorted(self.faults.items())]
        # A rule sees only requests that no earlier rule took: the second fault counts one request less.
        for earlier, rule in enumerate(rules):
            rule["skip"] -= earlier
        if self.at_create:
            rules = [{"method": "POST", "path": JOBS, **MODES[self.at_create]}]
        self.server.faults(rules=rules, queue={"stuck": True})
        self._follow()
        made = [(entry["method"], entry["path"]) for entry in self.server.admin("GET", "requests")["data"]]
        self.server.faults(rules=[])
        for _ in range(2):
            self.now += 3600.0
            self._sweep()
        return made

    def _follow(self) -> None:
        try:
            self._launch()
            self._poll()
        except ProviderRefused as refused:
            self._fail("ProviderRefused", str(refused))
            return
        if self.called_off:
            self._fail("ABORTED", "called off")

    def _launch(self) -> None:
        limits = LaunchLimits(WINDOW, deadline=1e6)
        for _ in range(20):
            answer = launch(
                self.run_id,
                1,
                limits=limits,
                clock=lambda: self.now,
                seconds_left=lambda: 120.0,
                runs=self.runs,
                provider=_Counting(self.adapter, self),
            )
            if answer.outcome == "launched":
                return
            assert answer.outcome == "unknown"
            self.now += answer.wait_seconds
        raise AssertionError(f"{self.run_id} was never launched")

    def _poll(self) -> None:
        self.now += 30.0
        poll(
            *(self.run_id, 1, 1, "token"),
            now=self.now,
            queue_limit=1e6,
            runs=self.runs,
            provider=self.adapter,
            workflow=self.workflow,
        )

    def _fail(self, error: str, cause: str) -> None:
        self.now += 1.0
        failed = Failed(self.run_id, 1, error, cause)
        record_failure(failed, now=self.now, runs=self.runs, provider_of=lambda _: self.adapter, named=lambda _: ())

    def _sweep(self) -> None:
        tidy_up(now=self.now, runs=self.runs, provider_of=lambda _: self.patient, named=lambda _: ())
        cancel_strays(now=self.now, window=WINDOW, runs=self.runs, provider=self.patient)

    # --- what is left

    @property
    def run(self) -> Run:
        return self.runs.get(self.run_id)

    def living(self) -> Sequence[JobView]:
        return [job for job in self.patient.find_jobs(self.run_id) if not job.state.ended]

    def wrong(self) -> str | None:
        """What must not be so: more than one job, a job of a failed run, a running run without its job."""
        run, living = self.run, self.living()
        told = f"{run.status.value}, job {run.provider_job_id}, living {[job.job_id for job in living]}"
        if run.status is RunStatus.RUNNING:
            return None if [job.job_id for job in living] == [run.provider_job_id] else told
        if run.failure is None or living or run.untidy:
            return told
        return None

    def clear(self) -> None:
        for job in self.living():
            self.patient.cancel(job.job_id)


class _Counting:
    """The adapter, with its creates counted."""

    def __init__(self, adapter: OpenAIShapedProvider, launch: FaultyLaunch) -> None:
        self._adapter, self._launch = adapter, launch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "launch":
            self._launch.creates += 1
        found: Callable[..., Any] = getattr(self._adapter, name)
        return found
