"""DynamoDB's answers read quickly: a client in; from then on the items of its queries and batch reads skip botocore's
parser.

That parser visits every attribute of every item with its model at hand, which for 50,000 examples and their uploads
takes most of a minute of CPU, and makes of it what the JSON says already (only binary values, which we never write,
differ). So the items are taken out of the body before it is parsed. A botocore that does not announce its parsing
does it all itself, with the same result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ITEMS_IN = {"Query": "Items", "BatchGetItem": "Responses"}


def read_plainly(client: DynamoDBClient) -> None:
    """Any number of times for one client."""
    for operation, member in _ITEMS_IN.items():
        event = f"before-parse.dynamodb.{operation}"
        client.meta.events.register(event, _taking(member), unique_id=f"pixtune-plain-{operation}")


def _taking(member: str) -> Callable[..., None]:
    def take(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
        if response_dict["status_code"] == 200:
            answer = json.loads(response_dict["body"])
            if member in answer:
                customized_response_dict[member] = answer.pop(member)
                response_dict["body"] = json.dumps(answer).encode()

    return take
