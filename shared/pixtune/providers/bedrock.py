"""The adapter to Amazon Bedrock's model customization (Amazon Nova): the port's values in, AWS calls, values out.

AWS's clients come in as arguments, and with them `faults`, which knows their exceptions. Nothing is uploaded but
the training file: Bedrock reads images where they lie, in the artifacts bucket, in a role of its own.

A create is idempotent twice over: its token and its job name follow from the run and from how many jobs of the run
have come to nothing, so that whoever asks again, and however late, asks for the same job.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import IO, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from pixtune.costs.estimate import REPLY_MARGIN
from pixtune.costs.tokens import text_bytes
from pixtune.errors import ProviderRefused
from pixtune.examples.rows import Row
from pixtune.providers import chat_rows, converse_rows
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.port import (
    Activation,
    JobRequest,
    JobState,
    JobView,
    Progress,
    ProviderCheckpoint,
    ReadImage,
    Reply,
)
from pixtune.training.run import Hyperparameters

TAG = "pixtune"  # the tag `made_by` of every job of ours, besides its run id; the sweep touches no others
FILES, RESULTS = "training/", "bedrock/"  # where training files lie, and where Bedrock writes a job's metrics
_JSONL = "application/jsonl"
_DEPLOY_SECONDS = 30

_STATES = {
    "Stopping": JobState.CANCELLING,
    "Stopped": JobState.CANCELLED,
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
}
_DEAD = (JobState.FAILED, JobState.CANCELLING, JobState.CANCELLED)

Faults = Callable[[str], AbstractContextManager[None]]


class Exceptions(Protocol):
    """Of a boto3 client: the classes of what it raises, made when it is."""

    ClientError: type[Exception]
    ResourceNotFoundException: type[Exception]


class BedrockClient(Protocol):
    """The calls of boto3's `bedrock` that are made here. Any: requests and answers are botocore's dictionaries."""

    @property
    def exceptions(self) -> Exceptions: ...
    def get_paginator(self, operation_name: str, /) -> Any: ...
    def create_model_customization_job(self, **request: Any) -> Mapping[str, Any]: ...
    def get_model_customization_job(self, *, jobIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803
    def stop_model_customization_job(self, *, jobIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803
    def list_tags_for_resource(self, *, resourceARN: str) -> Mapping[str, Any]: ...  # noqa: N803
    def get_foundation_model(self, *, modelIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803
    def get_custom_model(self, *, modelIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803
    def create_custom_model_deployment(self, **request: Any) -> Mapping[str, Any]: ...
    def get_custom_model_deployment(self, *, customModelDeploymentIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803
    def delete_custom_model_deployment(self, *, customModelDeploymentIdentifier: str) -> Mapping[str, Any]: ...  # noqa: N803


class BedrockRuntimeClient(Protocol):
    """The one call of boto3's `bedrock-runtime`, and which region it goes to."""

    @property
    def meta(self) -> Any: ...
    def converse(self, **request: Any) -> Mapping[str, Any]: ...


class Files(Protocol):
    """The artifacts bucket (aws.buckets.Artifacts)."""

    def put_once(self, key: str, body: bytes | IO[bytes], content_type: str) -> bool: ...
    def begin_parts(self, key: str, content_type: str) -> str: ...
    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str: ...
    def join_parts(self, key: str, upload_id: str, parts: Sequence[str]) -> None: ...
    def get(self, key: str) -> bytes | None: ...
    def size(self, key: str) -> int | None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class AwsSide:
    """creating: a client that sends a request once, whatever comes back. files: the bucket that `Home` names."""

    control: BedrockClient
    creating: BedrockClient
    runtime: BedrockRuntimeClient
    files: Files
    faults: Faults


