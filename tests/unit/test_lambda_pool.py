"""The pool runs a function as Lambda does: these are the differences a plain subprocess would show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixtune_local.cloud.lambda_pool import Function, LambdaPool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def runtime() -> Path:
    build = [sys.executable, str(ROOT / "infra/build/package.py"), "host", "runtime"]
    subprocess.run(build, check=True, capture_output=True)
    return ROOT / ".pixtune/build/host/runtime"


@pytest.fixture
def pool(runtime: Path, tmp_path: Path) -> Iterator[LambdaPool]:
    pool = LambdaPool(runtime, tmp_path / "logs", "http://127.0.0.1:9", per_function=2)
    yield pool
    pool.close()


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], Function]:
    def write(source: str) -> Function:
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        (code / "handler.py").write_text(textwrap.dedent(source))
        return Function("Probe", "arn:aws:lambda:us-east-1:000000000000:function:Probe", "handler.handler", code)

    return write


Write = Callable[[str], Function]


def test_a_warm_environment_serves_again_and_a_changed_configuration_starts_another(
    pool: LambdaPool, function: Write
) -> None:
    probe = function("import os\ndef handler(event, context): return [os.getpid(), os.environ.get('STAGE'), event]")
    first = pool.invoke(probe, {"n": 1})
    second = pool.invoke(probe, {"n": "ü"})
    third = pool.invoke(replace(probe, environment={"STAGE": "two"}), None)
    assert first.cold
    assert not second.cold
    assert second.payload == [first.payload[0], None, {"n": "ü"}]
    assert third.cold
    assert third.payload[1:] == ["two", None]
    assert third.payload[0] != first.payload[0]


def test_the_environment_holds_only_what_lambda_sets_and_the_configuration_names(
    pool: LambdaPool, function: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of the person at the keyboard")
    monkeypatch.setenv("AWS_PROFILE", "production")
    probe = function("import os, sys\ndef handler(event, context): return [dict(os.environ), sys.path]")
    keys = {"AWS_ACCESS_KEY_ID": "ASIAROLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    environment, path = pool.invoke(replace(probe, credentials=keys, environment={"STAGE": "x"}), {}).payload
    assert "OPENAI_API_KEY" not in environment
    assert "AWS_PROFILE" not in environment
    assert "HOME" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == "ASIAROLE"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "Probe"
    assert environment["_HANDLER"] == "handler.handler"
    assert environment["STAGE"] == "x"
    assert not [entry for entry in path if "site-packages" in entry]


def test_an_exception_keeps_its_own_name_and_stack_trace(pool: LambdaPool, function: Write) -> None:
    probe = function(
        """
        class QueueRefused(Exception): pass
        def handler(event, context): raise QueueRefused("two of ten")
        """
    )
    answer = pool.invoke(probe, {})
    assert answer.failed
    assert answer.payload["errorType"] == "QueueRefused"
    assert answer.payload["errorMessage"] == "two of ten"
    assert any("raise QueueRefused" in line for line in answer.payload["stackTrace"])
    assert not pool.invoke(probe, {}).cold


def test_a_function_that_overruns_its_timeout_is_killed_with_all_it_started(
    pool: LambdaPool, function: Write
) -> None:
    probe = function(
        """
        import subprocess, sys, time
        def handler(event, context):
            print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
            time.sleep(60)
        """
    )
    started = time.monotonic()
    answer = pool.invoke(replace(probe, timeout_seconds=1), {})
    assert 1 <= time.monotonic() - started < 5
    assert answer.payload["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in answer.payload["errorMessage"]
    child = int(answer.log.split()[0])
    assert _gone(child)


def test_a_function_that_outgrows_its_memory_is_killed(pool: LambdaPool, function: Write) -> None:
    probe = function("import time\ndef handler(e, c):\n    hoard = b'x' * 300_000_000\n    time.sleep(20)")
    answer = pool.invoke(replace(probe, timeout_seconds=30), {})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in answer.payload["errorMessage"]


def test_a_process_that_ends_and_a_module_that_cannot_be_imported_are_named(
    pool: LambdaPool, function: Write
) -> None:
    ends = pool.invoke(function("import os\ndef handler(e, c): os._exit(3)"), {})
    assert ends.payload["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in ends.payload["errorMessage"]
    broken = pool.invoke(replace(function("import no_such_package"), version="2"), {})
    assert broken.payload["errorType"] == "Runtime.ImportModuleError"
    assert "no_such_package" in broken.payload["errorMessage"]


def test_an_answer_past_six_megabytes_or_not_json_is_refused_and_the_next_one_is_not(
    pool: LambdaPool, function: Write
) -> None:
    probe = function("def handler(event, c): return {'big': 'x' * 7_000_000, 'set': {1}, 'ok': 'fine'}[event]")
    assert pool.invoke(probe, "big").payload["errorType"] == "Function.ResponseSizeTooLarge"
    assert pool.invoke(probe, "set").payload["errorType"] == "Runtime.MarshalError"
    assert pool.invoke(probe, "ok").payload == "fine"


def test_a_process_killed_from_outside_fails_its_event_and_the_next_event_gets_a_new_one(
    pool: LambdaPool, function: Write, tmp_path: Path
) -> None:
    source = "import time\ndef handler(s, c): print('asleep', s, flush=True); time.sleep(s); return s"
    probe = replace(function(source), timeout_seconds=30)
    assert pool.invoke(probe, 0).payload == 0
    failed: list[object] = []
    caller = threading.Thread(target=lambda: failed.append(pool.invoke(probe, 20).payload["errorType"]))
    caller.start()
    deadline = time.monotonic() + 10
    while "asleep 20" not in (tmp_path / "logs" / "Probe.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    (busy,) = pool.status()["Probe"]["busy"]
    os.kill(busy, signal.SIGKILL)
    caller.join(10)
    assert failed == ["Runtime.ExitError"]
    assert pool.invoke(probe, 0).payload == 0


def test_what_a_function_writes_is_in_its_answer_and_in_its_log_file(
    pool: LambdaPool, function: Write, tmp_path: Path
) -> None:
    probe = function(
        "import sys\ndef handler(e, c): print('seen', e); print('odd', file=sys.stderr); return c.function_name"
    )
    answer = pool.invoke(probe, 7)
    assert answer.payload == "Probe"
    assert "seen 7" in answer.log
    assert "odd" in answer.log
    assert "seen 7" in (tmp_path / "logs" / "Probe.log").read_text()
    assert "seen 7" not in pool.invoke(probe, 8).log


def test_events_beyond_the_cap_wait_for_a_free_environment(pool: LambdaPool, function: Write) -> None:
    probe = function("import os, time\ndef handler(e, c): time.sleep(0.1); return os.getpid()")
    answers: list[int] = []
    callers = [threading.Thread(target=lambda: answers.append(pool.invoke(probe, {}).payload)) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert len(answers) == 5
    assert len(set(answers)) <= 2


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_error_document_is_json_all_the_way(pool: LambdaPool, function: Write) -> None:
    answer = pool.invoke(function("def handler(e, c): raise ValueError('ü')"), {})
    assert json.loads(json.dumps(answer.payload))["errorMessage"] == "ü"


def test_memory_is_counted_over_the_whole_family(pool: LambdaPool, function: Write) -> None:
    probe = function(
        """
        import subprocess, sys, time
        def handler(event, context):
            subprocess.run([sys.executable, "-c", "import time; hoard = b'x' * 300_000_000; time.sleep(20)"])
        """
    )
    answer = pool.invoke(replace(probe, timeout_seconds=15), {})
    assert "signal: killed" in answer.payload["errorMessage"]
