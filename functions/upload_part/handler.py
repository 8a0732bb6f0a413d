"""Lambda edge, one for each part of a large training file: where its plan is and its number in; the part sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts
from pixtune.aws.runs_table import RunsTable
from pixtune.settings import Environment
from pixtune.training.files import upload_part
from pixtune.wiring import Providers

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)
providers = Providers(environment)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    asked = RunsTable(clients.dynamodb(), environment.runs_table).get(event["run_id"]).settings
    upload_part(
        event["plan"],
        event["upload_id"],
        event["part"],
        Artifacts(clients.s3(), environment.artifacts_bucket),
        providers.of(asked),
    )
    return {}
