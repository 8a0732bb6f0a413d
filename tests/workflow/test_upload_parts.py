"""Uploading a large version through infra/training.asl.json, the shipped functions in its Task states."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.part_uploads import PartUploads
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import JPEG, KeptArtifacts, row, store_version
from tests.workflow.stage import Json, Raised
from tests.workflow.test_training_paths import Training

from pixtune.datasets.version import DatasetSettings
from pixtune.errors import PixtuneError, ProviderRefused, ProviderUnavailable
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import spec_for
from pixtune.training.files import upload_files, upload_part
from pixtune.training.run import Run, TrainingSettings

SPEC = replace(spec_for("local", "local-vision-1"), part_bytes=1000)


class Upload(Training):
    """A run whose version is uploaded for real and which joins another at its launch, to end there."""

    def __init__(self, rows: int) -> None:
        self.artifacts, self.runs, self.provider = KeptArtifacts(), FakeRuns(), PartUploads()
        self.rows = [row(f"e{number:04d}", str(number)) for number in range(rows)]
        manifest = store_version(self.artifacts, {"train": self.rows}, settings=DatasetSettings())
        run = Run("run_1", "lanes", TrainingSettings("local", "local-vision-1"), 0.0, "api", "k")
        self.runs.records["run_1"] = replace(run, manifest_key=manifest.key)
        super().__init__(
            UploadFiles=self._upload_files,
            UploadPart=self._upload_part,
            LaunchTraining=lambda _: {"outcome": "joined", "wait_seconds": 0},
        )

    def _upload_files(self, _: Json) -> Json:
        return told(
            lambda: upload_files("run_1", self.runs, self.artifacts, self.provider, SPEC, self.loop.time()).to_json()
        )

    def _upload_part(self, payload: Json) -> Json:
        assert (payload["run_id"], payload["attempt"]) == ("run_1", 1)
        told(
            lambda: upload_part(payload["plan"], payload["upload_id"], payload["part"], self.artifacts, self.provider)
        )
        return {}

    async def _read_object(self, bucket: str, key: str) -> bytes:
        assert bucket == "ArtifactsBucket"
        return self.artifacts.objects[key]

    def play(self) -> Upload:
        self.run({"run_id": "run_1", "attempt": 1})
        return self

    @property
    def uploaded(self) -> bool:
        (file,) = self.provider.files.values()
        return file == b"".join(training_line(one, None, None, "high", lambda _: JPEG) for one in self.rows)


def told(work: Any) -> Any:
    """An exception as Lambda would tell it."""
    try:
        return work()
    except PixtuneError as error:
        raise Raised(type(error).__name__, str(error)) from error


def test_every_part_is_a_child_execution_and_the_file_is_completed_in_order() -> None:
    stage = Upload(60).play()
    assert stage.execution.status == "SUCCEEDED", stage.execution.cause
    assert stage.uploaded
    sent = len(stage.provider.sent)
    assert sent > 10
    assert stage.order() == [
        "SettleUploads",
        "PublishDataset",
        "CheckReadiness",
        "UploadFiles",
        *["UploadPart"] * sent,
        "UploadFiles",
        "LaunchTraining",
    ]


def test_the_state_stays_under_32_kb_whatever_the_number_of_parts() -> None:
    stage = Upload(500).play()
    assert len(stage.provider.sent) > 125, "more than 8 GB has in parts of 64 MB"
    largest = 0
    for event in stage.execution.history.events:
        for details in (value for key, value in event.items() if key.endswith("Details")):
            data = [details.get(part, "") for part in ("input", "output", "parameters")]
            data.append(json.dumps(details.get("assignedVariables", {})))
            largest = max(largest, *(len(part.encode()) for part in data))
    assert largest < 2_000
    answers = json.dumps([{}] * len(stage.provider.sent))
    assert len(answers) < 32_000, "what the children answer, which the Map takes in before it lets go of it"
    assert len(stage.execution.history.events) < 100


def test_an_upload_that_expires_on_its_way_goes_round_again() -> None:
    stage = Upload(60)
    usual = stage.functions["UploadPart"]

    def part(payload: Json) -> Json:
        if payload["upload_id"] == "upload-1" and len(stage.provider.sent) == 5:
            stage.provider.expire()
        return usual(payload)

    stage.functions = {**stage.functions, "UploadPart": part}
    stage.play()
    assert stage.execution.status == "SUCCEEDED", stage.execution.cause
    assert stage.uploaded
    assert list(stage.provider.uploads) == ["upload-1", "upload-2"]
    assert stage.entered().count("UploadParts") == 2


def test_a_provider_that_is_away_for_a_while_is_waited_for_part_by_part() -> None:
    stage = Upload(60)
    stage.provider.fail["upload_part"] = ProviderUnavailable("503")
    stage.play()
    assert stage.uploaded
    assert stage.loop.time() > 0
    assert stage.entered().count("UploadParts") == 1


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ProviderRefused("HTTP 401: bad key"), "ProviderRefused"),
        (ProviderUnavailable("HTTP 503"), "ProviderUnavailable"),
    ],
)
def test_what_the_provider_said_of_a_part_is_what_the_run_says(error: Exception, shown: str) -> None:
    class Refusing(PartUploads):
        def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
            raise error

    stage = Upload(60)
    stage.provider = Refusing()
    stage.play()
    assert (stage.execution.status, stage.execution.error) == ("FAILED", type(error).__name__)
    assert stage.execution.cause is not None
    assert str(error) in stage.execution.cause


def test_a_worker_that_crashes_is_tried_again_and_what_it_sent_is_recorded_once() -> None:
    stage = Upload(60)
    usual = stage.functions["UploadPart"]
    crashes = iter(range(2))

    def part(payload: Json) -> Json:
        answer = usual(payload)
        if payload["part"] == 3 and next(crashes, None) is not None:
            raise Raised("Runtime.ExitError", "signal: killed")
        return answer

    stage.functions = {**stage.functions, "UploadPart": part}
    stage.play()
    assert stage.uploaded
    assert stage.provider.sent.count(3) == 1, "its record was there, so it was not sent again"
