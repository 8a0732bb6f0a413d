"""Facts as the gate and the reader send them, with everything that a test does not care about filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tests.fakes.examples import MemoryArtifacts, MemoryExamples, MemoryQueue

from pixtune.events.s3 import Change, Generation, padded
from pixtune.examples.annotation import Annotation, Part, Turn
from pixtune.examples.append import AppendRows, Message
from pixtune.examples.facts import AnnotationFact, Fact, ImageData, ImageFact, Source, SourceFact, Touch
from pixtune.examples.identity import example_id
from pixtune.examples.items import ExampleItem
from pixtune.examples.overview import all_examples
from pixtune.examples.rows import Row, read_rows
from pixtune.images.recipe import Recipe
from pixtune.verdicts import Code, accepted, rejected

DATASET = "pets"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def picture(number: int = 1, *, recipe: str | None = None, dhash: int | None = None) -> ImageData:
    return ImageData(
        f"{number:064x}",
        "jpeg",
        640,
        480,
        90_000,
        f"{number + 1000:064x}",
        "jpeg",
        4000,
        3000,
        1,
        0.5,
        f"{(number * 0x9E3779B97F4A7C15) % 2**64 if dhash is None else dhash:016x}",
        recipe or Recipe.default().id,
    )


def put_image(
    name: str = "a.jpg",
    at: int = 1,
    *,
    number: int = 1,
    bad: bool = False,
    annotated: bool = False,
    dhash: int | None = None,
    recipe: str | None = None,
) -> ImageFact:
    """An image's version `v{at}` with sequencer `at`."""
    return ImageFact(
        DATASET,
        f"{DATASET}/{name}",
        Change.PUT,
        f"v{at}",
        padded(f"{at:04x}"),
        None,
        rejected(Code.TRUNCATED, "it ends early", "upload it again") if bad else accepted(),
        None if bad else picture(number, dhash=dhash, recipe=recipe),
        5000,
        annotated,
    )


def deleted_image(name: str = "a.jpg", at: int = 2, change: Change = Change.DELETED) -> ImageFact:
    return ImageFact(DATASET, f"{DATASET}/{name}", change, f"v{at}", padded(f"{at:04x}"))


def said(answer: str = "cat", question: str = "", images: int = 1, **more: Any) -> Annotation:
    shown = tuple(Part(image=number) for number in range(images))
    asked = (Part(text=question),) if question else ()
    return Annotation((Turn("user", shown + asked), Turn("assistant", (Part(text=answer),))), **more)


def source(
    name: str = "metadata.csv", at: int = 1, kind: str = "file", expected: Generation | None = None, reading: str = ""
) -> Source:
    sequencer = "" if expected else padded(f"{at:04x}")
    return Source(kind, f"{DATASET}/{name}", f"v{at}", sequencer, expected, reading)


def row_fact(
    answer: str = "cat",
    question: str = "",
    images: Sequence[str] = ("a.jpg",),
    by: Source | None = None,
    **more: Any,
) -> AnnotationFact:
    keys = [f"{DATASET}/{name}" for name in images]
    name = example_id(DATASET, keys, question)
    return AnnotationFact(
        DATASET, by or source(), name, tuple(keys), (said(answer, question, len(keys), **more),), "line 1"
    )


def closing(rows: int = 1, by: Source | None = None, change: Change = Change.PUT, **more: Any) -> SourceFact:
    return SourceFact(DATASET, by or source(), change, rows, accepted() if change is Change.PUT else None, **more)


class Table:
    """append_rows over fakes, driven fact by fact or batch by batch."""

    def __init__(self) -> None:
        self.table = MemoryExamples()
        self.artifacts = MemoryArtifacts()
        self.images, self.annotations, self.facts = MemoryQueue(), MemoryQueue(), MemoryQueue()
        self.join = AppendRows(
            self.table, self.artifacts, self.images, self.annotations, self.facts, uploads_bucket="uploads"
        )
        self.batches = 0

    def take(self, *facts: Fact) -> dict[str, Exception]:
        """One batch."""
        self.batches += 1
        messages = [
            Message(str(number), "image" if isinstance(fact, ImageFact) else "annotation", json.dumps(fact.to_json()))
            for number, fact in enumerate(facts)
        ]
        return self.join.take(messages, NOW, f"{self.batches:026d}")

    def each(self, *facts: Fact) -> None:
        """A batch for each, and for the touches they send back."""
        for fact in facts:
            assert self.take(fact) == {}
        while self.facts.sent:
            assert self.take(Touch.from_json(json.loads(self.facts.sent.pop()))) == {}

    def log(self) -> list[Row]:
        """Every row appended so far, in order of the segments."""
        return [
            row
            for key, body in sorted(self.artifacts.objects.items())
            if key.startswith("rows/")
            for row in read_rows(body.decode().splitlines())
        ]

    def folded(self) -> dict[str, Row]:
        """The newest row of each example; tombstones left out."""
        newest: dict[str, Row] = {}
        for row in sorted(self.log(), key=lambda row: row.revision):
            newest[row.example_id] = row
        return {name: row for name, row in newest.items() if not row.deleted}

    def examples(self) -> list[ExampleItem]:
        return list(all_examples(self.table, DATASET))

    def only_example(self) -> ExampleItem:
        (example,) = self.examples()
        return example
