"""The HTTP API as the command line uses it: calls in, JSON out, every refusal as a `Failure` that says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pixtune_cli.failures import Exit, Failure

if TYPE_CHECKING:
    from pixtune_cli.target import Target

_TRIES = 4
_KEPT = 16  # answers to GETs that may be asked for again
_FIRST_PAUSE = 0.4  # seconds; doubles
_WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})


class Api:
    """Signs each request with SigV4. A request is repeated only when repeating it is safe: every POST that creates
    carries an Idempotency-Key, and one that moves an alias carries the version it moves from."""

    def __init__(self, target: Target, sleep: Callable[[float], None] = time.sleep) -> None:
        import urllib3

        self._target = target
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=35), retries=False)
        self._sleep = sleep
        self._kept: dict[str, tuple[str, dict[str, Any]]] = {}

    @property
    def local(self) -> bool:
        return self._target.local

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        answer, _ = self.call("GET", path, query=query)
        return answer

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | None] | None = None,
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The answer's JSON and its headers (lower-case names). path: from `/v1` on, already quoted.

        What was got before is asked for by its tag, and not sent again while it is the same.
        """
        chosen = {name: value for name, value in (query or {}).items() if value is not None}
        url = self._target.api_url + path + (f"?{urlencode(chosen, quote_via=quote)}" if chosen else "")
        payload = json.dumps(body).encode() if body is not None else b""
        sent = dict(headers or {}) | ({"Content-Type": "application/json"} if body is not None else {})
        kept = self._kept.get(url) if method == "GET" else None
        if kept is not None:
            sent["If-None-Match"] = kept[0]
        for attempt in range(1, _TRIES + 1):
            response = self._send(method, url, payload, sent, last=attempt == _TRIES)
            if response is not None and (response.status not in _WORTH_ANOTHER_TRY or attempt == _TRIES):
                break
            self._sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        assert response is not None  # the last try answers or raises
        got = {name.lower(): value for name, value in response.headers.items()}
        if kept is not None and response.status == 304:
            return kept[1], got
        answer = _answer(response.status, response.data, method, path)
        if method == "GET" and "etag" in got:
            self._kept = {**self._kept, url: (got["etag"], answer)} if len(self._kept) < _KEPT else {}
        return answer, got

    def _send(self, method: str, url: str, payload: bytes, headers: Mapping[str, str], *, last: bool) -> Any:
        """One attempt. Any: urllib3's response, whose type has no stable name. None: it did not get through."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from urllib3.exceptions import HTTPError

        credentials = self._target.session.get_credentials()
        if credentials is None:
            raise Failure(
                "There are no AWS credentials.",
                "Requests to the API are signed with them.",
                "aws configure",
                Exit.AUTH,
            )
        request = AWSRequest(method, url, data=payload, headers=dict(headers))
        SigV4Auth(credentials, "execute-api", self._target.region).add_auth(request)
        try:
            return self._pool.request(method, url, body=payload, headers=dict(request.headers.items()))
        except HTTPError as error:
            if not last:
                return None
            remedy = "pixtune status" if self._target.local else "check the network, then the stack's ApiUrl output"
            raise Failure(f"The API at {self._target.api_url} does not answer.", str(error), remedy) from None


def _answer(status: int, data: bytes, method: str, path: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        body = {}
    if status < 400:
        return dict(body)
    raise refusal(status, body if isinstance(body, dict) else {}, f"{method} {path}")


def refusal(status: int, problem: Mapping[str, Any], request: str) -> Failure:
    """A problem of the API as a failure of the command line."""
    detail = problem.get("detail") or problem.get("message") or f"{request} answered {status}."
    listed = [f"{error['pointer'] or '/'}: {error['detail']}" for error in problem.get("errors", ())]
    named = (
        [f"{problem['code']}, request {problem['request_id']}"]
        if "request_id" in problem and "code" in problem
        else []
    )
    why = "; ".join(listed + named)
    if status in (401, 403):
        return Failure(str(detail), why or f"{request} was refused.", "aws sts get-caller-identity", Exit.AUTH)
    if status == 429:
        return Failure(str(detail), why, "wait a minute and repeat the command", Exit.QUOTA)
    if status >= 500:
        return Failure(f"{request} failed on the server ({status}).", why, "repeat the command; it is safe", Exit.BUG)
    return Failure(str(detail), why)
