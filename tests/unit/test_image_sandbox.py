"""A decoder that dies, hangs or was taken over changes no verdict, sees no secret and takes nothing with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit import drawn

from pixtune.errors import DecoderNotStarted
from pixtune.images import sandbox as module
from pixtune.images.convert import convert
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Outcome

RECIPE = Recipe.default()
linux = pytest.mark.skipif(sys.platform != "linux", reason="CPU, memory and /proc are limited on Linux only")
HOSTILE = drawn.jpeg(drawn.photo(320, 240))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


class PreparedSandbox(Sandbox):
    """A sandbox whose workers meet `prepare` once they are up."""

    def __init__(self, prepare: Callable[[int], None], **limits: float) -> None:
        self._prepare = prepare
        super().__init__(**limits)  # type: ignore[arg-type]  # each limit is a number

    def _start(self) -> module._Worker:
        worker = super()._start()
        worker.wait_until_ready()
        self._prepare(worker.pid)
        return worker


def test_the_sandbox_answers_what_the_conversion_answers(sandbox: Sandbox) -> None:
    for data in (drawn.jpeg(drawn.photo(1600, 1200)), drawn.encoded(drawn.photo(), "PNG"), b"no picture", b""):
        assert sandbox.convert(data, RECIPE) == convert(data, RECIPE)


def test_a_shorter_picture_sees_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    short = drawn.jpeg(drawn.photo(32, 32))
    sandbox.convert(drawn.jpeg(drawn.photo(1600, 1200)), RECIPE)
    assert sandbox.convert(short, RECIPE) == convert(short, RECIPE)


@linux
def test_a_worker_killed_in_the_middle_changes_no_verdict(sandbox: Sandbox) -> None:
    expected = sandbox.convert(HOSTILE, RECIPE)
    before = sandbox.worker_pid
    assert before
    os.kill(before, signal.SIGSTOP)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(sandbox.convert(HOSTILE, RECIPE)))
    thread.start()
    assert not answers
    os.kill(before, signal.SIGKILL)
    thread.join(30)
    assert answers == [expected]
    assert sandbox.worker_pid != before


def test_a_picture_that_kills_every_worker_gets_a_verdict() -> None:
    with PreparedSandbox(lambda pid: os.kill(pid, signal.SIGKILL)) as dying:
        verdict = dying.convert(HOSTILE, RECIPE).verdict
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, Code.DECODER_DIED)


def test_a_picture_that_never_ends_gets_a_verdict_and_the_next_one_a_fresh_worker() -> None:
    stop_first = iter([True])

    def stop_one(pid: int) -> None:
        if next(stop_first, False):
            os.kill(pid, signal.SIGSTOP)

    with PreparedSandbox(stop_one, wall_seconds=1.0) as slow:
        first = slow.worker_pid
        assert slow.convert(HOSTILE, RECIPE).verdict.code is Code.DECODE_TOO_SLOW
        assert first
        assert not psutil.pid_exists(first)
        assert slow.convert(HOSTILE, RECIPE).image


@linux
def test_a_worker_out_of_cpu_time_is_too_slow_and_not_tried_again() -> None:
    started = []

    def exhaust(pid: int) -> None:
        started.append(pid)
        os.kill(pid, signal.SIGXCPU)  # what the kernel sends at the limit; it is delivered before the next job

    with PreparedSandbox(exhaust) as slow:
        assert slow.convert(HOSTILE, RECIPE).verdict.code is Code.DECODE_TOO_SLOW
    assert len(started) == 2  # the one that ran out, and the one for the next picture


@linux
def test_the_cpu_limit_counts_from_now_and_kills_a_busy_worker() -> None:
    code = (
        "import time\nfrom pixtune.images.worker import limit_cpu\n"
        "while time.process_time() < 2.2: pass\n"
        "limit_cpu(1)\n"
        "while True: pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGXCPU
    assert used.ru_utime + used.ru_stime >= 3.2


@linux
def test_the_limits_hold_for_the_worker_that_decodes() -> None:
    with Sandbox(memory_mb=900, cpu_seconds=7) as limited:
        for _ in range(2):
            limited.convert(HOSTILE, RECIPE)
            worker = psutil.Process(limited.worker_pid)
            used = sum(worker.cpu_times()[:2])
            assert used < worker.rlimit(psutil.RLIMIT_CPU)[0] <= used + 9
            assert worker.rlimit(psutil.RLIMIT_AS)[0] == 900 * 1024 * 1024


@linux
def test_a_picture_that_needs_more_memory_than_allowed_is_refused() -> None:
    large = drawn.png(6_000, 6_000, colour=6)
    with Sandbox(memory_mb=200) as narrow, Sandbox() as wide:
        assert narrow.convert(large, RECIPE).verdict.code in (Code.TOO_MANY_PIXELS, Code.DECODER_DIED)
        assert wide.convert(large, RECIPE).image


@linux
def test_the_worker_is_given_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with Sandbox() as opened:
        opened.convert(HOSTILE, RECIPE)
        environment = psutil.Process(opened.worker_pid).environ()
    assert set(environment) <= {"PYTHONPATH", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert "canary" not in str(environment)


# An ordinary user's process looks into its parent's environment, before and after the parent hid itself.
PEEK = """
import ctypes, os
from pixtune.images.sandbox import hide_memory
if os.geteuid() == 0:  # root may read everything; nothing runs as root on Lambda
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a change of user hides a process by itself: undo that
def look():
    read, write = os.pipe()
    if not os.fork():
        try:
            found = open(f"/proc/{os.getppid()}/environ", "rb").read()
            os.write(write, b"canary" if b"canary" in found else b"nothing")
        except PermissionError:
            os.write(write, b"refused")
        os._exit(0)
    os.wait()
    return os.read(read, 100).decode()
