"""Lambda edge: a batch of S3 events from the images queue in, the messages that must come again out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts, Uploads
from pixtune.aws.queues import Queue
from pixtune.images.ingest import Gate
from pixtune.images.sandbox import Sandbox
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="convert_image")
environment = Environment(os.environ)
sandbox = Sandbox()  # its process starts while the rest of the function does


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    gate = Gate(
        Uploads(clients.s3(), environment.uploads_bucket),
        Artifacts(clients.s3(), environment.artifacts_bucket),
        sandbox,
        Queue(clients.sqs(), environment.image_facts_queue),
    )
    again = gate.take(event["Records"], lambda: context.get_remaining_time_in_millis() / 1000)
    for message_id, error in again.items():
        logger.warning("message comes again", message_id=message_id, exc_info=error)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}
