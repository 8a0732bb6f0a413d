"""`pixtune run approve | deny`: a person's answer to what a training may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixtune_cli.display import json_line, line, next_step, say
from pixtune_cli.failures import Failure

RunId = Annotated[str, typer.Argument(help="A run that waits for approval, run_...")]
Why = Annotated[str, typer.Option(help="What to say with it; kept on the run.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")]


def add_to(app: typer.Typer) -> None:
    app.command()(approve)
    app.command()(deny)


def approve(ctx: typer.Context, run_id: RunId, why: Why = "", as_json: AsJson = False) -> None:
    """Let a run that waits for approval be paid for, up to the high end of its estimate."""
    run = _decide(ctx, run_id, "approve", why, as_json)
    if not as_json:
        line(f"{run_id}  approved{_up_to(run)}")
    next_step(f"pixtune run watch {run_id}")


def deny(ctx: typer.Context, run_id: RunId, why: Why = "", as_json: AsJson = False) -> None:
    """End a run that waits for approval; nothing is charged. `pixtune run resume` asks again."""
    _decide(ctx, run_id, "deny", why, as_json)
    if not as_json:
        line(f"{run_id}  denied")
    next_step(f"pixtune run resume {run_id}")


def _decide(ctx: typer.Context, run_id: str, verb: str, why: str, as_json: bool) -> dict[str, Any]:
    from pixtune_cli import target
    from pixtune_cli.client import Api
    from pixtune_cli.watching import path_of

    if len(why) > 500:
        raise Failure("--why is longer than 500 characters.", f"It has {len(why)}.", "say it shorter")
    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    run, _ = Api(where).call("POST", f"{path_of(run_id)}/{verb}", {"why": why})
    if as_json:
        json_line(run)
    return run


def _up_to(run: dict[str, Any]) -> str:
    dollars = run["approval"]["usd"]
    return f" up to {dollars:.2f} USD" if dollars is not None else ", whatever it costs: its price is not known"
