"""Lambda edge: a ready run in; its training files at the provider, or which parts of them have to be sent first."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.runs_table import RunsTable
from pixtune.settings import Environment
from pixtune.training.files import upload_files
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="upload_files")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    asked, limits = runs.get(event["run_id"]).settings, environment.limits
    answer = upload_files(
        event["run_id"],
        runs,
        Artifacts(clients.s3(), environment.artifacts_bucket),
        providers.of(asked),
        limits.spec(asked.provider, asked.base_model),
        time.time(),
    )
    logger.info("files", run_id=event["run_id"], **answer.to_json())
    return answer.to_json()
