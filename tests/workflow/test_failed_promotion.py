"""A run that fails after its training: the machine and the shipped steps leave no model billing that nobody uses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from tests.fakes.models import FakeModels
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns
from tests.workflow.stage import Json, Raised
from tests.workflow.test_training_paths import Training

from pixtune.evaluation.activation import activate_model, release_model
from pixtune.registry.aliases import promote
from pixtune.registry.models import ModelVersion
from pixtune.training.failure import failed_of, record_failure
from pixtune.training.run import Checkpoint, Run, RunStatus, TrainingSettings
from pixtune.training.sweep import tidy_up

RUN = Run(
    "run_1",
    "plants",
    TrainingSettings("azure", "big"),
    0.0,
    "api",
    "key",
    status=RunStatus.RUNNING,
    steps=(0, 20, 40),
)
MODEL = ModelVersion("plants", 0, "run_1", 40, "azure", "big", "ft:40", 1, "d", "m", "r", 0.0)


class Play:
    """The machine from settling to promoting. Models are deployed by `activate` and bill until they are released."""

    def __init__(self, fails: str, named: bool = False) -> None:
        self.runs, self.models = FakeRuns({"run_1": RUN}), FakeModels()
        self.provider = FakeProvider(deploys=True)
        self.most = 0
        for step in RUN.steps:
            self.runs.put_checkpoint(Checkpoint("run_1", step, f"ft:{step}"))
        self._named = named
        functions: dict[str, Any] = {  # Any: Training takes functions by name beside numbers
            "RecordCheckpoints": lambda _: {"steps": [{"step": step} for step in RUN.steps]},
            "ChooseCheckpoint": lambda _: {"step": 40},
            "ActivateModel": self.activate,
            "ReleaseModel": self.release,
            "PromoteModel": self.promote,
            "RecordFailure": self.record_failure,
        }
        if fails != "PromoteModel":
            functions[fails] = self.fail
        self.stage = Training(**functions)
        self.stage.run({"run_id": "run_1", "attempt": 1})

    def fail(self, _: Json) -> Json:
        raise Raised("KeyError", "'rows'")

    def activate(self, payload: Json) -> Json:
        which = (payload["run_id"], payload["attempt"], payload["step"])
        answer = asdict(activate_model(*which, now=1.0, runs=self.runs, provider=self.provider))
        self.most = max(self.most, len(self.provider.deployed))
        return answer

    def release(self, payload: Json) -> Json:
        release_model(payload["run_id"], payload["step"], runs=self.runs, provider=self.provider)
        return {}

    def promote(self, payload: Json) -> Json:
        assert self.provider.deployed == {"ft:40"}
        if self._named:
            number = self.models.register(MODEL).number
            promote(self.models, "plants", "champion", number, expected=None, by="x", reason="", at=1.0)
        return self.fail(payload)

    def record_failure(self, payload: Json) -> Json:
        failed = failed_of(payload)
        assert failed is not None
        failure = record_failure(
            failed, now=10.0, runs=self.runs, provider_of=lambda _: self.provider, named=self.models.named
        )
        assert failure is not None
        return asdict(failure)

    def sweep(self) -> None:
        tidy_up(now=2000.0, runs=self.runs, provider_of=lambda _: self.provider, named=self.models.named)


@pytest.mark.parametrize("fails", ["PromoteModel", "ReleaseModel", "ChooseCheckpoint"])
def test_whatever_fails_after_the_training_no_model_goes_on_billing(fails: str) -> None:
    play = Play(fails)
    assert play.stage.execution.status == "FAILED"
    assert play.most > 0
    assert play.provider.deployed == set()
    play.sweep()
    assert not play.runs.get("run_1").untidy


def test_a_model_whose_alias_has_moved_before_the_failure_goes_on_answering() -> None:
    play = Play("PromoteModel", named=True)
    assert play.stage.execution.status == "FAILED"
    assert play.provider.deployed == {"ft:40"}
    play.sweep()
    assert play.provider.deployed == {"ft:40"}
