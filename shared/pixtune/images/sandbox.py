"""Decoding in a process that may die: a picture's bytes in, the converted picture or a verdict out.

A plain subprocess, because Lambda has no /dev/shm for multiprocessing: own interpreter, an environment of
PYTHONPATH alone, started before the first picture comes and replaced after any death. What it answers is checked,
not believed. Limits of CPU and memory hold on Linux; elsewhere the deadline alone does (`LIMITED` says which).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from threading import Lock
from types import TracebackType
from typing import IO, Any, Self

from pixtune.errors import DecoderNotStarted, StepFailed
from pixtune.images.converted import Converted
from pixtune.images.recipe import Recipe
from pixtune.verdicts import Code, Outcome, rejected

LIMITED = sys.platform == "linux"
FUNCTION_MEMORY_MB = 1769
KEPT_BY_PARENT_MB = 500
CPU_SECONDS = 10  # for one picture; the slowest within the gate's caps needs about 1 s here, 2.5 s on a Lambda vCPU
WALL_SECONDS = 20.0
START_SECONDS = 10.0
MAX_ANSWER_BYTES = 12 * 1024 * 1024  # a picture of at most 10 MB and its thumbnail
_MAGIC = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}
_PR_SET_DUMPABLE = 4


class _Died(Exception):
    """The worker is gone, or answered what no worker of ours answers."""


class _TooSlow(Exception):
    """The worker used up its CPU time or the deadline."""


def hide_memory() -> None:
    """Make this process non-dumpable, so that its child cannot read its environment or memory through /proc.

    Source: prctl(2), PR_SET_DUMPABLE. Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Worker:
    """One child process and the unlinked file it reads pictures from."""

    def __init__(self, memory_bytes: int, cpu_seconds: int) -> None:
        self._pictures: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the worker
        descriptor = self._pictures.fileno()
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if library_path := os.environ.get("LD_LIBRARY_PATH"):  # Lambda's interpreter finds its own library by it
            environment["LD_LIBRARY_PATH"] = library_path
        self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
            [
                sys.executable,
                "-P",
                "-m",
                "pixtune.images.worker",
                str(descriptor),
                str(memory_bytes),
                str(cpu_seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a decoder that was taken over must not write our log
            env=environment,
            cwd="/",
            pass_fds=(descriptor,),
        )
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Raises DecoderNotStarted when the process does not come up."""
        if self._ready:
            return
        try:
            self._ready = self._read(time.monotonic() + START_SECONDS) == b"ready"
        except (_Died, _TooSlow):
            self._ready = False
        if not self._ready:
            self.stop()
            raise DecoderNotStarted(
                f"The decoder process did not start (exit {self._process.returncode}). "
                "Run `python -c 'import pixtune.images.convert'` in the same environment to see why."
            )

    def convert(self, data: bytes, recipe: Recipe, seconds: float, trusting: bool) -> Converted:
        deadline = time.monotonic() + seconds
        self._pictures.seek(0)
        self._pictures.write(data)
        self._pictures.flush()
        digest = sha256(data).hexdigest()
        order = {"size": len(data), "source_sha256": digest, "recipe": recipe.to_json(), "trusting": trusting}
        job = json.dumps(order).encode()
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(struct.pack(">I", len(job)) + job)
            stdin.flush()
        except BrokenPipeError:
            raise self._end() from None
        return _believed(self._read(deadline), digest, recipe)

    def _read(self, deadline: float) -> bytes:
        (length,) = struct.unpack(">I", self._read_bytes(4, deadline))
        if length > MAX_ANSWER_BYTES:
            raise _Died
        return self._read_bytes(length, deadline)

    def _read_bytes(self, count: int, deadline: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        descriptor, parts = stdout.fileno(), bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise _TooSlow
            part = os.read(descriptor, min(count - len(parts), 1 << 20))
            if not part:
                raise self._end()
            parts += part
        return bytes(parts)

    def _end(self) -> _Died | _TooSlow:
        """Why a worker that closed its pipe is no more. One that lives on is killed; a dead one keeps how it died."""
        self._process.kill()
        return _TooSlow() if self._process.wait() == -signal.SIGXCPU else _Died()

    def stop(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):  # what was still buffered for a dead process
                    pipe.close()
        self._process.wait()
        self._pictures.close()


def _believed(answer: bytes, source_sha256: str, recipe: Recipe) -> Converted:
    """The worker's answer, if it can be one. Hashes and sizes are our own: a taken-over decoder may say anything."""
    try:
        (head,) = struct.unpack_from(">I", answer)
        values: dict[str, Any] = json.loads(answer[4 : 4 + head])
        if "step_failed" in values:
            raise StepFailed(str(values["step_failed"]))
        content_end = 4 + head + int(values["content"])
        content, thumb = answer[4 + head : content_end], answer[content_end:]
        converted = Converted.from_json(values, content, thumb)
        image = converted.image
        if image is None:
            if converted.verdict.outcome is not Outcome.REJECTED:
                raise ValueError("an image was promised")
            return Converted(converted.verdict)
        if not content.startswith(_MAGIC[image.format]) or not thumb.startswith(_MAGIC["jpeg"]):
            raise ValueError("these bytes are no picture")
        sure = replace(
            image,
            sha256=sha256(content).hexdigest(),
            size=len(content),
            source_sha256=source_sha256,
            recipe=recipe.id,
        )
        return replace(converted, image=sure)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise _Died from error


class Sandbox:
    """Converts pictures one at a time; may be shared by threads. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        memory_mb: int = FUNCTION_MEMORY_MB - KEPT_BY_PARENT_MB,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        """Starts the worker without waiting for it. memory_mb: the worker's address space, in MiB."""
        hide_memory()
        self._memory_bytes, self._cpu_seconds = memory_mb * 1024 * 1024, cpu_seconds
        self._wall_seconds = wall_seconds
        self._lock = Lock()
        self._worker: _Worker | None = self._start()

    def _start(self) -> _Worker:
        return _Worker(self._memory_bytes, self._cpu_seconds)

    @property
    def worker_pid(self) -> int | None:
        return self._worker.pid if self._worker else None

    @property
    def longest_seconds(self) -> float:
        """How long `convert` may take at most: two tries, and the start of a worker before each."""
        return 2 * (self._wall_seconds + START_SECONDS)

    def convert(self, data: bytes, recipe: Recipe) -> Converted:
        """Convert one picture, with one more, careful try in a fresh worker when the worker dies of it.

        Raises DecoderNotStarted when no worker can be started, StepFailed when a step of the recipe has a defect.
        """
        with self._lock:
            for trusting in (True, False):
                worker = self._worker = self._worker or self._start()
                try:
                    worker.wait_until_ready()
                except DecoderNotStarted:
                    self._worker = None  # the next picture gets a new one
                    raise
                try:
                    return worker.convert(data, recipe, self._wall_seconds, trusting)
                except _TooSlow:
                    self._replace()
                    return Converted(
                        rejected(
                            Code.DECODE_TOO_SLOW,
                            f"Decoding took longer than {self._cpu_seconds} s of computing time.",
                            "Save the picture again as an ordinary JPEG.",
                        )
                    )
                except _Died:
                    self._replace()
        return Converted(
            rejected(
                Code.DECODER_DIED, "The decoder crashed on this file, twice.", "Export the picture from its source."
            )
        )

    def _replace(self) -> None:
        self.close()
        self._worker = self._start()

    def close(self) -> None:
        if self._worker:
            self._worker.stop()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
