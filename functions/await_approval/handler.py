"""Lambda edge: a run whose costs a person has to approve in; the question and the waiting task kept on it."""

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
from pixtune.training.approval import ask

logger = Logger(service="await_approval")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    approval = ask(
        event["run_id"],
        event["attempt"],
        event["task_token"],
        now=time.time(),
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
    )
    logger.info("approval", run_id=event["run_id"], **asdict(approval))
    return {"state": approval.state}
