"""Lambda edge: a run whose provider job succeeded in, the steps of its checkpoints out."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.settings import Environment
from pixtune.training.checkpoints import record_checkpoints
from pixtune.training.reconcile import reconcile
from pixtune.wiring import Providers

logger = Logger(service="record_checkpoints")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    provider = providers.of(runs.get(event["run_id"]).settings)
    steps = record_checkpoints(event["run_id"], now=time.time(), runs=runs, provider=provider)
    logger.info("checkpoints", run_id=event["run_id"], steps=steps, bill=reconcile(event["run_id"], runs))
    return {"steps": [{"step": step} for step in steps]}
