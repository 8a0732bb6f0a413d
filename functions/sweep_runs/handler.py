"""Lambda edge: every ten minutes; what crashes and lost events left of runs and jobs is mended."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.settings import Environment
from pixtune.training.sweep import sweep
from pixtune.wiring import Providers

logger = Logger(service="sweep_runs")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(_event: dict[str, Any], _context: object) -> None:
    done = sweep(
        now=time.time(),
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
        connect=providers.named,
        named=ModelsTable(clients.dynamodb(), environment.models_table).named,
        providers=[name for name, url in environment.provider_urls.items() if url],
        limits=environment.limits,
    )
    logger.info("swept", **asdict(done))
