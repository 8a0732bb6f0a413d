"""`make bench`: measurements side by side in one run. They are shown, never asserted: machines differ.

argv: `quick` for a subset that takes less than a minute; any of images, imports, throughput for those alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.benchmarks import images, imports, throughput

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".pixtune" / "build" / "host"


def cold_starts(console: Console, quick: bool) -> None:
    if not BUILD.is_dir():
        console.print("[yellow]Without imports: nothing is built for this machine yet; run `make up` once.[/yellow]")
        return
    sizes = imports.packed_bytes(BUILD)
    table = Table(title="A cold start's imports, as a ratio to a bare boto3 handler's", box=None)
    for heading in ("function", "ratio", "package MB"):
        table.add_column(heading, justify="left" if heading == "function" else "right")
    ratios = imports.measure(BUILD, rounds=1 if quick else imports.ROUNDS)
    for name, ratio in sorted(ratios.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{ratio:.2f}", f"{sizes[name] / 1e6:.1f}")
    table.add_row("(the layer)", "", f"{sizes['PixtuneLayer'] / 1e6:.1f}")
    console.print(table)


def main() -> None:
    asked = set(sys.argv[1:])
    quick = "quick" in asked
    parts = {"images": images.show, "throughput": throughput.show, "imports": cold_starts}
    unknown = asked - {"quick", *parts}
    if unknown:
        raise SystemExit(f"There is no {', '.join(sorted(unknown))} to measure; there are {', '.join(parts)}.")
    console = Console(width=120)
    for name, show in parts.items():
        if name in asked or not asked - {"quick"}:
            show(console, quick)


main()
