"""Lambda edge: a run's evaluated checkpoint in; its model taken down where it was deployed for the evaluation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.secrets import ProviderSecrets
from pixtune.evaluation.activation import release_model
from pixtune.settings import Environment
from pixtune.wiring import provider_for

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)
secrets = ProviderSecrets(clients.secretsmanager(), environment.provider_secret_arn)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    asked, limits = runs.get(event["run_id"]).settings, environment.limits
    provider = provider_for(asked.provider, asked.base_model, environment.provider_urls, secrets.read(), limits)
    release_model(event["run_id"], event["step"], runs=runs, provider=provider)
    return {}
