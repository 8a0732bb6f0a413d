"""Pages of a DynamoDB query, read quickly: a client in; from then on its answers to Query carry plain JSON items too.

botocore's parser visits every attribute of every item with its model at hand, which for 50,000 examples and their
uploads takes a minute of CPU; their JSON needs no model. So the items are taken out of the body before it is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pixtune.aws.items import from_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ITEMS = "PlainItems"


def read_plainly(client: DynamoDBClient) -> None:
    """Any number of times for one client."""
    client.meta.events.register("before-parse.dynamodb.Query", _take_items, unique_id="pixtune-plain-items")


def items_of(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A page's items, whether or not botocore told us before parsing it (its event is young)."""
    return iter(page[_ITEMS]) if _ITEMS in page else map(from_item, page["Items"])


def _take_items(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if response_dict["status_code"] != 200:
        return
    answer = json.loads(response_dict["body"])
    customized_response_dict[_ITEMS] = [from_item(item) for item in answer.pop("Items", [])]
    response_dict["body"] = json.dumps(answer).encode()
