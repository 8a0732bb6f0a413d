"""One dataset version, trained on Bedrock by the shipped functions: from readiness to a chosen checkpoint.

The same version is rendered for the other kind of provider too: nothing in it is Bedrock's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from tests.fakes.bedrock_wire import BedrockWire
from tests.fakes.models import FakeModels
from tests.fakes.runs import FakeRequests, FakeRuns, FakeWorkflow
from tests.fakes.versions import KeptArtifacts, image, row, store_version
from tests.integration.provider_desks import BedrockDesk

from pixtune.aws.buckets import Artifacts
from pixtune.datasets.reading import read_image_from, read_manifest, read_split
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetNotReady
from pixtune.evaluation.activation import activate_model, release_model
from pixtune.evaluation.choice import choose_checkpoint
from pixtune.evaluation.judge import evaluate_checkpoint, kept_evaluation
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import limits_with
from pixtune.registry.models import CHAMPION
from pixtune.registry.promotion import Registrar
from pixtune.training.checkpoints import record_checkpoints
from pixtune.training.failure import Failed, record_failure
from pixtune.training.files import upload_files
from pixtune.training.launch import LaunchLimits, launch
from pixtune.training.poll import poll
from pixtune.training.readiness import check_readiness
from pixtune.training.run import Failure, Hyperparameters, Run, RunStatus, TrainingSettings
from pixtune.training.sweep import cancel_strays
from pixtune.training.waking import job_event

NOW = 1_795_000_000.0
SETTINGS = TrainingSettings("bedrock", "amazon.nova-lite-v1:0:300k", Hyperparameters(n_epochs=2))
ASKED = DatasetSettings(system="You count lanes.", prompt="How many lanes?")
EVENTS = Path(__file__).resolve().parents[2] / "events"


def picture_of(number: int) -> bytes:
    return b"\xff\xd8\xff\xe0 lanes: %d" % number


def says(model_id: str, body: dict[str, Any]) -> str:
    """The trained model reads the number out of the picture; the base model has not learnt to."""
    (shown,) = (part["image"] for part in body["messages"][0]["content"] if "image" in part)
    told = base64.b64decode(shown["source"]["bytes"]).rsplit(b" ", 1)[-1].decode()
    return str(int(told) % 5) if ":custom-model/" in model_id else "many"


@dataclass
class Stack:
    """Bedrock over the wire, the artifacts bucket in moto, and a run over one published version."""

    desk: BedrockDesk
    artifacts: Artifacts
    manifest_key: str
    runs: FakeRuns = field(default_factory=FakeRuns)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    models: FakeModels = field(default_factory=FakeModels)

    def begin(self, run_id: str, settings: TrainingSettings = SETTINGS) -> None:
        manifest = read_manifest(self.artifacts, self.manifest_key)
        self.runs.records[run_id] = Run(
            run_id,
            "lanes",
            settings,
            NOW,
            "api",
            run_id,
            status=RunStatus.RUNNING,
            version=1,
            version_digest=manifest.digest + run_id,  # so that no run joins another's training
            manifest_key=manifest.key,
        )

    def ready_and_uploaded(self, run_id: str) -> None:
        provider, spec = self.desk.provider, self.desk.spec
        check_readiness(run_id, self.runs, self.artifacts, provider, limits_with(), date(2026, 11, 22))
        assert upload_files(run_id, self.runs, self.artifacts, provider, spec, NOW).done

    def launch(self, run_id: str) -> str:
        return launch(
            run_id,
            1,
            limits=LaunchLimits(60, 3600),
            clock=lambda: NOW,
            seconds_left=lambda: 120,
            runs=self.runs,
            provider=self.desk.provider,
        ).outcome

    def record_failure(self, failed: Failed) -> Failure | None:
        return record_failure(
            failed, now=NOW, runs=self.runs, provider_of=lambda _run: self.desk.provider, named=self.models.named
        )

    def poll(self, run_id: str, turn: int) -> str:
        found = poll(
            run_id,
            1,
            turn,
            f"token-{turn}",
            now=NOW + turn,
            queue_limit=3600,
            runs=self.runs,
            provider=self.desk.provider,
            workflow=self.workflow,
        )
        return found.outcome


@pytest.fixture(scope="module")
def published() -> Iterator[tuple[BedrockDesk, Artifacts, str]]:
    """Bedrock, the bucket, and the version in it by its manifest's key."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        desk = BedrockDesk(BedrockWire(says=says))
        kept = KeptArtifacts()
        rows = [
            row(f"e{n}", str(n % 5), question=None, images=[image(f"e{n}", size=len(picture_of(n)))])
            for n in range(24)
        ]
        splits = {"train": rows[:16], "validation": rows[16:20], "test": rows[20:]}
        manifest = store_version(kept, splits, settings=ASKED)
        for number, one in enumerate(rows):
            kept.objects[one.images[0].image.key] = picture_of(number)
        artifacts = Artifacts(desk.s3, "artifacts")
        for key, body in kept.objects.items():
            artifacts.put_once(key, body, "application/octet-stream")
        yield desk, artifacts, manifest.key


