"""`make bench`: measurements side by side in one run. They are shown, never asserted: machines differ."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.benchmarks import imports

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".pixtune" / "build" / "host"


def main() -> None:
    console = Console(width=100)
    if not BUILD.is_dir():
        raise SystemExit("Nothing is built for this machine yet; run `make up` once.")
    sizes = imports.packed_bytes(BUILD)
    table = Table(title="A cold start's imports, as a ratio to a bare boto3 handler's", box=None)
    for heading in ("function", "ratio", "package MB"):
        table.add_column(heading, justify="left" if heading == "function" else "right")
    for name, ratio in sorted(imports.measure(BUILD).items(), key=lambda item: -item[1]):
        table.add_row(name, f"{ratio:.2f}", f"{sizes[name] / 1e6:.1f}")
    table.add_row("(the layer)", "", f"{sizes['PixtuneLayer'] / 1e6:.1f}")
    console.print(table)


main()
