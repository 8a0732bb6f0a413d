"""`make bench`: measurements side by side in one run. They are shown, never asserted: machines differ."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.benchmarks import images, imports

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".pixtune" / "build" / "host"


def conversions(console: Console) -> None:
    """Our conversion beside the others; a ratio is how many times as fast as plain Pillow."""
    table = Table(title="Converting a picture: CPU against plain Pillow", box=None)
    for heading in (
        "case",
        "MB",
        "naive ms",
        "ours",
        "in process",
        "pyvips",
        "SSIM naive",
        "ours",
        "peak MB",
        "ours",
    ):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for row in images.measure(Path(folder)):
            plain = row.ms["naive"]
            ratios = [
                f"x{plain / row.ms[name]:.2f}" if name in row.ms else "-"
                for name in ("sandbox", "in process", "pyvips")
            ]
            table.add_row(
                row.case,
                f"{row.size / 1e6:.1f}",
                f"{plain:.0f}",
                *ratios,
                *(f"{value:.4f}" for value in row.ssim),
                *(f"{value:.0f}" for value in row.peak),
            )
            console.print(f"[dim]{row.case}[/dim]")
    console.print(table)


def cold_starts(console: Console) -> None:
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


def main() -> None:
    """argv: `images` or `imports` for one of the two; both without."""
    console = Console(width=120)
    for name, show in {"images": conversions, "imports": cold_starts}.items():
        if sys.argv[1:] in ([], [name]):
            show(console)


main()
