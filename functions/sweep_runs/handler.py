"""Lambda edge: every ten minutes; unstarted runs are started, dead ones settled, stray provider jobs cancelled."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.secrets import ProviderSecrets
from pixtune.aws.workflow import StepFunctions
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.factory import provider_for
from pixtune.settings import Environment
from pixtune.training import sweep

logger = Logger(service="sweep_runs")
environment = Environment(os.environ)
secrets = ProviderSecrets(clients.secretsmanager(), environment.provider_secret_arn)


def handler(_event: dict[str, Any], _context: object) -> None:
    now, runs = time.time(), RunsTable(clients.dynamodb(), environment.runs_table)
    workflow = StepFunctions(clients.stepfunctions(), environment.state_machine_arn)
    urls, limits = environment.provider_urls, environment.limits
    provider = partial(provider_for, urls=urls, secrets=secrets.read(), limits=limits)
    logger.info("started", run_ids=sweep.start_unstarted(now=now, runs=runs, workflow=workflow))
    logger.info("settled", run_ids=sweep.settle_ended(now=now, runs=runs, workflow=workflow, provider_named=provider))
    for name in (name for name, url in urls.items() if url):
        try:
            model = limits.default_base_model(name)
            window = limits.spec(name, model).quiet_window_seconds
            strays = sweep.cancel_strays(now=now, window=window, runs=runs, provider=provider(name, model))
            logger.info("cancelled", provider=name, job_ids=[job.job_id for job in strays])
        except (ProviderUnavailable, ProviderRefused) as error:
            logger.warning("a provider could not be swept", provider=name, reason=str(error))
