"""The whole service on the local cloud as tests use it: files dropped with boto3, calls through the signed API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pixtune_cli.client import Api
from pixtune_cli.target import find
from pixtune_local.cloud import stack
from pixtune_local.provider.server import DEFAULT_KEY

T = TypeVar("T")

ENDED = frozenset({"succeeded", "failed", "cancelled", "joined"})


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Look until there is something to see; fails with `what` and the last look when the time is over."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Service:
    """A stack that is up. root: the project folder it was brought up from."""

    root: Path
    info: stack.StackInfo

    @cached_property
    def api(self) -> Api:
        return Api(find(None, self.root))

    @cached_property
    def s3(self) -> Any:  # Any: stack.client names its service at run time
        return stack.client(self.info, "s3")

    @cached_property
    def sqs(self) -> Any:
        return stack.client(self.info, "sqs")

    @cached_property
    def events(self) -> Any:
        return stack.client(self.info, "events")

    @cached_property
    def stepfunctions(self) -> Any:
        return stack.client(self.info, "stepfunctions")

    @property
    def uploads(self) -> str:
        return self.info.outputs["UploadsBucket"]

    @property
    def artifacts(self) -> str:
        return self.info.outputs["ArtifactsBucket"]

    # ------------------------------------------------------------------ uploads

    def drop(self, files: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> None:
        """Put files under their keys, eight at a time."""

        def put(item: tuple[str, bytes]) -> None:
            self.s3.put_object(Bucket=self.uploads, Key=item[0], Body=item[1], Metadata=dict(metadata or {}))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, files.items()))

    def summary(self, dataset: str) -> dict[str, Any]:
        return self.api.get(f"/v1/datasets/{dataset}")

    def upload(self, key: str) -> dict[str, Any]:
        return self.api.get(f"/v1/datasets/{key.split('/')[0]}/uploads", key=key)

    def examples(self, dataset: str, state: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.api.get(f"/v1/datasets/{dataset}/examples", state=state, limit=100, cursor=cursor)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def wait_for_uploads(self, dataset: str, count: int, seconds: float = 120.0) -> dict[str, Any]:
        """Until the dataset shows `count` verdicts; answers its summary."""

        def look() -> dict[str, Any] | None:
            summary = self.summary(dataset)
            return summary if sum(summary["uploads"].values()) >= count else None

        return wait_for(f"{count} verdicts in {dataset}", look, seconds)

    def wait_for_ready(self, dataset: str, count: int, seconds: float = 120.0) -> dict[str, Any]:
        """Until exactly `count` examples are ready; answers the summary."""

        def look() -> dict[str, Any] | None:
            summary = self.summary(dataset)
            return summary if summary["examples"].get("ready", 0) == count else None

        return wait_for(f"{count} ready examples in {dataset}", look, seconds)

    # ------------------------------------------------------------------ runs

    def request(self, dataset: str, key: str | None = None, **body: Any) -> str:
        """Ask for training through the API; answers the run's id."""
        headers = {"Idempotency-Key": key or str(uuid4())}
        answer, _ = self.api.call("POST", "/v1/runs", {"dataset": dataset, **body}, headers)
        run_id: str = answer["run_id"]
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        return self.api.get(f"/v1/runs/{run_id}")

    def runs(self, dataset: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/v1/runs", dataset=dataset, limit=100)["items"]
        return found

    def wait_for_end(self, run_id: str, seconds: float = 180.0) -> dict[str, Any]:
        """Until the run has ended; answers its record."""

        def look() -> dict[str, Any] | None:
            record = self.run(run_id)
            return record if record["status"] in ENDED else None

        try:
            return wait_for(f"the end of {run_id}", look, seconds)
        except AssertionError as late:
            record = self.run(run_id)
            raise AssertionError(f"{late}; it is {record['status']} in {record['stage']}") from None

    def rows(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All rows of the version a run was trained on."""
        manifest = json.loads(self.artifact(record["manifest_key"]))
        return [
            json.loads(line)
            for key in manifest["files"].values()
            for line in self.artifact(key).decode().splitlines()
        ]

    def artifact(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.artifacts, Key=key)["Body"].read()
        return body

    # ------------------------------------------------------------------ the local provider

    def provider(self, method: str, path: str, body: Any = None) -> Any:  # Any: whatever JSON the route answers
        request = urllib.request.Request(
            f"{self.info.provider_url}{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {DEFAULT_KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def content(self, file_id: str) -> bytes:
        """A file as the provider has it."""
        request = urllib.request.Request(
            f"{self.info.provider_url}/v1/files/{file_id}/content", headers={"Authorization": f"Bearer {DEFAULT_KEY}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: bytes = answer.read()
            return body

    def jobs(self) -> list[dict[str, Any]]:
        """Every fine-tuning job the provider knows."""
        found: list[dict[str, Any]] = self.provider("GET", "/v1/fine_tuning/jobs?limit=100")["data"]
        return found

    def jobs_of(self, run_ids: set[str]) -> list[dict[str, Any]]:
        return [job for job in self.jobs() if (job.get("metadata") or {}).get("run_id") in run_ids]

    # ------------------------------------------------------------------ queues

    def dead_letters(self) -> dict[str, int]:
        return {queue.name: queue.waiting for queue in stack.status(self.root).dead_letter_queues if queue.waiting}
