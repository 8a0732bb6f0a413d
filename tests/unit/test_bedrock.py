"""What the Bedrock adapter sends and how it reads the answers, held to botocore's own model of the service."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from typing import IO, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.botocore_stubber import MockRawResponse
from tests.fakes.versions import JPEG, row

from pixtune.aws import clients
from pixtune.aws.bedrock import faults
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.bedrock import (
    AwsSide,
    BedrockProvider,
    Home,
    _deployment_name,
    _job_prefix,
    _model_name,
    metric_points,
)
from pixtune.providers.limits import limits_with, spec_for
from pixtune.providers.port import Activation, JobRequest, JobState, TrainingProvider
from pixtune.training.run import Hyperparameters
from pixtune.wiring import provider_for

BASE = "amazon.nova-lite-v1:0:300k"
ROLE = "arn:aws:iam::123456789012:role/pixtune-BedrockRole"
JOB_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-lite-v1:0:300k/abcdefghijkl"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl"
DEPLOYMENT = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghijkl"
NAME = "pixtune-run-01ABC-0"
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
REQUEST = JobRequest(
    "run_01ABC",
    BASE,
    "s3://artifacts/training/t.jsonl",
    "s3://artifacts/training/v.jsonl",
    Hyperparameters(n_epochs=3, learning_rate_multiplier=2.0),
    None,
    "road lanes_v1",
)


@dataclass
class KeptFiles:
    """providers.bedrock.Files in a dict; nothing here is sent in parts."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put_once(self, key: str, body: bytes | IO[bytes], content_type: str) -> bool:
        return self.objects.setdefault(key, body if isinstance(body, bytes) else body.read()) is body

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def size(self, key: str) -> int | None:
        return len(self.objects[key]) if key in self.objects else None

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.objects if key.startswith(prefix)]

    def begin_parts(self, key: str, content_type: str) -> str:
        raise NotImplementedError

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        raise NotImplementedError

    def join_parts(self, key: str, upload_id: str, parts: object) -> None:
        raise NotImplementedError


@cache
def _clients() -> tuple[Any, Any, Any]:
    once = Config(region_name="us-east-1", retries={"total_max_attempts": 1})
    session = boto3.Session("x", "x")
    control, creating = (session.client("bedrock", config=once) for _ in range(2))
    return control, creating, session.client("bedrock-runtime", config=once)


class Line:
    """The adapter over stubbed clients. A stub checks each request against the service model, and its order."""

    def __init__(self) -> None:
        self.control, self.creating, self.runtime = _clients()
        self.stubs = [Stubber(client) for client in (self.control, self.creating, self.runtime)]
        self.files = KeptFiles()
        aws = AwsSide(self.control, self.creating, self.runtime, self.files, faults)
        self.provider: TrainingProvider = BedrockProvider(spec_for("bedrock", BASE), Home("artifacts", ROLE), aws)

    def told(self, operation: str, answer: Mapping[str, Any], **asked: Any) -> None:
        self._stub(operation).add_response(operation, answer, asked)

    def refused(self, operation: str, code: str, status: int = 400, message: str = "no") -> None:
        self._stub(operation).add_client_error(operation, code, message, http_status_code=status)

    def _stub(self, operation: str) -> Stubber:
        creates = operation == "create_model_customization_job"
        return self.stubs[2 if operation == "converse" else 1 if creates else 0]

    def no_jobs(self) -> None:
        self.told("list_model_customization_jobs", {}, nameContains="pixtune-run-01ABC-")


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    for stub in made.stubs:
        stub.activate()
    yield made
    for stub in made.stubs:
        stub.deactivate()
        stub.assert_no_pending_responses()


def job(status: str = "InProgress", **more: Any) -> dict[str, Any]:
    return {
        "jobArn": JOB_ARN,
        "jobName": NAME,
        "outputModelName": "m",
        "roleArn": ROLE,
        "status": status,
        "creationTime": AT,
        "baseModelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{BASE}",
        "trainingDataConfig": {"s3Uri": "s3://artifacts/training/t.jsonl"},
        "validationDataConfig": {"validators": []},
        "outputDataConfig": {"s3Uri": f"s3://artifacts/bedrock/run_01ABC/{NAME}/"},
    } | more


