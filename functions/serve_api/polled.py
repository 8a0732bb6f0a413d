"""An answer that callers ask for again and again: JSON with a tag of its content, or 304 when they have that one."""

from __future__ import annotations

import json
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.api_gateway import Response

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2


def polled(event: APIGatewayProxyEventV2, body: dict[str, Any]) -> Response[str]:
    """200 with an ETag, or 304 where If-None-Match names it."""
    text = json.dumps(body)
    tag = f'"{sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = {part.strip().removeprefix("W/") for part in event.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(HTTPStatus.NOT_MODIFIED.value, body="", headers=headers)  # a gateway may not send None
    return Response(HTTPStatus.OK.value, "application/json", text, headers)
