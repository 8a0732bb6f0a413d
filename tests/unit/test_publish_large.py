"""A version of thousands of examples is like one of a few, only larger; lists of them come a page at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.fakes.crowds import Crowd, crowd
from tests.fakes.examples import MemoryArtifacts, MemoryExamples
from tests.fakes.facts import DATASET, put_image

from pixtune.datasets.near import NEAR
from pixtune.datasets.publish import publish
from pixtune.datasets.version import Manifest
from pixtune.examples import listing, places
from pixtune.examples.join import image_after
from pixtune.examples.listing import examples_page, uploads_page
from pixtune.examples.overview import summary
from pixtune.examples.ports import Item, Place, one_by_one
from pixtune.examples.rows import read_rows
from pixtune.keys import NO_DATASET

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MADE = crowd(2_000)
READY = {item["example_id"]: item for item in MADE.items.values() if item.get("state") == "ready"}


class ByPartition(MemoryExamples):
    """Each partition apart: the fake for a few items sorts all of them for every query."""

    def __init__(self, made: Crowd) -> None:
        super().__init__()
        self.parts: dict[str, dict[Place, str]] = {}
        for place, item in made.items.items():
            self._store(place, item)

    def _store(self, place: Place, item: Item) -> None:
        super()._store(place, item)
        self.parts.setdefault(place.pk, {})[place] = self.items[place]

    def stream(self, pk: str, prefix: str, only: Sequence[str] = (), after: str | None = None) -> Iterator[Item]:
        return MemoryExamples(items=self.parts.get(pk, {})).stream(pk, prefix, only, after)


@pytest.fixture(scope="module")
def published() -> tuple[MemoryArtifacts, Manifest, int]:
    artifacts = MemoryArtifacts(objects=dict(MADE.segments))
    manifest, repaired = publish(DATASET, ByPartition(MADE), artifacts, NOW, "p", one_by_one, lambda _: None)
    return artifacts, manifest, repaired


def test_every_ready_example_stands_in_one_split_as_the_table_has_it(
    published: tuple[MemoryArtifacts, Manifest, int],
) -> None:
    artifacts, manifest, _ = published
    lines = {name: artifacts.objects[key].decode().splitlines(keepends=True) for name, key in manifest.files.items()}
    every = [line for found in lines.values() for line in found]
    assert sorted(every) == sorted(item["line"] for item in READY.values())
    for found in lines.values():
        names = [row.example_id for row in read_rows(found)]
        assert names == sorted(names)
    assert [entry.digest for entry in manifest.examples] == [READY[e.example_id]["digest"] for e in manifest.examples]
    shares = Counter(entry.split for entry in manifest.examples)
    assert min(shares["test"], shares["validation"]) >= 0.1 * len(READY)


def test_no_two_splits_hold_pictures_that_look_alike(published: tuple[MemoryArtifacts, Manifest, int]) -> None:
    artifacts, manifest, _ = published
    hashes = {
        name: {int(row.images[0].image.dhash, 16) for row in read_rows(artifacts.objects[key].decode().splitlines())}
        for name, key in manifest.files.items()
    }
    apart = [("train", "test"), ("train", "validation"), ("validation", "test")]
    assert min((a ^ b).bit_count() for one, other in apart for a in hashes[one] for b in hashes[other]) > NEAR


def test_the_log_is_compared_line_by_line_and_what_it_lacks_is_appended_once(
    published: tuple[MemoryArtifacts, Manifest, int],
) -> None:
    _, manifest, repaired = published
    assert repaired == 0
    lost = sorted(MADE.segments)[1]
    artifacts = MemoryArtifacts(objects={key: body for key, body in MADE.segments.items() if key != lost})
    again, repaired = publish(DATASET, ByPartition(MADE), artifacts, NOW, "p", one_by_one, lambda _: None)
    (repair,) = (key for key in artifacts.objects if key.endswith("-repair.jsonl"))
    appended = artifacts.objects[repair].splitlines()
    assert (again.digest, repaired) == (manifest.digest, len(appended))
    assert 0 < len(appended) <= len(MADE.segments[lost].splitlines())
    assert set(appended) <= set(MADE.segments[lost].splitlines())


def test_a_version_that_is_there_is_not_written_again(published: tuple[MemoryArtifacts, Manifest, int]) -> None:
    artifacts, manifest, _ = published
    steps: list[str] = []
    artifacts.step = steps.append
    assert publish(DATASET, ByPartition(MADE), artifacts, NOW, "q", one_by_one, lambda _: None)[0].key == manifest.key
    artifacts.step = lambda _: None
    assert "put" not in steps


def test_the_summary_counts_what_the_items_say() -> None:
    found = summary(ByPartition(MADE), DATASET)
    assert found["examples"]["ready"] == len(READY)
    assert found["uploads"]["rejected"] == found["reasons"]["truncated"] == found["examples"]["waiting"] == 50
    assert found["unlabelled"] == 0


def _every(page: Any, **query: Any) -> list[list[dict[str, Any]]]:
    pages, after, table = [], None, ByPartition(MADE)
    while True:
        items, after = page(table, DATASET, limit=100, after=after, **query)
        pages.append(items)
        if after is None:
            return pages


def test_pages_of_examples_show_each_once_and_end_early_where_few_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = _every(examples_page, state="ready")
    assert sorted(item["example_id"] for page in ready for item in page) == sorted(READY)
    assert {len(page) for page in ready[:-1]} == {100}
    monkeypatch.setattr(listing, "_LOOKED", 300)
    waiting = _every(examples_page, state="waiting")
    assert len(waiting) > 5
    assert len({item["example_id"] for page in waiting for item in page}) == 50


def test_pages_of_verdicts_show_images_and_annotation_files() -> None:
    every = [item for page in _every(uploads_page, outcome=None) for item in page]
    assert len({item["key"] for item in every}) == len(every) == 2_001
    assert Counter(item["kind"] for item in every) == {"image": 2_000, "annotations": 1}
    rejected = [item for page in _every(uploads_page, outcome="rejected") for item in page]
    assert {item["verdict"]["code"] for item in rejected} == {"truncated"}
    assert len(rejected) == 50


def test_an_upload_outside_any_dataset_has_its_place_in_a_list() -> None:
    item = image_after(None, put_image("a.jpg", bad=True))
    assert item is not None
    stray = Crowd({Place(*places.image(NO_DATASET, "a.jpg")): json.loads(json.dumps(item.to_json()))}, {})
    (found,), after = uploads_page(ByPartition(stray), NO_DATASET, outcome=None, limit=10, after=None)
    assert (found["key"], after) == ("pets/a.jpg", None)
