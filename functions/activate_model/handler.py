"""Lambda edge: a run's checkpoint in; whether its model answers now, else the seconds to wait before asking again."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.evaluation.activation import activate_model
from pixtune.settings import Environment
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    provider = providers.of(runs.get(event["run_id"]).settings)
    which = (event["run_id"], event["attempt"], event["step"])
    return asdict(activate_model(*which, now=time.time(), runs=runs, provider=provider))
