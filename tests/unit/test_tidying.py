"""A run that failed leaves nothing at its provider that bills or that nobody will use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from tests.fakes.models import FakeModels
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns

from pixtune.errors import FenceLost, ProviderUnavailable
from pixtune.evaluation.activation import activate_model, release_model
from pixtune.providers.port import Activation
from pixtune.registry.aliases import promote
from pixtune.registry.models import ModelVersion
from pixtune.training.failure import Failed, record_failure
from pixtune.training.resume import next_attempt
from pixtune.training.run import Checkpoint, Run, RunStatus, TrainingSettings
from pixtune.training.sweep import tidy_up
from pixtune.training.tidying import GIVE_UP_SECONDS, IN_FLIGHT_SECONDS

RUN = Run(
    "run_1",
    "plants",
    TrainingSettings("local", "tiny"),
    50.0,
    "api",
    "key",
    status=RunStatus.RUNNING,
    version=1,
    version_digest="d",
    files={"training": "file-1", "validation": "file-2"},
)
LATER = 101.0 + IN_FLIGHT_SECONDS  # runs here end at 100
MODEL = ModelVersion("plants", 0, "run_1", 10, "local", "tiny", "ft:1", 1, "d", "m", "r", 0.0)


class Yard:
    """One failed run's surroundings. The provider bills for `deployed` models and holds `files`."""

    def __init__(self, *others: Run, run: Run = RUN) -> None:
        self.runs = FakeRuns({one.run_id: one for one in (run, *others)})
        self.models = FakeModels()
        self.provider = FakeProvider(files={"file-1", "file-2"}, deploys=True)

    def fail(self, error: str = "ProviderRefused") -> None:
        record_failure(
            Failed("run_1", 1, error, "why"),
            now=100.0,
            runs=self.runs,
            provider_of=lambda _: self.provider,
            named=self.models.named,
        )

    def sweep(self, now: float = 700.0) -> list[str]:
        return list(tidy_up(now=now, runs=self.runs, provider_of=lambda _: self.provider, named=self.models.named))

    def activate(self, step: int = 10, attempt: int = 1) -> Activation:
        return activate_model("run_1", attempt, step, now=1.0, runs=self.runs, provider=self.provider)

    def evaluated(self) -> None:
        """The run has trained, and its checkpoint at step 10 was chosen and activated."""
        self.runs.update("run_1", {"steps": [0, 10], "provider_job_id": None, "files": {}})
        for step, model_id in ((0, "tiny"), (10, "ft:1")):
            self.runs.put_checkpoint(Checkpoint("run_1", step, model_id))
        self.activate()

    @property
    def run(self) -> Run:
        return self.runs.get("run_1")


# --- files after a refusal


def test_after_a_refusal_the_uploaded_files_are_deleted_and_forgotten() -> None:
    yard = Yard()
    yard.fail()
    assert yard.provider.files == set()
    assert (yard.run.files, yard.run.untidy) == ({}, False)
    assert list(yard.runs.untidy()) == []


@pytest.mark.parametrize("error", ["BudgetExceeded", "States.Timeout", "RunDeadlinePassed", "ABORTED"])
def test_after_any_other_failure_they_stay_for_the_next_attempt(error: str) -> None:
    yard = Yard()
    yard.fail(error)
    assert yard.provider.files == {"file-1", "file-2"}
    assert (yard.run.files, yard.run.untidy) == (RUN.files, False)


@pytest.mark.parametrize("known", [{"provider_job_id": "job-1"}, {"intent_at": 60.0}])
def test_the_files_of_a_job_that_was_made_or_may_have_been_stay(known: dict[str, object]) -> None:
    yard = Yard(run=replace(RUN, **known))  # type: ignore[arg-type]  # fields of Run
    if "provider_job_id" in known:
        yard.provider.add("run_1")
    yard.fail()
    assert yard.provider.files == {"file-1", "file-2"}


def test_a_file_that_another_live_run_names_stays() -> None:
    yard = Yard(replace(RUN, run_id="run_2", version_digest="other", files={"training": "file-1"}))
    yard.fail()
    assert yard.provider.files == {"file-1"}
    ended = replace(RUN, run_id="run_2", files={"training": "file-1"}, status=RunStatus.SUCCEEDED)
    yard = Yard(ended)
    yard.fail()
    assert yard.provider.files == set()


def test_while_another_run_may_be_about_to_find_them_they_all_stay() -> None:
    yard = Yard(replace(RUN, run_id="run_2", files={}))
    yard.fail()
    assert yard.provider.files == {"file-1", "file-2"}


