"""`pixtune run start | watch | show | ls | resume`: training runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from pixtune_cli.display import facts, json_line, line, next_step, say, table
from pixtune_cli.failures import Failure

if TYPE_CHECKING:
    from pixtune_cli.client import Api

app = typer.Typer(no_args_is_help=True, help="Training runs: start one, follow it, look at it, take it up again.")

RunId = Annotated[str, typer.Argument(help="A run's id, run_...")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")]
TimeLimit = Annotated[
    float | None, typer.Option(min=1, help="Stop watching after so many seconds, with exit code 5.")
]


def dataset_and_version(named: str) -> tuple[str, int | None]:
    """`plants@3` as ("plants", 3), `plants` as ("plants", None). Raises Failure for another form."""
    name, at, version = named.partition("@")
    if at and not (version.isascii() and version.isdigit() and int(version) >= 1):
        raise Failure(
            f"{named} names no version.", "A version is a number.", f"{name}@1, as `pixtune data show` lists"
        )
    return name, int(version) if at else None


def connected(ctx: typer.Context) -> Api:
    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    return Api(where)


@app.command()
def start(
    ctx: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET[@V]",
            help="What to train on: all it holds when its uploads have settled, or exactly its published version V.",
        ),
    ],
    provider: Annotated[
        str | None, typer.Option(help="Where; without it, the dataset's or the deployment's own.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="What training starts from.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="A multiplier of the provider's own rate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train even though the same training was done before.")
    ] = False,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Refuse to train when the high estimate is above.")
    ] = None,
    approval_above: Annotated[
        float | None, typer.Option(min=0, help="From this high estimate on, in US dollars, wait for approval.")
    ] = None,
    accept_retirement: Annotated[
        bool, typer.Option("--accept-retirement", help="Train though the base model stops answering soon.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it to its end.")] = False,
    timeout: TimeLimit = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Makes repeating this command safe; without it, one is made up.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a training run."""
    from uuid import uuid4

    from pixtune_cli import watching

    name, version = dataset_and_version(dataset)
    asked = {
        "dataset": name,
        "version": version,
        "provider": provider,
        "base_model": base_model,
        "hyperparameters": {
            "n_epochs": epochs,
            "batch_size": batch_size,
            "learning_rate_multiplier": learning_rate,
        },
        "seed": seed,
        "again": again,
        "max_usd": max_usd,
        "approval_above_usd": approval_above,
        "accept_retirement": accept_retirement,
    }
    api = connected(ctx)
    answer, headers = api.call("POST", "/v1/runs", asked, {"Idempotency-Key": idempotency_key or str(uuid4())})
    run_id = answer["run_id"]
    if headers.get("idempotent-replayed") == "true":
        say("This request was made before; it has this run:")
    elif answer["shared"]:
        say("A run with these settings has not cut its data yet; it takes in this request:")
    if as_json:
        json_line(answer)
    else:
        line(run_id)
    if wait:
        watching.follow(api, run_id, as_json, timeout)
    else:
        next_step(f"pixtune run watch {run_id}")


@app.command()
def watch(ctx: typer.Context, run_id: RunId, timeout: TimeLimit = None, as_json: AsJson = False) -> None:
    """Follow a run until it ends. Ctrl-C stops watching, never the run."""
    from pixtune_cli import watching

    watching.follow(connected(ctx), run_id, as_json, timeout)


