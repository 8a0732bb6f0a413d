"""Lambda edge: a batch of facts from either facts queue in, the messages that must come again out."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from ulid import ULID

from pixtune.aws import clients, threads
from pixtune.aws.buckets import Artifacts
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.queues import Queue
from pixtune.examples.append import AppendRows, messages_of
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="append_rows")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    append_rows = AppendRows(
        ExamplesTable(clients.dynamodb(), environment.examples_table),
        Artifacts(clients.s3(), environment.artifacts_bucket),
        images=Queue(clients.sqs(), environment.images_queue),
        annotations=Queue(clients.sqs(), environment.annotations_queue),
        facts=Queue(clients.sqs(), environment.annotation_facts_queue),
        uploads_bucket=environment.uploads_bucket,
        each=threads.in_threads,
    )
    messages = messages_of(event["Records"], environment.image_facts_queue.rsplit("/", 1)[-1])
    again = append_rows.take(messages, datetime.now(UTC), str(ULID()))
    for message_id, error in again.items():
        logger.warning("message comes again", message_id=message_id, exc_info=error)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}