def summary(status: str, name: str = NAME, at: datetime = AT) -> dict[str, Any]:
    base = f"arn:aws:bedrock:us-east-1::foundation-model/{BASE}"
    return {"jobArn": JOB_ARN, "baseModelArn": base, "jobName": name, "status": status, "creationTime": at}


OURS = {"tags": [{"key": "run_id", "value": "run_01ABC"}, {"key": "made_by", "value": "pixtune"}]}

# --------------------------------------------------------------------------- launch

ASKED = {
    "jobName": NAME,
    "customModelName": f"road-lanes-v1-{sha256(NAME.encode()).hexdigest()[:16]}",
    "clientRequestToken": NAME,
    "roleArn": ROLE,
    "baseModelIdentifier": BASE,
    "customizationType": "FINE_TUNING",
    "trainingDataConfig": {"s3Uri": "s3://artifacts/training/t.jsonl"},
    "validationDataConfig": {"validators": [{"s3Uri": "s3://artifacts/training/v.jsonl"}]},
    "outputDataConfig": {"s3Uri": f"s3://artifacts/bedrock/run_01ABC/{NAME}/"},
    "hyperParameters": {"epochCount": "3", "learningRate": "0.00002"},
    "jobTags": OURS["tags"],
    "customModelTags": OURS["tags"],
}


def test_a_launch_says_who_it_is_and_what_it_wants(line: Line) -> None:
    line.no_jobs()
    line.told("create_model_customization_job", {"jobArn": JOB_ARN}, **ASKED)
    line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    view = line.provider.launch(REQUEST)
    assert (view.job_id, view.run_id, view.created_at) == (NAME, "run_01ABC", AT.timestamp())


def test_what_is_not_asked_is_not_sent_and_novas_defaults_stand(line: Line) -> None:
    bare = JobRequest("run_01ABC", BASE, REQUEST.training_file, None, Hyperparameters(), None, REQUEST.suffix)
    line.no_jobs()
    asked = {name: value for name, value in ASKED.items() if name != "validationDataConfig"}
    line.told("create_model_customization_job", {"jobArn": JOB_ARN}, **asked | {"hyperParameters": {}})
    line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    line.provider.launch(bare)


def test_a_repeated_token_is_answered_with_the_job_it_made_and_so_is_the_launch(line: Line) -> None:
    for _ in range(2):
        line.no_jobs()  # a list that lags
        line.told("create_model_customization_job", {"jobArn": JOB_ARN}, **ASKED)
        line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    assert line.provider.launch(REQUEST) == line.provider.launch(REQUEST)


@pytest.mark.parametrize("code", ["ConflictException", "ResourceInUseException", "ValidationException"])
def test_a_name_that_is_taken_by_this_run_is_this_runs_job(line: Line, code: str) -> None:
    line.no_jobs()
    line.refused("create_model_customization_job", code)
    line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    line.told("list_tags_for_resource", OURS, resourceARN=JOB_ARN)
    assert line.provider.launch(REQUEST).job_id == NAME


def test_a_name_that_somebody_else_has_taken_is_not_adopted(line: Line) -> None:
    line.no_jobs()
    line.refused("create_model_customization_job", "ValidationException", message="in use")
    line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    line.told("list_tags_for_resource", {"tags": []}, resourceARN=JOB_ARN)
    with pytest.raises(ProviderRefused, match="in use"):
        line.provider.launch(REQUEST)


def test_a_refused_request_is_a_refusal_when_no_job_of_that_name_exists(line: Line) -> None:
    line.no_jobs()
    line.refused("create_model_customization_job", "ServiceQuotaExceededException")
    line.refused("get_model_customization_job", "ResourceNotFoundException", 404)
    with pytest.raises(ProviderRefused, match="quota"):
        line.provider.launch(REQUEST)


