"""Publishing a large dataset version: how long it takes, how much memory, and which steps take it.

    python -m tests.benchmarks.publishing [examples, 50000]

The publishing process talks over HTTP, through the shipped adapters and botocore, to a stand-in for DynamoDB and S3
(`wire`) in another process. Shown are its wall time, its own CPU time and the peak of its resident memory, as a whole
and by step. The machine's other work shows in the wall time, and AWS's own time is not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.benchmarks.wire import Cloud, served
from tests.fakes.crowds import crowd

from pixtune.aws.items import to_item

ROOT = Path(__file__).resolve().parents[2]
TABLE, BUCKET = "examples", "artifacts"
STEPS = (
    "stated_settings", "examples_of", "judged_uploads", "lacking", "read_cut", "with_class_names", "apply_policy",
    "split", "version_digest", "take_number", "manifest_of", "store_rows", "store_card",
)  # fmt: skip


def measure() -> dict[str, Any]:
    """Publish in this process, and tell it in seconds and MB: steps has [wall, cpu, peak] by name.

    shown: the same for what the API is asked of such a dataset.
    """
    from tests.fakes.facts import DATASET

    from pixtune.aws import clients
    from pixtune.aws.buckets import Artifacts
    from pixtune.aws.examples_table import ExamplesTable
    from pixtune.aws.threads import in_threads
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
    wall, cpu, peak = time.monotonic() - began, time.process_time() - used, _peak()
    shown: dict[str, list[float]] = {}
    _timed("GET the dataset", table.summary, shown)(DATASET)
    _timed("GET 100 examples", table.examples_page, shown)(DATASET, state=None, limit=100, after=None)
    _timed("GET rejected uploads", table.uploads_page, shown)(DATASET, outcome="rejected", limit=100, after=None)
    return {
        "examples": len(manifest.examples),
        "repaired": repaired,
        "digest": manifest.digest,
        "wall": wall,
        "cpu": cpu,
        "base": base,
        "peak": peak,
        "steps": steps,
        "shown": shown,
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
    """Of this program alone: what getrusage says begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def published(examples: int) -> dict[str, Any]:
    """What `measure` finds, in a process of its own, of a dataset of this size."""
    made, cloud = crowd(examples), Cloud()
    for place, item in made.items.items():
        cloud.put(to_item(item | {"pk": place.pk, "sk": place.sk}))
    cloud.objects.update(made.segments)
    del made
    with served(cloud) as url:
        environment = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        command = [sys.executable, "-m", "tests.benchmarks.publishing", str(examples), "measure"]
        done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    examples = int(sys.argv[1]) if sys.argv[1:] else 50_000
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
    for name, (wall, cpu, peak) in found["shown"].items():
        table.add_row(name, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
