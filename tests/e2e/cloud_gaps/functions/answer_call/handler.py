"""Answers with the event it got; an event from the bus fails every time."""

import json
import os
from typing import Any

import boto3

from pixtune.keys import hashed


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    if event.get("source") == "test.asked":
        message = json.dumps({"asked": event["detail"]})
        boto3.client("sqs").send_message(QueueUrl=os.environ["SEEN_URL"], MessageBody=message)
        raise LookupError("told to")
    if event.get("do") == "delete the table":
        boto3.client("dynamodb").delete_table(TableName=os.environ["TABLE"])
    return {"statusCode": 200, "body": json.dumps({"event": event, "layer": hashed.__module__})}
