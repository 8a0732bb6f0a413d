"""The routes as one table: method, path, operation id, function. From it come the resolver, 404, 405 and `Allow`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from problems import Problem, not_found

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

Endpoint = tuple[str, str, str, Callable[..., Any]]
"""Method, path with `<names>`, operation id, and what answers (its arguments are the names)."""


class Routes(Protocol):
    """The routes of one noun."""

    def endpoints(self) -> list[Endpoint]: ...


def register(app: APIGatewayHttpResolver, endpoints: Iterable[Endpoint]) -> None:
    for method, path, operation_id, answer in endpoints:
        app.route(path, method=method, operation_id=operation_id)(answer)


def no_route(path: str, method: str, endpoints: Iterable[Endpoint]) -> Problem:
    """Why nothing answers: the path is unknown, or it is known but not with this method."""
    allowed = sorted(
        {known for known, rule, _, _ in endpoints if re.fullmatch(re.sub(r"<\w+>", "[^/]+", rule), path)}
    )
    if not allowed:
        return not_found("no_such_route", f"Nothing lives at {path}.")
    return Problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        f"{path} does not answer to {method}; it answers to {', '.join(allowed)}.",
        headers={"Allow": ", ".join(allowed)},
    )