@app.command()
def show(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Everything known of a run: status, checkpoints and what happened when."""
    from pixtune_cli.watching import path_of

    api = connected(ctx)
    path = path_of(run_id)
    run = api.get(path)
    checkpoints, events = api.get(f"{path}/checkpoints")["items"], api.get(f"{path}/events")["items"]
    if as_json:
        json_line(run | {"checkpoints": checkpoints, "events": events})
    else:
        facts(_shown(run))
        if checkpoints:
            line("")
            table(
                ("step", "model", "loss", "score", "kept"),
                [
                    (point["step"], point["model_id"], _loss(point["metrics"]), _share(point["score"]), _kept(point))
                    for point in checkpoints
                ],
            )
        if events:
            line("")
            table(("at", "level", "event", ""), [(e["at"], e["level"], e["name"], e["text"]) for e in events])
    next_step(*_next_of(run))


@app.command("ls")
def ls(
    ctx: typer.Context,
    dataset: Annotated[
        str | None, typer.Argument(help="Of this dataset; without it, the runs that are live.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Runs, newest first."""
    api = connected(ctx)
    cursor: str | None = None
    rows: list[dict[str, Any]] = []
    while True:
        page = api.get("/v1/runs", dataset=dataset, limit=100, cursor=cursor)
        rows += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json:
        for run in rows:
            json_line(run)
    else:
        table(
            ("run", "dataset", "version", "status", "stage", "requested"),
            [
                (run["run_id"], run["dataset"], run["version"], run["status"], run["stage"], run["requested_at"])
                for run in rows
            ],
        )
    if not rows:
        say(f"{dataset} has no runs." if dataset else "No run is live.")
    next_step("pixtune run show RUN" if rows else f"pixtune run start {dataset or 'DATASET'}")


@app.command()
def resume(
    ctx: typer.Context,
    run_id: RunId,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it to its end.")] = False,
    timeout: TimeLimit = None,
    as_json: AsJson = False,
) -> None:
    """Take a failed run up again: it keeps its version, its uploaded files and its provider job."""
    from pixtune_cli import watching

    api = connected(ctx)
    run, _ = api.call("POST", f"{watching.path_of(run_id)}/resume")
    if as_json:
        json_line(run)
    else:
        line(f"{run['run_id']}  attempt {run['attempt']}")
    if wait:
        watching.follow(api, run_id, as_json, timeout)
    else:
        next_step(f"pixtune run watch {run_id}")


def _shown(run: dict[str, Any]) -> dict[str, Any]:
    settings = run["settings"]
    chosen = {name: value for name, value in settings["hyperparameters"].items() if value is not None}
    failure = run["failure"] or {}
    return {
        "run": run["run_id"],
        "status": run["status"],
        "stage": run["stage"],
        "dataset": f"{run['dataset']} version {run['version']}" if run["version"] else run["dataset"],
        "provider": settings["provider"],
        "base model": settings["base_model"],
        "hyperparameters": ", ".join(f"{name} {value}" for name, value in chosen.items()),
        "seed": settings["seed"],
        "may cost": _cost(run),
        "approval": _approval(run.get("approval") or {}),
        "billed": _billed(run.get("reconciled") or {}),
        "requested": f"{run['requested_at']} by {run['door']}",
        "attempt": run["attempt"] if run["attempt"] > 1 else None,
        "provider job": run["provider_job_id"],
        "provider says": run["provider_status"],
        "asked": run["asked"],
        "stuck since": run["stuck_at"],
        "joined": run["joined"],
        "chosen step": run["chosen_step"],
        "model version": run["model_version"],
        "ended": run["ended_at"],
        "failed because": failure.get("cause"),
        "what to do": failure.get("fix"),
    }


def _cost(run: dict[str, Any]) -> str | None:
    """The estimate: dollars where prices are known, else tokens."""
    estimate = run.get("estimate") or {}
    if dollars := estimate.get("usd"):
        return f"{dollars['low']:,.2f} to {dollars['high']:,.2f} USD (prices of {estimate['price_date']})"
    tokens = estimate.get("tokens")
    return f"{tokens['low']:,} to {tokens['high']:,} tokens; prices are not published" if tokens else None


def _approval(approval: dict[str, Any]) -> str | None:
    if not approval:
        return None
    why = f": {approval['why']}" if approval["why"] else ""
    return "asked for" if approval["state"] == "asked" else f"{approval['state']} by {approval['by']}{why}"


def _billed(bill: dict[str, Any]) -> str | None:
    """The provider's own figure beside ours."""
    if not bill:
        return None
    return f"{bill['billed']:,} tokens; {bill['estimated']:,} were estimated (ratio {bill['ratio']:.2f})"


def _next_of(run: dict[str, Any]) -> tuple[str, ...]:
    if run["status"] == "succeeded":
        return (f"pixtune model ls {run['dataset']}",)
    if run["status"] == "failed":
        return (f"pixtune run resume {run['run_id']}",)
    if run["status"] == "joined":
        return (f"pixtune run show {quote(run['joined'])}",)
    if run["status"] == "cancelled":
        return (f"pixtune run start {run['dataset']}",)
    if run["stage"] == "AwaitApproval" and (run.get("approval") or {}).get("state") == "asked":
        return (f"pixtune run approve {run['run_id']}", f"pixtune run deny {run['run_id']}")
    return (f"pixtune run watch {run['run_id']}",)


def _loss(metrics: dict[str, float]) -> str:
    value = metrics.get("full_valid_loss", metrics.get("valid_loss", metrics.get("train_loss")))
    return "" if value is None else f"{value:.4f}"


def _kept(point: dict[str, Any]) -> str:
    if point["kept"] is None:
        return ""
    return f"{'kept' if point['kept'] else 'not kept'}: {point['kept_because']}"


def _share(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"
