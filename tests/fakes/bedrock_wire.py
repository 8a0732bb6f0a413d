"""Amazon Bedrock as boto3's own clients hear it: their requests in, real HTTP answers out, and no network.

Jobs are moto's; what moto has not (deployments, models, Converse) is here, in the shapes of botocore's service
models. Where moto is wrong about jobs the wire mends it:

- a repeated `clientRequestToken` is answered with the job it made (moto: ResourceInUseException, which is none of
  the API's errors); another request for a taken name with ConflictException;
- stopping a job that has ended is a ConflictException (moto makes a completed job a stopped one).

Not mended, and nothing here leans on it: moto knows jobs by name only, not by ARN; its ARNs lack base model and id;
it names the new model and a failure message from the start, never says `statusDetails`, counts time
without a zone, and compares times as text, so that a job of the same day is never "created after".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from moto.bedrock.models import ModelCustomizationJob, bedrock_backends
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber

ACCOUNT, REGION = "123456789012", "us-east-1"
_DEPLOYMENTS = "/model-customization/custom-model-deployments"


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Fault:
    """The next `times` requests of an operation: answered with this status and code; or, with `lost`, worked on, and
    never answered."""

    operation: str
    status: int = 500
    code: str = "InternalServerException"
    lost: bool = False
    times: int = 1


def _says_nothing(model_id: str, body: dict[str, Any]) -> str:
    return ""


@dataclass
class BedrockWire:
    """Attach it to every client. says: what a model answers to a Converse request. ends: when base models do."""

    says: Callable[[str, dict[str, Any]], str] = _says_nothing
    ends: datetime | None = None
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _tokens: dict[str, str] = field(default_factory=dict)

    def attach(self, client: Any) -> Any:  # Any: a boto3 client of either service
        # All handlers of an event are called, whatever the first one answers: moto's must not be among them.
        client.meta.events.unregister("before-send", botocore_stubber)
        client.meta.events.register("before-send", self)
        return client

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.sent)

    def job(self, name: str) -> ModelCustomizationJob:
        found: ModelCustomizationJob = bedrock_backends[ACCOUNT][REGION].model_customization_jobs[name]
        return found

    # --- HTTP

    def __call__(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rsplit(".", 1)[-1]
        body = json.loads(request.body) if request.body else {}
        self.sent.append((operation, body))
        fault = next((one for one in self.faults if one.operation == operation and one.times), None)
        try:
            if fault:
                fault.times -= 1
                if not fault.lost:
                    raise _Refused(fault.status, fault.code, "as the test wants it")
            answer = self._answer(operation, unquote(urlsplit(request.url).path), body)
            response = answer or botocore_stubber(event_name, request)
        except _Refused as refused:
            response = _response(
                request.url, refused.status, {"message": str(refused)}, {"x-amzn-ErrorType": refused.code}
            )
        assert response is not None, f"neither the wire nor moto knows {operation}"
        if fault and fault.lost:
            raise ReadTimeoutError(endpoint_url=request.url)
        if operation == "CreateModelCustomizationJob" and response.status_code < 300:
            self._tokens[body["clientRequestToken"]] = json.loads(response.content)["jobArn"]
        return response

    def _answer(self, operation: str, path: str, body: dict[str, Any]) -> AWSResponse | None:
        name = path.rsplit("/", 1)[-1]
        match operation:
            case "CreateModelCustomizationJob":
                return self._repeated(body)
            case "StopModelCustomizationJob":
                if self.job(path.split("/")[-2]).status in ("Completed", "Failed", "Stopped"):
                    raise _Refused(400, "ConflictException", "The job has ended.")
                return None
            case "GetFoundationModel":
                life = {"status": "LEGACY" if self.ends else "ACTIVE"}
                life |= {"endOfLifeTime": self.ends.isoformat()} if self.ends else {}
                model = path.removeprefix("/foundation-models/")
                details = {"modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{model}", "modelId": model}
                return _response(path, 200, {"modelDetails": details | {"modelLifecycle": life}})
            case "CreateCustomModelDeployment":
                return self._deploy(body)
            case "GetCustomModelDeployment":
                return _response(path, 200, self._deployed(name))
            case "DeleteCustomModelDeployment":
                self._deployed(name)
                del self.deployments[name]
                return _response(path, 200, {})
            case "Converse":
                return self._converse(path, body)
        return None

    def _repeated(self, body: dict[str, Any]) -> AWSResponse | None:
        arn = self._tokens.get(body["clientRequestToken"])
        if arn:
            return _response("", 201, {"jobArn": arn})
        if body["jobName"] in bedrock_backends[ACCOUNT][REGION].model_customization_jobs:
            raise _Refused(400, "ConflictException", f"A job named {body['jobName']} exists.")
        return None

    def _deploy(self, body: dict[str, Any]) -> AWSResponse:
        name = body["modelDeploymentName"]
        if name in self.deployments:
            raise _Refused(400, "ValidationException", f"A deployment named {name} exists.")
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:custom-model-deployment/{name[-12:]}"
        self.deployments[name] = {
            "customModelDeploymentArn": arn,
            "modelDeploymentName": name,
            "modelArn": body["modelArn"],
            "createdAt": datetime(2026, 11, 22, tzinfo=UTC).isoformat(),
            "status": "Creating",
        }
        return _response("", 202, {"customModelDeploymentArn": arn})

    def _deployed(self, name: str) -> dict[str, Any]:
        if name not in self.deployments:
            raise _Refused(404, "ResourceNotFoundException", f"No deployment is named {name}.")
        return self.deployments[name]

    def _converse(self, path: str, body: dict[str, Any]) -> AWSResponse:
        found = re.fullmatch("/model/(.+)/converse", path)
        assert found
        asked = found[1]
        by_arn = {one["customModelDeploymentArn"]: one for one in self.deployments.values()}
        if ":custom-model-deployment/" in asked:
            if asked not in by_arn:
                raise _Refused(404, "ResourceNotFoundException", f"{asked} is not deployed.")
            if by_arn[asked]["status"] != "Active":
                raise _Refused(429, "ModelNotReadyException", f"{asked} is not active yet.")
            asked = by_arn[asked]["modelArn"]
        message = {"role": "assistant", "content": [{"text": self.says(asked, body)}]}
        usage = {"inputTokens": 900, "outputTokens": 2, "totalTokens": 902}
        told = {"output": {"message": message}, "usage": usage, "stopReason": "end_turn", "metrics": {"latencyMs": 1}}
        return _response(path, 200, told)


def _response(url: str, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> AWSResponse:
    sent = {"content-type": "application/json"} | (headers or {})
    return AWSResponse(url, status, sent, MockRawResponse(json.dumps(body)))  # type: ignore[arg-type]  # as moto does
