"""Two providers of different kinds with a hand behind their backs: the local provider over HTTP, and Bedrock.

A desk is what the conformance suite needs besides the port: to make a provider say, lose and refuse things.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import unquote

import boto3
import httpx2
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber
from tests.fakes.azure_wire import SECRET, URL, AzureWire
from tests.fakes.bedrock_wire import ACCOUNT, REGION, BedrockWire, Fault
from tests.fakes.versions import image, row
from tests.integration.provider_rows import COLOURS, picture

from pixtune.aws.bedrock import faults
from pixtune.aws.buckets import Artifacts
from pixtune.examples.rows import Row
from pixtune.providers.azure import AzureProvider
from pixtune.providers.bedrock import AwsSide, BedrockProvider, Home
from pixtune.providers.limits import ProviderSpec, spec_for
from pixtune.providers.openai_shaped import OpenAIShapedProvider
from pixtune.providers.port import JobRequest, JobState, ReadImage, TrainingProvider
from pixtune.training.run import Hyperparameters
from pixtune_local.provider.testing import Provider

How = Literal["busy", "broken", "forbidden", "lost"]
Call = Literal["launch", "find", "status", "upload", "answer"]


class Desk(Protocol):
    """words: a provider's own word for each state of a job that it knows."""

    provider: TrainingProvider
    spec: ProviderSpec
    words: Mapping[str, JobState]

    def creates(self) -> int:
        """How many creates of a job have been sent."""
        ...

    def say(self, job_id: str, word: str) -> None:
        """Have the provider say this of a job from now on."""
        ...

    def finish(self, job_id: str) -> None:
        """Bring the job to its successful end."""
        ...

    def strange_job(self, run_id: str) -> None:
        """Somebody else's job, which says of itself that it belongs to this run."""
        ...

    def deploy(self) -> None:
        """Bring every deployment under way to its end."""
        ...

    def fail(self, call: Call, how: How, times: int = 1) -> None: ...

    def heal(self) -> None:
        """No fault is left."""
        ...


def coloured(count: int) -> tuple[list[Row], ReadImage]:
    """Rows over pictures of one colour each, and what reads their pixels."""
    kept: dict[str, bytes] = {}
    rows = []
    for number in range(count):
        colour = list(COLOURS)[number % len(COLOURS)]
        file = io.BytesIO()
        picture(colour, number).save(file, "PNG")
        facts = image(f"{colour}-{number}", format="png", width=64, height=48, size=len(file.getvalue()))
        kept[facts.key] = file.getvalue()
        rows.append(row(f"{colour}-{number}", colour, "Which colour?", images=[facts]))
    return rows, kept.__getitem__


def request(desk: Desk, run_id: str, training_file: str) -> JobRequest:
    return JobRequest(
        run_id, desk.spec.base_model, training_file, None, Hyperparameters(n_epochs=1), None, "colours-v1"
    )


# --------------------------------------------------------------------------- OpenAI's kind

_PATHS: Mapping[Call, tuple[str, str]] = {
    "launch": ("POST", "/v1/fine_tuning/jobs"),
    "find": ("GET", "/v1/fine_tuning/jobs"),
    "status": ("GET", "/v1/fine_tuning/jobs/"),
    "upload": ("POST", "/v1/files"),
    "answer": ("POST", "/v1/chat/completions"),
}
_ANSWERS: Mapping[How, tuple[int, str]] = {
    "busy": (429, "rate_limit_exceeded"),
    "broken": (500, "server_error"),
    "forbidden": (403, "training_not_available"),
}


