"""The sweep starts what was never started, and cancels only jobs that are ours and nobody's."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune.providers.port import JobState
from pixtune.training.run import Run, RunStatus, TrainingSettings
from pixtune.training.sweep import cancel_strays, settle_ended, start_unstarted

RUN = Run("run_1", "plants", TrainingSettings("local", "tiny"), 100.0, "api", "key")
NOW = 10_000.0


def store(*runs: Run) -> FakeRuns:
    return FakeRuns({run.run_id: run for run in runs})


def test_only_runs_that_wait_for_two_minutes_are_started() -> None:
    workflow = FakeWorkflow()
    runs = store(
        replace(RUN, attempt=3),
        replace(RUN, run_id="run_2", requested_at=NOW - 60),
        replace(RUN, run_id="run_3", status=RunStatus.RUNNING),
        replace(RUN, run_id="run_4", status=RunStatus.FAILED),
    )
    assert start_unstarted(now=NOW, runs=runs, workflow=workflow) == ["run_1"]
    assert workflow.started == [("run_1", 3)]


def test_a_live_run_whose_execution_has_ended_badly_is_settled_and_its_job_cancelled() -> None:
    provider = FakeProvider()
    job = provider.add("run_1")
    runs = store(
        replace(RUN, status=RunStatus.RUNNING, attempt=2, provider_job_id=job.job_id),
        replace(RUN, run_id="run_2", status=RunStatus.RUNNING),
    )
    workflow = FakeWorkflow(ended={("run_1", 2): "TIMED_OUT", ("run_2", 7): "FAILED"})
    settled = settle_ended(now=NOW, runs=runs, workflow=workflow, provider_of=lambda _: provider, named=lambda _: ())
    assert settled == ["run_1"]
    failure = runs.get("run_1").failure
    assert failure
    assert (runs.get("run_1").status, failure.code) == (RunStatus.FAILED, "execution_timed_out")
    assert provider.cancelled == [job.job_id]
    assert runs.get("run_2").status is RunStatus.RUNNING


def swept(runs: FakeRuns, provider: FakeProvider) -> list[str]:
    cancel_strays(now=NOW, window=900.0, runs=runs, provider=provider)
    return provider.cancelled


def test_the_job_a_run_does_not_record_is_cancelled_and_the_one_it_records_is_not() -> None:
    provider = FakeProvider()
    kept, stray = provider.add("run_1", created_at=5.0), provider.add("run_1", created_at=6.0)
    running = replace(RUN, status=RunStatus.RUNNING, provider_job_id=kept.job_id)
    assert swept(store(running), provider) == [stray.job_id]


def test_a_job_of_an_ended_run_that_never_recorded_one_is_cancelled() -> None:
    provider = FakeProvider()
    stray = provider.add("run_1")
    assert swept(store(replace(RUN, status=RunStatus.FAILED, intent_at=1.0)), provider) == [stray.job_id]


def test_what_may_be_somebodys_is_left_alone() -> None:
    provider = FakeProvider()
    provider.add("run_1")  # its run is live and may be about to adopt it
    provider.add("run_of_another_deployment")
    failed = replace(RUN, run_id="run_2", status=RunStatus.FAILED)
    provider.add("run_2", created_at=NOW - 100)  # inside the quiet window
    provider.add("run_2", JobState.SUCCEEDED)
    provider.add("run_2", JobState.CANCELLING)
    untagged = provider.add("run_2")
    provider.jobs[untagged.job_id] = replace(untagged, run_id=None)
    assert swept(store(RUN, failed), provider) == []
