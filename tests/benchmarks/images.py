"""Conversion side by side: ours end to end through the sandbox, plain Pillow, and pyvips and sharp where installed.

Figures are CPU time, rounds interleaved, medians, summed over a case's pictures: compare ratios, not milliseconds.
SSIM is of what each engine wrote against a full decode shrunk with Lanczos; memory is the peak of one conversion in
a fresh process beyond what it had after a tiny one.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table
from tests.benchmarks import pictures
from tests.benchmarks.engines import Child, Engine, Engines, Ours, recipe_of
from tests.benchmarks.pictures import Job

from pixtune.images import convert as converting
from pixtune.images import measures, steps

LARGE = 10_000_000  # pixels; whose peak of memory is measured, in fewer rounds
SHOWN = ("sandbox", "in process", "naive to JPEG", "pyvips", "sharp")
COMPARED = ("naive", "sandbox", "pyvips", "sharp")


@dataclass(frozen=True, slots=True)
class Row:
    """One case. ms: CPU milliseconds; size: bytes written; ssim, peak (MB): by engine, where measured."""

    case: str
    ms: dict[str, float]
    size: dict[str, int]
    ssim: dict[str, float]
    peak: dict[str, float]


def measured(
    case: str, jobs: list[Job], engines: Engines, names: list[str], rounds: int, memory: bool, folder: Path
) -> Row:
    outs = {name: folder / f"out-{name.replace(' ', '-')}" for name in names}
    ms, size = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    likeness: dict[str, list[float]] = {name: [] for name in names}
    for job in jobs:
        times = max(1, min(4, int(4e6 / job.pixels)))  # small pictures several times a round
        for name in names:
            engines.by_name[name].run(job, 1, outs[name])
        seen: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds if job.pixels < LARGE else min(rounds, 3)):
            for name in names:
                seen[name].append(engines.by_name[name].run(job, times, outs[name]).ms)
        reference = _reference(job)
        for name in names:
            ms[name] += statistics.median(seen[name])
            size[name] += outs[name].stat().st_size
            if name in COMPARED:
                likeness[name].append(_ssim(reference, outs[name]))
    memory = memory and jobs[0].detail == "high" and jobs[0].pixels > LARGE
    peak = {name: _peak(engines.by_name[name], jobs[0], folder) for name in names if memory and name in COMPARED}
    return Row(case, ms, size, {name: statistics.mean(values) for name, values in likeness.items() if values}, peak)


def _reference(job: Job) -> Image.Image:
    whole = Image.open(BytesIO(job.file.read_bytes())).convert("RGB")
    return whole if whole.size == job.target else whole.resize(job.target, Image.Resampling.LANCZOS)


def _ssim(reference: Image.Image, file: Path) -> float:
    import numpy
    from skimage.metrics import structural_similarity

    found = Image.open(BytesIO(file.read_bytes())).convert("RGB")
    if found.size != reference.size:  # an orientation that the reference does not follow
        return float("nan")
    pair = numpy.asarray(reference), numpy.asarray(found)
    return float(structural_similarity(*pair, channel_axis=2))  # type: ignore[no-untyped-call]  # it has no types


def _peak(engine: Engine, job: Job, folder: Path) -> float:
    tiny = folder / f"tiny{job.file.suffix}"
    with Image.open(job.file) as picture:
        Image.new("RGB", (64, 64)).save(tiny, picture.format)
    fresh: Engine = dataclasses.replace(engine, process=None) if isinstance(engine, Child) else Ours()
    try:
        before = fresh.run(dataclasses.replace(job, file=tiny), 1, folder / "out-tiny").peak
        return fresh.run(job, 1, folder / "out-tiny").peak - before
    finally:
        fresh.close()


def breakdown(job: Job, rounds: int) -> dict[str, float]:
    """Where the CPU milliseconds of one conversion go, by part; "all" is their sum, without the sandbox."""
    data, recipe = job.file.read_bytes(), recipe_of(job)
    spent: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return function(*values, **named)
            finally:
                spent.setdefault(name, []).append(1000 * (time.thread_time() - begun))

        return run

    places: list[tuple[Any, str, str]] = [
        (converting, "inspect", "look at the header"),
        (converting, "_decode", "decode"),
        (converting, "_shrunk", "thumbnail"),
        (converting, "_thumb", "thumbnail"),
        *((measures, name, "measure") for name in ("brightness", "sharpness", "information", "dhash")),
        (converting, "sha256", "hash"),
    ]
    kept = [(place, name, getattr(place, name)) for place, name, _ in places]
    kinds = dict(steps.STEPS)
    try:
        for place, name, part in places:
            setattr(place, name, timed(part, getattr(place, name)))
        for name, kind in kinds.items():
            steps.STEPS[name] = dataclasses.replace(kind, apply=timed(name, kind.apply))
        converting.convert(data, recipe, trusting=True)  # what is imported at first use
        spent.clear()
        for _ in range(rounds):
            timed("all", converting.convert)(data, recipe, trusting=True)
    finally:
        for place, name, function in kept:
            setattr(place, name, function)
        steps.STEPS.update(kinds)
    return {name: sum(values) / rounds for name, values in spent.items()}


def show(console: Console, quick: bool) -> None:
    rounds = 2 if quick else 5
    speed = Table(title="CPU of one conversion: how many times as fast as plain Pillow", box=None)
    quality = Table(title="What came out: SSIM less plain Pillow's, bytes against its, MB at the peak", box=None)
    columns = ("case", "naive ms", *SHOWN, "sandbox adds")
    for heading in columns:
        speed.add_column(heading, justify="left" if heading == "case" else "right")
    headings = ("case", "SSIM naive", "ours", "pyvips", "sharp", "bytes", *(f"MB {name}" for name in COMPARED))
    for heading in headings:
        quality.add_column(heading, justify="left" if heading == "case" else "right")
    with tempfile.TemporaryDirectory() as place, Engines() as engines:
        folder = Path(place)
        if engines.missing:
            console.print(f"[yellow]Without {' and '.join(engines.missing)}: not installed in .venv-bench.[/yellow]")
        for case, jobs in pictures.cases(folder, quick):
            to_jpeg = jobs[0].file.suffix not in (".jpeg", ".jpg")
            names = [name for name in engines.by_name if to_jpeg or name != "naive to JPEG"]
            row = measured(case, jobs, engines, names, rounds, not quick, folder)
            _add(speed, quality, row)
            console.print(f"[dim]{case}: x{row.ms['naive'] / row.ms['sandbox']:.2f} ...[/dim]")
        for case, jobs in pictures.kept(folder):
            row = measured(case, jobs, engines, ["naive", "sandbox", "in process"], rounds, False, folder)
            _add(speed, quality, row)
        large = Job(pictures.file_of(folder, "flower", "JPEG", pictures.MEGAPIXELS[12]), "12 MP", "high")
        parts = breakdown(large, rounds)
    console.print(speed, quality)
    whole = parts.pop("all")
    shares = sorted({**parts, "the rest": whole - sum(parts.values())}.items(), key=lambda part: -part[1])
    console.print(f"Where a 12 MP JPEG's {whole:.0f} ms go (without the sandbox):", end=" ")
    console.print(", ".join(f"{name} {100 * ms / whole:.1f} %" for name, ms in shares if ms / whole >= 0.001))


def _add(speed: Table, quality: Table, row: Row) -> None:
    plain = row.ms["naive"]
    ratios = [f"x{plain / row.ms[name]:.2f}" if name in row.ms else "" for name in SHOWN]
    adds = 100 * (row.ms["sandbox"] / row.ms["in process"] - 1)
    speed.add_row(row.case, f"{plain:.1f}", *ratios, f"{adds:+.0f} %")
    differences = [
        f"{row.ssim[name] - row.ssim['naive']:+.4f}" if name in row.ssim else ""
        for name in ("sandbox", "pyvips", "sharp")
    ]
    quality.add_row(
        row.case,
        f"{row.ssim['naive']:.4f}",
        *differences,
        f"{100 * (row.size['sandbox'] / row.size['naive'] - 1):+.0f} %",
        *(f"{row.peak[name]:.0f}" if name in row.peak else "" for name in COMPARED),
    )
