"""DynamoDB's typed attributes from and to plain JSON values (floats travel as decimals, and come back as floats)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeSerializer

_serializer = TypeSerializer()


def to_attribute(value: Any) -> Any:
    """One JSON value as DynamoDB's low-level client takes it."""
    return _serializer.serialize(json.loads(json.dumps(value), parse_float=Decimal))


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object as an item."""
    item: dict[str, Any] = to_attribute(dict(values))["M"]
    return item


def _number(text: str) -> int | float:
    return int(text) if text.removeprefix("-").isdigit() else float(text)


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "S": str,
    "N": _number,
    "BOOL": bool,
    "NULL": lambda _: None,
    "L": lambda values: [plain(value) for value in values],
    "M": lambda values: {name: plain(value) for name, value in values.items()},
    "SS": sorted,
}


def plain(attribute: Mapping[str, Any]) -> Any:
    """One typed attribute as a JSON value. A tenth of the time that boto3's deserializer takes, which makes a Decimal
    of every number; a set of texts comes back as a sorted list; other sets and binary values, which we never write,
    raise KeyError."""
    ((kind, value),) = attribute.items()
    return _PLAIN[kind](value)


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a JSON object; whole numbers come back as int, others as float."""
    return {name: plain(value) for name, value in item.items()}
