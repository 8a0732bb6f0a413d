"""Tells the tests how many messages came together; reports as failed those that ask for it."""

import json
import os
from typing import Any

import boto3

sqs = boto3.client("sqs")


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    bodies = [record["body"] for record in event["Records"]]
    message = json.dumps({"batch": bodies})
    url = os.environ["SEEN_URL"]
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": message}])  # sqs:SendMessage permits it
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "refused"]
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
