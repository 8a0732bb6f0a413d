"""`pixtune up | down | status | demo`: the whole service on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixtune_cli.display import facts, json_line, next_step, say, table
from pixtune_cli.failures import Exit, Failure


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status, demo):
        app.command()(command)


def checkout(start: Path) -> Path:
    """The project's folder at or above `start`: the local stack is built from its template and functions."""
    for folder in (start, *start.parents):
        if (folder / "template.yaml").is_file() and (folder / "functions").is_dir():
            return folder
    raise Failure(
        f"{start} is not inside a checkout of pixtune.",
        "The local stack is built from template.yaml and functions/.",
        "cd to the checkout",
    )


def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier local stack held.")] = False,
    port: Annotated[
        int | None, typer.Option(help="Where the local cloud listens; without it, any free port.")
    ] = None,
) -> None:
    """Start the service on this machine: no AWS account, no API key."""
    from pixtune_local.cloud import stack

    try:
        info = stack.up(checkout(Path.cwd()), port=port, fresh=fresh, echo=say)
    except stack.StackFailed as error:
        raise Failure("The local stack did not start.", str(error), "pixtune up --fresh", Exit.BUG) from None
    facts(
        {
            "api": info.api_url,
            "s3": info.endpoint_url,
            "uploads": f"s3://{info.outputs['UploadsBucket']}",
            "artifacts": f"s3://{info.outputs['ArtifactsBucket']}",
            "provider": f"{info.provider_url} (a small local model, no real provider)",
            "logs": info.logs,
        }
    )
    say("Nothing here talks to AWS or to a paid API.")
    next_step("pixtune data push DIR --dataset NAME", "pixtune demo")


def down() -> None:
    """Stop the local stack."""
    from pixtune_local.cloud import stack

    stopped = stack.down(checkout(Path.cwd()))
    say(f"Stopped: {', '.join(stopped)}." if stopped else "No local stack was up.")
    next_step("pixtune up")


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False) -> None:
    """What runs on this machine, where it listens, and what waits in its queues."""
    from dataclasses import asdict

    from pixtune_local.cloud import stack

    found = stack.status(checkout(Path.cwd()))
    if found.info is None:
        raise Failure("No local stack is up.", remedy="pixtune up")
    if as_json:
        shown = asdict(found)
        del shown["info"]["secret_access_key"]
        json_line(shown)
    else:
        info = found.info
        state = {name: "running" if runs else "dead" for name, runs in found.alive.items()}
        where = {"cloud": info.endpoint_url, "provider": info.provider_url}
        processes = {name: f"{state[name]}  {where.get(name, '')}" for name in state}
        facts(processes | {"api": info.api_url, "logs": info.logs})
        busy = [queue for queue in found.queues + found.dead_letter_queues if queue.waiting or queue.in_flight]
        if busy:
            table(("queue", "waiting", "in flight"), [(queue.name, queue.waiting, queue.in_flight) for queue in busy])
    if not all(found.alive.values()):
        raise Failure(
            "A part of the local stack has died.", f"Its log is in {found.info.logs}.", "pixtune up", Exit.BUG
        )
    next_step("pixtune run ls", "pixtune down")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the local stack up.")] = False,
) -> None:
    """From sample pictures to a promoted model on this machine, told as it happens."""
    from pixtune_local.demo.narrate import run

    code = run(checkout(Path.cwd()), keep=keep)
    if code:
        raise typer.Exit(code)
