"""Lambda edge: one polling turn in; what it found is logged, and the task token answered when the job has ended."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.settings import Environment
from pixtune.training.poll import poll
from pixtune.wiring import Providers

logger = Logger(service="poll_training")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    turn = poll(
        **{name: event[name] for name in ("run_id", "attempt", "turn", "task_token")},
        now=time.time(),
        queue_limit=environment.queue_limit_seconds,
        runs=runs,
        provider=providers.of(runs.get(event["run_id"]).settings),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
    )
    logger.info("turn", run_id=event["run_id"], turn=event["turn"], **asdict(turn))
    return asdict(turn)
