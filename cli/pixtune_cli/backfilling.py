"""Backfilling: objects that lie in a bucket already in; each of them brought to its dataset, once, out.

Objects from elsewhere are copied into the uploads bucket by S3 itself, and arrive as an upload does. Objects that lie
under the dataset's prefix already are asked for again through the queues that their events take. A manifest on this
machine says what was done, so that a command that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pixtune.events.s3 import reconcile_message
from pixtune.keys import is_annotation, is_folder_marker, is_junk, is_ready_marker
from pixtune_cli.failures import Failure, denied

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from rich.console import Console

    from pixtune.aws.queues import Queue

SCHEME = "s3://"
_BATCH = 100  # messages sent before they are written down


@dataclass(frozen=True)
class Source:
    """Where the objects lie. prefix: empty, or a folder with its slash."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"


def source_of(text: str) -> Source:
    """`s3://bucket/prefix`; a prefix is a folder, with or without its slash. Raises Failure without a bucket."""
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise Failure(f"{text!r} names no bucket.", "", f"{SCHEME}my-bucket/photos")
    return Source(bucket, f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else "")


@dataclass(frozen=True)
class Listed:
    """An object as its bucket lists it. state: differs whenever its content may."""

    key: str
    state: str


@dataclass
class Backfilled:
    """Keys by what became of them; `failed` with the reason. denied: a failure was about credentials."""

    brought: list[str] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    denied: bool = False


def objects_of(client: S3Client, source: Source) -> list[Listed]:
    """Everything below the source that may be an upload or a marker."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=source.bucket, Prefix=source.prefix)
    return [
        Listed(item["Key"], f"{item['ETag']} {item['Size']} {item['LastModified'].isoformat()}".replace('"', ""))
        for page in pages
        for item in page.get("Contents", [])
        if not is_junk(item["Key"]) and not is_folder_marker(item["Key"], item["Size"])
    ]


class Manifest:
    """What was done, as JSON lines in a file: the work itself, then each object, written when it is done. Raises
    Failure when the file is of other work."""

    def __init__(self, path: Path, work: Mapping[str, str]) -> None:
        self.path = path
        written = path.read_text().split("\n")[:-1] if path.exists() else []  # a line that was cut short has no end
        first, *lines = [json.loads(line) for line in written] or [work]
        if first != work:
            raise Failure(f"{path} is of other work.", f"It says {json.dumps(first)}.", "--manifest another-file")
        self._done = {line["key"]: line["state"] for line in lines}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in (work, *lines)))

    def has(self, one: Listed) -> bool:
        return self._done.get(one.key) == one.state

    def add(self, done: Iterable[Listed]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(asdict(one)) + "\n" for one in done)


def manifest_for(source: Source, bucket: str, dataset: str, path: Path | None) -> Manifest:
    """path: where the caller wants it; else below .pixtune of the folder the command is called in."""
    work = {"source": str(source), "bucket": bucket, "dataset": dataset}
    name = sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:8]
    return Manifest(path or Path(".pixtune") / "push" / f"{dataset}-{name}.jsonl", work)


def enqueue(
    objects: Sequence[Listed], bucket: str, images: Queue, annotations: Queue, manifest: Manifest, console: Console
) -> Backfilled:
    """Ask for each object that the manifest does not have to be looked at, as the daily sweep does: what the tables
    know of it already stays as it is. Markers are not asked for: they start runs and are no uploads."""
    done = Backfilled()
    todo = [one for one in objects if not is_ready_marker(one.key) and not manifest.has(one)]
    done.unchanged = sum(1 for one in objects if manifest.has(one))
    with _progress(console, "enqueuing", len(todo)) as advance:
        for start in range(0, len(todo), _BATCH):
            some = todo[start : start + _BATCH]
            for queue, wanted in ((annotations, True), (images, False)):
                queue.send(
                    reconcile_message(bucket, one.key, None) for one in some if is_annotation(one.key) is wanted
                )
            manifest.add(some)
            done.brought += [one.key for one in some]
            advance(len(some))
    return done


def copy(
    objects: Iterable[Listed],
    source: Source,
    client: S3Client,
    bucket: str,
    dataset: str,
    manifest: Manifest,
    threads: int,
    console: Console,
) -> Backfilled:
    """Copy each object that neither the manifest nor, byte for byte, the dataset has. No byte passes this machine.

    A `_READY` marker is copied after all others, and only when none of them failed: it starts a run.
    """
    done = Backfilled()
    there = {one.key: _content(one) for one in objects_of(client, Source(bucket, f"{dataset}/"))}
    files: list[Listed] = []
    markers: list[Listed] = []
    for one in objects:
        if manifest.has(one) or there.get(_target(one, source, dataset)) == _content(one):
            done.unchanged += 1
        else:
            (markers if is_ready_marker(f"/{one.key}") else files).append(one)

    def send(one: Listed) -> None:
        client.copy_object(
            Bucket=bucket,
            Key=_target(one, source, dataset),
            CopySource={"Bucket": source.bucket, "Key": one.key},
            CopySourceIfMatch=one.state.split()[0],
        )

    with (
        _progress(console, "copying", len(files) + len(markers)) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        for some in (files, markers):
            if done.failed:
                break
            waiting = {pool.submit(send, one): one for one in some}
            try:
                for future in as_completed(waiting):
                    one = waiting[future]
                    if (error := future.exception()) is None:
                        manifest.add([one])
                        done.brought.append(_target(one, source, dataset))
                    else:
                        _note(done, one, error)
                    advance(1)
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise
    return done


def _target(one: Listed, source: Source, dataset: str) -> str:
    return f"{dataset}/{one.key.removeprefix(source.prefix)}"


def _content(one: Listed) -> tuple[str, ...]:
    """ETag and size: equal for a copy (but of an object uploaded in parts, which is then copied again)."""
    return tuple(one.state.split()[:2])


def _note(done: Backfilled, one: Listed, error: BaseException) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        done.denied |= denied(error.response["Error"]["Code"])
        done.failed[one.key] = error.response["Error"]["Message"]
    elif isinstance(error, BotoCoreError):
        done.failed[one.key] = str(error)
    else:
        raise error


@contextmanager
def _progress(console: Console, doing: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda count: progress.advance(task, count)
