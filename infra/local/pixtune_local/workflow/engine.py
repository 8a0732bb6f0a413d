"""A checked machine and an input in, an execution with its history out: the States Language as it is run.

Time is the running event loop's (`clock.VirtualLoop` in tests), so the same code waits or leaps.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pixtune_local.workflow.definition import INVOKE_AND_WAIT, Machine, State, inner_machine, is_distributed
from pixtune_local.workflow.expressions import Value, encode, evaluate
from pixtune_local.workflow.faults import (
    EXCEED_TOLERATED_FAILURE,
    ITEM_READER_FAILED,
    LAMBDA_UNKNOWN,
    NO_CHOICE_MATCHED,
    QUERY_EVALUATION,
    TIMEOUT,
    Fault,
    matches,
)
from pixtune_local.workflow.history import History, timestamp
from pixtune_local.workflow.tokens import Tokens

MAP_CONCURRENCY = 40  # what an inline Map runs at once when MaxConcurrency is 0
CHILDREN_AT_ONCE = 10_000  # the same of a distributed one
MAX_SECONDS = 99_999_999


class Invoke(Protocol):
    """Calls a function by name or ARN. Answers its payload and, when it failed, Lambda's FunctionError.

    Raises Fault with a `Lambda.` name when the service itself refuses the call.
    """

    async def __call__(self, function: str, payload: bytes) -> tuple[bytes, str | None]: ...


class ReadObject(Protocol):
    """Reads an object of S3. Raises OSError or LookupError when it cannot be had."""

    async def __call__(self, bucket: str, key: str) -> bytes: ...


async def no_objects(bucket: str, key: str) -> bytes:
    raise LookupError(f"there is no s3://{bucket}/{key}")


@dataclass
class Execution:
    """One execution; its machine's and its own names are those `$states.context` shows."""

    arn: str
    name: str
    machine_arn: str
    machine_name: str
    role_arn: str
    input: Value
    history: History
    status: str = "RUNNING"
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.history.now()

    def context(self) -> dict[str, Value]:
        return {
            "Execution": {
                "Id": self.arn,
                "Input": self.input,
                "Name": self.name,
                "RoleArn": self.role_arn,
                "StartTime": timestamp(self.started),
                "RedriveCount": 0,
            },
            "StateMachine": {"Id": self.machine_arn, "Name": self.machine_name},
        }


@dataclass
class Branch:
    """Where one line of states is: its variables, its context and its last event. A Map forks one for each item."""

    execution: Execution
    variables: dict[str, Value]
    context: dict[str, Value]
    event: int = 0

    def record(self, kind: str, **details: object) -> None:
        self.event = self.execution.history.add(kind, self.event, **details)

    def fork(self, index: int, item: Value) -> Branch:
        context = {**self.context, "Map": {"Item": {"Index": index, "Value": item}}}
        return Branch(self.execution, dict(self.variables), context, self.event)


@dataclass
class Visit:
    """A branch's stay in one state."""

    branch: Branch
    name: str
    state: State
    input: Value

    def states(self, **more: Value) -> dict[str, Value]:
        """What `$states` holds."""
        return {"input": self.input, "context": self.branch.context, **more}

    def evaluate(self, template: Value, location: str, **more: Value) -> Value:
        return evaluate(template, self.branch.variables, self.states(**more), location)

    def integer(self, location: str, least: int, default: int) -> int:
        """An integer field, which may be an expression."""
        value = self.evaluate(self.state.get(location, default), location)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_SECONDS:
            wanted = f"an integer from {least} to {MAX_SECONDS}"
            raise Fault(QUERY_EVALUATION, f"The field '{location}' must be {wanted}, found {json.dumps(value)}.")
        return value

    def leave(self, fields: State, default: Value, **more: Value) -> Value:
        """Evaluates Output and the whole of Assign with the variables as they were, then sets and records them."""
        assigned = self.evaluate(fields.get("Assign", {}), "Assign", **more)
        output = self.evaluate(fields["Output"], "Output", **more) if "Output" in fields else default
        text = encode(output, f"The output of the state '{self.name}'")
        encode(assigned, f"What the state '{self.name}' assigns")
        self.branch.variables.update(assigned)
        details: dict[str, object] = {"name": self.name, "output": text}
        if assigned:
            details["assignedVariables"] = {name: json.dumps(value) for name, value in assigned.items()}
        self.branch.record(f"{self.state['Type']}StateExited", **details)
        return output


