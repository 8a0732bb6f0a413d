"""Task tokens: issued by a waiting task, settled once by whoever holds them."""

from __future__ import annotations

import asyncio
import secrets

from pixtune_local.workflow.expressions import Value
from pixtune_local.workflow.faults import Fault


class TokenRefused(Exception):
    """A token nobody waits for. `code` is the name of the API's error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Tokens:
    """The tokens of every execution of one runner. Not thread-safe: call it on the runner's loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Value]] = {}
        self._used: set[str] = set()

    def issue(self) -> tuple[str, asyncio.Future[Value]]:
        """A new token, and what its answer will arrive in."""
        token = secrets.token_urlsafe(48)
        answer = self._waiting[token] = asyncio.get_running_loop().create_future()
        return token, answer

    def retire(self, token: str) -> None:
        """Nobody waits for this token any more; answers to it are refused from now on."""
        self._waiting.pop(token).cancel()
        self._used.add(token)

    def succeed(self, token: str, output: Value) -> None:
        self._waiter(token).set_result(output)

    def fail(self, token: str, error: str, cause: str) -> None:
        self._waiter(token).set_exception(Fault(error, cause))

    def beat(self, token: str) -> None:
        """A heartbeat: says whether anybody still waits."""
        self._waiter(token)

    def _waiter(self, token: str) -> asyncio.Future[Value]:
        answer = self._waiting.get(token)
        if answer is not None and not answer.done():
            return answer
        if answer is not None or token in self._used:
            raise TokenRefused("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
        raise TokenRefused("InvalidToken", "Invalid Token: 'Invalid token'")
