"""Where the two sides meet: a deployment's environment in, its providers out, with AWS's clients in their hands.

Providers know nothing of boto3, and `pixtune.aws` nothing of providers; only this module imports both.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.secrets import ProviderSecrets
from pixtune.providers import factory
from pixtune.providers.port import TrainingProvider
from pixtune.settings import Environment
from pixtune.training.run import TrainingSettings

if TYPE_CHECKING:
    from pixtune.providers.bedrock import AwsSide


def _aws_side(bucket: str) -> AwsSide:
    from pixtune.aws.bedrock import faults
    from pixtune.providers.bedrock import AwsSide

    return AwsSide(
        control=clients.bedrock(),
        creating=clients.bedrock_once(),
        runtime=clients.bedrock_runtime(),
        files=Artifacts(clients.s3(), bucket),
        faults=faults,
    )


provider_for = partial(factory.provider_for, aws=_aws_side)


class Providers:
    """The providers of a deployment. Keep one per process: it keeps their keys for a few minutes."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._secrets = ProviderSecrets(clients.secretsmanager(), environment.provider_secret_arn)

    def named(self, name: str, base_model: str) -> TrainingProvider:
        """Raises ProviderRefused when this deployment cannot reach it, or knows no limits of the base model."""
        known = self._environment
        return provider_for(name, base_model, known.provider_urls, self._secrets.read(), known.limits)

    def of(self, settings: TrainingSettings) -> TrainingProvider:
        """The one that a run was asked to train with. Raises ProviderRefused, as `named`."""
        return self.named(settings.provider, settings.base_model)
