"""The functions from readiness to promotion as Lambda calls them: AWS simulated, the provider a real local one."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from PIL import Image
from tests.fakes.versions import KeptArtifacts, image, row, store_version
from tests.integration.tables import make_tables

from pixtune.aws import clients
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.secrets import ProviderSecrets
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import ComplianceFailed, DatasetNotReady
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with
from pixtune.providers.port import JobRequest
from pixtune.registry.aliases import promote
from pixtune.registry.models import ModelVersion
from pixtune.settings import MissingSetting
from pixtune.training.run import Checkpoint, Request, Run, RunStatus, TrainingSettings
from pixtune_local.provider.testing import Provider, running_provider

BASE = "local-vision-1"
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 50, 200)}


class Context:
    function_name = "test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn"
    aws_request_id = "id"

    def get_remaining_time_in_millis(self) -> int:
        return 110_000


def coloured(name: str, number: int) -> bytes:
    """A picture whose colour can be told, each a little different."""
    red, green, blue = COLOURS[name]
    picture = Image.new("RGB", (160, 120), (red + number, green, max(0, blue - number)))
    picture.paste((255, 255, 255), (number * 3, number * 2, number * 3 + 30, number * 2 + 20))
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=90)
    return stored.getvalue()


@dataclass
class Cloud:
    runs: RunsTable
    models: ModelsTable
    server: Provider
    s3: Any

    def call(self, function: str, **event: Any) -> dict[str, Any]:
        """Load the function as a cold start does, and invoke it."""
        module = importlib.import_module(f"functions.{function}.handler")
        module = importlib.reload(module)
        answer: dict[str, Any] = module.handler({"run_id": "run_1", "attempt": 1} | event, Context())
        json.dumps(answer)
        return answer

    def store(self, examples: int, settings: DatasetSettings | None = None) -> None:
        """A version of coloured pictures in the bucket and a run that names it."""
        artifacts, rows = KeptArtifacts(), []
        pictures = {}
        for number in range(examples):
            colour = list(COLOURS)[number % 3]
            data = coloured(colour, number)
            facts = image(f"{colour}-{number}", size=len(data), width=160, height=120, brightness=number / 100)
            pictures[facts.key] = data
            pictures[f"thumbs/{facts.sha256}.jpg"] = data
            rows.append(row(f"e{number:02d}", colour, "Which colour: red, green or blue?", images=[facts]))
        cut = examples * 2 // 3
        splits = {"train": rows[:cut], "validation": rows[cut : cut + 4], "test": rows[cut + 4 :]}
        manifest = store_version(artifacts, splits, settings=settings)
        for key, body in (artifacts.objects | pictures).items():
            self.s3.put_object(Bucket="artifacts", Key=key, Body=body)
        run = Run("run_1", "lanes", TrainingSettings("local", BASE, seed=7), time.time(), "api", "k")
        requests = RequestsTable(clients.dynamodb(), "requests", "runs")
        assert requests.open(Request("api", "k", "run_1", "hash", False), run, time.time())
        self.runs.update("run_1", {"status": "running", "manifest_key": manifest.key, "version": 1})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as started:
        yield started


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, server: Provider) -> Iterator[Cloud]:
    values = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "RUNS_TABLE": "runs",
        "MODELS_TABLE": "models",
        "ARTIFACTS_BUCKET": "artifacts",
        "PROVIDER_URLS": json.dumps({"openai": "", "local": server.base_url}),
        "SKIP_PREDICTOR": "",
        "MAX_RUN_USD": "",
        "MONTHLY_BUDGET_USD": "",
        "MAX_LIVE_JOBS": "",
        "APPROVAL_ABOVE_USD": "0",
        "APPROVAL_TIMEOUT_SECONDS": "600",
        "MIN_MODEL_DAYS": "60",
        "RETIREMENT_WARNING_DAYS": "30",
        "EVENT_BUS_NAME": "pixtune-test",
        "POWERTOOLS_LOG_LEVEL": "WARNING",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        made: tuple[Callable[[], Any], ...] = (clients.s3, clients.dynamodb, clients.secretsmanager)
        for client in made:
            client.cache_clear()  # type: ignore[attr-defined]  # they are functools caches
        dynamodb, s3 = clients.dynamodb(), clients.s3()
        make_tables(dynamodb)
        dynamodb.create_table(
            TableName="models",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        s3.create_bucket(Bucket="artifacts")
        keys = json.dumps({"local": {"api_key": server.api_key}})
        secret = boto3.client("secretsmanager").create_secret(Name="providers", SecretString=keys)
        monkeypatch.setenv("PROVIDER_SECRET_ARN", secret["ARN"])
        yield Cloud(RunsTable(dynamodb, "runs"), ModelsTable(dynamodb, "models"), server, s3)
        for client in made:
            client.cache_clear()  # type: ignore[attr-defined]  # as above


def train(cloud: Cloud) -> None:
    """What LaunchTraining, PollTraining and RecordCheckpoints do in between, by the same adapter."""
    keys = {"local": {"api_key": cloud.server.api_key}}
    provider = provider_for("local", BASE, {"local": cloud.server.base_url}, keys, limits_with())
    run = cloud.runs.get("run_1")
    files = run.files
    job = provider.launch(
        JobRequest("run_1", BASE, files["training"], files["validation"], run.settings.hyperparameters, 7, "lanes")
    )
    deadline = time.monotonic() + 60
    while not provider.status(job.job_id).state.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    cloud.runs.update("run_1", {"provider_job_id": job.job_id})
    cloud.runs.put_metrics("run_1", provider.metrics(job.job_id))
    cloud.runs.put_checkpoint(Checkpoint("run_1", 0, BASE))
    for point in provider.checkpoints(job.job_id):
        cloud.runs.put_checkpoint(Checkpoint("run_1", point.step, point.model_id, point.metrics))


def test_a_run_goes_from_readiness_to_a_champion_with_a_report(cloud: Cloud) -> None:
    cloud.store(48)
    assert cloud.call("check_readiness") == {"ready": True, "needs_approval": True, "approval_seconds": 600}
    folder = str(cloud.runs.get("run_1").manifest_key).removesuffix("/manifest.json")
    judged = json.loads(cloud.s3.get_object(Bucket="artifacts", Key=f"{folder}/compliance.json")["Body"].read())
    assert judged["summary"] == {"privacy": {"passed": 48, "warned": 0, "refused": 0}}
    assert cloud.call("upload_files") == {"done": True, "parts_key": "", "parts": 0}
    train(cloud)
    for step in [point.step for point in cloud.runs.checkpoints("run_1")]:
        assert cloud.call("activate_model", step=step) == {"active": True, "wait_seconds": 0}
        scored = cloud.call("evaluate_checkpoint", step=step)
        assert scored["step"] == step
        assert 0 <= scored["score"] <= 1
        assert cloud.call("release_model", step=step) == {}
    step = cloud.call("choose_checkpoint")["step"]
    assert cloud.call("promote_model", step=step) == {"promoted": True}
    assert cloud.call("promote_model", step=step) == {"promoted": True}

    run = cloud.runs.get("run_1")
    assert run.status is RunStatus.SUCCEEDED
    assert run.report_key == "reports/run_1/1.html"
    page = cloud.s3.get_object(Bucket="artifacts", Key=run.report_key)
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert b"lanes, model version 1" in page["Body"].read()
    (move,) = cloud.models.history("lanes", "champion")
    model = cloud.models.model("lanes", move.model_version)
    assert model is not None
    assert (model.run_id, model.step, move.run_id) == ("run_1", step, "run_1")
    assert run.promotion is not None
    assert run.promotion["comparison"]["ours"] > run.promotion["comparison"]["theirs"]


def test_a_version_too_small_to_train_stops_before_anything_is_sent(cloud: Cloud) -> None:
    cloud.store(9)
    sent = len(cloud.server.requests("POST", "/v1/files"))
    with pytest.raises(DatasetNotReady, match="rows is 6, expected at least 10"):
        cloud.call("check_readiness")
    assert len(cloud.server.requests("POST", "/v1/files")) == sent


def test_a_version_that_breaks_its_own_policy_stops_there_too_after_the_provider_moderated_it(cloud: Cloud) -> None:
    cloud.store(48, DatasetSettings.from_json({"compliance": {"content": "refuse", "licence": "refuse"}}))
    with pytest.raises(ComplianceFailed, match=r"licence \(48 examples\)\.\n- e00: license: not stated"):
        cloud.call("check_readiness")
    kept = [item["Key"] for item in cloud.s3.list_objects_v2(Bucket="artifacts", Prefix="moderation/")["Contents"]]
    assert len(kept) == 48 + 4  # the pictures, the question and three answers
    assert all(key.startswith("moderation/pixtune-local-word-list/") for key in kept)


def test_keys_are_read_again_after_five_minutes_and_never_shown(cloud: Cloud) -> None:
    client, now = clients.secretsmanager(), [0.0]
    arn = client.list_secrets()["SecretList"][0]["ARN"]
    secrets = ProviderSecrets(client, arn, clock=lambda: now[0])
    first = secrets.read()
    client.put_secret_value(SecretId=arn, SecretString='{"local": {"api_key": "new"}}')
    now[0] = 299
    assert secrets.read() == first
    now[0] = 301
    assert secrets.read() == {"local": {"api_key": "new"}}
    for broken in ("sk-very-secret", '["sk-very-secret"]', '{"openai": "sk-very-secret"}'):
        client.put_secret_value(SecretId=arn, SecretString=broken)
        with pytest.raises(MissingSetting) as raised:
            ProviderSecrets(client, arn).read()
        assert "very-secret" not in str(raised.value)


FUNCTIONS = (
    "check_readiness",
    "upload_files",
    "upload_part",
    "activate_model",
    "evaluate_checkpoint",
    "release_model",
    "choose_checkpoint",
    "promote_model",
)


def test_cold_starts_load_neither_the_providers_client_nor_an_image_library_nor_pydantic(cloud: Cloud) -> None:
    handlers = ", ".join(f"functions.{function}.handler" for function in FUNCTIONS)
    code = f"import sys, {handlers}; print({{'openai', 'PIL', 'pydantic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_alias_that_will_end_is_measured_and_its_warning_kept_for_the_stream(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.store(24)
    key = cloud.runs.get("run_1").manifest_key
    assert key is not None
    made = ModelVersion("lanes", 0, "run_1", 1, "local", BASE, "ft:1", 1, "d", key, "r1", 1.0)
    registered = cloud.models.register(made)
    promote(cloud.models, "lanes", "champion", registered.number, expected=0, by="t", reason="", at=1.0)
    ends = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    own = {"provider": "local", "base_model": BASE, "answer_until": ends, "read": "2026-11-22"}
    monkeypatch.setenv("PROVIDER_LIMITS", json.dumps({"model": [own]}))
    cloud.call("check_retirement")
    (measured,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert measured["ModelDaysLeft"] == [20.0]
    assert measured["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "pixtune"
    assert measured["service"] == "pixtune-test"
    (kept,) = [
        item
        for item in clients.dynamodb().scan(TableName="models")["Items"]
        if item["sk"]["S"].startswith("RETIRING#champion#")
    ]
    assert kept["retires_on"]["S"] == ends