@pytest.fixture
def stack(published: tuple[BedrockDesk, Artifacts, str]) -> Stack:
    made = Stack(*published)
    made.desk.wire.sent.clear()
    return made


def test_a_version_is_trained_followed_evaluated_and_promoted_on_bedrock(stack: Stack) -> None:
    run_id, provider, runs = "run_01ABC", stack.desk.provider, stack.runs
    stack.begin(run_id)
    stack.ready_and_uploaded(run_id)
    files = runs.get(run_id).files
    assert set(files) == {"training", "validation"}

    # Rendered: references to the pictures, in the bucket of the file itself. Nothing was uploaded but lines.
    lines = (stack.artifacts.get(files["training"].removeprefix("s3://artifacts/")) or b"").splitlines()
    assert len(lines) == 16
    named = [json.loads(line)["messages"][0]["content"][0]["image"]["source"]["s3Location"]["uri"] for line in lines]
    assert all(stack.artifacts.get(uri.removeprefix("s3://artifacts/")) for uri in named)
    assert not [line for line in lines if b"base64" in line]

    # Launched once, and asked for again in vain.
    assert [stack.launch(run_id), stack.launch(run_id)] == ["launched", "launched"]
    assert stack.desk.creates() == 1
    job_id = runs.get(run_id).provider_job_id
    assert job_id == "pixtune-run-01ABC-0"

    # Followed: a turn finds it running, EventBridge says it has changed, and the next turn finds it done.
    assert stack.poll(run_id, 1) == "running"
    stack.desk.finish(job_id)
    event = json.loads((EVENTS / "receive_job_event.json").read_text())
    event["detail"]["jobName"] = job_id
    requests = FakeRequests(runs)
    for expected in ("woken", "repeated"):
        told = job_event(event, now=NOW, runs=runs, requests=requests, workflow=stack.workflow)
        assert told == expected
    assert stack.workflow.answers == [("token-1", {"status": "woken"})]
    assert runs.get(run_id).provider_status == "running", "an event is a hint: the state comes from asking"
    assert stack.poll(run_id, 2) == "ended"
    assert stack.workflow.answers[-1] == ("token-2", {"status": "succeeded"})

    # Its metrics lie where Bedrock wrote them; its one checkpoint is the final model, beside the base model.
    folder = f"bedrock/{run_id}/{job_id}/model-customization-job-abcdefghijkl/training_artifacts"
    stack.artifacts.put_once(
        f"{folder}/step_wise_training_metrics.csv",
        b"step_number,epoch_number,training_loss,perplexity\n0,0,1.5,4.4\n7,1,0.25,1.3\n",
        "text/csv",
    )
    assert record_checkpoints(run_id, now=NOW, runs=runs, provider=provider) == (0, 8)
    assert [point["train_loss"] for point in runs.metrics(run_id)] == [1.5, 0.25]
    assert runs.checkpoints(run_id)[-1].metrics == {"train_loss": 0.25, "valid_loss": 0.5}

    # Each is deployed where it has to be, asked, and taken down.
    for step in (0, 8):
        waited = 0
        while not activate_model(run_id, 1, step, now=NOW, runs=runs, provider=provider).active:
            stack.desk.deploy()
            waited += 1
        assert waited == (1 if step else 0)
        evaluate_checkpoint(run_id, 1, step, runs, stack.artifacts, provider)
        release_model(run_id, step, runs=runs, provider=provider)
        assert stack.desk.wire.deployments == {}
    scores = {checkpoint.step: checkpoint.score for checkpoint in runs.checkpoints(run_id)}
    assert scores == {0: 0.0, 8: 1.0}
    asked = [body for name, body in stack.desk.wire.sent if name == "Converse"]
    assert len(asked) == 2 * 4
    assert all(body["system"] == [{"text": "You count lanes."}] for body in asked)

    # Chosen, active, and the champion: which stays deployed.
    assert choose_checkpoint(run_id, runs) == 8
    activate_model(run_id, 1, 8, now=NOW, runs=runs, provider=provider)
    stack.desk.deploy()
    registrar = Registrar(runs, stack.models, stack.artifacts, lambda _name, _base: provider, NOW)
    assert registrar.promote_model(run_id, 1, 8).promoted
    assert stack.models.alias("lanes", CHAMPION)
    assert len(stack.desk.wire.deployments) == 1
    kept = kept_evaluation(stack.artifacts, f"evaluations/{run_id}/1-8.json")
    assert kept
    assert kept.answers[0].prompt_tokens == 900


