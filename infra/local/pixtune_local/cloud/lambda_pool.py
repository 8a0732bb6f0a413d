"""Comes in: a function's code, configuration and one event; goes out: what AWS Lambda would answer.

Each environment is a process that runs AWS's own runtime client (awslambdaric) against a Runtime API server of its
own on 127.0.0.1, as on Lambda: real error types and stack traces, nothing in the environment but what Lambda sets, a
timeout and a memory limit that kill, the 6 MB response limit, and reuse of warm processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil

RESPONSE_LIMIT_BYTES = 6 * 1024 * 1024 + 100
INIT_LIMIT_SECONDS = 10.0
MEMORY_PERIOD_SECONDS = 0.05
FAMILY_PERIOD_SECONDS = 0.5
IDLE_SECONDS = 600.0
REFERENCE = "artifact.json"  # what infra/build/package.py writes instead of an artifact's bytes


@dataclass(frozen=True)
class Function:
    """One deployed function, as its configuration says. `layers` and `code` are folders laid out as in Lambda;
    `revision` changes with what is in them.
    """

    name: str
    arn: str
    handler: str
    code: Path
    layers: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 128
    timeout_seconds: float = 3.0
    region: str = "us-east-1"
    version: str = "$LATEST"
    revision: str = ""
    json_logs: bool = False

    def fingerprint(self) -> str:
        """Another fingerprint means environments that started before must not serve."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def _label(name: str) -> str:
    """What people call the function: its logical id, where CloudFormation made a name up around it."""
    generated = re.fullmatch(r"[a-z0-9-]+?-([A-Z]\w*)-[0-9A-Za-z]{12,13}", name)
    return generated[1] if generated else name


@dataclass(frozen=True)
class Answer:
    """What the function answered: a JSON value, or Lambda's error document. `log` is what it wrote meanwhile."""

    payload: Any
    failed: bool
    log: str
    cold: bool
    milliseconds: float


class CodeStore:
    """Deployed archives as folders: one that refers to an artifact of this machine is that artifact, any other one is
    unpacked once under its hash.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Path] = {}
        self._lock = threading.Lock()

    def unpacked(self, archive: bytes, digest: str) -> Path:
        """`digest`: the archive's CodeSha256."""
        with self._lock:
            if digest not in self._known:
                self._known[digest] = self._unpack(archive)
            return self._known[digest]

    def _unpack(self, archive: bytes) -> Path:
        with zipfile.ZipFile(BytesIO(archive)) as bundle:
            if bundle.namelist() == [REFERENCE]:
                return Path(json.loads(bundle.read(REFERENCE))["folder"])
            target = self._folder / hashlib.sha256(archive).hexdigest()[:32]
            if not target.is_dir():
                partial = target.with_suffix(f".{os.getpid()}")
                bundle.extractall(partial)
                partial.rename(target)
            return target


@dataclass(frozen=True)
class _Event:
    request_id: str
    payload: bytes


@dataclass(frozen=True)
class _Started:
    """The handler has the event: its timeout runs from now."""


@dataclass(frozen=True)
class _Response:
    body: bytes


@dataclass(frozen=True)
class _Failure:
    document: dict[str, Any]
    ends_process: bool = False


@dataclass(frozen=True)
class _Exit:
    status: int


class _Gone(Exception):
    """The environment had ended before it could take the event: another one takes it."""


