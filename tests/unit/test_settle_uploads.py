"""Settling and sweeping: the bucket compared with the table by values, what never arrived sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.examples import MemoryUploads
from tests.fakes.facts import DATASET, NOW, Table, closing, deleted_image, put_image, row_fact, source
from tests.fakes.runs import FakeRuns

from pixtune.datasets.settle import Ingest, Settled, settle_uploads, sweep_uploads
from pixtune.errors import FenceLost, UploadsNotSettled
from pixtune.events.s3 import Change, Generation, padded
from pixtune.images.recipe import Recipe
from pixtune.training.run import Run, RunStatus, TrainingSettings

T0 = NOW.timestamp()


@dataclass
class World:
    """A bucket whose n-th version is `v{n}`, the table behind it, and a run that was requested at T0."""

    uploads: MemoryUploads = field(default_factory=MemoryUploads)
    ingest: Table = field(default_factory=Table)
    runs: FakeRuns = field(default_factory=FakeRuns)

    def __post_init__(self) -> None:
        self.runs.records["run_1"] = Run("run_1", DATASET, TrainingSettings("local", "tiny"), T0, "api", "k")
        self.compared = Ingest(self.uploads, self.ingest.table, self.ingest.images, self.ingest.annotations)

    def drop(self, name: str, at: float = -60, metadata: Mapping[str, str] | None = None) -> None:
        body = b"" if name.endswith(("/", "_READY")) else b"x"
        self.uploads.put(f"{DATASET}/{name}", body, dict(metadata or {}), NOW + timedelta(seconds=at))

    def delete(self, name: str, at: float = -30) -> None:
        self.uploads.put(f"{DATASET}/{name}", None, None, NOW + timedelta(seconds=at))

    def look(self, after: float = 1, attempt: int = 1) -> Settled:
        return settle_uploads(
            "run_1", attempt, self.runs, self.compared, T0 + after, reenqueue_after=120, deadline=3600
        )

    def missing(self) -> dict[str, str]:
        return {one.key: one.reason for one in self.compared.outstanding(DATASET, T0 + 1)}

    def asked(self) -> list[dict[str, Any]]:
        return [body["detail"] for body in self.ingest.images.bodies() + self.ingest.annotations.bodies()]


@pytest.fixture
def world() -> World:
    return World()


def test_a_run_waits_until_every_upload_has_its_verdict(world: World) -> None:
    world.drop("a.jpg")
    assert world.look() == Settled(False, 1)
    assert world.runs.get("run_1").status is RunStatus.RUNNING
    world.ingest.each(put_image("a.jpg", at=1))
    assert world.look() == Settled(True)
    assert world.runs.get("run_1").stage == "PublishDataset"  # no further request joins it


def test_a_run_waits_until_a_source_has_all_its_rows(world: World) -> None:
    world.drop("metadata.csv")
    world.ingest.each(closing(2), row_fact("cat"))
    assert world.missing() == {"pets/metadata.csv": "1 of its 2 rows have been joined"}
    world.ingest.each(row_fact("dog", "which?"))
    assert world.missing() == {}  # both wait for an image, and that is settled


def test_an_old_version_in_the_table_is_not_the_current_one(world: World) -> None:
    world.drop("a.jpg")
    world.drop("a.jpg")
    world.ingest.each(put_image("a.jpg", at=1))
    assert world.missing() == {"pets/a.jpg": "it has no verdict yet"}


def test_a_deletion_must_have_been_taken_in(world: World) -> None:
    world.drop("a.jpg")
    world.delete("a.jpg")
    world.ingest.each(put_image("a.jpg", at=1))
    assert world.missing() == {"pets/a.jpg": "its deletion has not been taken in"}
    world.ingest.each(deleted_image("a.jpg", at=2))
    assert world.missing() == {}


def test_an_upload_of_which_no_version_is_left_must_have_been_taken_out(world: World) -> None:
    world.ingest.each(put_image("a.jpg", at=1))
    assert world.missing() == {"pets/a.jpg": "its deletion has not been taken in"}


def test_what_a_lifecycle_rule_archived_is_settled(world: World) -> None:
    world.drop("a.jpg")
    world.delete("a.jpg")
    world.ingest.each(put_image("a.jpg", at=1), deleted_image("a.jpg", at=2, change=Change.ARCHIVED))
    assert world.missing() == {}


def test_markers_folders_and_what_came_after_the_request_are_not_awaited(world: World) -> None:
    world.drop("_READY")
    world.drop("folder/")
    world.drop("late.jpg", at=5)
    world.delete("never-seen.jpg")
    assert world.missing() == {}


def test_an_images_metadata_are_awaited(world: World) -> None:
    world.drop("a.jpg", metadata={"pixtune-label": "cat"})
    world.ingest.each(put_image("a.jpg", at=1, annotated=True))
    assert world.missing() == {"pets/a.jpg": "its metadata have not been read yet"}
    own = source("a.jpg", at=1, kind="object")
    world.ingest.each(closing(1, by=own))
    assert world.missing() == {"pets/a.jpg": "0 of its 1 rows have been joined"}
    world.ingest.each(row_fact("cat", by=own))
    assert world.missing() == {}


def test_an_example_that_has_not_seen_its_image_as_it_is_now_is_awaited(world: World) -> None:
    world.drop("metadata.csv")
    world.drop("a.jpg")
    world.ingest.each(closing(1), row_fact("cat"), put_image("a.jpg", at=1))
    examples = {place: text for place, text in world.ingest.table.items.items() if place.sk.startswith("EXAMPLE#")}
    world.drop("a.jpg")
    world.ingest.each(put_image("a.jpg", at=3, number=3))
    world.ingest.table.items |= examples  # as if the worker had died before it looked at the example
    assert list(world.missing()) == ["pets/a.jpg"]


def test_images_of_another_recipe_are_sent_to_be_converted_again_at_once(world: World) -> None:
    world.drop("a.jpg")
    world.drop("dataset.toml")
    world.ingest.each(
        put_image("a.jpg", at=1), closing(0, by=source("dataset.toml", at=2), settings={"detail": "low"})
    )
    assert not world.look().settled
    (asked,) = world.asked()
    assert Recipe.from_json(asked["recipe"]) == Recipe.low()
    assert asked["expected"] == {"version_id": "v1", "sequencer": padded("0001")}


def test_what_is_late_is_sent_again_once_in_a_period(world: World) -> None:
    world.drop("a.jpg", at=-10)
    world.drop("metadata.csv", at=-10)
    world.look(after=60)
    assert world.asked() == []
    for after in (115, 130, 200):
        world.look(after=after)
    assert [asked["object"]["key"] for asked in world.asked()] == ["pets/a.jpg", "pets/metadata.csv"]
    world.look(after=240)
    assert len(world.asked()) == 4
    assert all(asked["expected"] is None for asked in world.asked())


def test_waiting_grows_longer_but_not_too_long(world: World) -> None:
    world.drop("a.jpg")
    assert [world.look(after=after).wait_seconds for after in (0, 8, 40, 120, 900)] == [1, 2, 10, 30, 30]


def test_past_its_deadline_the_run_fails_and_names_the_uploads(world: World) -> None:
    for number in range(25):
        world.drop(f"{number:02d}.jpg")
    with pytest.raises(UploadsNotSettled) as failure:
        world.look(after=3601)
    assert "pets/00.jpg: it has no verdict yet; " in failure.value.message
    assert failure.value.message.endswith("; and 5 more.")
    assert failure.value.fix


def test_a_request_that_joins_while_the_run_closes_has_its_uploads_awaited(world: World) -> None:
    class Late(FakeRuns):
        def update(self, run_id: str, changes: Any, *, fence: int | None = None) -> None:
            if changes.get("stage") == "PublishDataset" and self.get(run_id).requested_at == T0:
                super().update(run_id, {"requested_at": T0 + 50})
            super().update(run_id, changes, fence=fence)

    world.runs = Late(world.runs.records)
    world.drop("late.jpg", at=40)
    assert world.look(after=51) == Settled(False, 1)
    assert world.look(after=52) == Settled(False, 1)
    world.ingest.each(put_image("late.jpg", at=1))
    assert world.look(after=53) == Settled(True)


def test_an_attempt_that_goes_on_from_a_published_version_settles_at_once(world: World) -> None:
    world.drop("a.jpg")
    world.runs.update("run_1", {"version": 3, "version_digest": "d", "attempt": 2})
    assert world.look(attempt=2) == Settled(True)
    with pytest.raises(FenceLost):
        world.look(attempt=1)


def test_a_run_that_names_a_published_version_waits_for_nothing_that_was_dropped_since(world: World) -> None:
    world.drop("a.jpg")
    world.runs.update("run_1", {"settings": TrainingSettings("local", "tiny", version=2).to_json()})
    assert world.look() == Settled(True)
    assert world.runs.get("run_1").stage == "PublishDataset"


def test_a_sweep_sends_again_what_every_dataset_lacks_with_what_the_table_shows(world: World) -> None:
    world.drop("a.jpg", at=-600)
    world.drop("a.jpg", at=-500)
    world.drop("new.jpg", at=-5)
    world.uploads.put("birds/b.jpg", b"x", None, NOW - timedelta(hours=1))
    world.uploads.put("No Dataset/b.jpg", b"x", None, NOW - timedelta(hours=1))
    world.ingest.each(put_image("a.jpg", at=1))
    assert sweep_uploads(world.compared, T0, reenqueue_after=120) == {"birds": 1, "pets": 1}
    expected = Generation("v1", padded("0001"))
    assert [(asked["object"]["key"], asked["expected"]) for asked in world.asked()] == [
        ("birds/b.jpg", None),
        ("pets/a.jpg", expected.to_json()),
    ]
