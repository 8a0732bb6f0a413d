"""Lambda edge: EventBridge's word that a Bedrock job has changed in, the run that waits for it woken early."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.settings import Environment
from pixtune.training.waking import job_event

logger = Logger(service="receive_job_event")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    code = job_event(
        event,
        now=time.time(),
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        requests=RequestsTable(clients.dynamodb(), environment.requests_table, environment.runs_table),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
    )
    logger.info("job event", job=event["detail"]["jobName"], said=event["detail"].get("jobStatus"), code=code)
    return {"code": code}
