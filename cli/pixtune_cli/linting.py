"""What `pixtune data lint` shows: a version's problems with a provider's limits, row by row, and what is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pixtune_cli.display import json_line, line, next_step, say, table
from pixtune_cli.failures import Failure

if TYPE_CHECKING:
    from pixtune_cli.client import Api


def lint(api: Api, dataset: str, provider: str, base_model: str | None, as_json: bool) -> None:
    """Raises Failure (exit code 2) when there are problems, after the last of them is shown."""
    path, cursor = _path(api, dataset), None
    while True:
        page = api.get(path, provider=provider, base_model=base_model, cursor=cursor)
        for problem in page["items"]:
            if as_json:
                json_line(problem)
            else:
                line(
                    f"{problem['where']}: {problem['path']} is {problem['found']}, expected {problem['expected']}. "
                    f"{problem['fix']}"
                )
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json:
        json_line({"summary": {name: page[name] for name in ("version", "title", "total", "mended", "notes")}})
    else:
        for mend in page["mended"]:
            line(f"mended  {mend['detail']}" + (f" ({mend['rows']:,} examples)" if mend["rows"] else ""))
        for note in page["notes"]:
            say(note)
    if page["total"]:
        raise Failure(
            f"Version {page['version']} of {page['dataset']} has {page['total']:,} problem(s) for {page['title']}.",
            "A training there would be refused before it costs anything.",
            f"mend them, or look elsewhere: pixtune data lint {dataset}",
        )
    say(f"Version {page['version']} of {page['dataset']} would be taken by {page['title']}.")
    if page["available"]:
        options = f"--provider {page['provider']} --base-model {page['base_model']}"
        next_step(f"pixtune run start {page['dataset']} {options}")


def compare(api: Api, dataset: str, as_json: bool) -> None:
    """One line for each provider and base model: how many problems it has with the version."""
    items = api.get(_path(api, dataset))["items"]
    if as_json:
        for item in items:
            json_line(item)
        return
    columns = ("provider", "base model", "problems", "jobs")
    table(columns, [_compared(item) for item in items])
    next_step(f"pixtune data lint {dataset} --provider PROVIDER")


def _compared(item: dict[str, Any]) -> tuple[object, ...]:
    jobs = "here" if item["available"] else "not in this stack" if item["adapter"] else "rows only"
    return (item["provider"], item["base_model"], item["problems"], jobs)


def _path(api: Api, dataset: str) -> str:
    """`name@3`, or a dataset's latest version. Raises Failure when it has none."""
    name, _, version = dataset.partition("@")
    base = f"/v1/datasets/{quote(name, safe='')}"
    if not version:
        latest = api.get(base)["latest_version"]
        if latest is None:
            why = "What it holds is cut into a version when a run begins."
            raise Failure(f"{name} has no version yet.", why, f"pixtune run start {name}")
        version = str(latest["version"])
    return f"{base}/versions/{quote(version, safe='')}/lint"
