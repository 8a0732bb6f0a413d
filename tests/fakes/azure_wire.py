"""Azure as its adapter sees it: sign-in and control plane, and behind a resource's host somebody who trains.

Shapes: Microsoft Entra's client-credentials token, and Microsoft.CognitiveServices accounts/deployments 2024-10-01.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2

RESOURCE = "lanes-eu"
URL = f"https://{RESOURCE}.openai.azure.com/openai/v1/"
SECRET = {
    "api_key": "azure-key",
    "tenant_id": "tenant-1",
    "client_id": "client-1",
    "client_secret": "s3cret",
    "subscription_id": "sub-1",
    "resource_group": "group-1",
}
_ACCOUNT = (
    "/subscriptions/sub-1/resourceGroups/group-1/providers/Microsoft.CognitiveServices"
    f"/accounts/{RESOURCE}/deployments/"
)


@dataclass
class AzureWire(httpx2.BaseTransport):
    """deployments: by name, as the control plane shows them. inner, names: who answers the resource's own calls, and
    what its base model is called there. faults: (status, body) the control plane answers first."""

    inner: httpx2.BaseTransport | None = None
    names: tuple[str, str] = ("", "")
    url: str = ""
    api_key: str = ""
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    faults: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    token_seconds: int = 3600

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        if request.url.host == "login.microsoftonline.com":
            return self._sign_in(request.url.path, body)
        if request.url.host == "management.azure.com":
            return self._control(request, body)
        assert request.url.host == f"{RESOURCE}.openai.azure.com", request.url
        return self._resource(request, body)

    def _sign_in(self, path: str, body: bytes) -> httpx2.Response:
        asked = {name: value for name, (value,) in parse_qs(body.decode()).items()}
        self.sent.append(("POST", path, asked))
        if asked["client_secret"] != SECRET["client_secret"]:
            told = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}
            return httpx2.Response(401, json=told)
        token = {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": "entra-token"}
        return httpx2.Response(200, json=token)

    def _control(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer entra-token"
        assert request.url.params["api-version"] == "2024-10-01"
        assert request.url.path.startswith(_ACCOUNT), request.url.path
        name = request.url.path.removeprefix(_ACCOUNT)
        asked: dict[str, Any] = json.loads(body) if body else {}
        self.sent.append((request.method, name, asked))
        if self.faults:
            status, told = self.faults.pop(0)
            return httpx2.Response(status, json=told)
        if request.method == "PUT":
            shown = {"id": _ACCOUNT + name, "name": name, "etag": '"1"', **asked}
            shown["properties"] = asked["properties"] | {"provisioningState": "Creating"}
            self.deployments[name] = shown
            return httpx2.Response(201, json=shown)
        if name not in self.deployments:
            told = {"error": {"code": "DeploymentNotFound", "message": f"The deployment {name} does not exist."}}
            return httpx2.Response(404, json=told)
        if request.method == "DELETE":
            del self.deployments[name]
            return httpx2.Response(202)
        return httpx2.Response(200, json=self.deployments[name])

    def _resource(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        """The resource's call as the inner one knows it: its own URL, key and name of the base model."""
        assert self.inner is not None
        assert request.headers["authorization"] == f"Bearer {SECRET['api_key']}"
        theirs, ours = self.names
        if request.url.path.endswith("/chat/completions"):
            asked = json.loads(body)
            deployment = self.deployments.get(asked["model"])
            if deployment is None or deployment["properties"]["provisioningState"] != "Succeeded":
                told = {"error": {"code": "DeploymentNotFound", "message": "There is no such deployment."}}
                return httpx2.Response(404, json=told)
            model = deployment["properties"]["model"]
            name = ours if model["version"] != "1" else model["name"]
            body = json.dumps(asked | {"model": name}).encode()
        elif request.method == "POST" and request.url.path.endswith("/fine_tuning/jobs"):
            body = body.replace(f'"{theirs}"'.encode(), f'"{ours}"'.encode())
        path = request.url.raw_path.decode().removeprefix("/openai/v1").replace(theirs, ours)
        headers = dict(request.headers) | {"authorization": f"Bearer {self.api_key}"}
        for name in ("host", "content-length"):
            headers.pop(name, None)
        return self.inner.handle_request(
            httpx2.Request(request.method, self.url + path, headers=headers, content=body)
        )

    def provision(self, state: str = "Succeeded") -> None:
        """Bring every deployment under way to its end."""
        for deployment in self.deployments.values():
            deployment["properties"]["provisioningState"] = state
