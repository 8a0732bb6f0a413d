"""Lambda edge: what the state machine caught, or an execution that ended badly, in; code, cause and fix out."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.settings import Environment
from pixtune.training.failure import failed_of, record_failure
from pixtune.training.run import Failure
from pixtune.wiring import Providers

logger = Logger(service="record_failure")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    failed = failed_of(event)
    failure = failed and record_failure(
        failed,
        now=time.time(),
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        provider_of=lambda run: providers.of(run.settings),
        named=ModelsTable(clients.dynamodb(), environment.models_table).named,
    )
    answer = asdict(failure or Failure("nothing_failed", "The run has not failed, or is not known here."))
    logger.info("failure", failed=failed and asdict(failed), **answer)
    return answer
