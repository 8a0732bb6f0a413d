"""A provider's name, base model, URL and key, or AWS's clients, in; its adapter out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pixtune.errors import ProviderRefused
from pixtune.providers.limits import Limits
from pixtune.providers.port import TrainingProvider

if TYPE_CHECKING:
    from pixtune.providers.bedrock import AwsSide


def provider_for(
    name: str,
    base_model: str,
    urls: Mapping[str, str],
    secrets: Mapping[str, Mapping[str, str]],
    limits: Limits,
    *,
    aws: Callable[[str], AwsSide] | None = None,
) -> TrainingProvider:
    """urls: base URL by provider name, empty where a provider is not available. secrets: name -> {"api_key": ...}.
    aws: for Bedrock, which needs no key: AWS's clients and the bucket of this name (`wiring` has them).

    Raises ProviderRefused when the provider, its base model, its URL or its key is unknown, naming what to do.
    """
    spec = limits.spec(name, base_model)
    if not spec.adapter:
        ready = ", ".join(sorted({known.provider for known in limits.specs.values() if known.adapter}))
        raise ProviderRefused(
            f"Jobs cannot be launched at provider {name!r} yet; its rows can be checked (pixtune data lint).",
            f"Train with one of: {ready}.",
        )
    if not urls.get(name):
        offered = ", ".join(sorted(known for known, url in urls.items() if url)) or "none"
        raise ProviderRefused(
            f"Provider {name!r} has no URL in this deployment.", f"Available: {offered}; or set it in PROVIDER_URLS."
        )
    # Each adapter is imported where it is chosen: a cold start pays for one of them.
    if aws is not None and name == "bedrock":
        from pixtune.providers.bedrock import BedrockProvider, Home

        home = Home.from_url(urls[name])
        return BedrockProvider(spec, home, aws(home.bucket))
    key = secrets.get(name, {}).get("api_key", "")
    if not key:
        raise ProviderRefused(
            f"There is no api_key for provider {name!r}.",
            f'Put {{"{name}": {{"api_key": "..."}}}} into the provider secret.',
        )
    if name == "azure":
        from pixtune.providers.azure import AzureProvider

        return AzureProvider(spec, urls[name], secrets[name])
    from pixtune.providers.openai_shaped import OpenAIShapedProvider

    return OpenAIShapedProvider(spec, urls[name], key)
