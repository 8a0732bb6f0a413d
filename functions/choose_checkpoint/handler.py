"""Lambda edge: a run with evaluated checkpoints in; the step of the one that goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.runs_table import RunsTable
from pixtune.evaluation.choice import choose_checkpoint
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    return {"step": choose_checkpoint(event["run_id"], RunsTable(clients.dynamodb(), environment.runs_table))}
