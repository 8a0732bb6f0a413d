"""Lambda edge: a batch of S3 events from the annotations queue in, the messages that must come again out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.annotations.read import ReadAnnotations
from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts, Uploads
from pixtune.aws.queues import Queue
from pixtune.aws.threads import in_threads
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="read_annotations")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    read_annotations = ReadAnnotations(
        Uploads(clients.s3(), environment.uploads_bucket),
        facts=Queue(clients.sqs(), environment.annotation_facts_queue),
        inline=Artifacts(clients.s3(), environment.artifacts_bucket),
        images=Queue(clients.sqs(), environment.images_queue),
        each=in_threads,
        reads_tags=environment.read_object_tags,
    )
    again = read_annotations.take(event["Records"])
    for message_id, error in again.items():
        logger.warning("message comes again", message_id=message_id, exc_info=error)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}