print(look())
hide_memory()
print(look())
"""


def run(code: str, **variables: str) -> str:
    """What a fresh interpreter prints for `code`."""
    path = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": path} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout


@linux
def test_a_child_cannot_read_its_parents_environment() -> None:
    assert run(PEEK, AWS_SECRET_ACCESS_KEY="canary").split() == ["canary", "refused"]


@linux
def test_a_process_with_a_sandbox_has_hidden_itself() -> None:
    show = "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    code = f"import ctypes\nfrom pixtune.images.sandbox import Sandbox\n{show}\nwith Sandbox(): {show}"
    assert run(code).split() == ["1", "0"]


@linux
def test_it_runs_where_dev_shm_cannot_be_written() -> None:
    code = (
        "import sys\nfrom pixtune.images.sandbox import Sandbox\nfrom pixtune.images.recipe import Recipe\n"
        "try: open('/dev/shm/x', 'w')\nexcept OSError: pass\nelse: sys.exit('writable')\n"
        "with Sandbox() as s: print(s.convert(sys.stdin.buffer.read(), Recipe.default()).verdict.code)"
    )
    hidden = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        'mount -t tmpfs -o ro none /dev/shm && exec "$@"',
        "-",
    ]
    try:
        subprocess.run([*hidden, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespaces here")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([*hidden, sys.executable, "-c", code], input=HOSTILE, capture_output=True, env=environment)
    assert done.stdout == b"ok\n", done.stderr


def answer(content: bytes, thumb: bytes = b"\xff\xd8\xff", **changed: object) -> bytes:
    values = convert(HOSTILE, RECIPE).to_json()
    values["image"] |= changed
    head = json.dumps(values | {"content": len(content), "thumb": len(thumb)}).encode()
    return struct.pack(">I", len(head)) + head + content + thumb


def test_a_lying_worker_cannot_choose_the_name_under_which_its_bytes_are_kept() -> None:
    content = b"\xff\xd8\xff other bytes"
    believed = module._believed(answer(content, sha256="0" * 64, size=1, source_sha256="0" * 64), "5" * 64, RECIPE)
    assert believed.image
    assert believed.image.sha256 != "0" * 64
    assert believed.image.source_sha256 == "5" * 64
    assert believed.image.size == len(content)


@pytest.mark.parametrize(
    "said",
    [b"", b"\0\0\0\1{", answer(b"<html>"), answer(b"\xff\xd8\xff", b"<html>"), answer(b"\xff\xd8\xff", format="gif")],
    ids=["nothing", "no json", "no picture", "no thumbnail", "another format"],
)
def test_an_answer_no_worker_of_ours_gives_counts_as_a_death(said: bytes) -> None:
    with pytest.raises(module._Died):
        module._believed(said, "5" * 64, RECIPE)


def test_a_worker_that_did_not_start_in_time_is_replaced_for_the_next_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setattr(module, "START_SECONDS", 0.0)
        with pytest.raises(DecoderNotStarted):
            sandbox.convert(HOSTILE, RECIPE)
        monkeypatch.undo()
        assert sandbox.convert(HOSTILE, RECIPE).image


def test_a_worker_that_cannot_start_is_our_failure_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with Sandbox() as broken, pytest.raises(DecoderNotStarted, match=r"did not start \(exit 1\)"):
        broken.convert(HOSTILE, RECIPE)


def test_nothing_is_left_behind() -> None:
    with Sandbox() as opened:
        opened.convert(HOSTILE, RECIPE)
        pid = opened.worker_pid
        assert pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert not list(Path.cwd().glob("core*"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_bytes_give_one_verdict(sandbox: Sandbox, data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(SAMPLES))
    flips = data.draw(
        st.lists(st.tuples(st.integers(0, len(original) - 1), st.integers(1, 255)), min_size=1, max_size=6)
    )
    damaged = bytearray(original)
    for place, change in flips:
        damaged[place] ^= change
    converted = sandbox.convert(bytes(damaged), RECIPE)
    assert converted.verdict.code not in (Code.DECODER_DIED, Code.DECODE_TOO_SLOW)
    assert (converted.image is None) == (converted.verdict.outcome is Outcome.REJECTED)


SAMPLES = [
    drawn.jpeg(drawn.photo(96, 72)),
    drawn.jpeg(drawn.photo(96, 72), progressive=True, icc_profile=drawn.p3_profile()),
    drawn.encoded(drawn.photo(96, 72), "PNG"),
    drawn.encoded(drawn.photo(96, 72).quantize(8), "PNG", transparency=1),
    drawn.encoded(drawn.photo(96, 72).convert("RGBA"), "WEBP", lossless=True),
    drawn.encoded(drawn.photo(96, 72), "WEBP"),
]
