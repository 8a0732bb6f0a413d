"""Lambda edge: a run with a version in; whether a person has to approve of its costs, or every problem, out."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.rekognition import predictor_of
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.threads import in_threads
from pixtune.settings import Environment
from pixtune.training.approval import permission
from pixtune.training.readiness import check_readiness
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="check_readiness")
environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    runs = RunsTable(clients.dynamodb(), environment.runs_table)
    artifacts = Artifacts(clients.s3(), environment.artifacts_bucket)
    asked, limits = runs.get(event["run_id"]).settings, environment.limits
    provider = providers.of(asked)
    predictor = predictor_of(environment.skip_predictor, environment.artifacts_bucket)
    today, least = datetime.now(UTC).date(), environment.min_model_days
    cost = check_readiness(event["run_id"], runs, artifacts, provider, limits, today, predictor, in_threads, least)
    answer = permission(runs.get(event["run_id"]), environment.budget, environment.approval_timeout_seconds)
    logger.info("ready", run_id=event["run_id"], estimate=cost.to_json(), **answer)
    return {"ready": True, **answer}
