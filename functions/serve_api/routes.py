"""The whole API as one resolver: HTTP API v2 events in, answers or problems out; never an exception."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from endpoints import Endpoint, no_route, register
from problems import Problem


def serve(app: APIGatewayHttpResolver, endpoints: Sequence[Endpoint], logger: Logger) -> None:
    """Make `app` answer at these endpoints, and with a problem everywhere else."""
    register(app, endpoints)

    def answer(problem: Problem) -> Response[str]:
        return problem.response(app.current_event.path, app.current_event.request_context.request_id)

    def nothing_there(_: NotFoundError) -> Response[str]:
        event = app.current_event
        return answer(no_route(event.path, event.http_method, endpoints))

    def fault(error: Exception) -> Response[str]:
        logger.exception("a request failed", exc_info=error, path=app.current_event.path)
        detail = "Something went wrong on our side; the request may be repeated. Our logs know it by its request_id."
        return answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail))

    app.exception_handler(Problem)(answer)
    app.exception_handler(NotFoundError)(nothing_there)
    app.exception_handler(Exception)(fault)
