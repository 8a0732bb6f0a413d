"""`pixtune data push | check | show | verdicts | versions | compliance`: folders and datasets in, verdicts and counts
out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtune_cli.display import facts, json_line, line, next_step, say, table
from pixtune_cli.failures import Exit, Failure

if TYPE_CHECKING:
    from pixtune_cli.backfilling import Source
    from pixtune_cli.target import Target

app = typer.Typer(
    no_args_is_help=True, help="Images and annotations: check them, push them, see what became of them."
)

Folder = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, readable=True, help="A folder of images and annotations.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")]


@app.command()
def push(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix for objects that exist already.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset they go to; needed but for objects that are in one already.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Uploads at the same time.")] = 16,
    manifest: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where it is written down what of s3:// was done.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a folder, keeping its structure. Files that are there already, byte for byte, are left alone.

    Objects of another bucket are copied without passing through this machine. Of the uploads bucket itself, those
    that never arrived are asked for again. Stopped, the same command goes on where it was.
    """
    from pixtune_cli import backfilling, target

    if source.startswith(backfilling.SCHEME):
        where = target.find(ctx.obj, Path.cwd())
        there = backfilling.source_of(source)
        if there.bucket == where.uploads_bucket:
            if not there.prefix:
                raise Failure(f"{source} is all datasets.", "", f"{backfilling.SCHEME}{there.bucket}/cats-and-dogs")
            dataset = dataset or there.prefix.partition("/")[0]
        _check_name(dataset)
        _backfill(where, there, dataset or "", threads, manifest, as_json)
        return
    folder = Path(source)
    if not folder.is_dir():
        raise Failure(f"There is no folder {source}.", "", "pixtune data push ./photos --dataset NAME")
    _check_name(dataset)
    _push(ctx, folder, dataset or "", threads, as_json)


def _check_name(dataset: str | None) -> None:
    from pixtune.keys import DATASET

    if dataset is None:
        raise Failure("Nothing says which dataset they go to.", "", "--dataset cats-and-dogs")
    if not DATASET.fullmatch(dataset):
        raise Failure(
            f"{dataset!r} is no dataset name.", f"A name matches {DATASET.pattern}.", "--dataset cats-and-dogs"
        )


