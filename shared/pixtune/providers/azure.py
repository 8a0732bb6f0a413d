"""The adapter to Azure OpenAI: OpenAI's calls at an Azure resource, and the deployment a model needs to answer.

Files, jobs and answers go through the `openai` client. A deployment is made, looked at and removed at Azure's control
plane, which has another host, another token (Microsoft Entra) and bills by the hour until the deployment is gone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.examples.rows import Row
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.openai_shaped import OpenAIShapedProvider
from pixtune.providers.port import Activation, ReadImage, Reply

if TYPE_CHECKING:
    import httpx2

_CONTROL = "https://management.azure.com"
_LOGIN = "https://login.microsoftonline.com"
_API_VERSION = "2024-10-01"  # of the control plane's deployments
_DEPLOY_SECONDS = 30
_REQUEST_SECONDS = 30.0
_TOKEN_MARGIN_SECONDS = 120.0
_NEEDED = ("tenant_id", "client_id", "client_secret", "subscription_id", "resource_group")


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Who may deploy, and where: the provider secret's fields. sku, capacity: of every deployment made here."""

    account: str
    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    subscription_id: str
    resource_group: str
    sku: str = "standard"
    capacity: int = 1

    @classmethod
    def of(cls, base_url: str, secret: Mapping[str, str]) -> ControlPlane:
        """Raises ProviderRefused naming every field that is missing or wrong."""
        missing = [name for name in _NEEDED if not secret.get(name)]
        capacity = str(secret.get("capacity", "1"))
        if missing or not capacity.isdecimal():
            wrong = f"lacks {', '.join(missing)}" if missing else f"says {capacity!r} for capacity"
            raise ProviderRefused(
                f"Azure deploys a model before it answers, and the provider secret's entry for azure {wrong}.",
                "Add what is missing: an app registration that may manage the resource's deployments.",
            )
        account = (urlsplit(base_url).hostname or "").split(".")[0]
        kept = {name: secret[name] for name in _NEEDED}
        return cls(account, sku=secret.get("sku", "standard"), capacity=int(capacity), **kept)

    def deployment(self, name: str) -> str:
        where = (self.subscription_id, self.resource_group, self.account, name)
        subscription, group, account, deployment = (quote(part, safe="") for part in where)
        return (
            f"{_CONTROL}/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.CognitiveServices"
            f"/accounts/{account}/deployments/{deployment}?api-version={_API_VERSION}"
        )


class AzureProvider(OpenAIShapedProvider):
    """An Azure OpenAI resource at `base_url` (https://RESOURCE.openai.azure.com/openai/v1/).

    secret: api_key, and for deployments the fields of `ControlPlane`; training_type ("GlobalStandard", "Standard",
    "Developer") where it is not to be Azure's own choice. clock: Unix seconds, for the token's age.
    """

    def __init__(
        self,
        spec: ProviderSpec,
        base_url: str,
        secret: Mapping[str, str],
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(spec, base_url, secret["api_key"], transport)
        self._secret, self._clock = secret, clock
        self._token: tuple[float, str] = (0.0, "")  # until when, and the token
        if training_type := secret.get("training_type"):
            self._create_body = {"trainingType": training_type}

    @cached_property
    def _plane(self) -> ControlPlane:
        return ControlPlane.of(self._base_url, self._secret)

    @cached_property
    def _http(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(transport=self._transport, timeout=_REQUEST_SECONDS)

    def activate(self, model_id: str) -> Activation:
        """Deploy the model under a name of its own, once; active when Azure has provisioned it."""
        found = self._control("GET", model_id)
        if found is None:
            model = {"format": "OpenAI", **_named(model_id, self.spec.base_model)}
            sku = {"name": self._plane.sku, "capacity": self._plane.capacity}
            found = self._control("PUT", model_id, {"sku": sku, "properties": {"model": model}}) or {}
        state = str(found.get("properties", {}).get("provisioningState", ""))
        if state in ("Failed", "Canceled", "Disabled"):
            raise ProviderRefused(
                f"azure: the deployment {deployment_name(model_id)} of {model_id} is {state}.",
                "See in Azure why, delete the deployment, then resume the run.",
            )
        return Activation(True) if state == "Succeeded" else Activation(False, _DEPLOY_SECONDS)

    def release(self, model_id: str) -> None:
        """Remove the deployment; one that is not there is released."""
        self._control("DELETE", model_id)

    def answer(
        self, model_id: str, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
    ) -> Reply:
        return super().answer(deployment_name(model_id), row, system, prompt, detail, read_image)

    def _control(self, method: str, model_id: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """One call about the model's deployment; None where there is none."""
        doing = f"azure, {method} of the deployment of {model_id}"
        with _connection(doing):
            response = self._http.request(
                method,
                self._plane.deployment(deployment_name(model_id)),
                json=body,
                headers={"authorization": f"Bearer {self._bearer()}"},
            )
            if response.status_code == 404 and method != "PUT":
                return None
            told: Mapping[str, Any] = _checked(response, doing)
        return told

    def _bearer(self) -> str:
        until, token = self._token
        if self._clock() < until:
            return token
        plane, doing = self._plane, "azure, signing in to deploy"
        response = self._http.post(
            f"{_LOGIN}/{quote(plane.tenant_id, safe='')}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": plane.client_id,
                "client_secret": plane.client_secret,
                "scope": f"{_CONTROL}/.default",
            },
        )
        told = _checked(response, doing)
        lasts = float(told.get("expires_in", 0)) - _TOKEN_MARGIN_SECONDS
        self._token = (self._clock() + lasts, str(told["access_token"]))
        return self._token[1]


def deployment_name(model_id: str) -> str:
    """The same name for the same model, within what Azure takes."""
    return f"pixtune-{sha256(model_id.encode()).hexdigest()[:24]}"


def _named(model_id: str, base_model: str) -> dict[str, str]:
    """A base model by its name and its dated version; a model trained on it, or a checkpoint, by its id."""
    dated = re.fullmatch(r"(.+)-(\d{4}-\d{2}-\d{2})", model_id)
    if model_id == base_model and dated:
        return {"name": dated[1], "version": dated[2]}
    return {"name": model_id, "version": "1"}


@contextmanager
def _connection(doing: str) -> Iterator[None]:
    import httpx2

    try:
        yield
    except httpx2.HTTPError as error:
        raise ProviderUnavailable(f"{doing}: {type(error).__name__}: {error}") from error


def _checked(response: httpx2.Response, doing: str) -> dict[str, Any]:
    """The answer's JSON, {} where it has none. Raises the port's two errors."""
    try:
        told = response.json() if response.content else {}
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    if response.is_success:
        return told
    error = told.get("error", {})
    # The control plane answers {"error": {"code", "message"}}, the sign-in {"error", "error_description"}.
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (error, None)
    said = f"{doing}: HTTP {response.status_code} {code or ''}: {message or told.get('error_description') or ''}"
    if response.status_code in (408, 409, 429) or response.status_code >= 500:
        raise ProviderUnavailable(said)
    fixes = {
        401: "Check tenant_id, client_id and client_secret of azure in the provider secret.",
        403: "Let the app registration manage the resource's deployments (Cognitive Services Contributor).",
    }
    raise ProviderRefused(said, fixes.get(response.status_code, "Mend what Azure names, then resume the run."))
