"""Lambda edge: a `_READY` marker or an event that asks for a training in, the run that serves it out."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger
from ulid import ULID

from pixtune.aws import clients
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.settings import Environment
from pixtune.training.order import Defaults, Refusal, order_of
from pixtune.training.request import request_training

logger = Logger(service="request_training")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    order = order_of(event, Defaults(environment.default_provider, environment.limits.default_base_model))
    if isinstance(order, Refusal):
        logger.warning("no training", **asdict(order))
        return {}
    requested = request_training(
        order,
        now=time.time(),
        new_run_id=lambda: f"run_{ULID()}",
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        requests=RequestsTable(clients.dynamodb(), environment.requests_table, environment.runs_table),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
    )
    logger.info("training requested", dataset=order.dataset, door=order.door, **asdict(requested))
    return asdict(requested)