def test_what_cannot_be_deleted_now_is_deleted_by_the_sweep() -> None:
    yard = Yard()
    yard.provider.refusing = ProviderUnavailable("503")
    yard.fail()
    assert yard.run.untidy
    assert yard.sweep() == []
    yard.provider.refusing = None
    assert yard.sweep() == ["run_1"]
    assert yard.provider.files == set()
    assert yard.sweep() == []


def test_after_a_week_the_sweep_gives_up_and_says_what_may_be_left() -> None:
    yard = Yard()
    yard.provider.refusing = ProviderUnavailable("401 the key was revoked")
    yard.fail()
    assert yard.sweep(100.0 + GIVE_UP_SECONDS) == ["run_1"]
    last = yard.runs.events("run_1")[-1]
    assert (last.name, last.level) == ("left-behind", "error")
    assert "401" in last.text
    assert yard.sweep() == []


def test_a_run_resumed_before_its_files_went_uploads_them_again_and_is_left_alone_by_the_sweep() -> None:
    yard = Yard()
    yard.provider.refusing = ProviderUnavailable("503")
    yard.fail()
    assert yard.runs.begin_attempt("run_1", 1, next_attempt(yard.run, 200.0))
    yard.provider.refusing = None
    assert (yard.run.files, yard.run.uploads) == ({}, {})
    assert yard.sweep() == []


# --- models that bill


def test_a_model_is_noted_before_it_is_activated_and_crossed_out_after_it_is_released() -> None:
    yard = Yard()
    yard.evaluated()
    assert yard.provider.deployed == {"ft:1"}
    assert [point.activated for point in yard.runs.checkpoints("run_1")] == [False, True]
    release_model("run_1", 10, runs=yard.runs, provider=yard.provider)
    assert yard.provider.deployed == set()
    assert [point.activated for point in yard.runs.checkpoints("run_1")] == [False, False]
    yard.provider.refusing = ProviderUnavailable("the answer was lost")
    with pytest.raises(ProviderUnavailable):
        yard.activate()
    assert [point.activated for point in yard.runs.checkpoints("run_1")] == [False, True]


def test_a_promotion_that_fails_leaves_no_model_billing() -> None:
    yard = Yard()
    yard.evaluated()
    yard.fail("KeyError")
    assert yard.provider.deployed == set()
    assert yard.run.status is RunStatus.FAILED
    assert yard.sweep(LATER) == ["run_1"]
    assert [point.activated for point in yard.runs.checkpoints("run_1")] == [False, False]


def test_a_model_that_an_alias_names_already_goes_on_answering() -> None:
    yard = Yard()
    yard.evaluated()
    number = yard.models.register(MODEL).number
    promote(yard.models, "plants", "champion", number, expected=None, by="me", reason="", at=1.0)
    yard.fail("KeyError")
    assert yard.provider.deployed == {"ft:1"}
    assert not yard.run.untidy


def test_what_cannot_be_released_now_is_released_by_the_sweep() -> None:
    yard = Yard()
    yard.evaluated()
    yard.provider.refusing = ProviderUnavailable("503")
    yard.fail("KeyError")
    assert yard.provider.deployed == {"ft:1"}
    yard.provider.refusing = None
    assert yard.sweep() == []
    assert yard.provider.deployed == set()
    assert yard.sweep(LATER) == ["run_1"]


class Interrupted(FakeRuns):
    """Runs whose owner ends the run right before one of the calls that an activation makes."""

    def __init__(self, yard: Yard, moment: int) -> None:
        super().__init__(yard.runs.records)
        self.saved_checkpoints, self.saved_events = yard.runs.saved_checkpoints, yard.runs.saved_events
        self._yard, self._left = yard, moment

    def _call(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._yard.fail("ABORTED")

    def get(self, run_id: str) -> Run:
        found = super().get(run_id)
        self._call()
        return found

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._call()
        super().put_checkpoint(checkpoint)


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_a_model_that_comes_up_while_its_run_is_ended_from_outside_is_not_left_billing(moment: int) -> None:
    yard = Yard()
    yard.evaluated()
    release_model("run_1", 10, runs=yard.runs, provider=yard.provider)
    with suppress(FenceLost):
        activate_model("run_1", 1, 10, now=1.0, runs=Interrupted(yard, moment), provider=yard.provider)
    yard.fail("ABORTED")
    yard.sweep(LATER)
    assert yard.provider.deployed == set()


def test_neither_an_ended_run_nor_an_older_attempt_activates_a_model() -> None:
    yard = Yard()
    yard.evaluated()
    yard.fail("ABORTED")
    with pytest.raises(FenceLost):
        yard.activate()
    with pytest.raises(FenceLost):
        yard.activate(attempt=2)
    assert yard.provider.deployed == set()