class Engine:
    """Runs executions on the running event loop."""

    def __init__(self, invoke: Invoke, chance: random.Random, read_object: ReadObject = no_objects) -> None:
        self.invoke = invoke
        self.chance = chance
        self.read_object = read_object
        self.tokens = Tokens()
        self._calls: set[asyncio.Task[tuple[bytes, str | None]]] = set()

    async def run(self, machine: Machine, execution: Execution) -> None:
        """Runs the execution to its end; how it ended is in its status. Cancelling it aborts it."""
        branch = Branch(execution, {}, execution.context())
        branch.record("ExecutionStarted", input=encode(execution.input, "The input"), roleArn=execution.role_arn)
        branch.event = 0  # as in AWS's histories, where the first state follows nothing
        try:
            output = await self._walk(machine, execution.input, branch)
        except Fault as fault:
            execution.status, execution.error, execution.cause = "FAILED", fault.error, fault.cause
            branch.record("ExecutionFailed", error=fault.error, cause=fault.cause)
        except asyncio.CancelledError:
            execution.status = "ABORTED"
            branch.record("ExecutionAborted", error=execution.error or "", cause=execution.cause or "")
        else:
            execution.status, execution.output = "SUCCEEDED", encode(output, "The output")
            branch.record("ExecutionSucceeded", output=execution.output)

    async def _walk(self, machine: Machine, value: Value, branch: Branch) -> Value:
        name: str | None = machine.start_at
        while name is not None:
            visit = Visit(branch, name, machine.states[name], value)
            kind = visit.state["Type"]
            branch.context = {
                **{key: part for key, part in branch.context.items() if key != "Task"},
                "State": {"Name": name, "EnteredTime": timestamp(branch.execution.history.now()), "RetryCount": 0},
            }
            branch.record(f"{kind}StateEntered", name=name, input=encode(value, f"The input of the state '{name}'"))
            try:
                value, name = await self._visit(visit)
            except asyncio.CancelledError:
                branch.record(f"{kind}StateAborted")
                raise
            except Fault as fault:
                # Task and Map record an evaluation that failed when it happens, as it may be retried or caught.
                if fault.error == QUERY_EVALUATION and kind not in ("Task", "Map"):
                    _record_evaluation(visit, fault)
                raise
        return value

    async def _visit(self, visit: Visit) -> tuple[Value, str | None]:
        """Stays in one state; answers its output and the name of the next state."""
        state = visit.state
        match state["Type"]:
            case "Task":
                return await self._try(visit, self._task)
            case "Map":
                return await self._try(visit, self._distribute if is_distributed(state) else self._map)
            case "Choice":
                return _choose(visit)
            case "Wait":
                await asyncio.sleep(visit.integer("Seconds", 0, 0))
                return visit.leave(state, visit.input), state.get("Next")
            case "Succeed":
                return visit.leave(state, visit.input), None
            case _:
                raise Fault(*(visit.evaluate(state.get(part, ""), part) for part in ("Error", "Cause")))

    async def _try(self, visit: Visit, work: Callable[[Visit], Awaitable[Value]]) -> tuple[Value, str | None]:
        """Does the work under the state's Retry and Catch."""
        state = visit.state
        retried: Counter[int] = Counter()
        while True:
            try:
                result = await work(visit)
                return visit.leave(state, result, result=result), state.get("Next")
            except Fault as fault:
                if fault.error == QUERY_EVALUATION:
                    _record_evaluation(visit, fault)
                delay = self._retry_delay(state, fault, retried)
                if delay is None:
                    catcher = _first(state.get("Catch", []), fault)
                    if catcher is None:
                        raise
                    failure = {"Error": fault.error, "Cause": fault.cause}
                    return visit.leave(catcher, failure, errorOutput=failure), catcher["Next"]
            await asyncio.sleep(delay)
            visit.branch.context["State"]["RetryCount"] += 1

    def _retry_delay(self, state: State, fault: Fault, retried: Counter[int]) -> float | None:
        """Seconds until the next attempt, or None when there is none. Each retrier counts its own."""
        retrier = _first(state.get("Retry", []), fault)
        if retrier is None or retried[id(retrier)] >= retrier.get("MaxAttempts", 3):
            return None
        delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2) ** retried[id(retrier)]
        delay = min(delay, retrier.get("MaxDelaySeconds", MAX_SECONDS))
        retried[id(retrier)] += 1
        return self.chance.uniform(0, delay) if retrier.get("JitterStrategy") == "FULL" else float(delay)

    async def _task(self, visit: Visit) -> Value:
        """Invokes the function, and waits for its token's answer where the resource says so."""
        branch, state = visit.branch, visit.state
        waits = state["Resource"] == INVOKE_AND_WAIT
        token, answer = self.tokens.issue() if waits else ("", None)
        try:
            if answer is not None:
                branch.context = {**branch.context, "Task": {"Token": token}}
            arguments = visit.evaluate(state["Arguments"], "Arguments")
            parameters = encode(arguments, f"What the state '{visit.name}' sends")
            limit = visit.integer("TimeoutSeconds", 1, MAX_SECONDS)
            resource = {"resourceType": "lambda", "resource": state["Resource"].rpartition("lambda:")[2]}
            timed = {"timeoutInSeconds": limit} if "TimeoutSeconds" in state else {}
            region = branch.execution.arn.split(":")[3]
            branch.record("TaskScheduled", **resource, region=region, parameters=parameters, **timed)
            branch.record("TaskStarted", **resource)
            try:
                async with asyncio.timeout(limit) as deadline:
                    result = await self._invoked(visit, arguments, answer, resource)
            except TimeoutError:
                if not deadline.expired():
                    raise
                branch.record("TaskTimedOut", **resource, error=TIMEOUT)
                raise Fault(TIMEOUT) from None
            except Fault as fault:
                branch.record("TaskFailed", **resource, error=fault.error, cause=fault.cause)
                raise
            text = encode(result, f"The result of the state '{visit.name}'")
            branch.record("TaskSucceeded", **resource, output=text)
            return result
        finally:
            if answer is not None:
                self.tokens.retire(token)

    async def _invoked(
        self, visit: Visit, arguments: Value, answer: asyncio.Future[Value] | None, resource: dict[str, str]
    ) -> Value:
        payload = json.dumps(arguments["Payload"]).encode()
        # A call outlives its state: Lambda goes on when the state has timed out, was aborted or has its answer.
        call = asyncio.ensure_future(self.invoke(arguments["FunctionName"], payload))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([call] if answer is None else [call, answer], return_when=asyncio.FIRST_COMPLETED)
        if answer is not None and answer.done():
            return answer.result()
        result = _lambda_result(*call.result())
        if answer is None:
            return result
        visit.branch.record("TaskSubmitted", **resource, output=json.dumps(result))
        return await answer

    async def _map(self, visit: Visit) -> Value:
        """Runs the inner machine for each item; the first that fails fails the state and aborts the others."""
        branch, state = visit.branch, visit.state
        items = _items(visit)
        gate = asyncio.Semaphore(visit.integer("MaxConcurrency", 0, 0) or MAP_CONCURRENCY)
        machine = inner_machine(state)
        branch.record("MapStateStarted", length=len(items))

        async def iterate(index: int, item: Value) -> Value:
            await gate.acquire()
            inner = branch.fork(index, item)
            where = {"name": visit.name, "index": index}
            inner.record("MapIterationStarted", **where)
            try:
                output = await self._walk(machine, _selected(visit, inner, item), inner)
            except Fault:
                inner.record("MapIterationFailed", **where)
                raise  # without opening the gate: no further item starts
            except asyncio.CancelledError:
                inner.record("MapIterationAborted", **where)
                raise
            inner.record("MapIterationSucceeded", **where)
            gate.release()
            return output

        try:
            results = await _together(iterate, items)
        except Fault:
            branch.record("MapStateFailed")
            raise
        branch.record("MapStateSucceeded")
        return results

    async def _distribute(self, visit: Visit) -> Value:
        """Runs each item as an execution of its own, with its own history and variables, and none of its parent's.

        The first child that fails fails the state under one name, whatever its own was, and aborts the others: no
        failure is tolerated unless the definition says so, which is not run here.
        """
        branch, state = visit.branch, visit.state
        items = await self._read_items(visit) if "ItemReader" in state else _items(visit)
        gate = asyncio.Semaphore(visit.integer("MaxConcurrency", 0, 0) or CHILDREN_AT_ONCE)
        machine = inner_machine(state)
        parent = branch.execution
        run = f"{parent.arn.replace(':execution:', ':mapRun:')}/{visit.name}:{self._uuid()}"
        branch.record("MapStateStarted", length=len(items))
        branch.record("MapRunStarted", mapRunArn=run)

        async def child(index: int, item: Value) -> Value:
            await gate.acquire()
            chosen = _selected(visit, branch.fork(index, item), item)
            name = self._uuid()
            labelled = f"{parent.machine_arn}/{visit.name}"
            execution = Execution(
                f"{labelled.replace(':stateMachine:', ':execution:')}:{name}",
                name,
                labelled,
                parent.machine_name,
                parent.role_arn,
                chosen,
                History(parent.history.now),
            )
            await self.run(machine, execution)
            if execution.status == "ABORTED":
                raise asyncio.CancelledError
            if execution.output is None:
                raise Fault(EXCEED_TOLERATED_FAILURE, "The specified tolerated failure threshold was exceeded")
            gate.release()
            return json.loads(execution.output)

        try:
            results = await _together(child, items)
            encode(results, f"The result of the state '{visit.name}'")
        except Fault as fault:
            branch.record("MapRunFailed", error=fault.error, cause=fault.cause)
            branch.record("MapStateFailed")
            raise
        branch.record("MapRunSucceeded")
        branch.record("MapStateSucceeded")
        return results

    async def _read_items(self, visit: Visit) -> list[Value]:
        where = visit.evaluate(visit.state["ItemReader"]["Arguments"], "ItemReader/Arguments")
        try:
            items = json.loads(await self.read_object(where["Bucket"], where["Key"]))
        except (OSError, LookupError, ValueError) as error:
            raise Fault(ITEM_READER_FAILED, f"Reading s3://{where['Bucket']}/{where['Key']}: {error}") from error
        if not isinstance(items, list):
            raise Fault(ITEM_READER_FAILED, f"s3://{where['Bucket']}/{where['Key']} is not a JSON array.")
        return items

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))


