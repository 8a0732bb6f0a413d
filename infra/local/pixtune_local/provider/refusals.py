"""Refusals in OpenAI's error shape: a status and what is wrong go in, the JSON body comes out."""

from __future__ import annotations


class Refused(Exception):
    """A request is answered with an error; `param` names the field at fault."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
