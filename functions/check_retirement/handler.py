"""Lambda edge: once a day; aliases whose base model will be switched off soon are announced and measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.models_table import ModelsTable
from pixtune.registry.retiring import check_retirement
from pixtune.settings import Environment
from pixtune.wiring import Providers

logger, environment = Logger(service="check_retirement"), Environment(os.environ)
providers = Providers(environment)


def handler(_event: dict[str, Any], _context: object) -> None:
    checked = check_retirement(
        ModelsTable(clients.dynamodb(), environment.models_table),
        Artifacts(clients.s3(), environment.artifacts_bucket),
        providers.named,
        environment.limits,
        datetime.now(UTC).date(),
        warn_days=environment.retirement_warning_days,
        least_days=environment.min_model_days,
    )
    logger.info("retirement", retiring=[one.to_json() for one in checked.retiring], warned=len(checked.warned))
    if checked.soonest is not None:
        metrics = Metrics(namespace="pixtune", service=environment.event_bus)  # which has the stack's name
        metrics.add_metric("ModelDaysLeft", MetricUnit.Count, checked.soonest)
        metrics.flush_metrics()
