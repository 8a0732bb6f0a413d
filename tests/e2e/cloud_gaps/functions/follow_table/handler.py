"""Tells the tests which records came together; fails as the items' names say."""

import json
import os
from typing import Any

import boto3

sqs = boto3.client("sqs")


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    records = event["Records"]
    names = [record["dynamodb"]["Keys"]["pk"]["S"] for record in records]
    sqs.send_message(QueueUrl=os.environ["SEEN_URL"], MessageBody=json.dumps({"stream": names}))
    if "crash" in names:
        raise RuntimeError("told to")
    failed = [r["dynamodb"]["SequenceNumber"] for r, name in zip(records, names, strict=True) if name == "refused"]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
