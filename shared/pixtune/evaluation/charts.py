"""Metric points in, inline SVG out: loss curves, coloured by the page's CSS variables. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 760, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 120, 14, 34
_WINDOW = 8  # steps in the running mean of the training loss, which is noisy at small batches

Point = tuple[float, float]


def running_mean(points: Sequence[Point], window: int = _WINDOW) -> list[Point]:
    """Each point's mean with up to `window` - 1 points before it."""
    means = []
    for number, (step, _) in enumerate(points):
        recent = [value for _, value in points[max(0, number - window + 1) : number + 1]]
        means.append((step, sum(recent) / len(recent)))
    return means


def series(points: Sequence[Mapping[str, float]], name: str) -> list[Point]:
    """(step, value) of every point that has this metric as a finite number."""
    return [(point["step"], point[name]) for point in points if math.isfinite(point.get(name, math.nan))]


def _ticks(highest: float, about: int) -> list[float]:
    """Round numbers from 0 to at least `highest`, two or more."""
    highest = max(highest, 1e-6)
    rough = highest / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough)
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)]


def loss_chart(points: Sequence[Mapping[str, float]], chosen_step: int | None) -> str:
    """Training loss (each step faint, its running mean strong), validation loss, and the full validation loss as
    dots; the chosen step is marked. Without any loss: a sentence."""
    train, valid = series(points, "train_loss"), series(points, "valid_loss")
    full = series(points, "full_valid_loss")
    everything = train + valid + full
    if not everything:
        return '<p class="quiet">The provider gave no loss.</p>'
    heights = _ticks(max(value for _, value in everything), 5)
    last = max(step for step, _ in everything)
    widths = [tick for tick in _ticks(last, 6) if tick <= last]

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(last, 1)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / heights[-1]

    def line(of: Sequence[Point], css: str) -> str:
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in of)
        return f'<polyline class="{css}" points="{path}"/>' if len(of) > 1 else ""

    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in heights
    ]
    parts += [
        f'<text class="tick" x="{x(tick):.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{tick:g}</text>'
        for tick in widths
    ]
    parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT + 10}" y="{_HEIGHT - 14}" text-anchor="start">step</text>')
    if chosen_step:
        parts.append(
            f'<line class="chosen" x1="{x(chosen_step):.1f}" x2="{x(chosen_step):.1f}" y1="{_TOP}"'
            f' y2="{_HEIGHT - _BOTTOM}"/>'
        )
    mean = running_mean(train)
    parts += [line(train, "train-raw"), line(valid, "valid"), line(mean, "train")]
    parts += [f'<circle class="full" cx="{x(step):.1f}" cy="{y(value):.1f}" r="4.5"/>' for step, value in full]
    labels = [
        (points[-1][1], css, name)
        for points, css, name in (
            (mean, "train", "training"),
            (valid, "valid", "validation"),
            (full, "full", "full valid."),
        )
        if points
    ]
    parts += _labels(labels, y)
    drawn = "".join(parts)
    title = "Loss over steps"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>{drawn}</svg>'
    )


def _labels(labels: Sequence[tuple[float, str, str]], y: object) -> list[str]:
    """Names of the curves at their right ends, moved apart where they would overlap."""
    assert callable(y)
    placed: list[str] = []
    below = -math.inf
    for value, css, name in sorted(labels, key=lambda label: -label[0]):
        at = max(y(value) + 4, below + 16)
        below = at
        placed.append(
            f'<text class="label {css}-label" x="{_WIDTH - _RIGHT + 10}" y="{at:.1f}">{escape(name)}</text>'
        )
    return placed