def test_a_run_whose_jobs_came_to_nothing_asks_for_the_next_one(line: Line) -> None:
    ended = [summary("Failed"), summary("Stopped", "pixtune-run-01ABC-1")]
    line.told(
        "list_model_customization_jobs",
        {"modelCustomizationJobSummaries": ended},
        nameContains="pixtune-run-01ABC-",
    )
    for _ in ended:
        line.told("list_tags_for_resource", OURS, resourceARN=JOB_ARN)
    name = "pixtune-run-01ABC-2"
    asked = ASKED | {
        "jobName": name,
        "clientRequestToken": name,
        "customModelName": f"road-lanes-v1-{sha256(name.encode()).hexdigest()[:16]}",
        "outputDataConfig": {"s3Uri": f"s3://artifacts/bedrock/run_01ABC/{name}/"},
    }
    line.told("create_model_customization_job", {"jobArn": JOB_ARN}, **asked)
    line.told("get_model_customization_job", job(jobName=name), jobIdentifier=name)
    assert line.provider.launch(REQUEST).job_id == name


@settings(max_examples=30)
@given(
    st.from_regex(r"run_[0-9A-HJKMNP-TV-Z]{26}", fullmatch=True),
    st.text(max_size=200),
    st.integers(0, 50),
)
def test_names_are_ones_the_api_takes(run_id: str, suffix: str, number: int) -> None:
    name = f"{_job_prefix(run_id)}{number}"
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*", name)
    assert re.fullmatch(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,254}[a-zA-Z0-9])?", name)
    for made in (_model_name(suffix, name), _deployment_name(MODEL)):
        assert len(made) <= 63
        assert re.fullmatch(r"([0-9a-zA-Z][_-]?){1,63}", made)


# --------------------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    ("status", "details", "state"),
    [
        ("InProgress", {}, JobState.RUNNING),
        ("InProgress", {"validationDetails": {"status": "InProgress"}}, JobState.VALIDATING),
        ("InProgress", {"dataProcessingDetails": {"status": "InProgress"}}, JobState.VALIDATING),
        (
            "InProgress",
            {
                "validationDetails": {"status": "Completed"},
                "dataProcessingDetails": {"status": "Completed"},
                "trainingDetails": {"status": "InProgress"},
            },
            JobState.RUNNING,
        ),
        ("Stopping", {}, JobState.CANCELLING),
        ("Stopped", {}, JobState.CANCELLED),
        ("Completed", {}, JobState.SUCCEEDED),
        ("Failed", {}, JobState.FAILED),
        ("Rebalancing", {}, JobState.RUNNING),
    ],
)
def test_a_jobs_words_fold_into_states(line: Line, status: str, details: dict[str, Any], state: JobState) -> None:
    line.told("get_model_customization_job", job(status, statusDetails=details), jobIdentifier=NAME)
    view = line.provider.status(NAME)
    assert (view.state, view.raw_state) == (state, status)


def test_a_failed_job_says_why_and_one_that_runs_does_not(line: Line) -> None:
    line.told("get_model_customization_job", job("Failed", failureMessage="bad row 3"), jobIdentifier=NAME)
    assert line.provider.status(NAME).error_message == "bad row 3"
    line.told("get_model_customization_job", job(failureMessage=""), jobIdentifier=NAME)
    assert line.provider.status(NAME).error_message is None


def test_of_the_jobs_of_that_name_only_those_tagged_as_ours_are_found_oldest_first(line: Line) -> None:
    younger = summary("InProgress", at=datetime(2026, 11, 23, tzinfo=UTC))
    older = summary("Failed", "pixtune-run-01ABC-1")
    pages = {"modelCustomizationJobSummaries": [younger], "nextToken": "more"}
    line.told("list_model_customization_jobs", pages, nameContains="pixtune-run-01ABC-")
    line.told("list_tags_for_resource", OURS, resourceARN=JOB_ARN)
    line.told(
        "list_model_customization_jobs",
        {"modelCustomizationJobSummaries": [older, summary("Completed", "pixtune-run-01ABC-else")]},
        nameContains="pixtune-run-01ABC-",
        nextToken="more",
    )
    line.told("list_tags_for_resource", OURS, resourceARN=JOB_ARN)
    line.told("list_tags_for_resource", {"tags": [OURS["tags"][0]]}, resourceARN=JOB_ARN)
    assert [view.job_id for view in line.provider.find_jobs("run_01ABC")] == ["pixtune-run-01ABC-1", NAME]


