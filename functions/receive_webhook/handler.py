"""Lambda edge: a provider's signed webhook in, a run woken early; an RFC 9457 problem for what is refused."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.secrets import ProviderSecrets
from pixtune.aws.workflow import StepFunctions
from pixtune.settings import Environment
from pixtune.training.webhook import body_of, receive

logger = Logger(service="receive_webhook")
environment = Environment(os.environ)
secrets = ProviderSecrets(clients.secretsmanager(), environment.provider_secret_arn)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    provider = event["pathParameters"]["provider"]
    receipt = receive(
        provider,
        body_of(event),
        {name.lower(): value for name, value in event.get("headers", {}).items()},
        secrets.read().get(provider, {}).get("webhook_secret", ""),
        now=time.time(),
        runs=RunsTable(clients.dynamodb(), environment.runs_table),
        requests=RequestsTable(clients.dynamodb(), environment.requests_table, environment.runs_table),
        workflow=StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
    )
    logger.info("webhook", provider=provider, status=receipt.status, code=receipt.code)
    return receipt.to_http()
