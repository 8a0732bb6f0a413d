"""From drop to row: photographs and their labels through gate, reader and join, in this process.

The buckets, queues and the table are the ones in memory that the tests use, so what is measured is our own work:
S3's, SQS's and DynamoDB's time is not in it. Figures are CPU time, the decoder's process included.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any

from rich.console import Console
from tests.benchmarks.engines import spent_with
from tests.benchmarks.pictures import MEGAPIXELS, photograph
from tests.fakes.examples import MemoryArtifacts, MemoryExamples, MemoryQueue, MemoryUploads, Version
from tests.fakes.versions import row

from pixtune.annotations.read import ReadAnnotations
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.append import AppendRows, Message
from pixtune.images.convert import convert
from pixtune.images.ingest import Gate
from pixtune.images.recipe import Recipe
from pixtune.images.sandbox import Sandbox
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import spec_for
from pixtune.providers.readiness import problems
from pixtune.training.run import TrainingSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _event(version: Version, number: int) -> str:
    """An `Object Created` event as EventBridge puts it into a queue."""
    item = {"key": version.key, "size": version.size, "version-id": version.version_id, "sequencer": f"{number:018X}"}
    detail = {"version": "0", "bucket": {"name": "uploads"}, "object": item, "reason": "PutObject"}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": detail})


def _photographs(count: int, megapixels: int) -> list[bytes]:
    """As many different files: windows of one photograph, each a little further on."""
    width, height = MEGAPIXELS[megapixels]
    large, files = photograph("flower", width + 4 * count, height), []
    for number in range(count):
        out = BytesIO()
        large.crop((4 * number, 0, 4 * number + width, height)).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def drop_to_row(count: int, megapixels: int) -> dict[str, float]:
    """CPU milliseconds an image by stage: convert (gate and sandbox), read (its label), append (facts to rows)."""
    uploads, artifacts, table = MemoryUploads(), MemoryArtifacts(), MemoryExamples()
    images, annotations, image_facts, annotation_facts = (MemoryQueue() for _ in range(4))
    join = AppendRows(table, artifacts, images, annotations, annotation_facts, uploads.bucket)
    files = _photographs(count, megapixels)
    dropped = [uploads.put(f"bench/{number}.jpg", body) for number, body in enumerate(files)]
    lines = [json.dumps({"file_name": f"{number}.jpg", "label": f"kind {number % 5}"}) for number in range(count)]
    labels = uploads.put("bench/metadata.jsonl", "\n".join(lines).encode())
    spent: dict[str, float] = {}
    with Sandbox() as sandbox:
        sandbox.convert(files[0], Recipe.default())
        gate = Gate(uploads, artifacts, sandbox, image_facts)

        def timed(stage: str, work: Callable[[], Any]) -> None:
            begun = spent_with(sandbox)
            left = work()
            if left:
                raise ValueError(f"{stage} left {left}")
            spent[stage] = 1000 * (spent_with(sandbox) - begun) / count

        records = [{"messageId": str(n), "body": _event(version, n)} for n, version in enumerate(dropped, 1)]
        timed("convert", lambda: gate.take(records, lambda: 900.0))
        reader = ReadAnnotations(uploads, annotation_facts, artifacts, images)
        timed("read", lambda: reader.take([{"messageId": "labels", "body": _event(labels, count + 1)}]))
        messages = [Message(f"i{n}", "image", body) for n, body in enumerate(image_facts.sent)]
        messages += [Message(f"a{n}", "annotation", body) for n, body in enumerate(annotation_facts.sent)]
        timed("append", lambda: join.take(messages, NOW, "01BENCH"))
    rows = sum(body.count(b"\n") for key, body in artifacts.objects.items() if key.startswith("rows/"))
    if rows != count:
        raise ValueError(f"{rows} rows came of {count} images")
    return spent


def rows_against_conversion(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU: a row rendered for a provider and hashed; a row checked; its line read by json.loads; a
    12-megapixel conversion."""
    (large,) = _photographs(1, 12)
    content = convert(large, Recipe.default(), trusting=True).content
    some = row("bench")
    line = training_line(some, None, None, "high", lambda _: content)
    settings, training = DatasetSettings(), TrainingSettings("openai", "gpt-4o-2024-08-06")
    spec, many = spec_for(training.provider, training.base_model), [some] * 200

    def median(work: Callable[[], Any], times: int) -> float:
        seen = []
        for _ in range(rounds):
            begun = time.thread_time()
            for _ in range(times):
                work()
            seen.append(1000 * (time.thread_time() - begun) / times)
        return statistics.median(seen)

    def rendered() -> None:
        training_line(some, None, None, "high", lambda _: content)
        sha256(content)

    return {
        "render": median(rendered, 50),
        "check": median(lambda: problems({"train": many}, settings, training, spec, date(2026, 11, 22)), 5) / 200,
        "json.loads": median(lambda: json.loads(line), 50),
        "convert": median(lambda: convert(large, Recipe.default(), trusting=True), 1),
    }


def show(console: Console, quick: bool) -> None:
    count = 8 if quick else 40
    for megapixels in (3,) if quick else (3, 12):
        spent = drop_to_row(count, megapixels)
        whole = sum(spent.values())
        parts = ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in spent.items())
        console.print(
            f"Drop to row, {count} photographs of {megapixels} MP, in-process ports: {1000 / whole:.1f} a second and "
            f"core ({parts} each)"
        )
    cost = rows_against_conversion(3 if quick else 7)
    console.print(
        f"A row rendered and hashed: {cost['render']:.2f} ms, {100 * cost['render'] / cost['convert']:.1f} % of a "
        f"12 MP conversion. A row checked for a provider: {1000 * cost['check']:.0f} us, "
        f"x{cost['json.loads'] / cost['check']:.1f} against json.loads of its line."
    )
