"""A generated version uploaded to the local provider: `python -m tests.benchmarks.uploading 20000` (examples).

The version's pictures have the mean size of a converted photograph (138 kB); a few hundred bodies stand for them all.
Rows, base64, parts and the provider's file are as large as those of as many photographs. Every part is sent by a
process of its own, as a function's would be, and measured there. Nothing is asserted but that the file that arrives
has the bytes that were planned.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fakes.runs import FakeRuns
from tests.fakes.versions import image, row

from pixtune.datasets.version import DatasetSettings, Manifest, ManifestEntry
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with, spec_for
from pixtune.providers.port import TrainingProvider
from pixtune.training.files import Uploading, upload_files, upload_part
from pixtune.training.run import Run, TrainingSettings
from pixtune_local.provider.testing import Provider, running_provider

PICTURE_BYTES = 138_000
BODIES = 200
BASE = "local-vision-1"
AT_ONCE = 2  # as many processes as this machine has cores; the state machine runs ten functions


@dataclass
class Folder:
    """An artifacts bucket in a folder; of pictures only a few bodies are kept."""

    root: Path

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return False
        path.write_bytes(body)
        return True

    def get(self, key: str) -> bytes | None:
        if key.startswith("images/"):
            return self.body(int(key[7:15], 16) % BODIES)
        path = self.root / key
        return path.read_bytes() if path.exists() else None

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        with (self.root / key).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def body(self, number: int) -> bytes:
        return (self.root / f"body-{number}").read_bytes()


def generate(root: Path, examples: int) -> Manifest:
    """A version of that many rows, written as publish_dataset lays it out."""
    rng = random.Random(1)
    for number in range(BODIES):
        size = int(PICTURE_BYTES * rng.uniform(0.5, 1.5))
        (root / f"body-{number}").write_bytes(rng.randbytes(size))
    sizes = [(root / f"body-{number}").stat().st_size for number in range(BODIES)]
    folder = "versions/bench/1-0123456789abcdef"
    entries = []
    (root / folder).mkdir(parents=True)
    with (root / f"{folder}/train.jsonl").open("w") as file:
        for number in range(examples):
            name = f"e{number:06d}"
            body = int(sha256(name.encode()).hexdigest()[:8], 16) % BODIES
            one = row(
                name, str(number), "How many lanes does this road have?", images=[image(name, size=sizes[body])]
            )
            file.write(one.to_line())
            entries.append(ManifestEntry(name, 1, one.digest(), "train", (one.images[0].image.sha256,)))
    settings = DatasetSettings(system="Answer with one number.")
    files, counts = {"train": f"{folder}/train.jsonl"}, {"train": examples}
    manifest = Manifest("bench", 1, "0123456789abcdef" * 4, 0.0, settings, "r1", counts, files, tuple(entries))
    (root / manifest.key).write_text(json.dumps(manifest.to_json()))
    return manifest


def provider_at(url: str, key: str) -> TrainingProvider:
    return provider_for("local", BASE, {"local": url}, {"local": {"api_key": key}}, limits_with())


def plan(root: Path, url: str, key: str, run: Run) -> tuple[Run, Uploading]:
    """What the function upload_files does in one call."""
    runs = FakeRuns({run.run_id: run})
    spec = spec_for("local", BASE)
    answer = upload_files(run.run_id, runs, Folder(root), provider_at(url, key), spec, time.time())
    return runs.get(run.run_id), answer


def in_a_process(*arguments: str) -> dict[str, Any]:
    """One call of a function in a fresh process; answers what it printed."""
    command = [sys.executable, "-m", "tests.benchmarks.uploading", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def peak_mb() -> float:
    """The most resident memory of this process so far, as Linux counts it (not what the process it came from had)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def worker(arguments: list[str]) -> None:
    """One function's call, told what it used: `plan ROOT URL KEY RUN` or `part ROOT URL KEY PLAN UPLOAD NUMBER`."""
    kind, root, url, key, *rest = arguments
    started, before = time.perf_counter(), peak_mb()
    told: dict[str, Any] = {}
    if kind == "plan":
        run, answer = plan(Path(root), url, key, Run.from_json(json.loads(rest[0])))
        told = {"run": run.to_json(), "answer": answer.to_json()}
    else:
        upload_part(rest[0], rest[1], int(rest[2]), Folder(Path(root)), provider_at(url, key))
    figures = {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "imports_mb": before}
    print(json.dumps(told | figures))


def measure(root: Path, server: Provider, examples: int) -> None:
    manifest = generate(root, examples)
    run = replace(Run("run_1", "bench", TrainingSettings("local", BASE), 0.0, "api", "k"), manifest_key=manifest.key)
    where = (str(root), server.base_url, server.api_key)
    began = time.perf_counter()
    planned = in_a_process("plan", *where, json.dumps(run.to_json()))
    if planned["answer"]["done"]:
        print(f"{examples} examples: one request, {planned['seconds']:.1f} s, peak {planned['peak_mb']:.0f} MB")
        return
    items = json.loads(Folder(root).get(planned["answer"]["parts_key"]) or b"[]")
    after_plan = time.perf_counter()

    def send(item: dict[str, Any]) -> dict[str, Any]:
        return in_a_process("part", *where, item["plan"], item["upload_id"], str(item["part"]))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = list(pool.map(send, items))
    sent = time.perf_counter()
    done = in_a_process("plan", *where, json.dumps(planned["run"]))
    ended = time.perf_counter()
    found = json.loads(Folder(root).get(items[0]["plan"]) or b"{}")
    arrived = provider_at(*where[1:]).find_file(found["name"], found["size"])
    assert (done["answer"]["done"], done["run"]["files"]) == (True, {"training": arrived})
    size = found["size"]
    payload = len(json.dumps(planned["answer"]))
    results = len(json.dumps([{}] * len(items)))
    print(f"{examples:,} examples, {size:,} bytes in {len(items)} parts, {AT_ONCE} workers at once")
    print(
        f"  plan {planned['seconds']:6.1f} s, peak {planned['peak_mb']:.0f} MB (imports {planned['imports_mb']:.0f})"
    )
    print(
        f"  part {sum(part['seconds'] for part in parts) / len(parts):6.1f} s each, peak "
        f"{max(part['peak_mb'] for part in parts):.0f} MB; all parts {sent - after_plan:.1f} s"
    )
    print(f"  join {done['seconds']:6.1f} s, peak {done['peak_mb']:.0f} MB (joining is the provider's)")
    print(f"  all  {ended - began:6.1f} s; state payload {payload} bytes, the Map's answers {results} bytes")


def main() -> None:
    if sys.argv[1] in ("plan", "part"):
        worker(sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as folder, running_provider(Path(folder) / "provider") as server:
        measure(Path(folder), server, int(sys.argv[1]))


if __name__ == "__main__":
    main()