def test_the_same_version_renders_for_the_other_kind_of_provider(stack: Stack) -> None:
    manifest = read_manifest(stack.artifacts, stack.manifest_key)
    read_image = read_image_from(stack.artifacts)
    for one in read_split(stack.artifacts, manifest, "train"):
        chat = json.loads(training_line(one, ASKED.system, ASKED.prompt, "low", read_image))["messages"]
        nova = json.loads(stack.desk.provider.render(one, ASKED.system, ASKED.prompt, "low", read_image))
        assert nova["system"][0]["text"] == chat[0]["content"][0]["text"]
        assert [said["role"] for said in nova["messages"]] == [said["role"] for said in chat[1:]]
        texts = [[part["text"] for part in said["content"] if "text" in part] for said in nova["messages"]]
        assert texts == [[part["text"] for part in said["content"] if "text" in part] for said in chat[1:]]


def test_a_failed_job_fails_the_run_with_what_bedrock_said(stack: Stack) -> None:
    stack.begin("run_02ABC")
    stack.ready_and_uploaded("run_02ABC")
    stack.launch("run_02ABC")
    job = stack.desk.wire.job("pixtune-run-02ABC-0")
    job.status, job.failure_message = "Failed", "Line 3: reserved word."
    assert stack.poll("run_02ABC", 1) == "ended"
    failed = Failed("run_02ABC", 1, "ProviderJobEnded", "The provider job ended as failed.")
    failure = stack.record_failure(failed)
    assert failure
    assert "Line 3: reserved word." in failure.cause


def test_a_run_that_fails_while_its_job_runs_stops_the_job(stack: Stack) -> None:
    stack.begin("run_03ABC")
    stack.ready_and_uploaded("run_03ABC")
    stack.launch("run_03ABC")
    failed = Failed("run_03ABC", 1, "ABORTED", "Somebody stopped the execution.")
    stack.record_failure(failed)
    assert stack.desk.wire.job("pixtune-run-03ABC-0").status == "Stopped"
    assert stack.runs.get("run_03ABC").provider_status == "cancelled"


def test_the_sweep_stops_a_job_of_ours_that_its_run_does_not_record(stack: Stack) -> None:
    stack.begin("run_04ABC")
    stack.ready_and_uploaded("run_04ABC")
    stack.launch("run_04ABC")
    stack.runs.update("run_04ABC", {"provider_job_id": "pixtune-run-04ABC-7"})  # as if it had another
    later = datetime.now(UTC).timestamp() + 3600
    cancelled = cancel_strays(now=later, window=60, runs=stack.runs, provider=stack.desk.provider)
    assert [job.job_id for job in cancelled] == ["pixtune-run-04ABC-0"]


def test_what_nova_takes_no_part_of_is_said_before_anything_is_sent(stack: Stack) -> None:
    asked = TrainingSettings("bedrock", SETTINGS.base_model, Hyperparameters(6, 4, 20.0), seed=7)
    stack.begin("run_05ABC", asked)
    with pytest.raises(DatasetNotReady) as refused:
        stack.ready_and_uploaded("run_05ABC")
    for told in ("batch_size is 4, expected none", "n_epochs is 6", "learning_rate_multiplier is 20", "seed is 7"):
        assert told in refused.value.message
    assert stack.desk.creates() == 0


@pytest.mark.parametrize("job_name", ["pixtune-run-99ZZZ-0", "somebody-elses"])
def test_an_event_of_a_job_nobody_knows_changes_nothing(stack: Stack, job_name: str) -> None:
    event = json.loads((EVENTS / "receive_job_event.json").read_text())
    event["detail"]["jobName"] = job_name
    stack.begin("run_06ABC")
    requests = FakeRequests(stack.runs)
    before = dict(stack.runs.records)
    told = job_event(event, now=NOW, runs=stack.runs, requests=requests, workflow=stack.workflow)
    assert told == "unknown_job"
    assert (stack.workflow.answers, stack.runs.records) == ([], before)


def test_an_event_for_a_run_that_does_not_wait_changes_nothing(stack: Stack) -> None:
    event = json.loads((EVENTS / "receive_job_event.json").read_text())
    stack.begin("run_07ABC")
    stack.runs.jobs["bedrock", event["detail"]["jobName"]] = "run_07ABC"
    requests = FakeRequests(stack.runs)
    told = job_event(event, now=NOW, runs=stack.runs, requests=requests, workflow=stack.workflow)
    assert told == "not_waiting"
    assert stack.workflow.answers == []
