"""A failed run says why, stops costing money, and can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.fakes.models import FakeModels
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns, FakeWorkflow

from pixtune import errors
from pixtune.errors import ProviderRefused, ProviderUnavailable, RunFault, RunNotResumable
from pixtune.providers.port import JobState
from pixtune.training.failure import Failed, failed_of, read_cause, record_failure
from pixtune.training.resume import resume
from pixtune.training.run import Charge, Failure, Run, RunStatus, TrainingSettings

NEW = Run("run_1", "plants", TrainingSettings("local", "tiny"), 50.0, "api", "key")
LAUNCHED = replace(
    NEW, status=RunStatus.RUNNING, stage="LaunchTraining", version=1, version_digest="d", provider_job_id="job-1"
)


@dataclass
class Ward:
    run: Run = NEW
    provider: FakeProvider = field(default_factory=FakeProvider)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    models: FakeModels = field(default_factory=FakeModels)

    def __post_init__(self) -> None:
        self.runs = FakeRuns({"run_1": self.run})

    def record(self, error: str, cause: str = "it broke", attempt: int = 1) -> Failure | None:
        failed = Failed("run_1", attempt, error, cause)
        return record_failure(
            failed, now=99.0, runs=self.runs, provider_of=lambda _: self.provider, named=self.models.named
        )

    def resume(self) -> Run:
        return resume("run_1", now=500.0, runs=self.runs, workflow=self.workflow)


def lambda_cause(name: str, message: str) -> str:
    return json.dumps({"errorType": name, "errorMessage": message, "stackTrace": ["..."]})


def test_a_failure_settles_the_run_with_code_cause_and_what_to_do() -> None:
    ward = Ward()
    failure = ward.record("UploadsNotSettled", lambda_cause("UploadsNotSettled", "plants/a.jpg has no verdict."))
    assert failure is not None
    assert (failure.code, failure.cause) == ("uploads_not_settled", "plants/a.jpg has no verdict.")
    assert "pixtune run resume run_1" in failure.fix
    run = ward.runs.get("run_1")
    assert (run.status, run.failure, run.ended_at) == (RunStatus.FAILED, failure, 99.0)
    assert [event.name for event in ward.runs.events("run_1")] == ["run-failed"]


def fault_names() -> list[str]:
    faults = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RunFault)]
    return [kind.__name__ for kind in faults if kind is not RunFault]


@pytest.mark.parametrize(
    "name",
    [
        *fault_names(),
        "ProviderUnavailable",
        "FenceLost",
        "States.Timeout",
        "Sandbox.Timedout",
        "ABORTED",
        "TIMED_OUT",
    ],
)
def test_every_known_failure_has_a_code_of_its_own_and_says_what_to_do(name: str) -> None:
    failure = Ward().record(name)
    assert failure is not None
    assert failure.code != "internal_error"
    assert len(failure.fix) > 20
    assert "{" not in failure.fix
    kind = getattr(errors, name, None)
    if kind is not None and issubclass(kind, RunFault):
        assert failure.code == kind.code


def test_an_unknown_failure_names_its_class_and_where_to_look() -> None:
    failure = Ward().record("KeyError", lambda_cause("KeyError", "'files'"))
    assert failure is not None
    assert (failure.code, failure.cause) == ("internal_error", "KeyError: 'files'")
    assert "log" in failure.fix


def test_a_failure_before_any_job_gives_the_training_and_its_budget_back_and_asks_no_provider() -> None:
    ward = Ward(replace(LAUNCHED, provider_job_id=None))
    ward.runs.reserve("run_1", "trn", fence=0, instead_of=None, charge=Charge("2026-11", 5.0, 10.0))
    ward.runs.opened["plants", NEW.settings.digest()] = "run_1"
    ward.provider.refusing = AssertionError("must not be asked")
    ward.record("ProviderRefused", lambda_cause("ProviderRefused", "403 training_not_available"))
    assert ward.runs.holder("trn") is None
    assert ward.runs.reserved == {"2026-11": 0.0}
    assert ward.runs.open_run("plants", NEW.settings.digest()) is None


def test_a_provider_that_trains_no_more_is_told_with_what_else_would_train_the_version() -> None:
    others = {"alternatives": ["azure/gpt-4.1-2025-04-14", "bedrock/amazon.nova-lite-v1:0:300k"]}
    closed = lambda_cause("ProviderRefused", "HTTP 403 training_not_available: we are winding down")
    run = replace(LAUNCHED, provider_job_id=None, intent_at=None, version=3, estimate=others)
    failure = Ward(run).record("ProviderRefused", closed)
    assert failure is not None
    assert "azure/gpt-4.1-2025-04-14, bedrock/amazon.nova-lite-v1:0:300k: `pixtune run start" in failure.fix
    assert f"{run.dataset}@3 --provider PROVIDER --base-model MODEL`" in failure.fix
    other = Ward(run).record("ProviderRefused", lambda_cause("ProviderRefused", "HTTP 401"))
    assert other is not None
    assert "azure" not in other.fix


def test_a_running_job_is_cancelled_so_that_a_failed_run_costs_nothing_more() -> None:
    ward = Ward(LAUNCHED)
    ward.provider.add("run_1")
    failure = ward.record("RunDeadlinePassed", "The training did not end in time; running.")
    assert failure is not None
    assert ward.provider.cancelled == ["job-1"]
    assert failure.cause == "The training did not end in time; running. The provider job job-1 is cancelled."
    assert ward.runs.get("run_1").provider_status == "cancelled"


def test_a_job_that_cannot_be_cancelled_comes_first_and_names_the_command_that_adopts_it() -> None:
    ward = Ward(LAUNCHED)
    ward.provider.refusing = ProviderUnavailable("503")
    failure = ward.record("States.Timeout")
    assert failure is not None
    assert failure.fix.startswith("It could not be cancelled, so provider job job-1 may still run and cost: 503.")
    assert "`pixtune run resume run_1` adopts it" in failure.fix


@pytest.mark.parametrize(
    ("state", "said"), [(JobState.SUCCEEDED, "job-1 has succeeded"), (JobState.FAILED, "job-1 is failed")]
)
def test_an_ended_job_is_left_alone(state: JobState, said: str) -> None:
    ward = Ward(LAUNCHED)
    ward.provider.add("run_1", state)
    failure = ward.record("States.Timeout")
    assert ward.provider.cancelled == []
    assert failure is not None
    assert said in failure.cause


def test_a_failed_job_says_what_the_provider_says() -> None:
    ward = Ward(LAUNCHED)
    ward.provider.add("run_1")
    ward.provider.set("job-1", JobState.FAILED, "line 3 has no image")
    failure = ward.record("ProviderJobEnded", "The provider job ended with the status failed.")
    assert failure is not None
    assert "line 3 has no image" in failure.cause


def test_of_an_unknown_launch_the_job_that_appeared_is_cancelled() -> None:
    ward = Ward(replace(LAUNCHED, provider_job_id=None, intent_at=40.0))
    ward.provider.add("run_1")
    ward.record("States.Timeout")
    run = ward.runs.get("run_1")
    assert ward.provider.cancelled == ["job-1"]
    assert (run.provider_job_id, run.provider_status) == ("job-1", "cancelled")


def test_of_an_unknown_launch_without_a_job_yet_the_doubt_is_told_and_kept() -> None:
    ward = Ward(replace(LAUNCHED, provider_job_id=None, intent_at=40.0))
    ward.runs.reserve("run_1", "trn", fence=0, instead_of=None, charge=None)
    failure = ward.record("States.Timeout")
    assert failure is not None
    assert "It is not known whether" in failure.fix
    assert ward.runs.get("run_1").intent_at == 40.0
    assert ward.runs.holder("trn") == "run_1"


def test_an_aborted_execution_is_a_cancelled_run() -> None:
    ward = Ward()
    ward.record("ABORTED")
    assert ward.runs.get("run_1").status is RunStatus.CANCELLED


def test_a_run_that_has_ended_or_has_a_newer_attempt_is_left_as_it_is() -> None:
    ward = Ward(LAUNCHED)
    ward.provider.add("run_1")
    first = ward.record("States.Timeout", "first")
    assert ward.record("ABORTED", "second") == first
    assert ward.runs.get("run_1").status is RunStatus.FAILED
    ward.runs.update("run_1", {"attempt": 2})
    assert ward.record("States.Timeout", attempt=1) == first
    succeeded = Ward(replace(LAUNCHED, status=RunStatus.SUCCEEDED))
    assert succeeded.record("TIMED_OUT") is None
    assert succeeded.runs.get("run_1").status is RunStatus.SUCCEEDED
    assert (
        record_failure(
            Failed("run_9", 1, "x", ""),
            now=1.0,
            runs=ward.runs,
            provider_of=lambda _: ward.provider,
            named=ward.models.named,
        )
        is None
    )


def test_a_launch_under_way_while_the_run_is_settled_cannot_write_any_more() -> None:
    ward = Ward(replace(LAUNCHED, provider_job_id=None))
    older = ward.runs.take_fence("run_1", 1)
    ward.record("TIMED_OUT")
    with pytest.raises(errors.FenceLost):
        ward.runs.update("run_1", {"intent_at": 1.0}, fence=older.fence)


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("plain text", "plain text"),
        ("{broken", "{broken"),
        ('["a"]', '["a"]'),
        (lambda_cause("X", "why"), "why"),
        ('{"errorMessage": "HTTP 503: \\"busy\\"", "errorType": "Provid', 'HTTP 503: "busy"'),
        ('{"errorMessage": "HTTP 503 \\u00e', "HTTP 503 "),
    ],
)
def test_a_cause_is_read_for_people(cause: str, said: str) -> None:
    assert read_cause(cause) == said


def execution_event(**detail: Any) -> Mapping[str, Any]:
    return {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}


def test_an_execution_that_ended_badly_is_read_from_its_name_and_status() -> None:
    event = execution_event(name="run_01ABC-12", status="TIMED_OUT", error=None, cause=None)
    assert failed_of(event) == Failed("run_01ABC", 12, "TIMED_OUT", "The execution run_01ABC-12 ended as TIMED_OUT.")
    event = execution_event(name="run_1-1", status="FAILED", error="States.Runtime", cause="no such field")
    assert failed_of(event) == Failed("run_1", 1, "States.Runtime", "no such field")
    assert failed_of(execution_event(name="by-hand", status="FAILED")) is None
    call = {"run_id": "run_1", "attempt": 2, "failure": {"Error": "X", "Cause": "y"}}
    assert failed_of(call) == Failed("run_1", 2, "X", "y")


def test_resuming_begins_the_next_attempt_and_adopts_version_files_and_a_living_job() -> None:
    ward = Ward(replace(LAUNCHED, files={"training": "f"}, deadline_at=7.0, turn=9, task_token="t"))
    ward.provider.refusing = ProviderRefused("cannot cancel")
    ward.record("States.Timeout")
    run = ward.resume()
    assert (run.attempt, run.status, run.failure, run.ended_at) == (2, RunStatus.QUEUED, None, None)
    assert (run.version, run.files, run.provider_job_id) == (1, {"training": "f"}, "job-1")
    assert (run.deadline_at, run.turn, run.task_token, run.requested_at) == (0.0, 0, None, 50.0)
    assert ward.workflow.started == [("run_1", 2)]


def test_resuming_forgets_a_job_that_came_to_nothing_but_not_a_doubt() -> None:
    ward = Ward(LAUNCHED)
    ward.provider.add("run_1")
    ward.record("RunDeadlinePassed")
    assert ward.resume().provider_job_id is None
    doubtful = Ward(replace(LAUNCHED, provider_job_id=None, intent_at=40.0))
    doubtful.record("States.Timeout")
    assert doubtful.resume().intent_at == 40.0


def test_resuming_a_run_that_has_not_published_awaits_what_was_dropped_until_now() -> None:
    ward = Ward()
    ward.record("UploadsNotSettled")
    assert ward.resume().requested_at == 500.0


def test_resuming_twice_is_resuming_once_and_repairs_a_start_that_was_lost() -> None:
    ward = Ward()
    ward.record("States.Timeout")
    ward.resume()
    ward.workflow.started.clear()
    assert ward.resume().attempt == 2
    assert ward.workflow.started == [("run_1", 2)]


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.JOINED])
def test_what_did_not_fail_is_not_resumed(status: RunStatus) -> None:
    with pytest.raises(RunNotResumable, match=status.value):
        Ward(replace(NEW, status=status)).resume()