def _push(ctx: typer.Context, folder: Path, dataset: str, threads: int, as_json: bool) -> None:
    from pixtune_cli import pushing, target
    from pixtune_cli.display import talk

    files = pushing.files_of(folder, dataset)
    if not files:
        raise Failure(f"{folder} has no files to push.", "Files that operating systems leave behind are not counted.")
    where = target.find(ctx.obj, Path.cwd())
    say(f"{len(files)} files to s3://{where.uploads_bucket}/{dataset}/ on {where.name}")
    pushed = pushing.push(files, where.s3(threads), where.uploads_bucket, dataset, threads, talk())
    counts = {"uploaded": len(pushed.uploaded), "unchanged": len(pushed.unchanged), "failed": len(pushed.failed)}
    if as_json:
        json_line({"dataset": dataset, **counts, "errors": pushed.failed})
    else:
        line(", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "uploaded"))
    if pushed.failed:
        _fail(pushed.failed, f"{len(pushed.failed)} files were not uploaded.", pushed.denied)
    next_step(f"pixtune data show {dataset}", f"pixtune run start {dataset} --wait")


def _backfill(where: Target, source: Source, dataset: str, threads: int, path: Path | None, as_json: bool) -> None:
    from pixtune_cli import backfilling
    from pixtune_cli.display import talk

    client, bucket = where.s3(threads), where.uploads_bucket
    objects = backfilling.objects_of(client, source)
    if not objects:
        raise Failure(f"There is nothing at {source}.", "Files that operating systems leave behind are not counted.")
    manifest = backfilling.manifest_for(source, bucket, dataset, path)
    say(f"{len(objects)} objects of {source} to {dataset} on {where.name}; what is done is in {manifest.path}")
    in_place = source.bucket == bucket and source.prefix.startswith(f"{dataset}/")
    if in_place:
        queues = where.queue("ImagesQueueUrl"), where.queue("AnnotationsQueueUrl")
        done = backfilling.enqueue(objects, bucket, *queues, manifest, talk())
    else:
        done = backfilling.copy(objects, source, client, bucket, dataset, manifest, threads, talk())
    verb = "enqueued" if in_place else "copied"
    counts = {verb: len(done.brought), "unchanged": done.unchanged, "failed": len(done.failed)}
    if as_json:
        json_line({"dataset": dataset, **counts, "errors": done.failed, "manifest": str(manifest.path)})
    else:
        line(", ".join(f"{count} {name}" for name, count in counts.items() if count or name == verb))
    if done.failed:
        _fail(done.failed, f"{len(done.failed)} objects were not {verb}.", done.denied)
    next_step(f"pixtune data show {dataset}", f"pixtune run start {dataset} --wait")


def _fail(failed: dict[str, str], what: str, denied: bool) -> None:
    shown = "; ".join(f"{key}: {why}" for key, why in list(failed.items())[:5])
    raise Failure(what, shown, "the same command: it goes on from here", Exit.AUTH if denied else Exit.BUG)


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """What an upload of this folder would come to. Needs no stack and no network.

    Exit code 2 when a file would be rejected; files that operating systems leave behind do not count.
    """
    import sys

    from pixtune_cli.checking import FolderCheck

    if sys.platform != "linux":
        say("This system cannot limit the decoder's memory; only its time is limited.")
    check = FolderCheck(folder)
    for one in check.run():
        if as_json:
            json_line(one.to_json())
        else:
            _tell(one.to_json())
            if one.file in check.many:  # the others are counted below
                line(f"{'read as':<9} {one.layout:<20} {one.file}")
    summary = check.summary()
    if as_json:
        json_line({"summary": summary})
    else:
        verdicts = ", ".join(f"{count} {name}" for name, count in summary["verdicts"].items())
        line(f"{summary['files']} files: {verdicts or 'nothing to check'}")
        if summary["layouts"]:
            line("read as " + ", ".join(f"{name} ({count})" for name, count in summary["layouts"].items()))
        examples = summary["examples"]
        if inside := sum(summary["inline"].values()):
            line(f"{inside} pictures inside annotation files, {summary['inline']['rejected']} of them rejected")
        states = ", ".join(f"{examples[state]} {state}" for state in ("ready", "waiting", "held"))
        line(f"examples: {states}; images that nothing labels: {summary['unlabelled']}")
        version = summary["version"]
        counts = ", ".join(f"{count} {name}" for name, count in version["counts"].items() if count)
        line(f"a version of it would hold {version['examples']} examples{f': {counts}' if counts else ''}")
        for note in version["notes"]:
            line(f"{'note':<9} {note['code']:<20} {note['detail']}")
    if check.rejected:
        shown = ", ".join(check.rejected[:5]) + (", ..." if len(check.rejected) > 5 else "")
        raise Failure(
            f"{len(check.rejected)} files would be rejected.", shown, "mend or remove them, then check again"
        )
    next_step(f"pixtune data push {folder} --dataset NAME")


def _tell(checked: dict[str, Any]) -> None:
    """One line for a file that is not simply accepted, and one for each of its warnings."""
    if checked["verdict"] != "accepted":
        rest = f"{checked['detail']} {checked['fix']}".strip()
        line(f"{checked['verdict']:<9} {checked['code']:<20} {checked['file']}  {rest}")
    for note in checked["warnings"]:
        line(f"{'warning':<9} {note['code']:<20} {checked['file']}  {note['detail']}")


@app.command()
def show(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    key: Annotated[str | None, typer.Option(help="One upload: what happened to it?")] = None,
    state: Annotated[str | None, typer.Option(help="List examples: waiting, ready, held or deleted.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a dataset holds, or what became of one file."""
    from urllib.parse import quote

    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    api, base = Api(where), f"/v1/datasets/{quote(dataset, safe='')}"
    if key is not None:
        whole = key if key.startswith(f"{dataset}/") else f"{dataset}/{key}"
        _show_one(api.get(f"{base}/uploads", key=whole), as_json)
    elif state is not None:
        columns = ("example", "state", "images", "why")
        _pages(
            api,
            f"{base}/examples",
            columns,
            lambda item: (item["example_id"], item["state"], ", ".join(item["images"]), _why(item)),
            as_json,
            state=state,
        )
    else:
        summary = api.get(base)
        if as_json:
            json_line(summary)
        else:
            facts(_flat(summary))
        next_step(f"pixtune run start {dataset} --wait", f"pixtune data show {dataset} --state waiting")


def _show_one(upload: dict[str, Any], as_json: bool) -> None:
    if as_json:
        json_line(upload)
        return
    examples = [f"{example['example_id']} {example['state']}" for example in upload["examples"]]
    facts(_flat(upload | {"examples": examples}))


@app.command()
def versions(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    version: Annotated[int | None, typer.Option(min=1, help="One version, with a link to its dataset card.")] = None,
    as_json: AsJson = False,
) -> None:
    """The versions of a dataset, newest first; or one of them, with a link to its card that works for 15 minutes."""
    from urllib.parse import quote

    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    api, path = Api(where), f"/v1/datasets/{quote(dataset, safe='')}/versions"
    if version is not None:
        one = api.get(f"{path}/{version}")
        if as_json:
            json_line(one)
        else:
            facts(_flat(one))
        return
    items = api.get(path)["items"]
    if as_json:
        for item in items:
            json_line(item)
    else:
        columns = ("version", "digest", "created", "train", "validation", "test", "notes")
        table(columns, [_version_row(item) for item in items])
    if items:
        next_step(f"pixtune data versions {dataset} --version {items[0]['version']}")
    else:
        say(f"{dataset} has no versions yet; a run cuts one.")
        next_step(f"pixtune run start {dataset} --wait")


@app.command()
def verdicts(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="The dataset; without one, uploads outside any.")] = None,
    only: Annotated[str | None, typer.Option(help="accepted, fixed or rejected.")] = None,
    as_json: AsJson = False,
) -> None:
    """What became of each upload of a dataset or, without one, of each upload that is in no dataset's folder."""
    from urllib.parse import quote

    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    path = f"/v1/datasets/{quote(dataset, safe='')}/verdicts" if dataset else "/v1/verdicts"
    columns = ("upload", "verdict", "code", "why")

    def row(item: dict[str, Any]) -> tuple[Any, ...]:
        found = item["verdict"]
        return (item["key"], found["verdict"], found["code"], f"{found['detail']} {found['fix']}".strip())

    _pages(Api(where), path, columns, row, as_json, verdict=only)


@app.command()
def compliance(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    version: Annotated[int, typer.Argument(min=1, help="The version.")],
    as_json: AsJson = False,
) -> None:
    """What the checks of compliance found in a version, example by example, refused ones first."""
    from urllib.parse import quote

    from pixtune_cli import target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    api, path = Api(where), f"/v1/datasets/{quote(dataset, safe='')}/versions/{version}/compliance"
    if not as_json:
        report = api.get(path, limit=1)
        for check, counts in report["summary"].items():
            line(f"{check}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
        for note in report["notes"]:
            line(note)
    columns = ("example", "level", "check", "where", "found")
    _pages(
        api,
        path,
        columns,
        lambda item: (item["example_id"], item["level"], item["code"], item["where"], item["detail"]),
        as_json,
    )


def _pages(
    api: Any,  # Any: client.Api, imported when needed
    path: str,
    columns: tuple[str, ...],
    row: Callable[[dict[str, Any]], tuple[Any, ...]],
    as_json: bool,
    **query: str | None,
) -> None:
    """Show a list to its end: pages may come short, or empty, before it."""
    cursor: str | None = None
    while True:
        page = api.get(path, limit=100, cursor=cursor, **query)
        if as_json:
            for item in page["items"]:
                json_line(item)
        elif page["items"]:
            table(columns, [row(item) for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            return


@app.command()
def lint(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="Its latest version, or that one.")],
    provider: Annotated[str | None, typer.Option(help="Whose limits; without it, a count for each provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Which base model; without it, the provider's first.")] = None,
    as_json: AsJson = False,
) -> None:
    """All that a provider would refuse of a version, and what is mended on the way. Exit code 2 when it would."""
    from pixtune_cli import linting, target
    from pixtune_cli.client import Api

    where = target.find(ctx.obj, Path.cwd())
    say(f"on {where.name}")
    if provider is None:
        linting.compare(Api(where), dataset, as_json)
    else:
        linting.lint(Api(where), dataset, provider, model, as_json)


def _version_row(item: dict[str, Any]) -> tuple[Any, ...]:
    counts = (item["counts"].get(name, 0) for name in ("train", "validation", "test"))
    notes = ", ".join(note["code"] for note in item["notes"])
    return (item["version"], item["digest"][:12], item["created_at"], *counts, notes)


def _why(example: dict[str, Any]) -> str:
    return "; ".join(f"{entry['key']}: {entry['reason']}" for entry in example["waiting_for"] + example["conflict"])


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted names, lists on one line."""
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list):
            flat[prefix + name] = ", ".join(_on_one_line(item) for item in inner)
        else:
            flat[prefix + name] = inner
    return flat


def _on_one_line(item: Any) -> str:
    return " ".join(map(str, item.values())) if isinstance(item, dict) else str(item)
