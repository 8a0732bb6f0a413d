"""Comes in: MiniStack's Step Functions API as installed; goes out: the same API with our runner behind it.

MiniStack keeps the records (machines, executions, tags, pages of a history); the runner writes what happens to an
execution into them. All executions live on one event loop in a thread of its own; functions run on a pool of threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import lambda_svc, s3
from ministack.services import stepfunctions as states
from ministack.services.cloudformation import provisioners

from pixtune_local.workflow.definition import InvalidDefinition, load
from pixtune_local.workflow.engine import Engine, Execution
from pixtune_local.workflow.expressions import PAYLOAD_BYTES
from pixtune_local.workflow.faults import RUNTIME, Fault
from pixtune_local.workflow.history import History
from pixtune_local.workflow.tokens import TokenRefused, Tokens

T = TypeVar("T")
# MiniStack's records, requests and responses are untyped JSON-like dicts and tuples throughout.
Record = dict[str, Any]
Response = tuple[Any, ...]
Invoke = Callable[[str, bytes], tuple[bytes, str | None]]

FUNCTIONS_AT_ONCE = 64
logger = logging.getLogger(__name__)


def install(invoke: Invoke | None = None) -> None:
    """Replaces MiniStack's interpreter in this process. `invoke` takes a function's name or ARN and its payload and
    answers payload and FunctionError; left out, the function runs as MiniStack's own Invoke runs it."""
    runner = _Runner(invoke or invoke_function)
    start, stop, reset, definition = (
        states._start_execution,
        states._stop_execution,
        states.reset,
        provisioners._sfn_definition,
    )

    def start_execution(request: Record) -> Response:
        """AWS answers a start with the name and input of a running execution with that execution."""
        text = request.get("input") or "{}"
        problem = _input_problem(text)
        if problem:
            return _refused("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{problem}'")
        running = _same_execution(request, text)
        if running is not None:
            return _answer({"executionArn": running["executionArn"], "startDate": running["startDate"]})
        response: Response = start({**request, "input": text})
        if response[0] == 200:
            runner.begin(states._executions.get(json.loads(response[2])["executionArn"]))
        return response

    def stop_execution(request: Record) -> Response:
        arn = str(request.get("executionArn"))
        if runner.stop(arn, request.get("error"), request.get("cause")):
            return _answer({"stopDate": states._executions.get(arn)["stopDate"]})
        response: Response = stop(request)
        return response

    def checked_definition(properties: Record) -> str:
        text = str(definition(properties))
        if problem := _definition_problem(text):
            raise ValueError(f"Invalid State Machine Definition: {problem}")
        return text

    def reset_all() -> None:
        runner.stop_all()
        reset()

    states._start_execution = start_execution
    states._run_execution = lambda _: None  # MiniStack's thread has nothing left to do
    states._stop_execution = stop_execution
    states._send_task_success = functools.partial(_send_task_success, runner)
    states._send_task_failure = functools.partial(_send_task_failure, runner)
    states._send_task_heartbeat = functools.partial(_send_task_heartbeat, runner)
    states._validate_definition_jsonata = _definition_problem
    states.reset = reset_all
    provisioners._sfn_definition = checked_definition


def invoke_function(function: str, payload: bytes) -> tuple[bytes, str | None]:
    """Runs a function as MiniStack's Invoke does. Raises Fault under Lambda's name when there is none."""
    func, config, name = lambda_svc._get_func_record_for_ref(function)
    if not func:
        raise Fault("Lambda.ResourceNotFoundException", f"Function not found: {name}")
    record = lambda_svc._execution_record_for_config(func, config)
    result = lambda_svc._execute_function_with_config_scope(record, json.loads(payload))
    body = result.get("body")
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return content, (result.get("function_error") or "Unhandled") if result.get("error") else None


def read_object(bucket: str, key: str) -> bytes:
    """An object of MiniStack's S3. Raises LookupError with what S3 answers when there is none."""
    status, _, body, *_ = s3._get_object(bucket, key, {})
    content = body if isinstance(body, bytes) else str(body).encode()
    if status != 200:
        raise LookupError(content.decode(errors="replace"))
    return content


@dataclass
class _Running:
    execution: Execution
    record: Record
    task: asyncio.Task[None]
    recorded: asyncio.Event = field(default_factory=asyncio.Event)