class _RuntimeApi(ThreadingHTTPServer):
    """The Runtime API of one environment: `next`, `response`, `error` and `init/error`."""

    daemon_threads = True

    def __init__(self, function: Function) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.function = function
        self.events: queue.Queue[_Event | None] = queue.Queue()
        self.outcomes: queue.Queue[_Started | _Response | _Failure | _Exit] = queue.Queue()
        self.unanswered: str | None = None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed environment hangs up in the middle of its call; its exit is reported elsewhere."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    server: _RuntimeApi
    protocol_version = "HTTP/1.1"
    # Both matter: with either left out, each small answer waits for a delayed acknowledgement (2 ms become 88 ms).
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        function = self.server.function
        self.server.unanswered = event.request_id
        self.server.outcomes.put(_Started())
        headers = {
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + function.timeout_seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": function.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        self._answer(200, event.payload, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        error_type = self.headers.get("Lambda-Runtime-Function-Error-Type")
        if self.path.endswith("/init/error"):
            self.server.outcomes.put(_Failure(_document(body, error_type), ends_process=True))
        elif self.server.unanswered is None or f"/{self.server.unanswered}/" not in self.path:
            self._answer(400, b'{"errorType":"InvalidRequestID"}', {})
            return
        elif self.path.endswith("/error"):
            self.server.unanswered = None
            self.server.outcomes.put(_Failure(_document(body, error_type)))
        else:
            self.server.unanswered = None
            if len(body) > RESPONSE_LIMIT_BYTES:
                self.server.outcomes.put(_Failure(_too_large(len(body)), ends_process=True))
                self._answer(413, b'{"errorType":"RequestEntityTooLarge"}', {})
                return
            self.server.outcomes.put(_Response(body))
        self._answer(202, b'{"status":"OK"}', {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """The environment's own log is what a reader wants to see."""


def _document(body: bytes, error_type: str | None) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    if not isinstance(document, dict) or "errorType" not in document:
        document = {"errorType": error_type or "Runtime.Unknown", "errorMessage": body.decode("utf-8", "replace")}
    return document


def _too_large(size: int) -> dict[str, Any]:
    said = (
        f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
    )
    return {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": said}


class _Environment:
    """One process, serving one event at a time."""

    def __init__(self, function: Function, runtime: Path, endpoint_url: str, log: Path) -> None:
        self.function = function
        self.fingerprint = function.fingerprint()
        self.ready = False
        self.idle_since = time.monotonic()
        self._api = _RuntimeApi(function)
        self._log_path = log
        self._log_lock = threading.Lock()
        self._captured = bytearray()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        self._log_pipe = read_end
        paths = [function.code, *(layer / "python" for layer in function.layers), runtime]
        # -S: the interpreter of the emulator's own environment must not lend its packages to a function.
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-m", "awslambdaric", function.handler],
            cwd=function.code,
            env=self._variables(function, paths, endpoint_url),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        os.close(write_end)
        threading.Thread(target=self._report_exit, daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()

    def _variables(self, function: Function, paths: list[Path], endpoint_url: str) -> dict[str, str]:
        log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        set_by_lambda = {
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "AWS_LAMBDA_LOG_FORMAT": "JSON" if function.json_logs else "Text",
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "LAMBDA_TASK_ROOT": str(function.code),
            "_HANDLER": function.handler,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            **function.credentials,
        }
        return {**function.environment, **set_by_lambda}

    def _report_exit(self) -> None:
        self._api.outcomes.put(_Exit(self.process.wait()))

    def _read_log(self) -> None:
        """Keep the pipe from filling up while nobody asks; ends when every writer is gone."""
        with suppress(OSError, ValueError):  # closed by whoever drained the last of it
            while self._drain():
                select.select([self._log_pipe], [], [])

    def _drain(self) -> bool:
        with self._log_lock:
            if self._log_pipe < 0:
                return False
            while True:
                try:
                    piece = os.read(self._log_pipe, 65536)
                except BlockingIOError:
                    return True
                if not piece:
                    os.close(self._log_pipe)
                    self._log_pipe = -1
                    return False
                self._captured += piece
                with self._log_path.open("ab") as log:
                    log.write(piece)

    def invoke(self, payload: bytes, request_id: str) -> tuple[Any, bool]:
        """Hand over one event; answers the value or the error document, and whether it failed."""
        function = self.function
        with self._log_lock:
            self._captured.clear()
        deadline = time.monotonic() + max(INIT_LIMIT_SECONDS, function.timeout_seconds)
        taken = False
        self._api.events.put(_Event(request_id, payload))
        try:
            while isinstance(outcome := self._api.outcomes.get(timeout=deadline - time.monotonic()), _Started):
                taken = True
                deadline = time.monotonic() + function.timeout_seconds
        except (queue.Empty, ValueError):
            self.stop()
            said = f"RequestId: {request_id} Error: Task timed out after {function.timeout_seconds:.2f} seconds"
            return {"errorType": "Sandbox.Timedout", "errorMessage": said}, True
        if isinstance(outcome, _Response):
            self.ready = True
            try:
                return json.loads(outcome.body or b"null"), False
            except ValueError as problem:
                said = f"Unable to marshal response: {problem}"
                return {"errorType": "Runtime.MarshalError", "errorMessage": said, "requestId": request_id}, True
        if isinstance(outcome, _Failure):
            self.ready = not outcome.ends_process
            return {**outcome.document, "requestId": request_id}, True
        if self.ready and not taken:
            raise _Gone
        how = "signal: killed" if outcome.status < 0 else f"exit status {outcome.status}"
        said = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        return {"errorType": "Runtime.ExitError", "errorMessage": said}, True

    def log(self) -> str:
        self._drain()
        with self._log_lock:
            return self._captured.decode("utf-8", "replace")

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Kill the process and everything it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._api.events.put(None)
        threading.Thread(target=self._close_api, daemon=True).start()

    def _close_api(self) -> None:
        self._api.shutdown()
        self._api.server_close()

    def check_memory(self, children: Mapping[int, list[int]]) -> None:
        """Lambda counts every process of the environment; one that grows past its memory is killed.

        children: by process id, as of the last look at the process table.
        """
        used, family = 0, [self.process.pid]
        for pid in family:
            family += children.get(pid, [])
            with suppress(psutil.NoSuchProcess):
                used += psutil.Process(pid).memory_info().rss
        if used > self.function.memory_mb * 1024 * 1024:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class LambdaPool:
    """All environments of all functions of one local cloud."""

    def __init__(self, runtime: Path, logs: Path, endpoint_url: str, per_function: int | None = None) -> None:
        self._runtime = runtime
        self._logs = logs
        self._endpoint_url = endpoint_url
        # Lambda would start a thousand; two cores are better served by a short queue.
        self.per_function = per_function or 2 * (os.cpu_count() or 1)
        self._changed = threading.Condition()
        self._idle: dict[str, list[_Environment]] = {}
        self._busy: dict[str, list[_Environment]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._closed = False
        logs.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._watch, daemon=True).start()

    def invoke(self, function: Function, event: Any, request_id: str | None = None) -> Answer:
        request_id = request_id or str(uuid.uuid4())
        payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        while True:
            with suppress(_Gone), self._environment(function) as environment:
                return self._invoke_in(environment, payload, request_id)

    def _invoke_in(self, environment: _Environment, payload: bytes, request_id: str) -> Answer:
        cold = not environment.ready
        started = time.monotonic()
        answer, failed = environment.invoke(payload, request_id)
        took = (time.monotonic() - started) * 1000
        with self._changed:
            nothing = {"invocations": 0, "cold_starts": 0, "errors": 0}
            counts = self._counts.setdefault(environment.function.name, nothing)
            counts["invocations"] += 1
            counts["cold_starts"] += cold
            counts["errors"] += failed
        return Answer(answer, failed, environment.log(), cold, took)

    def status(self) -> dict[str, Any]:
        """Per function, by label: process ids (those at work apart), counts since the start, and the log file."""
        with self._changed:
            return {
                _label(name): {
                    "name": name,
                    "pids": [e.process.pid for e in self._idle.get(name, []) + self._busy.get(name, [])],
                    "busy": [e.process.pid for e in self._busy.get(name, [])],
                    "log": str(self._logs / f"{_label(name)}.log"),
                    **self._counts.get(name, {"invocations": 0, "cold_starts": 0, "errors": 0}),
                }
                for name in {*self._counts, *self._busy}
            }

    def close(self) -> None:
        with self._changed:
            self._closed = True
            every = [e for kept in (self._idle, self._busy) for some in kept.values() for e in some]
            self._idle.clear()
        for environment in every:
            environment.stop()

    @contextmanager
    def _environment(self, function: Function) -> Iterator[_Environment]:
        environment = self._take(function)
        try:
            yield environment
        finally:
            self._give_back(environment)

    def _take(self, function: Function) -> _Environment:
        fingerprint = function.fingerprint()
        with self._changed:
            while True:
                idle = self._idle.setdefault(function.name, [])
                for stale in [e for e in idle if e.fingerprint != fingerprint or not e.alive()]:
                    idle.remove(stale)
                    stale.stop()
                if idle:
                    environment = idle.pop()
                    break
                if len(self._busy.get(function.name, [])) < self.per_function:
                    log = self._logs / f"{_label(function.name)}.log"
                    environment = _Environment(function, self._runtime, self._endpoint_url, log)
                    break
                self._changed.wait()
            self._busy.setdefault(function.name, []).append(environment)
            return environment

    def _give_back(self, environment: _Environment) -> None:
        with self._changed:
            self._busy[environment.function.name].remove(environment)
            if environment.alive() and environment.ready and not self._closed:
                environment.idle_since = time.monotonic()
                self._idle.setdefault(environment.function.name, []).append(environment)
            else:
                environment.stop()
            self._changed.notify_all()

    def _watch(self) -> None:
        """Kill what outgrows its memory; let go what nobody has asked for in a while."""
        children: dict[int, list[int]] = {}
        looked = 0.0
        while not self._closed:
            time.sleep(MEMORY_PERIOD_SECONDS)
            with self._changed:
                busy = [e for some in self._busy.values() for e in some]
                old = time.monotonic() - IDLE_SECONDS
                for kept in self._idle.values():
                    for environment in [e for e in kept if e.idle_since < old]:
                        kept.remove(environment)
                        environment.stop()
            if busy and time.monotonic() > looked + FAMILY_PERIOD_SECONDS:
                children, looked = _children(), time.monotonic()
            for environment in busy:
                environment.check_memory(children)


def _children() -> dict[int, list[int]]:
    """The process table: parent -> children. Reading all of it is dear, so it is read seldom."""
    table: dict[int, list[int]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            table.setdefault(process.ppid(), []).append(process.pid)
    return table
