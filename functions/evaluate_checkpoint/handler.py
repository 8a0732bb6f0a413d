"""Lambda edge: a run's checkpoint in; its score on the test split, null where there is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.runs_table import RunsTable
from pixtune.evaluation.judge import evaluate_checkpoint
from pixtune.settings import Environment
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="evaluate_checkpoint")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    score = evaluate_checkpoint(
        *(event["run_id"], event["attempt"], event["step"]),
        runs=runs,
        artifacts=Artifacts(clients.s3(), environment.artifacts_bucket),
        provider=providers.of(runs.get(event["run_id"]).settings),
    )
    logger.info("evaluated", run_id=event["run_id"], step=event["step"], score=score)
    return {"step": event["step"], "score": score}