def test_a_job_that_is_being_stopped_is_not_stopped_again(line: Line) -> None:
    line.refused("stop_model_customization_job", "ConflictException")
    line.told("get_model_customization_job", job("Stopping"), jobIdentifier=NAME)
    assert line.provider.cancel(NAME).state is JobState.CANCELLING


def test_a_job_that_runs_on_in_spite_of_it_was_not_cancelled(line: Line) -> None:
    line.refused("stop_model_customization_job", "AccessDeniedException", 403)
    line.told("get_model_customization_job", job(), jobIdentifier=NAME)
    with pytest.raises(ProviderRefused, match="cancelling"):
        line.provider.cancel(NAME)


def test_a_job_cannot_be_paused_and_says_so(line: Line) -> None:
    assert not spec_for("bedrock", BASE).pauses
    for call in (line.provider.pause, line.provider.resume):
        with pytest.raises(ProviderRefused, match=NAME):
            call(NAME)


TRAINING = b"step_number,epoch_number,training_loss,perplexity\n0,0,1.5,4.4\n1,0,0.9,2.4\n"
VALIDATION = b"step_number, epoch_number, validation_loss, validation_perplexity\n1, 0, 1.1, 3.0\n"


def test_the_final_model_is_the_one_checkpoint_with_the_losses_bedrock_tells(line: Line) -> None:
    folder = f"bedrock/run_01ABC/{NAME}/model-customization-job-abcdefghijkl"
    line.files.objects = {
        f"{folder}/training_artifacts/step_wise_training_metrics.csv": TRAINING,
        f"{folder}/validation_artifacts/post_fine_tuning_validation/validation_metrics.csv": VALIDATION,
        f"{folder}/manifest.json": b"{}",
        "bedrock/run_01ABC/pixtune-run-01ABC-1/elses.csv": b"step_number,training_loss\n7,7\n",
    }
    ended = job(
        "Completed",
        outputModelArn=MODEL,
        trainingMetrics={"trainingLoss": 0.5},
        validationMetrics=[{"validationLoss": 0.75}],
    )
    for _ in range(2):
        line.told("get_model_customization_job", ended, jobIdentifier=NAME)
    (final,) = line.provider.checkpoints(NAME)
    assert (final.step, final.model_id) == (2, MODEL)
    assert final.metrics == {"train_loss": 0.5, "valid_loss": 0.75}
    line.told("get_model_customization_job", ended, jobIdentifier=NAME)
    points = [{"step": 1.0, "train_loss": 1.5}, {"step": 2.0, "train_loss": 0.9, "valid_loss": 1.1}]
    assert line.provider.metrics(NAME) == points
    line.told("get_model_customization_job", ended, jobIdentifier=NAME)
    assert line.provider.progress(NAME, 0.0).points == points


def test_a_job_without_files_of_metrics_has_no_points_and_its_model_is_step_one(line: Line) -> None:
    ended = job("Completed", outputModelArn=MODEL)
    for _ in range(2):
        line.told("get_model_customization_job", ended, jobIdentifier=NAME)
    (final,) = line.provider.checkpoints(NAME)
    assert (final.step, final.metrics) == (1, {})


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n1,2\n", b"step_number,training_loss\nx,y\n,1\n3,\n"])
def test_what_holds_no_metrics_gives_no_points(content: bytes) -> None:
    assert metric_points(content) == []


# --------------------------------------------------------------------------- models


def lifecycle(**more: Any) -> dict[str, Any]:
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{BASE}"
    return {"modelDetails": {"modelArn": arn, "modelId": BASE, "modelLifecycle": {"status": "LEGACY"} | more}}


def test_a_base_model_retires_when_its_lifecycle_ends(line: Line) -> None:
    ends = datetime(2027, 9, 1, tzinfo=UTC)
    line.told("get_foundation_model", lifecycle(endOfLifeTime=ends), modelIdentifier=BASE)
    assert line.provider.retires_on(BASE) == date(2027, 9, 1)
    line.told("get_foundation_model", lifecycle(), modelIdentifier=BASE)
    assert line.provider.retires_on(BASE) is None


