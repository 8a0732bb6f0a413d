"""Lambda edge: a run's chosen checkpoint in; whether it is the champion now. Writes the report and ends the run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.evaluation.report import write_report
from pixtune.registry.promotion import Registrar
from pixtune.settings import Environment
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="promote_model")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    models = ModelsTable(clients.dynamodb(), environment.models_table)
    artifacts = Artifacts(clients.s3(), environment.artifacts_bucket)
    run_id, attempt = event["run_id"], event["attempt"]
    registrar = Registrar(runs, models, artifacts, providers.named, time.time())
    promotion = registrar.promote_model(run_id, attempt, event["step"])
    registrar.end_run(run_id, write_report(run_id, attempt, runs, models, artifacts, environment.limits))
    logger.info("promotion", run_id=run_id, **promotion.to_json())
    return {"promoted": promotion.promoted}
