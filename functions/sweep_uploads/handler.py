"""Lambda edge: once a day, every dataset's uploads compared with the table; what never arrived is sent again."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Uploads
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.queues import Queue
from pixtune.datasets.settle import Ingest, sweep_uploads
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="sweep_uploads")
environment = Environment(os.environ)


def handler(_event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    ingest = Ingest(
        Uploads(clients.s3(), environment.uploads_bucket),
        ExamplesTable(clients.dynamodb(), environment.examples_table),
        images=Queue(clients.sqs(), environment.images_queue),
        annotations=Queue(clients.sqs(), environment.annotations_queue),
    )
    sent = sweep_uploads(ingest, time.time(), reenqueue_after=environment.reenqueue_after_seconds)
    logger.info("uploads sent again", datasets=sent)
    return {"sent_again": sent}