def test_a_customised_model_retires_with_its_base_model(line: Line) -> None:
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{BASE}"
    made = {"modelArn": MODEL, "modelName": "m", "baseModelArn": arn, "creationTime": AT}
    line.told("get_custom_model", made, modelIdentifier=MODEL)
    line.told("get_foundation_model", lifecycle(endOfLifeTime=AT), modelIdentifier=arn)
    assert line.provider.retires_on(MODEL) == AT.date()


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_a_model_this_account_may_not_use_is_a_refusal_that_says_where_to_look(line: Line, code: str) -> None:
    line.refused("get_foundation_model", code, 403)
    with pytest.raises(ProviderRefused) as refused:
        line.provider.retires_on(BASE)
    assert "region" in refused.value.fix


def deployment(status: str, **more: Any) -> dict[str, Any]:
    return {
        "customModelDeploymentArn": DEPLOYMENT,
        "modelDeploymentName": "pixtune-name",
        "modelArn": MODEL,
        "createdAt": AT,
        "status": status,
    } | more


def deployed(line: Line, *answers: dict[str, Any] | None) -> None:
    for answer in answers:
        if answer is None:
            line.refused("get_custom_model_deployment", "ResourceNotFoundException", 404)
        else:
            line.stubs[0].add_response("get_custom_model_deployment", answer)


def test_a_deployment_is_made_waited_for_and_asked_by_its_arn(line: Line) -> None:
    deployed(line, None)
    line.stubs[0].add_response("create_custom_model_deployment", {"customModelDeploymentArn": DEPLOYMENT})
    assert line.provider.activate(MODEL) == Activation(False, 30)
    deployed(line, deployment("Creating"), deployment("Active"), deployment("Active"))
    assert line.provider.activate(MODEL) == Activation(False, 30)
    assert line.provider.activate(MODEL) == Activation(True)
    told = {
        "output": {"message": {"role": "assistant", "content": [{"text": "4"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1300, "outputTokens": 3, "totalTokens": 1303},
        "metrics": {"latencyMs": 5},
    }
    for _ in range(2):  # of two questions only the first looks for the deployment
        line.told(
            "converse",
            told,
            modelId=DEPLOYMENT,
            system=[{"text": "You count lanes."}],
            inferenceConfig={"temperature": 0.0, "maxTokens": 257},
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"image": {"format": "jpeg", "source": {"bytes": JPEG}}},
                        {"text": "How many lanes?"},
                    ],
                }
            ],
        )
        reply = line.provider.answer(MODEL, row("a"), "You count lanes.", None, "low", lambda _key: JPEG)
        assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("4", 1300, 3)


def test_a_deployment_that_somebody_just_made_is_waited_for(line: Line) -> None:
    deployed(line, None)
    line.refused("create_custom_model_deployment", "ValidationException")
    deployed(line, deployment("Creating"))
    assert line.provider.activate(MODEL) == Activation(False, 30)


def test_a_model_that_cannot_be_deployed_is_refused(line: Line) -> None:
    deployed(line, None)
    line.refused("create_custom_model_deployment", "ValidationException", message="not in this region")
    deployed(line, None)
    with pytest.raises(ProviderRefused, match="not in this region"):
        line.provider.activate(MODEL)


def test_a_failed_deployment_is_refused_with_its_reason(line: Line) -> None:
    deployed(line, deployment("Failed", failureMessage="no capacity"))
    with pytest.raises(ProviderRefused, match="no capacity") as refused:
        line.provider.activate(MODEL)
    assert "delete the deployment" in refused.value.fix


def test_a_model_that_is_not_deployed_cannot_be_asked(line: Line) -> None:
    deployed(line, None)
    with pytest.raises(ProviderRefused, match="is not deployed"):
        line.provider.answer(MODEL, row("a"), None, None, "low", lambda _key: JPEG)


def test_a_deployment_still_under_way_is_released_later(line: Line) -> None:
    line.refused("delete_custom_model_deployment", "ConflictException")
    with pytest.raises(ProviderUnavailable):
        line.provider.release(MODEL)


