"""How the command line speaks: data to stdout, talk to stderr; JSON lines, plain lines or rich ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pixtune_cli.failures import Failure

if TYPE_CHECKING:
    from rich.console import Console


@cache
def out() -> Console:
    """The console for data. (rich honours NO_COLOR, and writes no escapes where stdout is no terminal.)"""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


@cache
def talk() -> Console:
    """The console for everything that is not the answer."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    talk().print(text, markup=False)


def next_step(*commands: str) -> None:
    """What one would type now."""
    for word, command in zip(("next", *["or  "] * len(commands)), commands, strict=False):
        talk().print(f"{word}  [bold]{_escaped(command)}[/bold]")


def show_failure(failure: Failure) -> None:
    console = talk()
    console.print(f"[bold red]error[/bold red]  {_escaped(failure.what)}")
    if failure.why:
        console.print(f"why    {_escaped(failure.why)}")
    if failure.remedy:
        console.print(f"try    [bold]{_escaped(failure.remedy)}[/bold]")


def json_line(value: Any) -> None:
    """One JSON value as one line on stdout, there at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """One plain line of data on stdout, there at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def facts(values: Mapping[str, Any]) -> None:
    """Names and values, one a line; empty ones are left out."""
    shown = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        line(f"{name:<{width}}  {value}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people on a terminal; tab-separated lines, without a heading, in a pipe."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not out().is_terminal:
        for row in texts:
            line("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=None, pad_edge=False)
    for row in texts:
        grid.add_row(*(Text(cell) for cell in row))
    out().print(grid)


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Values as bars from the lowest to the highest, thinned out to `width` of them."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    picked = [values[int(index * step)] for index in range(min(len(values), width))]
    low, high = min(picked), max(picked)
    scale = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / scale * 7)] for value in picked)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
