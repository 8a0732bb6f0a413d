"""Publishing a large dataset version: how long it takes, how much memory, and which steps take it.

    python -m tests.benchmarks.publishing [examples, 50000]

Table and bucket are the local cloud's (MiniStack), in a process of its own; the publishing process talks to them over
HTTP through the shipped adapters. Of it are shown: wall time, its own CPU time (without the local cloud's) and the
peak of its resident memory, as a whole and by step.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
TABLE, BUCKET = "examples", "artifacts"
STEPS = (
    "stated_settings", "read_dataset", "lacking", "read_log", "list", "read_cut", "with_class_names", "apply_policy", "split", "version_digest",
    "take_number", "manifest_of", "store_rows", "store_manifest", "store_card",
)  # fmt: skip


@contextmanager
def local_cloud() -> Iterator[str]:
    """Its address, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(ROOT / ".venv-cloud" / "bin" / "python"), "-m", "pixtune_local.cloud.server",
            "--port", str(port), "--state-dir", folder, "--runtime", folder,
        ]  # fmt: skip
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "infra" / "local")})
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def fill(examples: int) -> None:
    """Put a dataset of this size into the local cloud that the environment names."""
    from tests.fakes.crowds import crowd

    from pixtune.aws import clients
    from pixtune.aws.items import to_item

    dynamodb, s3 = clients.dynamodb(), clients.s3()
    keys: list[Any] = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    attributes: list[Any] = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    dynamodb.create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST", KeySchema=keys, AttributeDefinitions=attributes
    )
    s3.create_bucket(Bucket=BUCKET)
    made = crowd(examples)
    waiting = iter(made.items.items())

    def put(batch: list[Any]) -> None:
        puts: list[Any] = [
            {"PutRequest": {"Item": to_item(item | {"pk": place.pk, "sk": place.sk})}} for place, item in batch
        ]
        dynamodb.batch_write_item(RequestItems={TABLE: puts})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, iter(lambda: list(islice(waiting, 25)), [])))
        list(pool.map(lambda kept: s3.put_object(Bucket=BUCKET, Key=kept[0], Body=kept[1]), made.segments.items()))


def measure() -> dict[str, Any]:
    """Publish in this process; {examples, digest, wall, cpu, base, peak, steps: {name: [wall, cpu, peak]}}; seconds, MB."""
    from tests.fakes.facts import DATASET

    from pixtune.aws import clients
    from pixtune.aws.buckets import Artifacts
    from pixtune.aws.examples_table import ExamplesTable, in_threads
    from pixtune.datasets import publish
    from pixtune.providers.limits import spec_for

    steps: dict[str, list[float]] = {}
    for name in STEPS:
        if hasattr(publish, name):
            setattr(publish, name, _timed(name, getattr(publish, name), steps))
    table, artifacts = ExamplesTable(clients.dynamodb(), TABLE), Artifacts(clients.s3(), BUCKET)
    spec = spec_for("openai", "gpt-4o-2024-08-06")
    base, began, used = _peak(), time.monotonic(), time.process_time()
    manifest, repaired = publish.publish(
        DATASET, table, artifacts, datetime.now(UTC), "bench", in_threads, lambda _: spec
    )
    return {
        "examples": len(manifest.examples),
        "repaired": repaired,
        "digest": manifest.digest,
        "wall": time.monotonic() - began,
        "cpu": time.process_time() - used,
        "base": base,
        "peak": _peak(),
        "steps": steps,
    }


def _timed(name: str, function: Callable[..., Any], steps: dict[str, list[float]]) -> Callable[..., Any]:
    def timed(*values: Any, **named: Any) -> Any:
        began, used = time.monotonic(), time.process_time()
        try:
            return function(*values, **named)
        finally:
            steps[name] = [time.monotonic() - began, time.process_time() - used, _peak()]

    return timed


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def published(examples: int) -> dict[str, Any]:
    """What `measure` finds, in a process of its own beside a local cloud that holds this many examples."""
    with local_cloud() as url:
        environment = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for job in ("fill", "measure"):
            command = [sys.executable, "-m", "tests.benchmarks.publishing", str(examples), job]
            done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def main() -> None:
    examples = int(sys.argv[1]) if sys.argv[1:] else 50_000
    if sys.argv[2:] == ["fill"]:
        fill(examples)
        return
    if sys.argv[2:] == ["measure"]:
        print(json.dumps(measure()))
        return
    found = published(examples)
    table = Table(title=f"Publishing {found['examples']:,} of {examples:,} examples", box=None)
    for heading in ("step", "seconds", "CPU", "peak MB"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    table.add_row("(imports)", "", "", f"{found['base']:.0f}")
    for name, (wall, cpu, peak) in found["steps"].items():
        table.add_row(name, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}")
    table.add_row("all", f"{found['wall']:.1f}", f"{found['cpu']:.1f}", f"{found['peak']:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
