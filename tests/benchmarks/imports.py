"""What a cold start costs: the import of every function's handler, as a ratio to a bare boto3 handler's.

Each import happens in a fresh process from the packages built for this machine (bytecode included), rounds
interleaved and shuffled; figures are CPU time less a bare interpreter's, medians. Trust ratios to about 15 %.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
FLOOR = "import awslambdaric.bootstrap, boto3; boto3.client('s3')"

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


def environment() -> dict[str, str]:
    """A function's variables: those Lambda sets, and a value for each the template names (none is asked anything)."""
    named = re.findall(r"^        ([A-Z][A-Z_]+):", TEMPLATE.read_text(), re.MULTILINE)
    made_up = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
    return dict.fromkeys(named, "1") | made_up | {"PATH": "/usr/bin:/bin", "AWS_DEFAULT_REGION": "us-east-1"}


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


def measure(build: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Function -> ratio to the floor. build: the folder of artifacts built for this machine."""
    variables = environment()
    runtime, layer = build / "runtime", build / "PixtuneLayer" / "python"
    scenarios: dict[str, tuple[str, list[Path]]] = {"(interpreter)": ("pass", []), "(floor)": (FLOOR, [runtime])}
    for folder in sorted(folder for folder in build.iterdir() if (folder / "handler.py").is_file()):
        # Its own package first, then the layer, then what the runtime gives: Lambda's order.
        scenarios[folder.name] = (f"{FLOOR}; import handler", [folder, layer, runtime])
    for code, paths in scenarios.values():
        _cpu_ms(code, paths, variables)  # writes bytecode, warms the disk's cache
    seen: dict[str, list[float]] = {name: [] for name in scenarios}
    rng = random.Random(1)
    for _ in range(rounds):
        order = list(scenarios)
        rng.shuffle(order)
        for name in order:
            seen[name].append(_cpu_ms(*scenarios[name], variables))
    median = {name: statistics.median(values) for name, values in seen.items()}
    bare = median.pop("(interpreter)")
    floor = median.pop("(floor)") - bare
    return {name: (value - bare) / floor for name, value in median.items()}


def packed_bytes(build: Path) -> dict[str, int]:
    """Function (and layer) -> bytes of its files, of the packages it links to as well."""
    return {folder.name: _bytes_below(folder) for folder in sorted(build.iterdir()) if folder.is_dir()}


def _bytes_below(folder: Path) -> int:
    return sum(
        (Path(place) / name).stat().st_size for place, _, names in os.walk(folder, followlinks=True) for name in names
    )