@dataclass
class Tampering(httpx2.BaseTransport):
    """HTTP to the local provider, in which answers change, fail and get lost."""

    inner: httpx2.HTTPTransport = field(default_factory=httpx2.HTTPTransport)
    said: dict[str, str] = field(default_factory=dict)
    faults: list[list[object]] = field(default_factory=list)  # method, path, how, times left
    creates: int = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        path = unquote(request.url.path)
        self.creates += (request.method, path) == _PATHS["launch"]
        how = self._fault(request.method, path)
        if how is not None and how in _ANSWERS:
            status, code = _ANSWERS[how]
            error = {"message": "as the test wants it", "type": "x", "param": None, "code": code}
            return httpx2.Response(status, json={"error": error}, headers={"retry-after-ms": "1"})
        response = self.inner.handle_request(request)
        if how == "lost":
            response.read()
            raise httpx2.ReadTimeout("the answer never came", request=request)
        word = self.said.get(path.rsplit("/", 1)[-1])
        if word and request.method == "GET":
            return httpx2.Response(200, json=json.loads(response.read()) | {"status": word})
        return response

    def _fault(self, method: str, path: str) -> How | None:
        for fault in self.faults:
            wanted, where, how, times = fault
            hit = path.startswith(str(where)) if str(where).endswith("/") else path == where
            if method == wanted and hit and isinstance(times, int) and times > 0:
                fault[3] = times - 1
                return how  # type: ignore[return-value]  # a row of _PATHS and a How
        return None


class LocalDesk:
    """The real local provider; its queue stands still but for `finish`."""

    spec = spec_for("local", "local-vision-1")
    words: Mapping[str, JobState] = {
        "validating_files": JobState.VALIDATING,
        "queued": JobState.QUEUED,
        "running": JobState.RUNNING,
        "paused": JobState.PAUSED,
        "succeeded": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "cancelled": JobState.CANCELLED,
    }

    def __init__(self, server: Provider, wait: Callable[[TrainingProvider, str], None]) -> None:
        self.server, self._wait, self.transport = server, wait, Tampering()
        self.provider: TrainingProvider = OpenAIShapedProvider(
            self.spec, server.base_url, server.api_key, self.transport
        )
        server.faults(queue={"stuck": True})

    def creates(self) -> int:
        return self.transport.creates

    def say(self, job_id: str, word: str) -> None:
        self.transport.said[job_id] = word

    def finish(self, job_id: str) -> None:
        self.server.faults(queue={"stuck": False})
        self._wait(self.provider, job_id)
        self.server.faults(queue={"stuck": True})

    def strange_job(self, run_id: str) -> None:
        rows, read_image = coloured(10)
        content = b"".join(self.provider.render(one, None, None, "low", read_image) for one in rows)
        file_id = self.provider.upload("strange.jsonl", io.BytesIO(content))
        headers = {"authorization": f"Bearer {self.server.api_key}"}
        body = {
            "model": self.spec.base_model,
            "training_file": file_id,
            "metadata": {"made_by": "else", "its_run": run_id},
        }
        httpx2.post(f"{self.server.base_url}/fine_tuning/jobs", json=body, headers=headers).raise_for_status()

    def deploy(self) -> None:
        """Nothing is deployed here."""

    def fail(self, call: Call, how: How, times: int = 1) -> None:
        self.transport.faults.append([*_PATHS[call], how, times])

    def heal(self) -> None:
        self.transport.faults.clear()


class AzureDesk(LocalDesk):
    """Azure's adapter: the local provider stands behind the resource's host, `AzureWire` behind the others."""

    spec = spec_for("azure", "gpt-4.1-2025-04-14")

    def __init__(self, server: Provider, wait: Callable[[TrainingProvider, str], None]) -> None:
        super().__init__(server, wait)
        names = (self.spec.base_model, LocalDesk.spec.base_model)
        self.wire = AzureWire(self.transport, names, server.base_url, server.api_key)
        self.provider = AzureProvider(self.spec, URL, SECRET, self.wire)

    def strange_job(self, run_id: str) -> None:
        LocalDesk(self.server, self._wait).strange_job(run_id)

    def deploy(self) -> None:
        self.wire.provision()


# --------------------------------------------------------------------------- Bedrock

