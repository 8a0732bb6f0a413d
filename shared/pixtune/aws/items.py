"""DynamoDB's typed attributes from and to plain JSON values (floats travel as decimals, and come back as floats)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

_serializer, _deserializer = TypeSerializer(), TypeDeserializer()


def to_attribute(value: Any) -> Any:
    """One JSON value as DynamoDB's low-level client takes it."""
    return _serializer.serialize(json.loads(json.dumps(value), parse_float=Decimal))


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object as an item."""
    item: dict[str, Any] = to_attribute(dict(values))["M"]
    return item


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a JSON object; whole numbers come back as int, others as float."""
    return {name: _plain(_deserializer.deserialize(value)) for name, value in item.items()}
