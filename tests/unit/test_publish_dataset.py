"""Publishing: the table's cut as a frozen version, the same content the same version, the log repaired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from tests.fakes.facts import DATASET, NOW, Table, closing, deleted_image, put_image, row_fact, source
from tests.fakes.runs import FakeRuns

from pixtune.datasets.publish import publish, publish_dataset
from pixtune.datasets.settings import recipe_of
from pixtune.datasets.version import Manifest
from pixtune.errors import DatasetEmpty, DatasetNotReady, FenceLost
from pixtune.events.s3 import Change
from pixtune.examples.ports import one_by_one
from pixtune.examples.rows import read_rows
from pixtune.images.recipe import Recipe
from pixtune.providers.limits import limits_with
from pixtune.training.run import Run, TrainingSettings, training_id
from pixtune.verdicts import Code, rejected


class Ingested(Table):
    def __init__(self, examples: int = 3) -> None:
        super().__init__()
        self.published = self.repaired = 0
        for number in range(examples):
            name = f"{number}.jpg"
            assert self.take(put_image(name, number=number + 1), row_fact(f"answer {number}", images=(name,))) == {}
        self.each(closing(examples))

    def publish(self) -> Manifest:
        self.published += 1
        now = NOW + timedelta(hours=self.published)
        manifest, self.repaired = publish(
            DATASET, self.table, self.artifacts, now, f"p{self.published}", one_by_one, lambda _: None
        )
        return manifest


def test_a_version_holds_exactly_the_ready_rows_sorted_and_names_them_in_its_manifest() -> None:
    ingest = Ingested()
    ingest.each(row_fact("waits", images=("missing.jpg",)))
    manifest = ingest.publish()
    rows = read_rows(ingest.artifacts.objects[manifest.files["train"]].decode().splitlines())
    assert [row.to_line() for row in rows] == [row.to_line() for _, row in sorted(ingest.folded().items())]
    assert [(entry.example_id, entry.revision, entry.digest, entry.split) for entry in manifest.examples] == [
        (row.example_id, row.revision, row.digest(), "train") for row in rows
    ]
    assert manifest.counts == {"train": 3, "validation": 0, "test": 0}
    assert list(manifest.files) == ["train"]
    stored = json.loads(ingest.artifacts.objects[manifest.key])
    assert Manifest.from_json(stored).to_json() == manifest.to_json()


def test_the_same_content_is_the_same_version_whatever_happened_between() -> None:
    ingest = Ingested()
    first = ingest.publish()
    objects = dict(ingest.artifacts.objects)
    assert ingest.publish() == first
    assert ingest.artifacts.objects == objects
    ingest.each(closing(0, by=source(at=2), change=Change.DELETED))
    for number in range(3):
        ingest.each(row_fact(f"answer {number}", images=(f"{number}.jpg",), by=source(at=3)))
    ingest.each(closing(3, by=source(at=3)))
    assert (ingest.publish().version, ingest.publish().digest) == (1, first.digest)


def test_other_content_and_other_settings_are_the_next_version() -> None:
    ingest = Ingested()
    assert ingest.publish().version == 1
    ingest.each(put_image("0.jpg", at=9, number=99))
    assert ingest.publish().version == 2
    ingest.each(closing(0, by=source("dataset.toml"), settings={"prompt": "What is it?"}))
    manifest = ingest.publish()
    assert (manifest.version, manifest.settings.prompt) == (3, "What is it?")


def test_another_policy_is_another_version_because_a_version_is_judged_once() -> None:
    ingest = Ingested()
    assert ingest.publish().version == 1
    ingest.each(closing(0, by=source("dataset.toml"), settings={"compliance": {"privacy": "refuse"}}))
    manifest = ingest.publish()
    assert (manifest.version, manifest.settings.compliance.privacy) == (2, "refuse")
    ingest.each(closing(0, by=source("dataset.toml", at=2), change=Change.DELETED))
    assert ingest.publish().version == 1


def test_a_refused_settings_file_stops_a_training_instead_of_losing_its_policy() -> None:
    ingest = Ingested()
    refusal = rejected(Code.BAD_SETTINGS, "compliance.privacy: 'refus' is unknown.", "Write refuse.")
    refused = closing(0, by=source("dataset.toml"))
    ingest.each(replace(refused, verdict=refusal))
    with pytest.raises(DatasetNotReady, match=r"dataset.toml was refused: compliance.privacy.* Write refuse\."):
        ingest.publish()
    ingest.each(closing(0, by=source("dataset.toml", at=2), change=Change.DELETED))
    assert ingest.publish().version == 1


def test_the_manifest_credits_whose_pictures_they_are() -> None:
    ingest = Ingested(1)
    assert ingest.publish().attribution == ()
    fields = {"license": "CC0-1.0", "source": "an archive"}
    ingest.each(row_fact("answer 0", images=("0.jpg",), by=source(at=7), fields=fields))
    ingest.each(closing(1, by=source(at=7)))
    manifest = ingest.publish()
    assert manifest.attribution == ({"license": "CC0-1.0", "source": "an archive", "author": "", "examples": 1},)
    assert Manifest.from_json(json.loads(ingest.artifacts.objects[manifest.key])) == manifest


def test_an_example_that_left_is_in_no_version() -> None:
    ingest = Ingested()
    ingest.each(deleted_image("0.jpg", at=5))
    assert len(ingest.publish().examples) == 2


def test_rows_that_the_log_lacks_are_appended_and_counted() -> None:
    ingest = Ingested()
    lost = min(key for key in ingest.artifacts.objects if key.startswith("rows/"))
    del ingest.artifacts.objects[lost]
    before = ingest.folded()
    manifest = ingest.publish()
    assert manifest.repaired >= 1
    assert [note["code"] for note in manifest.notes] == ["repaired"]
    assert len(ingest.folded()) == 3
    assert len(before) < 3
    ingest.each(put_image("0.jpg", at=9, number=99))
    assert ingest.publish().repaired == 0


def test_a_repair_is_told_even_when_the_version_was_published_before() -> None:
    ingest = Ingested()
    ingest.publish()
    del ingest.artifacts.objects[min(key for key in ingest.artifacts.objects if key.startswith("rows/"))]
    assert ingest.publish().version == 1
    assert ingest.repaired >= 1


def test_a_tombstone_that_the_log_lacks_is_appended_too() -> None:
    ingest = Ingested()
    before = set(ingest.artifacts.objects)
    ingest.each(deleted_image("0.jpg", at=5))
    for key in set(ingest.artifacts.objects) - before:
        del ingest.artifacts.objects[key]
    assert len(ingest.folded()) == 3
    assert ingest.publish().repaired == 1
    assert len(ingest.folded()) == 2


def test_a_publication_that_died_anywhere_is_finished_by_the_next() -> None:
    class Died(BaseException):
        pass

    digest = Ingested().publish().digest
    for last in count(1):
        ingest = Ingested()
        left = iter(range(last))

        def step(_name: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Died

        ingest.table.step = ingest.artifacts.step = step
        try:
            ingest.publish()
        except Died:
            died = True
        else:
            died = False
        ingest.table.step = ingest.artifacts.step = lambda _name: None
        manifest = ingest.publish()
        assert (manifest.version, manifest.digest) == (1, digest)
        assert all(key in ingest.artifacts.objects for key in manifest.files.values())
        if not died:
            assert last > 20
            return


def test_two_publications_at_once_take_two_numbers_or_one() -> None:
    ingest = Ingested()
    first = ingest.publish()
    ingest.each(put_image("0.jpg", at=9, number=99))
    done: list[Manifest] = []

    def other(step: str) -> None:
        if step == "write" and not done:
            done.append(first)  # once only
            done[0] = ingest.publish()

    ingest.table.step = other
    assert ingest.publish().to_json() == done[0].to_json()
    assert done[0].version == 2


def test_images_of_another_recipe_are_noted() -> None:
    ingest = Ingested()
    ingest.each(closing(0, by=source("dataset.toml"), settings={"detail": "low"}))
    manifest = ingest.publish()
    assert manifest.recipe == Recipe.low().id
    assert [note["code"] for note in manifest.notes] == ["other_recipe"]


def test_a_version_records_the_steps_its_images_were_made_with() -> None:
    ingest = Ingested()
    steps: list[str | dict[str, Any]] = [
        "flatten",
        {"name": "resize", "long_side": 640, "short_side": 480},
        "greyscale",
        "encode",
    ]
    ingest.each(closing(0, by=source("dataset.toml"), settings={"steps": steps}))
    manifest = Manifest.from_json(json.loads(json.dumps(ingest.publish().to_json())))
    assert manifest.recipe == Recipe.of(steps).id == recipe_of(manifest.settings).id


def test_thirty_examples_are_split_into_three_files() -> None:
    manifest = Ingested(30).publish()
    assert sorted(manifest.files) == ["test", "train", "validation"]
    assert manifest.counts == {"train": 20, "validation": 5, "test": 5}


def run(**changes: object) -> FakeRuns:
    runs = FakeRuns()
    record = Run("run_1", DATASET, TrainingSettings("local", "tiny"), NOW.timestamp(), "api", "k")
    runs.records["run_1"] = record
    if changes:
        runs.update("run_1", changes)
    return runs


def test_what_the_request_left_open_the_dataset_s_settings_decide_at_the_cut() -> None:
    ingest = Ingested()
    ingest.each(closing(0, by=source("dataset.toml"), settings={"provider": "openai"}))
    asked = TrainingSettings("local", "tiny", defaulted=("provider", "base_model"))
    runs = run(settings=asked.to_json())
    publish_dataset("run_1", 1, runs, ingest.table, ingest.artifacts, NOW, "s", limits_with())
    assert runs.get("run_1").settings == TrainingSettings("openai", "gpt-4o-2024-08-06")


def test_a_run_gets_its_version_and_keeps_it() -> None:
    ingest, runs = Ingested(), run()
    answer = publish_dataset("run_1", 1, runs, ingest.table, ingest.artifacts, NOW, "s", limits_with())
    record = runs.get("run_1")
    assert (answer.version, answer.digest) == (record.version, record.version_digest)
    assert record.manifest_key in ingest.artifacts.objects
    assert record.stage == "PublishDataset"
    ingest.each(put_image("0.jpg", at=9, number=99))
    assert publish_dataset("run_1", 1, runs, ingest.table, ingest.artifacts, NOW, "s", limits_with()) == answer


def test_a_run_that_names_a_version_trains_exactly_that_one_and_cuts_none() -> None:
    ingest = Ingested()
    ingest.each(closing(0, by=source("dataset.toml"), settings={"provider": "openai"}))
    first = ingest.publish()
    ingest.each(put_image("0.jpg", at=9, number=99))
    assert ingest.publish().version == 2
    objects = dict(ingest.artifacts.objects)
    asked = TrainingSettings("local", "local-vision-1", defaulted=("base_model",), version=1)
    runs = run(settings=asked.to_json())
    answer = publish_dataset("run_1", 1, runs, ingest.table, ingest.artifacts, NOW, "s", limits_with())
    record = runs.get("run_1")
    assert (answer.version, answer.digest, record.manifest_key) == (1, first.digest, first.key)
    assert record.settings == TrainingSettings("local", "local-vision-1", version=1)
    assert ingest.artifacts.objects == objects
    # Named or cut, the same version on the same provider is the same training.
    cut = TrainingSettings("local", "local-vision-1")
    assert training_id(first.digest, record.settings) == training_id(first.digest, cut)
    runs = run(settings=TrainingSettings("local", "tiny", version=7).to_json())
    with pytest.raises(DatasetNotReady, match=r"no version 7\. Its published versions: 1, 2\."):
        publish_dataset("run_1", 1, runs, ingest.table, ingest.artifacts, NOW, "s", limits_with())


def test_an_attempt_that_was_overtaken_publishes_nothing() -> None:
    ingest = Ingested()
    with pytest.raises(FenceLost):
        publish_dataset("run_1", 1, run(attempt=2), ingest.table, ingest.artifacts, NOW, "s", limits_with())


def test_a_dataset_without_a_ready_example_fails_the_run_and_says_what_to_do() -> None:
    ingest = Table()
    ingest.each(row_fact(), closing())
    with pytest.raises(DatasetEmpty, match="wait for"):
        publish_dataset("run_1", 1, run(), ingest.table, ingest.artifacts, NOW, "s", limits_with())