@dataclass(frozen=True, slots=True)
class Home:
    """The bucket where images and training files lie, and the role in which Bedrock reads it."""

    bucket: str
    role_arn: str

    @classmethod
    def from_url(cls, url: str) -> Home:
        """Of `s3://{bucket}?role={ARN}`, which is what PROVIDER_URLS says of Bedrock. Raises ProviderRefused."""
        parts = urlsplit(url)
        (role,) = parse_qs(parts.query).get("role", [""])
        if parts.scheme != "s3" or not parts.netloc or not role.startswith("arn:"):
            raise ProviderRefused(
                f"PROVIDER_URLS says {url!r} of bedrock.", "Expected s3://BUCKET?role=ROLE_ARN; deploy the template."
            )
        return cls(parts.netloc, role)

    @property
    def account(self) -> str:
        return self.role_arn.split(":")[4]

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def key(self, uri: str) -> str:
        """Raises ProviderRefused for what is not an object of this bucket."""
        key = uri.removeprefix(f"s3://{self.bucket}/")
        if key == uri:
            raise ProviderRefused(
                f"{uri} does not lie in the bucket {self.bucket}.", "Ask for the training again: it uploads anew."
            )
        return key


class BedrockProvider:
    """Model customization in the region of this deployment."""

    def __init__(self, spec: ProviderSpec, home: Home, aws: AwsSide) -> None:
        self.spec, self._home, self._aws = spec, home, aws
        self._deployed: dict[str, str] = {}  # model ARN -> ARN of its deployment

    # --- training files

    def render(
        self,
        row: Row,
        system: str | None,
        prompt: str | None,
        detail: str,  # noqa: ARG002  # no counterpart here
        read_image: ReadImage,  # noqa: ARG002  # no image is read: the line names where it lies
    ) -> bytes:
        stored = converse_rows.stored_in(self._home.bucket, self._home.account)
        return converse_rows.training_line(row, system, prompt, stored)

    def upload(self, name: str, content: IO[bytes]) -> str:
        content.seek(0)
        with self._aws.faults(f"uploading {name}"):
            self._aws.files.put_once(FILES + name, content, _JSONL)
        return self._home.uri(FILES + name)

    def find_file(self, name: str, size: int) -> str | None:
        with self._aws.faults(f"looking for {name}"):
            return self._home.uri(FILES + name) if self._aws.files.size(FILES + name) == size else None

    def begin_upload(self, name: str, size: int) -> str:  # noqa: ARG002  # S3 asks for none
        """Answers `{key}?{S3's id of it}`. An upload never completed expires by the bucket's lifecycle rule."""
        with self._aws.faults(f"beginning the upload of {name}"):
            return f"{FILES}{name}?{self._aws.files.begin_parts(FILES + name, _JSONL)}"

    def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
        key, _, parts_id = upload_id.partition("?")
        with self._aws.faults(f"sending part {index} of {key}"):
            return self._aws.files.put_part(key, parts_id, index + 1, data)

    def complete_upload(self, upload_id: str, part_ids: Sequence[str]) -> str:
        key, _, parts_id = upload_id.partition("?")
        with self._aws.faults(f"completing {key}"):
            self._aws.files.join_parts(key, parts_id, part_ids)
        return self._home.uri(key)

    def delete_file(self, file_id: str) -> None:
        with self._aws.faults(f"deleting {file_id}"):
            self._aws.files.delete(self._home.key(file_id))

    # --- jobs

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        with self._aws.faults(f"looking for jobs of {run_id}"):
            views = list(self._tagged({"nameContains": _job_prefix(run_id)}))
        return sorted((view for view in views if view.run_id == run_id), key=lambda view: view.created_at)

    def list_tagged_jobs(self, since: float) -> Sequence[JobView]:
        window = {"nameContains": f"{TAG}-", "creationTimeAfter": datetime.fromtimestamp(since, UTC)}
        with self._aws.faults("listing jobs"):
            return sorted(self._tagged(window), key=lambda view: view.created_at)

    def _tagged(self, asked: Mapping[str, Any]) -> Iterator[JobView]:
        """Jobs that carry both our tags: a name alone could be anybody's."""
        pages = self._aws.control.get_paginator("list_model_customization_jobs").paginate(**asked)
        for page in pages:
            for job in page.get("modelCustomizationJobSummaries", ()):
                run_id = self._run_id(job["jobArn"])
                if run_id:
                    yield _view(job, run_id)

    def _run_id(self, job_arn: str) -> str | None:
        told = self._aws.control.list_tags_for_resource(resourceARN=job_arn).get("tags", ())
        tags = {tag["key"]: tag["value"] for tag in told}
        return tags.get("run_id") if tags.get("made_by") == TAG else None

    def launch(self, request: JobRequest) -> JobView:
        """One create. A job of that name that is there already is this one, asked for before."""
        hyperparameters = _hyperparameters(request.hyperparameters, self.spec)
        name = _job_prefix(request.run_id) + str(sum(job.state in _DEAD for job in self.find_jobs(request.run_id)))
        validation = {"validationDataConfig": {"validators": [{"s3Uri": request.validation_file}]}}
        tags = [{"key": "run_id", "value": request.run_id}, {"key": "made_by", "value": TAG}]
        creating = self._aws.creating
        with self._aws.faults(f"launching {request.run_id}"):
            try:
                creating.create_model_customization_job(
                    jobName=name,
                    customModelName=_model_name(request.suffix, name),
                    clientRequestToken=name,
                    roleArn=self._home.role_arn,
                    baseModelIdentifier=request.base_model,
                    customizationType="FINE_TUNING",
                    trainingDataConfig={"s3Uri": request.training_file},
                    outputDataConfig={"s3Uri": self._home.uri(f"{RESULTS}{request.run_id}/{name}/")},
                    hyperParameters=hyperparameters,
                    jobTags=tags,
                    customModelTags=tags,
                    **(validation if request.validation_file else {}),
                )
            except creating.exceptions.ClientError:
                # Which of its codes says that a name is taken is not documented, so the job itself is looked for.
                adopted = self._named(name, request.run_id)
                if adopted is None:
                    raise
                return adopted
            return _view(self._aws.control.get_model_customization_job(jobIdentifier=name), request.run_id)

    def _named(self, name: str, run_id: str) -> JobView | None:
        control = self._aws.control
        try:
            job = control.get_model_customization_job(jobIdentifier=name)
        except control.exceptions.ResourceNotFoundException:
            return None
        return _view(job, run_id) if self._run_id(job["jobArn"]) == run_id else None

    def status(self, job_id: str) -> JobView:
        with self._aws.faults(f"asking for job {job_id}"):
            return _view(self._aws.control.get_model_customization_job(jobIdentifier=job_id))

    def cancel(self, job_id: str) -> JobView:
        """A job that has ended already is answered as it is."""
        control = self._aws.control
        with self._aws.faults(f"cancelling job {job_id}"):
            try:
                control.stop_model_customization_job(jobIdentifier=job_id)
            except control.exceptions.ClientError:
                view = self.status(job_id)
                if view.state.ended or view.state is JobState.CANCELLING:
                    return view
                raise
        return self.status(job_id)

    def pause(self, job_id: str) -> JobView:
        raise self._not_pausable(job_id)

    def resume(self, job_id: str) -> JobView:
        raise self._not_pausable(job_id)

    def _not_pausable(self, job_id: str) -> ProviderRefused:
        return ProviderRefused(
            f"Bedrock has no pause: {job_id} runs or is stopped.", "Let it run, or cancel the run."
        )

    def progress(self, job_id: str, since: float) -> Progress:  # noqa: ARG002  # there are no messages
        """Points alone, and those not before Bedrock has written them."""
        return Progress(self.metrics(job_id))

    def metrics(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """Of the CSV files under the job's output, as far as there are any: Bedrock writes them at the end."""
        with self._aws.faults(f"reading the metrics of job {job_id}"):
            job = self._aws.control.get_model_customization_job(jobIdentifier=job_id)
            prefix = self._home.key(job["outputDataConfig"]["s3Uri"])
            contents = [self._aws.files.get(key) for key in self._aws.files.keys(prefix) if key.endswith(".csv")]
        merged: dict[float, dict[str, float]] = {}
        for content in contents:
            for point in metric_points(content or b""):
                merged.setdefault(point["step"], {}).update(point)
        return [merged[step] for step in sorted(merged)]

    def checkpoints(self, job_id: str) -> Sequence[ProviderCheckpoint]:
        """Bedrock keeps none on the way: the final model alone, at the last step its metrics name."""
        with self._aws.faults(f"asking for the model of job {job_id}"):
            job = self._aws.control.get_model_customization_job(jobIdentifier=job_id)
        model_id = _view(job).model_id
        if model_id is None:
            return []
        told = {
            "train_loss": job.get("trainingMetrics", {}).get("trainingLoss"),
            "valid_loss": next((found.get("validationLoss") for found in job.get("validationMetrics", ())), None),
        }
        losses = {name: float(loss) for name, loss in told.items() if loss is not None}
        last = max((int(point["step"]) for point in self.metrics(job_id)), default=1)
        return [ProviderCheckpoint(max(1, last), model_id, losses)]  # step 0 is the base model's

    # --- models

    def retires_on(self, model_id: str) -> date | None:
        """A customised model goes with its base model."""
        control = self._aws.control
        with self._aws.faults(f"looking for model {model_id}"):
            if _is_custom(model_id):
                model_id = control.get_custom_model(modelIdentifier=model_id)["baseModelArn"]
            found = control.get_foundation_model(modelIdentifier=model_id)["modelDetails"]
        ends: datetime | None = found.get("modelLifecycle", {}).get("endOfLifeTime")
        return ends.date() if ends else None

    def activate(self, model_id: str) -> Activation:
        """A customised model is deployed on demand: answers are paid for by the token. The base model just answers.

        No token of ours goes along: the name is unique, and a token once used might have the next deployment of the
        same model ignored.
        """
        if not _is_custom(model_id):
            return Activation(True)
        control = self._aws.control
        with self._aws.faults(f"deploying {model_id}"):
            deployment = self._deployment(model_id)
            if deployment is None:
                try:
                    control.create_custom_model_deployment(
                        modelDeploymentName=_deployment_name(model_id),
                        modelArn=model_id,
                        tags=[{"key": "made_by", "value": TAG}],
                    )
                except control.exceptions.ClientError:
                    if self._deployment(model_id) is None:  # nor has anybody else just made it
                        raise
                return Activation(False, _DEPLOY_SECONDS)
        if deployment["status"] == "Failed":
            raise ProviderRefused(
                f"The deployment {deployment['modelDeploymentName']} of {model_id} failed: "
                f"{deployment.get('failureMessage', 'no reason was given')}.",
                "Mend that, delete the deployment in Bedrock, then resume the run.",
            )
        return Activation(True) if deployment["status"] == "Active" else Activation(False, _DEPLOY_SECONDS)

    def release(self, model_id: str) -> None:
        """Take the deployment down; one that is not there is released."""
        if not _is_custom(model_id):
            return
        self._deployed.pop(model_id, None)
        control = self._aws.control
        with self._aws.faults(f"releasing {model_id}"):
            try:
                control.delete_custom_model_deployment(customModelDeploymentIdentifier=_deployment_name(model_id))
            except control.exceptions.ResourceNotFoundException:
                return

    def delete_model(self, model_id: str) -> None:
        raise ProviderRefused(
            f"{model_id} is all that is left of its job, and stays.", "Delete it in Bedrock's console."
        )

    def _deployment(self, model_id: str) -> Mapping[str, Any] | None:
        control = self._aws.control
        try:
            return control.get_custom_model_deployment(customModelDeploymentIdentifier=_deployment_name(model_id))
        except control.exceptions.ResourceNotFoundException:
            return None

    def answer(
        self,
        model_id: str,
        row: Row,
        system: str | None,
        prompt: str | None,
        detail: str,  # noqa: ARG002  # no counterpart here
        read_image: ReadImage,
    ) -> Reply:
        asked = converse_rows.question(row, system, prompt, converse_rows.read_with(read_image))
        _, expected = chat_rows.question_and_answer(row, prompt)
        with self._aws.faults(f"asking {model_id}"):
            told = self._aws.runtime.converse(
                modelId=self._answering(model_id),
                inferenceConfig={"temperature": 0.0, "maxTokens": text_bytes(expected) + REPLY_MARGIN},
                **asked,
            )
        parts = told.get("output", {}).get("message", {}).get("content", ())
        usage = told.get("usage", {})
        text = "".join(part.get("text", "") for part in parts)
        return Reply(text, usage.get("inputTokens", 0), usage.get("outputTokens", 0))

    def _answering(self, model_id: str) -> str:
        """What Converse takes for this model: its deployment, or for a base model the inference profile of the
        region's part of the world. (Its id with a context length, `:300k`, names what is trained, not what answers,
        and Nova 2 answers through profiles only.)"""
        if not _is_custom(model_id):
            part = str(self._aws.runtime.meta.region_name).split("-")[0]
            return f"{part}.{':'.join(model_id.split(':')[:2])}"
        if model_id not in self._deployed:
            deployment = self._deployment(model_id)
            if deployment is None:
                raise ProviderRefused(f"{model_id} is not deployed.", "Activate it; `pixtune run resume` does.")
            self._deployed[model_id] = deployment["customModelDeploymentArn"]
        return self._deployed[model_id]


def _is_custom(model_id: str) -> bool:
    return ":custom-model/" in model_id


def _job_prefix(run_id: str) -> str:
    """Of the names of a run's jobs; a name takes letters, digits and single hyphens only."""
    return f"{TAG}-{re.sub('[^0-9A-Za-z]+', '-', run_id)}-"


def _model_name(suffix: str, job_name: str) -> str:
    """Of the model to be made: a readable part, and one that is the job's alone. At most 63 characters."""
    readable = re.sub("[^0-9A-Za-z]+", "-", suffix)[:46].strip("-") or TAG
    return f"{readable}-{sha256(job_name.encode()).hexdigest()[:16]}"


def _deployment_name(model_id: str) -> str:
    return f"{TAG}-{sha256(model_id.encode()).hexdigest()[:32]}"


def _hyperparameters(asked: Hyperparameters, spec: ProviderSpec) -> dict[str, str]:
    """As strings; what is not asked is left out, and Nova's default stands. A multiplier multiplies that default."""
    values = {}
    if asked.n_epochs is not None:
        values["epochCount"] = str(asked.n_epochs)
    if asked.learning_rate_multiplier is not None and spec.learning_rate is not None:
        values["learningRate"] = f"{spec.learning_rate * asked.learning_rate_multiplier:.9f}".rstrip("0")
    return values


def _state(job: Mapping[str, Any]) -> JobState:
    if job["status"] != "InProgress":
        return _STATES.get(job["status"], JobState.RUNNING)
    details = job.get("statusDetails") or {}
    steps = (details.get(step) or {} for step in ("validationDetails", "dataProcessingDetails"))
    return JobState.VALIDATING if any(step.get("status") == "InProgress" for step in steps) else JobState.RUNNING


def _view(job: Mapping[str, Any], run_id: str | None = None) -> JobView:
    """Of a job, or of its summary in a list. Its name is its id: unique in the account, and taken by every call."""
    state = _state(job)
    return JobView(
        job_id=job["jobName"],
        state=state,
        raw_state=job["status"],
        created_at=job["creationTime"].timestamp(),
        run_id=run_id,
        # The model is named while it is still being made.
        model_id=(job.get("outputModelArn") or job.get("customModelArn")) if state is JobState.SUCCEEDED else None,
        error_message=job.get("failureMessage") if state is JobState.FAILED else None,
    )


# Bedrock's columns -> OpenAI's names of the same figures. Steps count from 0; a run's step 0 is its base model.
# Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-analyze.html (2026-11-23).
_COLUMNS = {"training_loss": "train_loss", "validation_loss": "valid_loss"}


def metric_points(content: bytes) -> list[dict[str, float]]:
    """Points of step_wise_training_metrics.csv or validation_metrics.csv, read by their headers' names; of anything
    else none. Which epoch a step belongs to is left out."""
    points = []
    for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig", "replace"))):
        numbers = {name.strip(): _number(cell) for name, cell in row.items() if isinstance(name, str)}
        step = numbers.pop("step_number", None)
        if step is None:
            continue
        losses = {_COLUMNS[name]: loss for name, loss in numbers.items() if name in _COLUMNS and loss is not None}
        if losses:
            points.append({"step": step + 1} | losses)
    return points


def _number(cell: object) -> float | None:
    try:
        return float(cell) if isinstance(cell, str) else None
    except ValueError:
        return None
