"""Uploading a folder: files on this machine in, objects in the uploads bucket out, each exactly as it lies there."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pixtune.keys import is_junk, is_ready_marker
from pixtune_cli.failures import denied

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from rich.console import Console

_md5 = partial(hashlib.md5, usedforsecurity=False)  # S3's ETag of a plain PUT


@dataclass
class Pushed:
    """Keys by what became of them; `failed` with the reason. denied: a failure was about credentials."""

    uploaded: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    denied: bool = False


def files_of(folder: Path, dataset: str) -> dict[str, Path]:
    """Key -> file, for every file below `folder` that is not junk; hidden folders are left out."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not is_junk(path.name) and not any(part.startswith(".") for part in inside.parts[:-1]):
            found[f"{dataset}/{inside.as_posix()}"] = path
    return found


def push(
    files: Mapping[str, Path], client: S3Client, bucket: str, dataset: str, threads: int, console: Console
) -> Pushed:
    """Upload every file that is not in the bucket already with the same bytes.

    A `_READY` marker is uploaded after all others, and only when none of them failed: it starts a run.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    present = _present(client, bucket, dataset)
    markers = [key for key in files if is_ready_marker(key)]
    pushed = Pushed()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        task = progress.add_task("pushing", total=len(files))
        for keys in ([key for key in files if key not in markers], markers):
            if pushed.failed:
                break
            waiting: dict[Future[bool], str] = {
                pool.submit(_upload, client, bucket, key, files[key], present.get(key)): key for key in keys
            }
            try:
                for done in as_completed(waiting):
                    _note(pushed, waiting[done], done)
                    progress.advance(task)
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise
    return pushed


def _present(client: S3Client, bucket: str, dataset: str) -> dict[str, tuple[int, str]]:
    """Key -> (bytes, ETag) of what the dataset's prefix holds now."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{dataset}/")
    return {
        item["Key"]: (item["Size"], item["ETag"].strip('"')) for page in pages for item in page.get("Contents", [])
    }


def _upload(client: S3Client, bucket: str, key: str, path: Path, there: tuple[int, str] | None) -> bool:
    """True: uploaded; False: the bucket has these bytes already (an ETag that is no MD5 never matches)."""
    with path.open("rb") as file:
        if there is not None and there[0] == path.stat().st_size and not is_ready_marker(key):
            if there[1] == hashlib.file_digest(file, _md5).hexdigest():
                return False
            file.seek(0)
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        client.put_object(Bucket=bucket, Key=key, Body=file, ContentType=content_type)
    return True


def _note(pushed: Pushed, key: str, done: Future[bool]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        (pushed.uploaded if done.result() else pushed.unchanged).append(key)
    except ClientError as error:
        pushed.denied |= denied(error.response["Error"]["Code"])
        pushed.failed[key] = error.response["Error"]["Message"]
    except (BotoCoreError, OSError) as error:
        pushed.failed[key] = str(error)