_OPERATIONS: Mapping[Call, str] = {
    "launch": "CreateModelCustomizationJob",
    "find": "ListModelCustomizationJobs",
    "status": "GetModelCustomizationJob",
    "answer": "Converse",
}
_CODES: Mapping[How, tuple[int, str]] = {
    "busy": (429, "ThrottlingException"),
    "broken": (500, "InternalServerException"),
    "forbidden": (403, "AccessDeniedException"),
}


class BedrockDesk:
    """moto's jobs and bucket, and the rest of Bedrock over `BedrockWire`. Make it within moto's `mock_aws`."""

    spec = spec_for("bedrock", "amazon.nova-lite-v1:0:300k")
    words: Mapping[str, JobState] = {
        "InProgress": JobState.RUNNING,
        "Stopping": JobState.CANCELLING,
        "Stopped": JobState.CANCELLED,
        "Completed": JobState.SUCCEEDED,
        "Failed": JobState.FAILED,
    }

    def __init__(self, wire: BedrockWire | None = None) -> None:
        quick = Config(region_name=REGION, retries={"total_max_attempts": 1})
        self.wire = wire or BedrockWire(says=lambda _model, _body: "red")
        self._upload_fault: tuple[int, str] | None = None
        self.s3 = boto3.client("s3", config=quick)
        self.s3.create_bucket(Bucket="artifacts")
        hooks: Any = self.s3.meta.events  # typed as if handlers answered nothing
        hooks.unregister("before-send", botocore_stubber)
        hooks.register("before-send", self._storage)
        control = self.wire.attach(boto3.client("bedrock", config=quick))
        runtime = self.wire.attach(boto3.client("bedrock-runtime", config=quick))
        home = Home("artifacts", f"arn:aws:iam::{ACCOUNT}:role/pixtune-BedrockRole")
        aws = AwsSide(control, control, runtime, Artifacts(self.s3, "artifacts"), faults)
        self.control = control
        self.provider: TrainingProvider = BedrockProvider(self.spec, home, aws)

    def creates(self) -> int:
        return self.wire.count("CreateModelCustomizationJob")

    def say(self, job_id: str, word: str) -> None:
        self.wire.job(job_id).status = word

    def finish(self, job_id: str) -> None:
        job = self.wire.job(job_id)
        job.status = "Completed"
        job.training_metrics, job.validation_metrics = {"trainingLoss": 0.25}, [{"validationLoss": 0.5}]

    def strange_job(self, run_id: str) -> None:
        self.control.create_model_customization_job(
            jobName=f"pixtune-{run_id.replace('_', '-')}-somebody-elses",
            customModelName="theirs",
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/theirs",
            baseModelIdentifier=self.spec.base_model,
            trainingDataConfig={"s3Uri": "s3://theirs/train.jsonl"},
            outputDataConfig={"s3Uri": "s3://theirs/out"},
            jobTags=[{"key": "run_id", "value": run_id}],
        )

    def deploy(self) -> None:
        for deployment in self.wire.deployments.values():
            deployment["status"] = "Active"

    def fail(self, call: Call, how: How, times: int = 1) -> None:
        if call == "upload":
            self._upload_fault = {"busy": (503, "SlowDown"), "broken": (500, "InternalError")}.get(
                how, (403, "AccessDenied")
            )
        elif how == "lost":
            self.wire.faults.append(Fault(_OPERATIONS[call], lost=True, times=times))
        else:
            self.wire.faults.append(Fault(_OPERATIONS[call], *_CODES[how], times=times))

    def heal(self) -> None:
        self.wire.faults.clear()
        self._upload_fault = None

    def _storage(self, request: Any, event_name: str, **_: object) -> AWSResponse | None:
        """moto's bucket, but for an upload that is to fail."""
        if self._upload_fault is None or not event_name.endswith(".PutObject"):
            return botocore_stubber(event_name, request)
        status, code = self._upload_fault
        text = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
        return AWSResponse(request.url, status, {}, MockRawResponse(text))  # type: ignore[arg-type]  # as moto does


Desks: Sequence[str] = ("openai_shaped", "azure", "bedrock")
