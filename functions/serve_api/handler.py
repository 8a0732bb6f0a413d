"""Lambda edge: a request to `/v1/...` in, an answer or a problem out."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

from pixtune.settings import Environment
from wiring import api

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="serve_api")


@cache
def _api() -> APIGatewayHttpResolver:
    return api(Environment(os.environ), logger)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return _api().resolve(event, context)
