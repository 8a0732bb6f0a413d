"""`/v1/providers`, and a version's `lint`: which provider takes what, by which source, and what it would refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pixtune.errors import LimitsRefused, ProviderRefused, ProviderUnavailable
from pixtune.settings import MissingSetting
from problems import FieldError, Problem, bad_parameter, not_found
from reading import after_of, cursor_for, dataset_named, parameter

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.buckets import Artifacts
    from pixtune.aws.examples_table import ExamplesTable
    from pixtune.providers.limits import Limits, ProviderSpec
    from pixtune.providers.port import TrainingProvider
    from pixtune.settings import Environment

PAGE = 500
"""Problems of one answer; more follow by its cursor."""


class ProviderRoutes:
    """Answers from the limits in force; only `check` asks a provider."""

    def __init__(
        self,
        app: APIGatewayHttpResolver,
        environment: Environment,
        provider_of: Callable[[str, str], TrainingProvider],
        examples: ExamplesTable,
        artifacts: Artifacts,
    ) -> None:
        self._app, self._environment, self._provider_of = app, environment, provider_of
        self._examples, self._artifacts = examples, artifacts

    def endpoints(self) -> list[Endpoint]:
        return [
            ("GET", "/v1/providers", "list_providers", self.list_providers),
            ("GET", "/v1/providers/<provider>/limits", "get_limits", self.get_limits),
            ("POST", "/v1/providers/<provider>/check", "check_provider", self.check_provider),
            ("GET", "/v1/datasets/<dataset>/versions/<version>/lint", "lint_version", self.lint_version),
        ]

    @property
    def _limits(self) -> Limits:
        return limits_of(self._environment)

    def list_providers(self) -> dict[str, Any]:
        """Every provider and base model; available: jobs can be launched there from this deployment."""
        return {"items": [self._shown(spec) for spec in self._limits.specs.values()]}

    def get_limits(self, provider: str) -> dict[str, Any]:
        """Every figure of a provider's base models (or of ?base_model=) with its source and the day it was read."""
        base_model = parameter(self._app.current_event, "base_model")
        specs = [self._spec(provider, base_model)] if base_model else self._of(provider)
        return {"items": [self._shown(spec) | {"figures": spec.figures()} for spec in specs]}

    def check_provider(self, provider: str) -> dict[str, Any]:
        """Ask the provider itself, without cost: does it answer, does the key work, is the base model there, and
        until when. `ok` false comes with what to do."""
        spec = self._spec(provider, parameter(self._app.current_event, "base_model"))
        answer: dict[str, Any] = self._shown(spec) | {"ok": False, "retires_on": None, "detail": "", "fix": ""}
        try:
            told = self._provider_of(spec.provider, spec.base_model).retires_on(spec.base_model)
        except ProviderRefused as refused:
            return answer | {"detail": refused.message, "fix": refused.fix}
        except MissingSetting as missing:
            return answer | {"detail": str(missing), "fix": "Put the provider's key into the provider secret."}
        except ProviderUnavailable as away:
            return answer | {"detail": str(away), "fix": "Look at the provider's status page, and at its URL."}
        ends = told or spec.answer_until
        if ends is not None and ends <= _today():
            fix = "Choose another base model: GET /v1/providers lists them."
            return answer | {"detail": f"The base model ended on {ends.isoformat()}.", "fix": fix}
        retires = told.isoformat() if told else None
        until = f", until {ends.isoformat()}" if ends else ""
        return answer | {"ok": True, "retires_on": retires, "detail": f"The base model answers{until}."}

    def lint_version(self, dataset: str, version: str) -> dict[str, Any]:
        """All that ?provider= (and ?base_model=) would refuse of a version, and what is mended on the way; without a
        provider, how many problems each one has with it."""
        from pixtune.datasets.reading import read_manifest, read_split
        from pixtune.providers.lint import lint
        from pixtune.training.run import TrainingSettings

        event = self._app.current_event
        manifest = read_manifest(self._artifacts, self._manifest_key(dataset_named(dataset), version))
        splits = {split: read_split(self._artifacts, manifest, split) for split in ("train", "validation")}

        def found(spec: ProviderSpec) -> Any:
            training = TrainingSettings(spec.provider, spec.base_model)
            return lint(splits, manifest.settings, training, spec, _today(), f"{dataset}-v{version}")

        about = {"dataset": dataset, "version": manifest.version}
        provider = parameter(event, "provider")
        if provider is None:
            specs = self._limits.specs.values()
            return about | {"items": [self._shown(spec) | {"problems": len(found(spec).problems)} for spec in specs]}
        spec = self._spec(provider, parameter(event, "base_model"))
        of = ("lint", dataset, version, spec.provider, spec.base_model)
        after = after_of(event, *of) or "0"
        if not after.isdecimal():
            raise bad_parameter(
                "cursor", "cursor_invalid", "The cursor is not one this list gave; start without one."
            )
        result, start = found(spec), int(after)
        end = start + PAGE
        return (
            about
            | self._shown(spec)
            | {
                "total": len(result.problems),
                "items": [asdict(problem) for problem in result.problems[start:end]],
                "next_cursor": cursor_for(str(end) if end < len(result.problems) else None, *of),
                "mended": [asdict(mend) for mend in result.mends],
                "notes": list(result.notes),
            }
        )

    def _manifest_key(self, dataset: str, version: str) -> str:
        for found in self._examples.versions(dataset):
            if str(found["version"]) == version:
                return str(found["manifest_key"])
        raise not_found(
            "version_unknown", f"{dataset} has no version {version}. GET /v1/datasets/{dataset}/versions lists them."
        )

    def _of(self, provider: str) -> list[ProviderSpec]:
        specs = [spec for spec in self._limits.specs.values() if spec.provider == provider]
        if not specs:
            known = ", ".join(sorted({spec.provider for spec in self._limits.specs.values()}))
            raise not_found("provider_unknown", f"No provider {provider!r} is known; use one of: {known}.")
        return specs

    def _spec(self, provider: str, base_model: str | None) -> ProviderSpec:
        """The provider's first base model, unless one is named."""
        specs = self._of(provider)
        if base_model is None:
            return specs[0]
        for spec in specs:
            if spec.base_model == base_model:
                return spec
        known = ", ".join(spec.base_model for spec in specs)
        raise bad_parameter("base_model", "base_model_unknown", f"{provider} has no {base_model!r}; it has: {known}.")

    def _shown(self, spec: ProviderSpec) -> dict[str, Any]:
        available = spec.adapter and bool(self._environment.provider_urls.get(spec.provider))
        return spec.to_json() | {"available": available}


def limits_of(environment: Environment) -> Limits:
    """The limits in force. Problem: the deployment's own table is wrong."""
    try:
        return environment.limits
    except LimitsRefused as refused:
        raise Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "limits_invalid",
            "The deployment's own limits table is wrong; deploy it mended (template parameter ProviderLimits).",
            tuple(FieldError("PROVIDER_LIMITS", "invalid", fault) for fault in refused.faults),
        ) from None


def _today() -> date:
    return datetime.now(UTC).date()
