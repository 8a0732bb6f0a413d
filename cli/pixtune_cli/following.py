"""`pixtune run metrics | pause | unpause | cancel`: the curve of a run so far; holding it up or calling it off."""

from __future__ import annotations

from typing import Any

import typer

from pixtune_cli.display import json_line, line, next_step, say, sparkline, table
from pixtune_cli.run import AsJson, RunId, connected

_SHOWN_POINTS = 20
_FIGURES = ("train_loss", "valid_loss", "full_valid_loss", "train_mean_token_accuracy")


def metrics(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """The loss curve, also while the run trains: a bar for the whole of it, then its newest points."""
    from pixtune_cli.watching import path_of

    points = connected(ctx).get(f"{path_of(run_id)}/metrics")["items"]
    if as_json:
        for point in points:
            json_line(point)
    elif points:
        if losses := [point["train_loss"] for point in points if "train_loss" in point]:
            say(f"loss {sparkline(losses)} {losses[0]:.3f} → {losses[-1]:.3f}")
        named = [figure for figure in _FIGURES if any(figure in point for point in points)]
        table(("step", *named), [_row(point, named) for point in points[-_SHOWN_POINTS:]])
    else:
        say(f"{run_id} has no metrics yet.")
    next_step(f"pixtune run watch {run_id}")


def _row(point: dict[str, float], named: list[str]) -> list[object]:
    return [int(point["step"]), *(f"{point[name]:.4f}" if name in point else "" for name in named)]


def pause(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Hold a training up, where its provider can. The run's deadline goes on meanwhile."""
    _wish(ctx, run_id, "pause", as_json)
    next_step(f"pixtune run unpause {run_id}", f"pixtune run show {run_id}")


def unpause(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Let a training that was held up go on. (`resume` is for a run that failed.)"""
    _wish(ctx, run_id, "unpause", as_json)
    next_step(f"pixtune run watch {run_id}")


def cancel(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Call a run off: its provider job is cancelled, what it has stored stays, and it can be resumed."""
    _wish(ctx, run_id, "cancel", as_json)
    next_step(f"pixtune run show {run_id}", f"pixtune run resume {run_id}")


def _wish(ctx: typer.Context, run_id: str, verb: str, as_json: bool) -> None:
    from pixtune_cli.watching import path_of

    run: dict[str, Any]
    run, _ = connected(ctx).call("POST", f"{path_of(run_id)}/{verb}")
    if as_json:
        json_line(run)
    else:
        line(f"{run['run_id']}  {verb} asked for; now {run['status']}, provider job {run['provider_status']}")


def add_to(app: typer.Typer) -> None:
    for command in (metrics, pause, unpause, cancel):
        app.command()(command)
