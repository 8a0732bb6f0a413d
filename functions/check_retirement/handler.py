"""Lambda edge: once a day; aliases whose base model will be switched off soon are announced and measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.secrets import ProviderSecrets
from pixtune.registry.retiring import check_retirement
from pixtune.settings import Environment
from pixtune.wiring import provider_for

logger, environment = Logger(service="check_retirement"), Environment(os.environ)
secrets = ProviderSecrets(clients.secretsmanager(), environment.provider_secret_arn)


def handler(_event: dict[str, Any], _context: object) -> None:
    urls, limits = environment.provider_urls, environment.limits
    checked = check_retirement(
        ModelsTable(clients.dynamodb(), environment.models_table),
        Artifacts(clients.s3(), environment.artifacts_bucket),
        partial(provider_for, urls=urls, secrets=secrets.read(), limits=limits),
        limits,
        datetime.now(UTC).date(),
        warn_days=environment.retirement_warning_days,
        least_days=environment.min_model_days,
    )
    logger.info("retirement", retiring=[one.to_json() for one in checked.retiring], warned=len(checked.warned))
    if checked.soonest is not None:
        metrics = Metrics(namespace="pixtune", service=environment.event_bus)  # which has the stack's name
        metrics.add_metric("ModelDaysLeft", MetricUnit.Count, checked.soonest)
        metrics.flush_metrics()
