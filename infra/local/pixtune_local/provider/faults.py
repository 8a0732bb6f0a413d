"""Misbehaviour on demand: a plan goes in; requests, the queue and webhooks then go wrong by it.

The plan and the request log are held in memory: a restarted provider behaves.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pixtune_local.provider.refusals import Refused

KINDS = ("status", "drop_before", "drop_after", "delay", "delay_after")
_MESSAGES = {
    403: (
        "OpenAI is winding down the fine-tuning platform and your organization is no longer able to create new "
        "fine-tuning training jobs.",
        "invalid_request_error",
        "training_not_available",
    ),
    429: ("Rate limit reached. Please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", "overloaded"),
}


@dataclass
class Rule:
    """Requests whose method and path match (`*` is any text) go wrong, the next `times` times or always (None), once
    `skip` of them have passed.

    `status` answers with that status, `drop_before` closes the connection without doing anything, `drop_after` does
    the work and then closes without an answer, `delay` waits `seconds` and goes on, `delay_after` does the work and
    keeps its answer back for `seconds`.
    """

    kind: str
    path: str = "*"
    method: str = "*"
    status: int = 500
    code: str | None = None
    retry_after: float | None = None
    seconds: float = 0.0
    times: int | None = 1
    skip: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}, expected one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class WebhookPlan:
    """`lost`: never sent; `copies`: sent so many times each; `forged`: signed with another secret."""

    lost: bool = False
    copies: int = 1
    forged: bool = False


@dataclass(frozen=True)
class QueuePlan:
    """`stuck`: queued jobs do not start; `step_seconds`: how long each training step is drawn out."""

    stuck: bool = False
    step_seconds: float = 0.0


@dataclass
class Faults:
    """The plan in force, and every request that came."""

    rules: list[Rule] = field(default_factory=list)
    queue: QueuePlan = QueuePlan()
    webhooks: WebhookPlan = WebhookPlan()
    shutdown_date: str | None = None
    requests: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=100_000))

    def plan(self, body: dict[str, Any]) -> dict[str, object]:
        """Put the parts that `body` names into force; answers the whole plan. Raises Refused where it is no plan."""
        try:
            rules = [Rule(**rule) for rule in body["rules"]] if "rules" in body else self.rules
            queue = QueuePlan(**body["queue"]) if "queue" in body else self.queue
            webhooks = WebhookPlan(**body["webhooks"]) if "webhooks" in body else self.webhooks
        except (TypeError, ValueError) as error:
            raise Refused(f"This is no plan of faults: {error}") from error
        if strange := set(body) - {"rules", "queue", "webhooks", "shutdown_date"}:
            raise Refused(f"Unknown parts {sorted(strange)}, expected rules, queue, webhooks, shutdown_date.")
        self.rules, self.queue, self.webhooks = rules, queue, webhooks
        self.shutdown_date = body.get("shutdown_date", self.shutdown_date)
        return self.show()

    def show(self) -> dict[str, object]:
        return {
            "rules": [asdict(rule) for rule in self.rules],
            "queue": asdict(self.queue),
            "webhooks": asdict(self.webhooks),
            "shutdown_date": self.shutdown_date,
        }

    def reset(self) -> None:
        """Behave again, and forget the requests."""
        self.rules, self.queue, self.webhooks, self.shutdown_date = [], QueuePlan(), WebhookPlan(), None
        self.requests.clear()

    def take(self, method: str, path: str) -> Rule | None:
        """The first rule that matches and is not used up; this is one use of it."""
        for rule in self.rules:
            if rule.times == 0 or not (fnmatchcase(method, rule.method) and fnmatchcase(path, rule.path)):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None


class DroppableProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, whose open connections can be cut from inside the application."""

    open: dict[tuple[str, int], asyncio.Transport] = {}  # noqa: RUF012  # one process, one server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        if self.client:
            self.open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client:
            self.open.pop(self.client, None)
        super().connection_lost(exc)


class FaultyApp:
    """An ASGI application that logs each request and lets it go wrong where a rule says so."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_local"):
            await self._app(scope, receive, send)
            return
        rule = self._faults.take(scope["method"], scope["path"])
        entry: dict[str, object] = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "at": time.time(),
            "fault": rule.kind if rule else None,
            "status": None,
        }
        self._faults.requests.append(entry)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            await send(message)

        async def unheard(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]

        if rule is None:
            await self._app(scope, receive, noting)
        elif rule.kind == "delay":
            await asyncio.sleep(rule.seconds)
            await self._app(scope, receive, noting)
        elif rule.kind == "delay_after":
            answer: list[Message] = []

            async def kept(message: Message) -> None:
                answer.append(message)

            await self._app(scope, receive, kept)
            await asyncio.sleep(rule.seconds)
            for message in answer:
                await noting(message)
        elif rule.kind == "status":
            await self._refuse(rule, receive, noting)
        else:
            if rule.kind == "drop_after":
                await self._app(scope, receive, unheard)
            DroppableProtocol.open[scope["client"]].abort()
            while (await receive())["type"] != "http.disconnect":
                pass

    @staticmethod
    async def _refuse(rule: Rule, receive: Receive, send: Send) -> None:
        message, kind, code = _MESSAGES.get(rule.status, _MESSAGES[500])
        body = Refused(message, kind=kind, code=rule.code or code).body
        headers = [(b"content-type", b"application/json")]
        if rule.retry_after is not None:
            headers.append((b"retry-after", f"{rule.retry_after:g}".encode()))
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": rule.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})
