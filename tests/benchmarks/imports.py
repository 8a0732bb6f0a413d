"""What a cold start costs: the import of every function's handler, as a ratio to a bare boto3 handler's.

Each import happens in a fresh process from the packages built for this machine (bytecode included), rounds
interleaved and shuffled; figures are CPU time less a bare interpreter's, medians. Trust ratios to about 15 %.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
FLOOR = "import awslambdaric.bootstrap, boto3; boto3.client('s3')"

# What the template sets; a handler reads names at import at the most.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "POWERTOOLS_SERVICE_NAME": "pixtune",
}


def _cpu_ms(code: str, paths: list[Path], environment: dict[str, str]) -> float:
    """CPU time (user and system, children included) of one interpreter that runs `code`, in milliseconds."""
    setup = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}; "
    before = os.times()
    subprocess.run(
        [str(Path(sys.executable).resolve()), "-c", setup + code],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    return 1000 * (after.children_user + after.children_system - before.children_user - before.children_system)


def measure(build: Path, environment: dict[str, str]) -> dict[str, float]:
    """Function -> ratio to the floor. build: the folder of artifacts built for this machine."""
    runtime, layer = build / "runtime", build / "PixtuneLayer" / "python"
    scenarios: dict[str, tuple[str, list[Path]]] = {"(interpreter)": ("pass", []), "(floor)": (FLOOR, [runtime])}
    for folder in sorted(folder for folder in build.iterdir() if (folder / "handler.py").is_file()):
        # Its own package first, then the layer, then what the runtime gives: Lambda's order.
        scenarios[folder.name] = (f"{FLOOR}; import handler", [folder, layer, runtime])
    for code, paths in scenarios.values():
        _cpu_ms(code, paths, environment)  # writes bytecode, warms the disk's cache
    seen: dict[str, list[float]] = {name: [] for name in scenarios}
    rng = random.Random(1)
    for _ in range(ROUNDS):
        order = list(scenarios)
        rng.shuffle(order)
        for name in order:
            seen[name].append(_cpu_ms(*scenarios[name], environment))
    median = {name: statistics.median(values) for name, values in seen.items()}
    bare = median.pop("(interpreter)")
    floor = median.pop("(floor)") - bare
    return {name: (value - bare) / floor for name, value in median.items()}


def packed_bytes(build: Path) -> dict[str, int]:
    """Function (and layer) -> bytes of its files."""
    return {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in sorted(build.iterdir())
        if folder.is_dir()
    }
