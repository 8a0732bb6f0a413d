"""Lambda edge of the state SettleUploads: a run's id in, whether its uploads are ingested out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pixtune.aws import clients
from pixtune.aws.buckets import Uploads
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.queues import Queue
from pixtune.aws.runs_table import RunsTable
from pixtune.datasets.settle import Ingest, settle_uploads
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    ingest = Ingest(
        Uploads(clients.s3(), environment.uploads_bucket),
        ExamplesTable(clients.dynamodb(), environment.examples_table),
        images=Queue(clients.sqs(), environment.images_queue),
        annotations=Queue(clients.sqs(), environment.annotations_queue),
    )
    answer = settle_uploads(
        event["run_id"],
        event["attempt"],
        RunsTable(clients.dynamodb(), environment.runs_table),
        ingest,
        time.time(),
        reenqueue_after=environment.reenqueue_after_seconds,
        deadline=environment.settle_deadline_seconds,
    )
    poll = {"poll_min_seconds": environment.poll_min_seconds, "poll_max_seconds": environment.poll_max_seconds}
    return {"settled": answer.settled, "wait_seconds": answer.wait_seconds} | poll
