"""The environment a function runs in, named once and typed: variables set by template.yaml in, values out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixtune.providers.limits import Limits
    from pixtune.training.budget import Budget


class MissingSetting(LookupError):
    """A function was deployed without a variable it needs; template.yaml sets them."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Reads variables when asked, so that a handler needs only those it uses. Make one from `os.environ`."""

    variables: Mapping[str, str]

    def _get(self, name: str) -> str:
        try:
            return self.variables[name]
        except KeyError:
            raise MissingSetting(f"The environment variable {name} is not set; template.yaml sets it.") from None

    @property
    def uploads_bucket(self) -> str:
        return self._get("UPLOADS_BUCKET")

    @property
    def artifacts_bucket(self) -> str:
        return self._get("ARTIFACTS_BUCKET")

    @property
    def examples_table(self) -> str:
        return self._get("EXAMPLES_TABLE")

    @property
    def runs_table(self) -> str:
        return self._get("RUNS_TABLE")

    @property
    def models_table(self) -> str:
        return self._get("MODELS_TABLE")

    @property
    def requests_table(self) -> str:
        return self._get("REQUESTS_TABLE")

    @property
    def images_queue(self) -> str:
        return self._get("IMAGES_QUEUE_URL")

    @property
    def annotations_queue(self) -> str:
        return self._get("ANNOTATIONS_QUEUE_URL")

    @property
    def image_facts_queue(self) -> str:
        return self._get("IMAGE_FACTS_QUEUE_URL")

    @property
    def annotation_facts_queue(self) -> str:
        return self._get("ANNOTATION_FACTS_QUEUE_URL")

    @property
    def event_bus(self) -> str:
        return self._get("EVENT_BUS_NAME")

    @property
    def state_machine_arn(self) -> str:
        return self._get("STATE_MACHINE_ARN")

    @property
    def provider_secret_arn(self) -> str:
        """A secret whose JSON maps provider name -> {"api_key": ..., "webhook_secret": ...}."""
        return self._get("PROVIDER_SECRET_ARN")

    @property
    def provider_urls(self) -> Mapping[str, str]:
        """Base URL by provider name; a provider with an empty one is not available in this deployment."""
        urls: dict[str, str] = json.loads(self._get("PROVIDER_URLS"))
        return urls

    @property
    def limits(self) -> Limits:
        """What providers take: the table that ships, with PROVIDER_LIMITS (TOML or JSON, may be empty) laid over it.
        Raises LimitsRefused."""
        from pixtune.providers.limits import limits_with

        return limits_with(self.variables.get("PROVIDER_LIMITS", ""))

    @property
    def default_provider(self) -> str:
        return self._get("DEFAULT_PROVIDER")

    @property
    def skip_predictor(self) -> str:
        """Who looks for images a provider would leave out: "rekognition", or empty for nobody."""
        return self._get("SKIP_PREDICTOR")

    @property
    def read_object_tags(self) -> bool:
        """Whether an image's tags are labels."""
        return self._get("READ_OBJECT_TAGS") == "true"

    @property
    def poll_min_seconds(self) -> int:
        return int(self._get("POLL_MIN_SECONDS"))

    @property
    def poll_max_seconds(self) -> int:
        return int(self._get("POLL_MAX_SECONDS"))

    @property
    def reenqueue_after_seconds(self) -> int:
        """How long an upload may be without a verdict before it is enqueued again."""
        return int(self._get("REENQUEUE_AFTER_SECONDS"))

    @property
    def settle_deadline_seconds(self) -> int:
        """How long a run waits for its uploads before it fails and names them."""
        return int(self._get("SETTLE_DEADLINE_SECONDS"))

    @property
    def run_deadline_seconds(self) -> int:
        """How long a training may take, from the first launch of an attempt on."""
        return int(self._get("RUN_DEADLINE_SECONDS"))

    @property
    def queue_limit_seconds(self) -> int:
        """How long a provider job may wait in the provider's queue before it is called stuck."""
        return int(self._get("QUEUE_LIMIT_SECONDS"))

    @property
    def budget(self) -> Budget:
        """What trainings may cost in this deployment; an empty variable is no limit."""
        from pixtune.training.budget import Budget

        live_jobs = self._limit("MAX_LIVE_JOBS")
        return Budget(
            per_run=self._limit("MAX_RUN_USD"),
            per_month=self._limit("MONTHLY_BUDGET_USD"),
            live_jobs=None if live_jobs is None else int(live_jobs),
            approval_from=self._limit("APPROVAL_ABOVE_USD"),
        )

    def _limit(self, name: str) -> float | None:
        value = self._get(name)
        return float(value) if value else None

    @property
    def min_model_days(self) -> int:
        """How many days a model has to answer to be worth training."""
        return int(self._get("MIN_MODEL_DAYS"))

    @property
    def retirement_warning_days(self) -> int:
        """How many days ahead of a base model's end the names on it are warned about."""
        return int(self._get("RETIREMENT_WARNING_DAYS"))

    @property
    def approval_timeout_seconds(self) -> int:
        """How long a run waits for approval before that counts as denied."""
        return int(self._get("APPROVAL_TIMEOUT_SECONDS"))
