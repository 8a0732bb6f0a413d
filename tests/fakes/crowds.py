"""A large dataset as append_rows leaves it in the table and in the log, made by the join's own functions.

Its pictures are what large datasets consist of: photographs of all kinds (with skies and walls, so that parts of
their difference hashes are alike), bursts of the same thing, and the frames of one fixed camera.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any

from tests.fakes.facts import DATASET, picture, said, source

from pixtune.events.s3 import Change, padded
from pixtune.examples import places
from pixtune.examples.facts import AnnotationFact, ImageFact, SourceFact
from pixtune.examples.identity import example_id
from pixtune.examples.items import ExampleItem, UploadItem
from pixtune.examples.join import image_after, reconciled, source_after, with_fact
from pixtune.examples.ports import Place
from pixtune.verdicts import Code, Note, Outcome, Verdict, accepted, rejected

ANSWERS = tuple(f"{kind} {number}" for kind in ("bolt", "nut", "washer", "screw") for number in range(1, 8))
_QUESTIONS = ("", "What is it?", "Which part does the picture show? Answer with its name and number.")
_SEGMENT = 500  # rows that append_rows writes at once


@dataclass(frozen=True)
class Crowd:
    """items: what the table holds. segments: the log, as bodies by key."""

    items: dict[Place, dict[str, Any]]
    segments: dict[str, bytes]


def crowd(examples: int, seed: int = 1) -> Crowd:
    """A picture in forty is rejected, one in ten was repaired, one in twenty has a warning; one in five examples
    stands in the log twice, as a redelivery leaves it."""
    chosen = random.Random(seed)
    labels = source("metadata.csv")
    closing = SourceFact(DATASET, labels, Change.PUT, examples, accepted())
    label_item = source_after(None, closing)
    assert label_item is not None
    items: dict[Place, dict[str, Any]] = {}
    label_place = places.source(DATASET, "file", labels.key)
    items[label_place] = label_item.to_json() | {"v": 1}
    lines: list[str] = []
    for number, dhash in enumerate(islice(_hashes(chosen), examples)):
        fact = _upload(chosen, number, dhash)
        upload = image_after(None, fact)
        assert upload is not None
        place = places.image(DATASET, fact.key)
        items[place] = upload.to_json() | {"v": 1}
        question = chosen.choice(_QUESTIONS)
        example = _example(fact.key, question, chosen, {place: upload, label_place: label_item})
        items[places.example(DATASET, example.example_id)] = example.to_json() | {"v": 2}
        if example.line:
            lines += [example.line] * (2 if number % 5 == 0 else 1)
    bodies = ("".join(lines[first : first + _SEGMENT]).encode() for first in range(0, len(lines), _SEGMENT))
    return Crowd(items, {f"rows/{DATASET}/2026/11/20/{n:026d}.jsonl": body for n, body in enumerate(bodies)})


def _upload(chosen: random.Random, number: int, dhash: int) -> ImageFact:
    verdict: Verdict = accepted()
    if number % 40 == 7:
        verdict = rejected(Code.TRUNCATED, "The file ends after 20,480 of 81,920 bytes.", "Upload it again.")
    elif number % 10 == 3:
        verdict = Verdict(Outcome.FIXED, Code.CONVERTED, "turned upright (EXIF orientation 6), metadata removed")
    elif number % 20 == 9:
        verdict = accepted(Note(Code.TOO_BLURRY, "Sharpness is 12, below 60."))
    image = None
    if verdict.outcome is not Outcome.REJECTED:
        name = f"{number}".encode()
        image = replace(
            picture(1, dhash=dhash),
            sha256=sha256(name).hexdigest(),
            source_sha256=sha256(b"source" + name).hexdigest(),
            brightness=round(chosen.random(), 4),
            sharpness=round(chosen.uniform(10, 900), 1),
            information=round(chosen.uniform(3, 8), 2),
        )
    key = f"{DATASET}/shelf-{number % 90:02d}/IMG_{number:06d}.jpg"
    return ImageFact(DATASET, key, Change.PUT, f"{number:032x}", padded("1"), None, verdict, image, 4_000_000)


def _example(key: str, question: str, chosen: random.Random, uploads: dict[Place, UploadItem | None]) -> ExampleItem:
    fields = {"license": "CC-BY-4.0", "source": "https://parts.example/photos", "author": "the shop's own staff"}
    annotation = said(chosen.choice(ANSWERS), question, fields=fields)
    name = example_id(DATASET, [key], question)
    fact = AnnotationFact(DATASET, source("metadata.csv"), name, (key,), (annotation,), "line 1")
    label_place = places.source(DATASET, "file", fact.source.key)
    return reconciled(with_fact(ExampleItem(DATASET, name), fact, uploads[label_place]), uploads)


def _hashes(chosen: random.Random) -> Iterator[int]:
    """64-bit difference hashes: of seven photographs in ten, of bursts, and of a camera that does not move."""
    camera = chosen.getrandbits(64)
    while True:
        for _ in range(6):
            yield _photograph(chosen)
        shot = _photograph(chosen)
        for _ in range(chosen.randrange(1, 4)):
            yield _noisy(chosen, shot, 2)
        yield _noisy(chosen, camera, 7)


def _photograph(chosen: random.Random) -> int:
    """Eight rows of eight bits; a row of something even is all of one kind, as above a horizon."""
    rows = [
        chosen.choice((0x00, 0xFF, 0xF0, 0x0F)) if chosen.random() < 0.4 else chosen.getrandbits(8) for _ in range(8)
    ]
    return int.from_bytes(bytes(rows), "big")


def _noisy(chosen: random.Random, dhash: int, most: int) -> int:
    for _ in range(chosen.randrange(most + 1)):
        dhash ^= 1 << chosen.randrange(64)
    return dhash
