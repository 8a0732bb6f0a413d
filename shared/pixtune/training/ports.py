"""What the stages of a training need from the outside, as protocols; `aws.runs_table` and fakes implement them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pixtune.costs.calibration import Observation
from pixtune.training.run import Charge, Checkpoint, Request, Run, RunEvent


class Runs(Protocol):
    """Run records with their checkpoints, metrics and events."""

    def get(self, run_id: str) -> Run:
        """Strongly consistent. Raises KeyError when there is no such run."""
        ...

    def update(self, run_id: str, changes: Mapping[str, Any], *, fence: int | None = None) -> None:
        """Set these fields of the run (JSON values, names of `Run`). With `fence`: only while the run's fence is
        still this one, else FenceLost. A status is set only while the run has not ended, else RunEnded (setting the
        same again is fine); one that ends the run counts it out of the live jobs. Closes the run to further requests
        when `open_to_requests` says so."""
        ...

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store or replace one checkpoint."""
        ...

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """In order of step."""
        ...

    def put_metrics(self, run_id: str, points: Sequence[Mapping[str, float]]) -> None:
        """Store metric points; each has "step"; a repeated step replaces."""
        ...

    def metrics(self, run_id: str, after: int = -1) -> Sequence[Mapping[str, float]]:
        """In order of step; only those of steps after this one."""
        ...


class Bills(Protocol):
    """What the last trainings on a base model were billed, beside what was estimated."""

    def observations(self, provider: str, base_model: str) -> Sequence[Observation]:
        """Oldest first; those that are remembered."""
        ...

    def remember_bill(self, provider: str, base_model: str, bill: Observation) -> None:
        """Remember one more; a run's bill takes the place of its earlier one."""
        ...


class TrainingRuns(Runs, Bills, Protocol):
    """Run records as request, launch, polling, failure and the sweep need them."""

    def open_run(self, dataset: str, settings_digest: str) -> str | None:
        """The run that still takes in requests for this dataset and these settings."""
        ...

    def live(self) -> Iterable[Run]:
        """Runs that have not ended; may lag behind by seconds."""
        ...

    def take_fence(self, run_id: str, attempt: int) -> Run:
        """Raise the fence and answer the run with it. FenceLost when a newer attempt exists, RunEnded when ended."""
        ...

    def untidy(self) -> Iterable[Run]:
        """Ended runs that may have left something at their provider; may lag behind by seconds."""
        ...

    def holder(self, training_id: str) -> str | None:
        """The run that holds the reservation of this training."""
        ...

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
        """Reserve the training, charge the budget and count among the live jobs: all or nothing. False when somebody
        else was faster, or it has been done for this attempt: look again.

        instead_of: the ended run to take it over from, or an earlier attempt of the same run, provided that it is
        still as shown. charge: None takes nothing, and keeps what an earlier attempt of this run was charged.
        max_live: how many runs may have a live job, None for any number. Raises FenceLost, BudgetExceeded when the
        month's budget has not that much left, and TooManyJobs.
        """
        ...

    def live_jobs(self) -> frozenset[str]:
        """The runs that count as having a live job: from reserving it until nothing of it can run any more."""
        ...

    def no_job_runs(self, run_id: str, attempt: int) -> None:
        """Count the run out of the live jobs, provided that it has ended and is at this attempt still."""
        ...

    def record_job(self, run_id: str, provider: str, job_id: str, changes: Mapping[str, Any], *, fence: int) -> None:
        """Set the run's provider job with `changes`, and make the run findable by it. Raises FenceLost."""
        ...

    def run_of_job(self, provider: str, job_id: str) -> str | None: ...

    def store_token(self, run_id: str, attempt: int, turn: int, task_token: str) -> Run | None:
        """Keep the token of this polling turn; None when a newer turn or attempt has stored its own."""
        ...

    def observe(
        self, run_id: str, changes: Mapping[str, Any], events: Sequence[RunEvent], *, fence: int, seen: float
    ) -> bool:
        """Store what an answer about the provider job changes, with its events, all or nothing. False when the run's
        `observed_at` is not `seen` any more. Raises FenceLost."""
        ...

    def settle(
        self, run_id: str, changes: Mapping[str, Any], *, fence: int, release: bool, job_may_run: bool = False
    ) -> bool:
        """End the run with `changes` and raise its fence, so that nothing under way writes any more. False when it
        has ended, or the fence is another one.

        release: give the training's reservation and its charge back: no provider job was made for it.
        job_may_run: its provider job lives or may exist, so the run goes on counting among the live jobs.
        """
        ...

    def begin_attempt(self, run_id: str, ended_attempt: int, changes: Mapping[str, Any]) -> bool:
        """Make a failed or cancelled run live again with `changes`; False unless it is at that attempt, and ended."""
        ...

    def add_event(self, run_id: str, event: RunEvent) -> None: ...

    def add_events(self, run_id: str, events: Sequence[RunEvent]) -> None:
        """Store events; one with an id that is there already replaces itself."""
        ...

    def last_metric_step(self, run_id: str) -> int:
        """The highest step with a metric point, -1 without any."""
        ...


class Requests(Protocol):
    """Request keys with the run each got. A request is written together with what it changes, or not at all."""

    def find(self, door: str, key: str, now: float) -> Request | None: ...

    def open(self, request: Request, run: Run, now: float) -> bool:
        """Store the request and its new run, open to further requests. False when the key, or another open run
        for the same dataset and settings, was there first."""
        ...

    def share(self, request: Request, now: float) -> bool:
        """Store the request with a run that is open; the run then awaits uploads up to now. False when the key
        was there first or the run is no longer open."""
        ...

    def first_time(self, door: str, key: str, now: float) -> bool:
        """Whether this key is seen for the first time, remembering it for the days a redelivery may take."""
        ...


class Workflow(Protocol):
    """The state machine. One execution per attempt, named `{run_id}-{attempt}`."""

    def start(self, run_id: str, attempt: int) -> None:
        """Start the attempt's execution; one that exists already is success."""
        ...

    def stop(self, run_id: str, attempt: int, cause: str) -> None:
        """Abort the attempt's execution; one that has ended already is success."""
        ...

    def ended_badly(self, run_id: str, attempt: int) -> str | None:
        """FAILED, TIMED_OUT or ABORTED; None for an execution that runs, went well, or does not exist."""
        ...

    def succeed(self, task_token: str, output: Mapping[str, Any]) -> None:
        """Answer a waiting task; one that is settled already is success."""
        ...

    def fail(self, task_token: str, error: str, cause: str) -> None:
        """Fail a waiting task; one that is settled already is success."""
        ...


class ArtifactStore(Protocol):
    """The artifacts bucket as stages see it (aws.buckets.Artifacts)."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...

    def get(self, key: str) -> bytes | None: ...


class RangedArtifacts(ArtifactStore, Protocol):
    """An artifacts bucket of which a part of an object can be read."""

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`. Raises LookupError when there is no such object."""
        ...
