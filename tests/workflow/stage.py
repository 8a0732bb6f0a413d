"""A stage for state machines: real definitions, functions played by Python callables, a clock that leaps."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtune_local.workflow.clock import VirtualLoop, run_virtually
from pixtune_local.workflow.definition import Machine, load
from pixtune_local.workflow.engine import Engine, Execution
from pixtune_local.workflow.history import LIMIT, History

TRAINING = Path(__file__).parents[2] / "infra" / "training.asl.json"

# Payloads and answers are JSON whose shape each test knows.
Json = Any
Function = Callable[[Json], Json | Awaitable[Json]]


class Raised(Exception):
    """A played function ends with this, as if its handler had raised an exception of the class named `kind`."""

    def __init__(self, kind: str, message: str = "it broke") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Call:
    function: str
    payload: Json
    at: float


class Stage:
    """Plays one execution. `calls` are the invocations, in order, with their virtual second; `objects` lie in S3,
    by bucket and key."""

    def __init__(self, machine: Machine, functions: Mapping[str, Function], *, seed: int = 0, limit: int = LIMIT):
        self.machine = machine
        self.functions = functions
        self.loop = VirtualLoop()
        self.engine = Engine(self._invoke, random.Random(seed), self._read_object)
        self.objects: dict[tuple[str, str], bytes] = {}
        self.calls: list[Call] = []
        self.execution: Execution
        self.limit = limit

    def run(self, given: Json, *, stop_after: float | None = None) -> Execution:
        """The execution, ended. `stop_after` aborts it at that virtual second."""
        return run_virtually(self.loop, self._run(given, stop_after))

    async def _run(self, given: Json, stop_after: float | None) -> Execution:
        self.execution = Execution(
            arn="arn:aws:states:us-east-1:000000000000:execution:training:run_1-1",
            name="run_1-1",
            machine_arn="arn:aws:states:us-east-1:000000000000:stateMachine:training",
            machine_name="training",
            role_arn="arn:aws:iam::000000000000:role/training",
            input=given,
            history=History(self.loop.now, limit=self.limit),
        )
        running = asyncio.create_task(self.engine.run(self.machine, self.execution))
        if stop_after is not None:
            self.loop.call_later(stop_after, running.cancel)
        await running
        return self.execution

    async def _invoke(self, function: str, payload: bytes) -> tuple[bytes, str | None]:
        body = json.loads(payload)
        self.calls.append(Call(function, body, self.loop.time()))
        try:
            answer = self.functions[function](body)
            if isinstance(answer, Awaitable):
                answer = await answer
        except Raised as error:
            shown = {"errorMessage": error.message, "errorType": error.kind, "requestId": "1", "stackTrace": []}
            return json.dumps(shown).encode(), "Unhandled"
        return json.dumps(answer).encode(), None

    async def _read_object(self, bucket: str, key: str) -> bytes:
        return self.objects[bucket, key]

    def called(self, function: str) -> list[Json]:
        """The payloads one function was called with."""
        return [call.payload for call in self.calls if call.function == function]

    def times(self, function: str) -> list[float]:
        return [call.at for call in self.calls if call.function == function]

    def order(self) -> list[str]:
        return [call.function for call in self.calls]

    def entered(self) -> list[str]:
        """The states entered, in order."""
        events = self.execution.history.events
        return [
            event["stateEnteredEventDetails"]["name"] for event in events if event["type"].endswith("StateEntered")
        ]

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.execution.history.events]


def machine_of(states: Json, start: str | None = None) -> Machine:
    """A machine of these states; the first one starts it."""
    return load(json.dumps({"QueryLanguage": "JSONata", "StartAt": start or next(iter(states)), "States": states}))


def training_machine() -> Machine:
    """infra/training.asl.json with each substitution replaced by its own name."""
    return load(re.sub(r"\$\{(\w+)\}", r"\1", TRAINING.read_text()))


def in_turn(*answers: Json) -> Function:
    """A function that gives these answers one after the other, the last for ever; exceptions are raised."""
    left = list(answers)

    def function(_: Json) -> Json:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return function
