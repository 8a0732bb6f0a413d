"""Lambda edge: a run's evaluated checkpoint in; its model taken down where it was deployed for the evaluation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.evaluation.activation import release_model
from pixtune.settings import Environment
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    provider = providers.of(runs.get(event["run_id"]).settings)
    release_model(event["run_id"], event["step"], runs=runs, provider=provider)
    return {}
