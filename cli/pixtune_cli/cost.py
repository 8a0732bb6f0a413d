"""`pixtune cost`: what a training would cost, and its model in use, before anybody asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixtune_cli.display import facts, json_line, line, next_step, say, table


def add_to(app: typer.Typer) -> None:
    app.command()(cost)


def cost(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@V]", help="As it is now, or its published version V.")],
    provider: Annotated[str | None, typer.Option(help="Where to train; without it, the dataset's own.")] = None,
    model: Annotated[str | None, typer.Option(help="The base model; without it, the provider's first.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; else the provider's choice.")
    ] = None,
    detail: Annotated[str | None, typer.Option(help="low or high; without it, the dataset's own.")] = None,
    traffic: Annotated[
        str,
        typer.Option(metavar="N/day", help="Requests to the trained model: N/day or N/month."),
    ] = "1000/day",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of text.")] = False,
) -> None:
    """Low, middle and high estimate of training and of use, by detail, with what cheaper settings save."""
    from pixtune_cli import target
    from pixtune_cli.client import Api
    from pixtune_cli.run import dataset_and_version

    name, version = dataset_and_version(dataset)
    asked = {
        "dataset": name,
        "version": version,
        "provider": provider,
        "base_model": model,
        "n_epochs": epochs,
        "detail": detail,
        "requests_per_day": per_day(traffic),
    }
    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    found, _ = Api(where).call("POST", "/v1/estimates", asked)
    if as_json:
        json_line(found)
    else:
        _show(found)
    chosen = found["offer"]
    next_step(f"pixtune run start {dataset} --provider {chosen['provider']} --base-model {chosen['base_model']}")


def per_day(traffic: str) -> float:
    """`500`, `500/day` or `15000/month` as requests a day (a month has 30). Raises Failure for another form."""
    from pixtune_cli.failures import Failure

    number, _, period = traffic.partition("/")
    if period not in ("", "day", "month") or not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise Failure(f"--traffic {traffic} is no number of requests.", "", "--traffic 1000/day")
    return float(number) / (30 if period == "month" else 1)


def _show(found: dict[str, Any]) -> None:
    offer, prices = found["offer"], found["prices"]
    which = f"version {found['version']}" if found["version"] else "as it is now"
    rows = ", ".join(f"{count} {split}" for split, count in found["rows_by_split"].items())
    learned = f"calibrated by {offer['observed']} earlier bills" if offer["observed"] else None
    facts(
        {
            "dataset": f"{found['dataset']} {which} ({rows})",
            "train at": f"{offer['provider']}, {offer['base_model']}",
            "epochs": _band(offer["epochs"], "") + ("" if offer["epochs_asked"] else " (the provider's choice)"),
            "tokens": _band(offer["tokens"], "") + (f" ({learned})" if learned else ""),
            "by the rules": _band(offer["raw_tokens"], "") if learned else None,
            "prices": f"{prices['read']}, {prices['where']}" if prices else "not published: tokens only",
            "": None if not prices or prices["verified"] else "The prices are second-hand.",
        }
    )
    line("")
    monthly = offer["inference"]["requests_per_month"]
    table(
        ("detail", "training and evaluation", "1,000 requests", f"a month of {monthly:,}"),
        [
            (
                detail + (" (asked)" if detail == offer["detail"] else ""),
                _band(one["usd"], " USD") if one["usd"] else _band(one["tokens"], " tokens"),
                _band(one["inference"]["usd_per_1000_requests"], " USD")
                if one["usd"]
                else _band(one["inference"]["tokens_per_request"], " tokens each"),
                _band(one["inference"]["usd_per_month"], " USD") if one["usd"] else "",
            )
            for detail, one in found["by_detail"].items()
        ],
    )
    if found["savings"]:
        line("")
        table(
            ("cheaper", "training", "saves", "saves a month"),
            [
                (
                    saving["setting"],
                    f"{saving['usd']:,.2f} USD",
                    f"{saving['saves_usd']:,.2f} USD",
                    f"{saving['saves_usd_per_month']:,.2f} USD",
                )
                for saving in found["savings"]
            ],
        )


def _band(band: dict[str, float], unit: str) -> str:
    """Low to high, the middle in brackets; one number where all are the same."""
    low, mid, high = (_number(band[name]) for name in ("low", "mid", "high"))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit} (middle {mid})"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
