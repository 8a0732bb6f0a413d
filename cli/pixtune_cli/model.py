"""`pixtune model ls | promote | rollback | history`: model versions and the aliases on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from pixtune_cli.display import json_line, line, next_step, say, table
from pixtune_cli.failures import Failure

if TYPE_CHECKING:
    from pixtune_cli.client import Api

app = typer.Typer(no_args_is_help=True, help="Model versions, and the names that move between them.")

Dataset = Annotated[str, typer.Argument(help="The dataset the models were trained on.")]
Alias = Annotated[str, typer.Option(help="The name that moves.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")]


def _api(ctx: typer.Context) -> Api:
    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    return Api(where)


def _path(dataset: str, alias: str | None = None) -> str:
    return f"/v1/models/{quote(dataset, safe='')}" + (f"/{quote(alias, safe='')}" if alias else "")


@app.command("ls")
def ls(ctx: typer.Context, dataset: Dataset, as_json: AsJson = False) -> None:
    """Model versions of a dataset, with their aliases."""
    models = _api(ctx).get(_path(dataset))["items"]
    if as_json:
        for model in models:
            json_line(model)
    else:
        table(
            ("version", "aliases", "model", "score", "run"),
            [
                (
                    model["number"],
                    ", ".join(model["aliases"]),
                    model["model_id"],
                    _share(model["score"]),
                    model["run_id"],
                )
                for model in models
            ],
        )
    if not models:
        say(f"{dataset} has no models yet.")
    next_step(f"pixtune model promote {dataset} VERSION" if models else f"pixtune run start {dataset} --wait")


@app.command()
def promote(
    ctx: typer.Context,
    dataset: Dataset,
    version: Annotated[str, typer.Argument(help="A model version, or a kept checkpoint of a run: RUN@STEP.")],
    alias: Alias = "champion",
    as_json: AsJson = False,
) -> None:
    """Move an alias to a model version, or back to any checkpoint that was kept."""
    body = _target(version)
    api = _api(ctx)
    moved = _move(api, dataset, alias, "promote", body)
    _show(moved, as_json)
    next_step(f"pixtune model history {dataset} --alias {alias}", f"pixtune model rollback {dataset} --alias {alias}")


@app.command()
def rollback(ctx: typer.Context, dataset: Dataset, alias: Alias = "champion", as_json: AsJson = False) -> None:
    """Move an alias back to where it was before."""
    api = _api(ctx)
    moved = _move(api, dataset, alias, "rollback", None)
    _show(moved, as_json)
    next_step(f"pixtune model history {dataset} --alias {alias}")


@app.command()
def history(ctx: typer.Context, dataset: Dataset, alias: Alias = "champion", as_json: AsJson = False) -> None:
    """Where an alias has been, newest first."""
    entries = _api(ctx).get(f"{_path(dataset, alias)}/history")["items"]
    if as_json:
        for entry in entries:
            json_line(entry)
    else:
        table(
            ("at", "what", "model version", "from", "by", "why"),
            [(e["moved_at"], e["action"], e["model_version"], e["previous"], e["by"], e["reason"]) for e in entries],
        )
    next_step(f"pixtune model rollback {dataset} --alias {alias}", f"pixtune model ls {dataset}")


def _move(api: Api, dataset: str, alias: str, verb: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Move the alias from where it is now; somebody else's move in between is a Failure, not overwritten."""
    path = _path(dataset, alias)
    known = {entry["alias"]: entry["etag"] for entry in api.get(_path(dataset))["aliases"]}
    if alias not in known and verb == "rollback":
        raise Failure(f"{dataset} has no alias {alias}.", "", f"pixtune model ls {dataset}")
    guard = {"If-Match": known[alias]} if alias in known else {"If-None-Match": "*"}
    moved, _ = api.call("POST", f"{path}/{verb}", body, guard)
    return moved


def _target(version: str) -> dict[str, Any]:
    run_id, at, step = version.rpartition("@")
    if not (step.isascii() and step.isdigit()) or (at and not run_id):
        raise typer.BadParameter(f"{version} is neither the number of a model version nor RUN@STEP.")
    return {"run_id": run_id, "step": int(step)} if at else {"model_version": int(step)}


def _show(moved: dict[str, Any], as_json: bool) -> None:
    if as_json:
        json_line(moved)
    else:
        line(f"{moved['alias']} -> model version {moved['model_version']} ({moved['model']['model_id']})")


def _share(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"
