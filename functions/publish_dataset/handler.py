"""Lambda edge of the state PublishDataset: a run's id in, the number and digest of its dataset version out."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from ulid import ULID

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.threads import in_threads
from pixtune.datasets.publish import publish_dataset
from pixtune.settings import Environment

logger = Logger(service="publish_dataset")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    published = publish_dataset(
        event["run_id"],
        event["attempt"],
        RunsTable(clients.dynamodb(), environment.runs_table),
        ExamplesTable(clients.dynamodb(), environment.examples_table),
        Artifacts(clients.s3(), environment.artifacts_bucket),
        datetime.now(UTC),
        str(ULID()),
        environment.limits,
        in_threads,
    )
    if published.repaired:
        logger.warning("rows that the log lacked were appended", rows=published.repaired)
    return {"version": published.version, "digest": published.digest}
