"""`pixtune provider ls | limits | check`: where a dataset could be trained, by which figures, and does it answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from pixtune_cli.display import json_line, line, next_step, say, table
from pixtune_cli.failures import Exit, Failure

if TYPE_CHECKING:
    from pixtune.providers.limits import Limits
    from pixtune_cli.client import Api

app = typer.Typer(no_args_is_help=True, help="Providers: what they take, until when, and whether they answer.")

Named = Annotated[str, typer.Argument(metavar="PROVIDER[/MODEL]", help="A provider, or one of its base models.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")]
Own = Annotated[
    Path | None,
    typer.Option(
        envvar="PIXTUNE_LIMITS",
        exists=True,
        dir_okay=False,
        help="Your own limits table over the one that ships; nothing is asked of a stack.",
    ),
]


@app.command()
def ls(ctx: typer.Context, limits: Own = None, as_json: AsJson = False) -> None:
    """Every provider and base model: whether jobs can be launched there, and until when."""
    if limits is not None:
        items = [spec.to_json() for spec in _read(limits).specs.values()]
    else:
        items = _api(ctx).get("/v1/providers")["items"]
    if as_json:
        for item in items:
            json_line(item)
        return
    columns = ("provider", "base model", "jobs", "trains until", "answers until")
    table(columns, [_listed(item) for item in items])
    next_step("pixtune provider limits PROVIDER", "pixtune data lint DATASET --provider PROVIDER")


@app.command(name="limits")
def show_limits(ctx: typer.Context, named: Named, limits: Own = None, as_json: AsJson = False) -> None:
    """Every figure with its source and the day it was read. Unverified: second-hand, inferred, or never tried."""
    provider, base_model = _split(named)
    if limits is not None:
        items = [spec.to_json() | {"figures": spec.figures()} for spec in _of(_read(limits), provider, base_model)]
    else:
        items = _api(ctx).get(f"{_path(provider)}/limits", base_model=base_model)["items"]
    for item in items:
        if as_json:
            json_line(item)
            continue
        say(f"{item['provider']}/{item['base_model']}: {item['title']}")
        columns = ("figure", "value", "read", "", "source")
        table(columns, [_figure(figure) for figure in item["figures"]])


@app.command()
def check(ctx: typer.Context, named: Named, as_json: AsJson = False) -> None:
    """Ask the provider, through the stack and without cost: does it answer, does the key work, is the model there?"""
    provider, base_model = _split(named)
    answer, _ = _api(ctx).call("POST", f"{_path(provider)}/check", query={"base_model": base_model})
    if as_json:
        json_line(answer)
    elif answer["ok"]:
        line(f"{answer['provider']}/{answer['base_model']}: {answer['detail']}")
    if not answer["ok"]:
        what = f"{answer['provider']} cannot train {answer['base_model']} now."
        raise Failure(what, answer["detail"], answer["fix"], Exit.PROVIDER)


def _api(ctx: typer.Context) -> Api:
    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    return Api(where)


def _read(own: Path) -> Limits:
    from pixtune.errors import LimitsRefused
    from pixtune.providers.limits import limits_with

    try:
        return limits_with(own.read_text("utf-8", "replace"), own.name)
    except LimitsRefused as refused:
        raise Failure(str(refused), "", "mend these, then the same command") from None


def _of(limits: Limits, provider: str, base_model: str | None) -> list[Any]:
    found = [
        spec for spec in limits.specs.values() if spec.provider == provider and base_model in (None, spec.base_model)
    ]
    if not found:
        known = ", ".join("/".join(key) for key in limits.specs)
        raise Failure(f"{provider}/{base_model or ''} is not known.", f"Known are {known}.", "pixtune provider ls")
    return found


def _split(named: str) -> tuple[str, str | None]:
    """A base model's name may hold slashes itself."""
    provider, _, base_model = named.partition("/")
    return provider, base_model or None


def _path(provider: str) -> str:
    return f"/v1/providers/{quote(provider, safe='')}"


def _listed(item: dict[str, Any]) -> tuple[object, ...]:
    here = {True: "here", False: "not in this stack", None: "yes"}[item.get("available")]
    jobs = here if item["adapter"] else "rows only"
    ends = (item["train_until"] or "not announced", item["answer_until"] or "not announced")
    return (item["provider"], item["base_model"], jobs, *ends)


def _figure(figure: dict[str, Any]) -> tuple[object, ...]:
    value = figure["value"]
    if isinstance(value, dict):
        value = ", ".join(f"{name} {inner:g}" if isinstance(inner, float) else f"{name} {inner}"
                          for name, inner in value.items())  # fmt: skip
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "none known"
    elif isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:,}"
    if value is None:
        return (figure["figure"], "not stated", "", "", "")
    return (figure["figure"], value, figure["read"], "" if figure["verified"] else "unverified", figure["where"])