def test_a_base_model_is_asked_by_the_inference_profile_of_the_regions_part_of_the_world(line: Line) -> None:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    message = {"role": "assistant", "content": []}
    told = {
        "output": {"message": message},
        "stopReason": "content_filtered",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }
    line.stubs[2].add_response("converse", told)
    sent: list[str] = []
    hook = "before-parameter-build.bedrock-runtime.Converse"
    line.runtime.meta.events.register(hook, lambda params, **_: sent.append(params["modelId"]), unique_id=hook)
    assert line.provider.answer(BASE, row("a"), None, None, "low", lambda _key: JPEG).text == ""
    line.runtime.meta.events.unregister(hook, unique_id=hook)
    assert sent == ["us.amazon.nova-lite-v1:0"]


# --------------------------------------------------------------------------- faults and wiring


class Deaf:
    """Counts what is sent, and answers nothing but this."""

    def __init__(self, answer: Exception | tuple[int, str]) -> None:
        self.answer, self.sent = answer, 0

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.sent += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        status, body = self.answer
        raw = MockRawResponse(body)
        return AWSResponse(request.url, status, {"content-type": "text/html"}, raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        (500, "<html>"),
        (503, json.dumps({"message": "slow down"})),
        (429, ""),
        ReadTimeoutError(endpoint_url="https://bedrock"),
        ConnectTimeoutError(endpoint_url="https://bedrock"),
        EndpointConnectionError(endpoint_url="https://bedrock"),
    ],
    ids=lambda answer: type(answer).__name__ if isinstance(answer, Exception) else str(answer[0]),
)
def test_an_unknown_outcome_is_sent_once_and_never_again(
    line: Line, answer: Exception | tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients.bedrock_once.cache_clear()
    creating = clients.bedrock_once()  # as the functions make it
    clients.bedrock_once.cache_clear()
    deaf = Deaf(answer)
    creating.meta.events.register("before-send.bedrock.CreateModelCustomizationJob", deaf)
    line.no_jobs()
    if not isinstance(answer, Exception):  # an answer, so it is asked whether the job is there
        line.refused("get_model_customization_job", "ResourceNotFoundException", 404)
    aws = AwsSide(line.control, creating, line.runtime, line.files, faults)
    provider = BedrockProvider(spec_for("bedrock", BASE), Home("artifacts", ROLE), aws)
    with pytest.raises(ProviderUnavailable):
        provider.launch(REQUEST)
    assert deaf.sent == 1


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("ThrottlingException", 400, ProviderUnavailable),
        ("ServiceUnavailableException", 503, ProviderUnavailable),
        ("InternalServerException", 500, ProviderUnavailable),
        ("ModelNotReadyException", 429, ProviderUnavailable),
        ("NewlyInventedException", 502, ProviderUnavailable),
        ("ValidationException", 400, ProviderRefused),
        ("AccessDeniedException", 403, ProviderRefused),
        ("ServiceQuotaExceededException", 400, ProviderRefused),
        ("ResourceNotFoundException", 404, ProviderRefused),
        ("NewlyInventedException", 400, ProviderRefused),
    ],
)
def test_a_fault_passes_or_is_final(line: Line, code: str, status: int, fault: type[Exception]) -> None:
    line.refused("get_model_customization_job", code, status)
    with pytest.raises(fault, match=code):
        line.provider.status(NAME)


def test_a_file_of_another_bucket_is_no_file_of_ours(line: Line) -> None:
    with pytest.raises(ProviderRefused, match="does not lie in the bucket artifacts"):
        line.provider.delete_file("s3://theirs/training/t.jsonl")


def test_a_file_is_written_once_under_its_name(line: Line) -> None:
    for content in (b"first", b"again"):
        assert line.provider.upload("t.jsonl", io.BytesIO(content)) == "s3://artifacts/training/t.jsonl"
    assert line.files.objects == {"training/t.jsonl": b"first"}


def test_bedrock_needs_a_home_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert provider_for("bedrock", BASE, {"bedrock": f"s3://artifacts?role={ROLE}"}, {}, limits_with())
    with pytest.raises(ProviderRefused, match="has no URL in this deployment"):
        provider_for("bedrock", BASE, {"bedrock": ""}, {}, limits_with())
    for url in ("https://bedrock.us-east-1.amazonaws.com", "s3://artifacts", "s3://?role=arn:aws:iam::1:role/r"):
        with pytest.raises(ProviderRefused, match="BUCKET"):
            provider_for("bedrock", BASE, {"bedrock": url}, {}, limits_with())
