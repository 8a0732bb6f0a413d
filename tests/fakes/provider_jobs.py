"""The jobs side of a provider in memory: what the launch, the polling, a failure and the sweep talk to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from tests.fakes.no_files import NoFiles

from pixtune.examples.rows import Row
from pixtune.providers.port import (
    Activation,
    JobMessage,
    JobRequest,
    JobState,
    JobView,
    Progress,
    ProviderCheckpoint,
    ReadImage,
    Reply,
)


@dataclass
class FakeProvider(NoFiles):
    """`providers.port.TrainingProvider` whose jobs are in `jobs`. refusing: raised by every call, when set.

    deploys: whether a model bills from `activate` to `release`; those that do are in `deployed`.
    """

    jobs: dict[str, JobView] = field(default_factory=dict)
    clock: Callable[[], float] = lambda: 0.0
    refusing: Exception | None = None
    launches: list[JobRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    points: list[Mapping[str, float]] = field(default_factory=list)
    saved: list[ProviderCheckpoint] = field(default_factory=list)
    messages: list[JobMessage] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    deployed: set[str] = field(default_factory=set)
    deploys: bool = False
    removed: list[str] = field(default_factory=list)

    def _answer(self) -> None:
        if self.refusing:
            raise self.refusing

    def add(self, run_id: str, state: JobState = JobState.RUNNING, created_at: float | None = None) -> JobView:
        """A job tagged with this run."""
        at = self.clock() if created_at is None else created_at
        view = JobView(f"job-{len(self.jobs) + 1}", state, state.value, at, run_id)
        self.jobs[view.job_id] = view
        return view

    def set(self, job_id: str, state: JobState, error: str | None = None) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], state=state, raw_state=state.value, error_message=error)

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        self._answer()
        return [job for job in self.jobs.values() if job.run_id == run_id]

    def list_tagged_jobs(self, since: float) -> Sequence[JobView]:
        self._answer()
        return [job for job in self.jobs.values() if job.created_at >= since]

    def launch(self, request: JobRequest) -> JobView:
        self.launches.append(request)
        self._answer()
        return self.add(request.run_id, JobState.QUEUED)

    def status(self, job_id: str) -> JobView:
        self._answer()
        return self.jobs[job_id]

    def cancel(self, job_id: str) -> JobView:
        self._answer()
        self.cancelled.append(job_id)
        self.set(job_id, JobState.CANCELLED)
        return self.jobs[job_id]

    def pause(self, job_id: str) -> JobView:
        self._answer()
        self.set(job_id, JobState.PAUSED)
        return self.jobs[job_id]

    def resume(self, job_id: str) -> JobView:
        self._answer()
        self.set(job_id, JobState.QUEUED)
        return self.jobs[job_id]

    def progress(self, job_id: str, since: float) -> Progress:
        self._answer()
        return Progress(self.points, [message for message in self.messages if message.at >= since])

    def metrics(self, job_id: str) -> Sequence[Mapping[str, float]]:
        self._answer()
        return self.points

    def checkpoints(self, job_id: str) -> Sequence[ProviderCheckpoint]:
        self._answer()
        return self.saved

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        raise NotImplementedError

    def retires_on(self, model_id: str) -> date | None:
        return None

    def delete_file(self, file_id: str) -> None:
        self._answer()
        self.files.discard(file_id)

    def activate(self, model_id: str) -> Activation:
        self._answer()
        if self.deploys:
            self.deployed.add(model_id)
        return Activation(True)

    def release(self, model_id: str) -> None:
        self._answer()
        self.deployed.discard(model_id)

    def delete_model(self, model_id: str) -> None:
        self._answer()
        self.removed.append(model_id)

    def answer(
        self, model_id: str, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
    ) -> Reply:
        raise NotImplementedError
