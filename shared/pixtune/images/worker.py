"""The sandbox's child process: jobs as frames on stdin, pictures in a temporary file, answers as frames on stdout.

It is assumed to be taken over by the first hostile file: it knows no secret and limits its own CPU time and memory
before it looks at a byte. Frames are a big-endian length and that many bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import struct
import sys
from typing import BinaryIO

from pixtune.errors import StepFailed
from pixtune.images.recipe import Recipe

try:
    import resource
except ImportError:  # Windows has no such limits; the deadline alone holds there
    resource = None  # type: ignore[assignment]  # the module is either there or not


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def write_frame(out: BinaryIO, body: bytes) -> None:
    out.write(struct.pack(">I", len(body)))
    out.write(body)
    out.flush()


def read_frame(source: BinaryIO) -> bytes | None:
    """The next frame, or None when the other side has gone."""
    head = source.read(4)
    return source.read(struct.unpack(">I", head)[0]) if len(head) == 4 else None


def limit_memory(limit_bytes: int) -> None:
    """Cap the address space. macOS accepts and ignores it or refuses; there the deadline alone holds."""
    if resource and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def keep_freed_memory() -> None:
    """Let freed pixels be used again for the next picture: giving them back costs a page fault for every 4 kB.

    Only the end of the heap up to 64 MiB; blocks of 16 MiB and more are still given back. Source: mallopt(3), glibc.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        mallopt(_M_MMAP_THRESHOLD, 16 << 20)


def limit_cpu(budget_seconds: int) -> None:
    """Allow this many more seconds of CPU: the kernel counts from the process's start, so what is used is added."""
    if resource and sys.platform == "linux":
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + budget_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def main() -> None:
    """Serve jobs until stdin ends. argv: file descriptor of the pictures' file, memory limit, CPU budget."""
    pictures, memory_bytes, cpu_seconds = (int(value) for value in sys.argv[1:4])
    jobs = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing a decoder prints can look like an answer
    limit_memory(memory_bytes)
    if sys.platform == "linux":
        keep_freed_memory()
    from pixtune.images.convert import convert  # after the limit, which holds for everything PIL allocates

    write_frame(answers, b"ready")
    while True:
        limit_cpu(cpu_seconds)
        job = read_frame(jobs)
        if job is None:
            return
        order = json.loads(job)
        try:
            data, recipe = os.pread(pictures, order["size"], 0), Recipe.from_json(order["recipe"])
            converted = convert(data, recipe, order["trusting"], order["source_sha256"])
        except StepFailed as error:
            head = json.dumps({"step_failed": str(error)}).encode()
            write_frame(answers, struct.pack(">I", len(head)) + head)
            continue
        values = converted.to_json() | {"content": len(converted.content), "thumb": len(converted.thumb)}
        head = json.dumps(values).encode()
        body = b"".join((struct.pack(">I", len(head)), head, converted.content, converted.thumb))
        write_frame(answers, body)


if __name__ == "__main__":
    main()
