"""What converts a picture in the benchmark: ours through the sandbox and without it, plain Pillow, pyvips and sharp.

Every engine runs in a process of its own and tells its own CPU time, children's threads included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from PIL import Image, ImageOps
from tests.benchmarks.pictures import Job

from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.images.steps import fit

ROOT = Path(__file__).resolve().parents[2]
OTHERS = Path(__file__).parent / "others"
NODE_MODULES = ROOT / ".venv-bench" / "node"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one conversion: CPU milliseconds, and the highest resident memory of the process so far in MB."""

    ms: float
    peak: float


class Engine(Protocol):
    name: str

    def run(self, job: Job, times: int, out: Path) -> Cost: ...
    def close(self) -> None: ...


def recipe_of(job: Job) -> Recipe:
    if job.kept:
        return Recipe.of([*("flatten", "resize", "to_srgb", "orient"), {"name": "encode", **job.kept}])
    return Recipe.low() if job.detail == "low" else Recipe.default()


def naive(data: bytes, job: Job, to: str | None = None) -> bytes:
    """What one writes first: open, turn upright, shrink with Lanczos, save in the format it came in (or `to`)."""
    opened = Image.open(BytesIO(data))
    picture = ImageOps.exif_transpose(opened)
    size = fit(*picture.size, **job.box)
    small = picture.convert("RGB")
    if size != small.size:
        small = small.resize(size, Image.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, to or opened.format, **({} if (to or opened.format) == "PNG" else {"quality": 85}))
    return out.getvalue()


@dataclass
class Child:
    """An engine in another process, which answers a line of JSON with one."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def run(self, job: Job, times: int, out: Path) -> Cost:
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, **self.environment},
            )
        assert self.process.stdin
        assert self.process.stdout
        order = {"file": str(job.file), "width": job.target[0], "height": job.target[1], "out": str(out)}
        order |= {"times": times, "detail": job.detail, "to": self.name}
        self.process.stdin.write(json.dumps(order | {"kept": job.kept}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return Cost(**answer)

    def close(self) -> None:
        if self.process:
            assert self.process.stdin
            self.process.stdin.close()
            self.process.wait()
            self.process = None


class Ours:
    """The sandbox, as the function uses it: this process's CPU time and its decoder's."""

    name = "sandbox"

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def run(self, job: Job, times: int, out: Path) -> Cost:
        data, recipe = job.file.read_bytes(), recipe_of(job)
        begun = spent_with(self._sandbox)
        for _ in range(times):
            converted = self._sandbox.convert(data, recipe)
        spent = spent_with(self._sandbox) - begun
        if converted.image is None:
            raise ValueError(f"{job.name} was rejected: {converted.verdict}")
        out.write_bytes(converted.content)
        return Cost(1000 * spent / times, _high_water(self._sandbox.worker_pid))

    def close(self) -> None:
        self._sandbox.close()


def spent_with(sandbox: Sandbox) -> float:
    """Seconds of CPU of this process and of the sandbox's, whose one thread waits (proc(5), schedstat)."""
    return time.process_time() + int(Path(f"/proc/{sandbox.worker_pid}/schedstat").read_text().split()[0]) / 1e9


def _high_water(pid: int | str | None) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


def _python(what: str) -> Child:
    return Child(what, [sys.executable, "-m", "tests.benchmarks.engines"])


class Engines:
    """All engines that are installed, by name; those that are not, with why, in `missing`."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.by_name: dict[str, Engine] = {
            engine.name: engine
            for engine in (_python("naive"), _python("naive to JPEG"), Ours(), _python("in process"))
        }
        python, node = ROOT / ".venv-bench" / "bin" / "python", NODE_MODULES / "node_modules" / "sharp"
        if python.exists():
            vips = Child("pyvips", [str(python), str(OTHERS / "shrink_with_vips.py")], {"VIPS_CONCURRENCY": "1"})
            self.by_name["pyvips"] = vips
        else:
            self.missing.append("pyvips")
        if node.is_dir():
            self.by_name["sharp"] = Child("sharp", ["node", str(NODE_MODULES / "shrink_with_sharp.mjs")])
        else:
            self.missing.append("sharp")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self.by_name.values():
            engine.close()


def main() -> None:
    """Plain Pillow, and our conversion without the sandbox, as a child process."""
    from pixtune.images.convert import convert
    from pixtune.images.worker import keep_freed_memory

    for line in sys.stdin:
        order = json.loads(line)
        job = Job(Path(order["file"]), "", order["detail"], order["kept"])
        data, recipe = job.file.read_bytes(), recipe_of(job)
        if order["to"] == "in process":
            keep_freed_memory()
        begun = time.process_time()
        for _ in range(order["times"]):
            if order["to"] == "in process":
                content = convert(data, recipe, trusting=True).content
            else:
                content = naive(data, job, "JPEG" if order["to"] == "naive to JPEG" else None)
        ms = 1000 * (time.process_time() - begun) / order["times"]
        Path(order["out"]).write_bytes(content)
        sys.stdout.write(json.dumps({"ms": ms, "peak": _high_water("self")}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
