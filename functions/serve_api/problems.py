"""Every answer that is not what the caller hoped for: a `Problem` in, RFC 9457 `application/problem+json` out.

`code` is the stable contract; `title` and `detail` are for people and may change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.api_gateway import Response

if TYPE_CHECKING:
    from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with the request. pointer: RFC 6901 into the body, or the name of a parameter or header."""

    pointer: str
    code: str
    detail: str


@dataclass(eq=False)
class Problem(Exception):
    """Raised by a route instead of an answer. detail: what was found, what was expected, what to do."""

    status: HTTPStatus
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, instance: str, request_id: str) -> Response[str]:
        """instance: the path asked for. request_id: by which our logs know this request."""
        body = {
            "type": f"urn:pixtune:problem:{self.code}",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
            "errors": [
                {"pointer": error.pointer, "code": error.code, "detail": error.detail} for error in self.errors
            ],
            "request_id": request_id,
        }
        return Response(self.status.value, "application/problem+json", json.dumps(body), dict(self.headers))


def not_found(code: str, detail: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, code, detail)


def invalid(code: str, detail: str, *errors: FieldError) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, code, detail, errors)


def bad_parameter(name: str, code: str, detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, code, detail, (FieldError(name, code, detail),))


def of_validation(error: ValidationError) -> Problem:
    """All that pydantic found wrong with a body, at once."""
    errors = tuple(
        FieldError(_pointer(item["loc"]), item["type"], f"{item['msg']}; found {_shown(item['input'])}")
        for item in error.errors(include_url=False, include_context=False)
    )
    many = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
    return invalid("invalid_body", f"The body has {many}; each is listed under errors.", *errors)


def _pointer(location: Iterable[int | str]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"
