"""Conversion side by side: the sandbox, the same code without it, plain Pillow, and pyvips when it is installed.

Pictures are drawn: noise at several scales, as dense as a photograph's detail. Figures are CPU time (user and system,
of the decoder's process too), rounds interleaved, medians; compare ratios. SSIM is of the encoded picture against a
full decode shrunk with Lanczos; memory is the peak over a process that has only started.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import psutil
from PIL import Image, ImageOps
from skimage.metrics import structural_similarity

from pixtune.images.convert import convert
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.images.steps import fit

ROUNDS = 5
MEGAPIXELS = {1: (1152, 864), 3: (2000, 1500), 12: (4000, 3000), 24: (6000, 4000)}
CASES = [
    *(("JPEG", size, detail) for detail in ("high", "low") for size in MEGAPIXELS),
    *((format_, size, "high") for format_ in ("PNG", "WEBP") for size in MEGAPIXELS),
]
_SAVED = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}, "WEBP": {"quality": 85, "method": 0}}
_BOXES = {"high": (2048, 768), "low": (512, 512)}


@dataclass(frozen=True, slots=True)
class Row:
    """One case. ms: CPU milliseconds by engine. ssim, peak: naive's and ours; peak in MB. bytes: of the file."""

    case: str
    size: int
    ms: dict[str, float]
    ssim: tuple[float, float]
    peak: tuple[float, float]


def photograph(width: int, height: int, seed: int = 1) -> Image.Image:
    """Clouds of noise from 256 pixels down to 4: many colours, no flat area, about 1.5 bits a pixel as JPEG."""
    random = numpy.random.default_rng(seed)
    picture = numpy.full((height, width, 3), 128, numpy.float32)
    for side, strength in ((256, 60), (64, 40), (16, 22), (4, 8)):
        coarse = random.normal(0, strength, (height // side + 2, width // side + 2, 3)).astype(numpy.float32)
        for band in range(3):
            cloud = Image.fromarray(coarse[..., band]).resize((width, height), Image.Resampling.BICUBIC)
            picture[..., band] += numpy.asarray(cloud)
    return Image.fromarray(numpy.clip(picture, 0, 255).astype(numpy.uint8))


def naive(data: bytes, box: tuple[int, int]) -> bytes:
    """What one writes first: open, turn upright, shrink with Lanczos, save in the format it came in."""
    opened = Image.open(BytesIO(data))
    picture = ImageOps.exif_transpose(opened)
    size = fit(*picture.size, long_side=box[0], short_side=box[1])
    small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, opened.format, quality=85)
    return out.getvalue()


def _pyvips() -> Callable[[bytes, tuple[int, int]], bytes] | None:
    if importlib.util.find_spec("pyvips") is None:
        return None
    vips: Any = importlib.import_module("pyvips")  # Any: it has no types and need not be there
    vips.concurrency_set(1)

    def shrink(data: bytes, box: tuple[int, int]) -> bytes:
        size = fit(*Image.open(BytesIO(data)).size, long_side=box[0], short_side=box[1])
        small = vips.Image.thumbnail_buffer(data, size[0], height=size[1], size="force")
        return bytes(small.jpegsave_buffer(Q=85, strip=True))

    return shrink


def _cpu(worker: psutil.Process | None) -> float:
    used = time.process_time()
    if worker:
        times = worker.cpu_times()
        used += times.user + times.system
    return used


def _peaks(path: Path, detail: str) -> tuple[float, float]:
    """MB that plain Pillow and a fresh decoder process take at their peak beyond what they start with."""
    command = [sys.executable, "-m", "tests.benchmarks.images", str(path), detail]
    plain = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    recipe = Recipe.low() if detail == "low" else Recipe.default()
    tiny = BytesIO()
    photograph(64, 64).save(tiny, "PNG")
    with Sandbox() as sandbox:
        sandbox.convert(tiny.getvalue(), recipe)
        before = _high_water(sandbox.worker_pid)
        sandbox.convert(path.read_bytes(), recipe)
        return plain, _high_water(sandbox.worker_pid) - before


def _high_water(process: object) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def measure(folder: Path) -> Iterator[Row]:
    """One row per case, as it is done. folder: where the pictures are written."""
    vips = _pyvips()
    with Sandbox() as sandbox:
        for format_, size, detail in CASES:
            path = folder / f"{size}.{format_.lower()}"
            if not path.exists():
                photograph(*MEGAPIXELS[size]).save(path, format_, **_SAVED[format_])
            yield _row(path, f"{format_} {size} MP {detail}", detail, sandbox, vips)


def _row(
    path: Path, case: str, detail: str, sandbox: Sandbox, vips: Callable[[bytes, tuple[int, int]], bytes] | None
) -> Row:
    data, box = path.read_bytes(), _BOXES[detail]
    # Nothing is kept as it is here: the drawn 1 MP pictures have more than 768 lines.
    recipe = Recipe.low() if detail == "low" else Recipe.default()
    engines: dict[str, Callable[[], bytes]] = {
        "naive": lambda: naive(data, box),
        "sandbox": lambda: sandbox.convert(data, recipe).content,
        "in process": lambda: convert(data, recipe, trusting=True).content,
    }
    if vips:
        engines["pyvips"] = lambda: vips(data, box)
    outputs = {name: run() for name, run in engines.items()}
    worker = psutil.Process(sandbox.worker_pid)
    seen: dict[str, list[float]] = {name: [] for name in engines}
    # A process's times count in ticks of 10 ms, so a cheap picture is converted several times a round.
    times = max(1, int(24e6 / (Image.open(path).width * Image.open(path).height)))
    for _ in range(ROUNDS):
        for name, run in engines.items():
            before = _cpu(worker)
            for _ in range(times):
                run()
            seen[name].append(1000 * (_cpu(worker) - before) / times)
    whole = Image.open(BytesIO(data)).convert("RGB")
    reference = numpy.asarray(
        whole.resize(fit(*whole.size, long_side=box[0], short_side=box[1]), Image.Resampling.LANCZOS)
    )

    def likeness(content: bytes) -> float:
        found = numpy.asarray(Image.open(BytesIO(content)))
        return float(structural_similarity(reference, found, channel_axis=2))  # type: ignore[no-untyped-call]  # no types

    return Row(
        case,
        len(data),
        {name: statistics.median(values) for name, values in seen.items()},
        (likeness(outputs["naive"]), likeness(outputs["sandbox"])),
        _peaks(path, detail),
    )


def main() -> None:
    """Print how many MB plain Pillow takes for one file. argv: the file, its detail."""
    data, box = Path(sys.argv[1]).read_bytes(), _BOXES[sys.argv[2]]
    tiny = BytesIO()
    Image.new("RGB", (64, 64)).save(tiny, "JPEG")
    naive(tiny.getvalue(), box)
    before = _high_water("self")
    naive(data, box)
    sys.stdout.write(str(_high_water("self") - before))


if __name__ == "__main__":
    main()
