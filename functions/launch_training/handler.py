"""Lambda edge: a run to launch in; `launched`, `joined`, or `unknown` with the seconds to wait out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.settings import Environment
from pixtune.training.launch import LaunchLimits, launch
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger, environment = Logger(service="launch_training"), Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    asked, limits = runs.get(event["run_id"]).settings, environment.limits
    spec = limits.spec(asked.provider, asked.base_model)
    answer = launch(
        event["run_id"],
        event["attempt"],
        limits=LaunchLimits(
            spec.quiet_window_seconds, environment.run_deadline_seconds, environment.budget, spec.finds_jobs
        ),
        clock=time.time,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        runs=runs,
        provider=providers.of(asked),
    )
    logger.info("launch", run_id=event["run_id"], attempt=event["attempt"], **answer.to_json())
    return answer.to_json()