async def _together(work: Callable[[int, Value], Coroutine[None, None, Value]], items: list[Value]) -> list[Value]:
    """The work on every item, begun in their order; the first that fails is raised and aborts the others."""
    try:
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(work(index, item)) for index, item in enumerate(items)]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in working]


def _items(visit: Visit) -> list[Value]:
    items = visit.evaluate(visit.state["Items"], "Items") if "Items" in visit.state else visit.input
    if not isinstance(items, list):
        raise Fault(QUERY_EVALUATION, f"The field 'Items' must be an array, found {json.dumps(items)[:200]}.")
    return items


def _selected(visit: Visit, inner: Branch, item: Value) -> Value:
    """What an iteration begins with."""
    selector = visit.state.get("ItemSelector")
    states = {"input": visit.input, "context": inner.context}
    return item if selector is None else evaluate(selector, inner.variables, states, "ItemSelector")


def _choose(visit: Visit) -> tuple[Value, str | None]:
    state = visit.state
    for index, rule in enumerate(state["Choices"]):
        location = f"Choices[{index}]/Condition"
        holds = visit.evaluate(rule["Condition"], location)
        if not isinstance(holds, bool):
            raise Fault(QUERY_EVALUATION, f"The field '{location}' must be a boolean, found {json.dumps(holds)}.")
        if holds:
            return visit.leave(rule, visit.input), rule["Next"]
    if "Default" not in state:
        raise Fault(NO_CHOICE_MATCHED, f"No rule of the state '{visit.name}' holds and it has no Default.")
    return visit.leave(state, visit.input), state["Default"]


def _first(rules: list[State], fault: Fault) -> State | None:
    return next((rule for rule in rules if matches(rule["ErrorEquals"], fault.error)), None)


def _record_evaluation(visit: Visit, fault: Fault) -> None:
    visit.branch.record("EvaluationFailed", error=fault.error, cause=fault.cause, state=visit.name)


def _lambda_result(payload: bytes, function_error: str | None) -> Value:
    """What `lambda:invoke` answers for a payload. Raises Fault with the error's type when the function failed."""
    text = payload.decode()
    body = json.loads(text) if text else None
    if function_error is not None:
        kind = body.get("errorType") if isinstance(body, dict) else None
        raise Fault(kind or LAMBDA_UNKNOWN, text)
    return {"ExecutedVersion": "$LATEST", "Payload": body, "StatusCode": 200}
