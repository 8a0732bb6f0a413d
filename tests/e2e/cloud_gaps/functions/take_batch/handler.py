"""Tells the tests how many messages came together; reports as failed those that ask for it."""

import json
import os
from typing import Any

import boto3

sqs = boto3.client("sqs")


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    bodies = [record["body"] for record in event["Records"]]
    sqs.send_message(QueueUrl=os.environ["SEEN_URL"], MessageBody=json.dumps({"batch": bodies}))
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "refused"]
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