class _Runner:
    """The thread on whose event loop every execution runs. Its methods may be called from any other thread."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._functions = ThreadPoolExecutor(FUNCTIONS_AT_ONCE, "state-machine")
        self._engine = Engine(self._invoke_on_pool, random.Random(), self._read_on_pool)
        self._running: dict[str, _Running] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="step-functions", daemon=True).start()

    def begin(self, record: Record) -> None:
        """Starts the execution of a new record. The caller's context (account and region) goes with it."""
        machine_record = states._state_machines.get(record["stateMachineArn"])
        machine = load(machine_record["definition"])
        record["events"].clear()  # the runner records the start itself

        async def start() -> None:
            execution = Execution(
                arn=record["executionArn"],
                name=record["name"],
                machine_arn=record["stateMachineArn"],
                machine_name=machine_record["name"],
                role_arn=machine_record["roleArn"],
                input=json.loads(record["input"]),
                history=History(lambda: datetime.now(UTC), record["events"]),
            )
            task = asyncio.create_task(self._engine.run(machine, execution))
            running = self._running[execution.arn] = _Running(execution, record, task)
            following = asyncio.create_task(self._follow(running))
            self._following.add(following)
            following.add_done_callback(self._following.discard)

        asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def stop(self, arn: str, error: str | None, cause: str | None) -> bool:
        """Aborts a running execution and waits until its record says so; False when it does not run."""

        async def stop() -> bool:
            running = self._running.get(arn)
            if running is None:
                return False
            running.execution.error, running.execution.cause = error, cause
            running.task.cancel()
            await running.recorded.wait()
            return bool(running.record["status"] == "ABORTED")

        return asyncio.run_coroutine_threadsafe(stop(), self._loop).result()

    def stop_all(self) -> None:
        for arn in list(self._running):
            self.stop(arn, None, None)

    def settle(self, answer: Callable[[Tokens], None]) -> Response:
        """Gives a task token its answer."""

        async def settle() -> None:
            answer(self._engine.tokens)

        try:
            asyncio.run_coroutine_threadsafe(settle(), self._loop).result()
        except TokenRefused as refusal:
            return _refused(refusal.code, str(refusal))
        return _answer({})

    async def _follow(self, running: _Running) -> None:
        """Waits for the execution's end, writes it into MiniStack's record and announces it on the event bus."""
        await asyncio.wait([running.task])
        execution, record = running.execution, running.record
        fault = None if running.task.cancelled() else running.task.exception()
        if fault is not None:
            logger.error("execution %s broke the runner", execution.arn, exc_info=fault)
            execution.status, execution.error, execution.cause = "FAILED", RUNTIME, repr(fault)
        record.update(output=execution.output, error=execution.error, cause=execution.cause, stopDate=now_iso())
        record["status"] = execution.status
        del self._running[execution.arn]
        running.recorded.set()
        # A rule's target may be a function that calls this server: never on the loop, nor while a stop waits.
        await self._on_pool(states._emit_execution_status_event, record)

    async def _invoke_on_pool(self, function: str, payload: bytes) -> tuple[bytes, str | None]:
        try:
            return await self._on_pool(self._invoke, function, payload)
        except Fault:
            raise
        except Exception as error:
            logger.exception("invoking %s failed", function)
            raise Fault("Lambda.SdkClientException", repr(error)) from error

    async def _read_on_pool(self, bucket: str, key: str) -> bytes:
        return await self._on_pool(read_object, bucket, key)

    async def _on_pool(self, work: Callable[..., T], *arguments: object) -> T:
        context = contextvars.copy_context()
        return await self._loop.run_in_executor(self._functions, lambda: context.run(work, *arguments))


def _send_task_success(runner: _Runner, request: Record) -> Response:
    try:
        output = json.loads(request.get("output", ""))
    except json.JSONDecodeError:
        return _refused("InvalidOutput", "Invalid Output: 'the output is not JSON'")
    return runner.settle(lambda tokens: tokens.succeed(str(request.get("taskToken")), output))


def _send_task_failure(runner: _Runner, request: Record) -> Response:
    error, cause = request.get("error") or "", request.get("cause") or ""
    return runner.settle(lambda tokens: tokens.fail(str(request.get("taskToken")), error, cause))


def _send_task_heartbeat(runner: _Runner, request: Record) -> Response:
    return runner.settle(lambda tokens: tokens.beat(str(request.get("taskToken"))))


def _same_execution(request: Record, text: str) -> Record | None:
    """The running execution that a start with this name and input means, if any."""
    machine = states._state_machines.get(states._resolve_state_machine_arn(request.get("stateMachineArn", "")))
    if not machine or not request.get("name"):
        return None
    arn = f"{machine['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{request['name']}"
    record: Record | None = states._executions.get(arn)
    same = record is not None and record["status"] == "RUNNING" and json.loads(record["input"]) == json.loads(text)
    return record if same else None


def _input_problem(text: str) -> str | None:
    if len(text.encode()) > PAYLOAD_BYTES:
        return f"it has more than {PAYLOAD_BYTES} bytes"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    return None


def _definition_problem(text: str) -> str | None:
    """What keeps the runner from running a definition; CreateStateMachine and CloudFormation refuse it then."""
    try:
        load(text)
    except InvalidDefinition as invalid:
        return str(invalid)
    return None


def _answer(body: Record) -> Response:
    response: Response = json_response(body)
    return response


def _refused(code: str, message: str) -> Response:
    response: Response = error_response_json(code, message, 400)
    return response
