"""Uploading a version's splits: small files in one request, large ones in parts that survive whatever happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.fakes.part_uploads import PartUploads
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import JPEG, KeptArtifacts, row, store_version

from pixtune.datasets.version import DatasetSettings
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import ProviderSpec, spec_for
from pixtune.training.files import Uploading, upload_files, upload_part
from pixtune.training.run import Run, TrainingSettings

SPEC = spec_for("local", "local-vision-1")
IN_PARTS = replace(SPEC, part_bytes=1500)
SETTINGS = DatasetSettings(system="Count.", detail="low")


@dataclass
class Stage:
    """A run of a version, the provider it is uploaded to, and the state machine's part of it."""

    train: Sequence[Row] = ()
    validation: Sequence[Row] = ()
    spec: ProviderSpec = IN_PARTS
    artifacts: KeptArtifacts = field(default_factory=KeptArtifacts)
    runs: FakeRuns = field(default_factory=FakeRuns)
    provider: PartUploads = field(default_factory=PartUploads)
    now: float = 1000.0

    def __post_init__(self) -> None:
        splits = {"train": self.train, "validation": self.validation}
        manifest = store_version(self.artifacts, splits, settings=SETTINGS)
        run = Run("run_1", "lanes", TrainingSettings("local", "local-vision-1"), 0.0, "api", "k")
        self.runs.records["run_1"] = replace(run, manifest_key=manifest.key)

    def step(self) -> Uploading:
        return upload_files("run_1", self.runs, self.artifacts, self.provider, self.spec, self.now)

    def parts(self, listed: Uploading) -> list[dict[str, object]]:
        items: list[dict[str, object]] = json.loads(self.artifacts.objects[listed.parts_key])
        return items

    def send(self, item: dict[str, object]) -> None:
        upload_part(str(item["plan"]), str(item["upload_id"]), int(str(item["part"])), self.artifacts, self.provider)

    def send_all(self, listed: Uploading) -> None:
        for item in self.parts(listed):
            self.send(item)

    def finish(self) -> int:
        """As the state machine goes round; answers how many rounds of parts there were."""
        for rounds in range(10):
            listed = self.step()
            if listed.done:
                return rounds
            self.send_all(listed)
        raise AssertionError("it goes round for ever")

    def file(self, purpose: str = "training") -> bytes:
        return self.provider.files[self.runs.get("run_1").files[purpose].removeprefix("file-")]


def rows(count: int, name: str = "e") -> list[Row]:
    return [row(f"{name}{number:03d}", answer=str(number)) for number in range(count)]


def rendered(some: Sequence[Row]) -> bytes:
    return b"".join(training_line(one, "Count.", None, "low", lambda _: JPEG) for one in some)


# --- one request --------------------------------------------------------------------------------------------------


def test_lines_keep_the_order_of_the_version_however_pictures_arrive() -> None:
    stage = Stage(rows(200), spec=SPEC)
    assert stage.step() == Uploading(done=True)
    assert stage.file() == rendered(stage.train)
    assert set(stage.runs.get("run_1").files) == {"training"}


def test_a_file_of_at_most_one_part_goes_in_one_request() -> None:
    train = rows(3)
    exact = len(rendered(train))
    assert Stage(train, spec=replace(SPEC, part_bytes=exact)).finish() == 0
    assert Stage(train, spec=replace(SPEC, part_bytes=exact - 1)).finish() == 1


def test_a_provider_without_validation_files_gets_none() -> None:
    stage = Stage(rows(1), rows(1, "v"), spec=replace(SPEC, validation_file=False))
    stage.step()
    assert len(stage.provider.files) == 1


def test_a_file_the_run_names_already_is_not_rendered_again() -> None:
    stage = Stage(rows(1), rows(1, "v"), spec=SPEC)
    stage.step()
    stage.artifacts.reads.clear()
    assert stage.step().done
    assert not any(key.startswith("images/") for key in stage.artifacts.reads)


def test_a_picture_that_is_missing_is_a_fault_that_names_it() -> None:
    stage = Stage(rows(1), spec=SPEC)
    kept = stage.artifacts.objects
    stage.artifacts.objects = {key: body for key, body in kept.items() if not key.startswith("images/")}
    with pytest.raises(LookupError, match="images/"):
        stage.step()


# --- in parts -----------------------------------------------------------------------------------------------------


def test_a_large_file_arrives_whole_whatever_order_its_parts_take() -> None:
    stage = Stage(rows(40), rows(20, "v"))
    listed = stage.step()
    assert listed.parts == len(stage.parts(listed)) > 10
    assert not stage.provider.sent
    for item in reversed(stage.parts(listed)):
        stage.send(item)
    assert stage.step() == Uploading(done=True)
    assert stage.file() == rendered(stage.train)
    assert stage.file("validation") == rendered(stage.validation)
    assert not stage.runs.get("run_1").uploads


def test_planning_reads_no_picture_and_a_part_only_its_own() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    assert not any(key.startswith("images/") for key in stage.artifacts.reads)
    stage.send(stage.parts(listed)[1])
    read = sum(key.startswith("images/") for key in stage.artifacts.reads)
    assert 0 < read < 40 / 2


def test_a_part_that_was_sent_is_not_sent_again() -> None:
    stage = Stage(rows(40))
    first, *others = stage.parts(stage.step())
    stage.send(first)
    stage.send(first)
    assert stage.provider.sent == [0]
    again = stage.step()
    assert stage.parts(again) == others
    stage.send_all(again)
    assert stage.step().done
    assert stage.provider.sent == list(range(len(others) + 1))


def test_a_worker_that_dies_after_sending_leaves_an_orphan_that_no_file_has() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    stage.provider.fail["upload_part"] = SystemExit()
    stage.provider.answers_lost.add("upload_part")
    with pytest.raises(SystemExit):
        stage.send(stage.parts(listed)[0])
    stage.send_all(listed)
    assert stage.step().done
    assert stage.provider.sent.count(0) == 2
    assert stage.file() == rendered(stage.train)


def test_two_workers_of_one_part_agree_on_the_first_record() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    (first, *_) = stage.parts(listed)
    stage.send(first)
    (key,) = [key for key in stage.artifacts.objects if key.endswith("/00000.json")]
    kept = stage.artifacts.objects[key]

    def send_late() -> None:
        """As a worker that looked for the record just before another wrote it."""
        late = LooksOnceInVain(stage.artifacts.objects, key)
        upload_part(str(first["plan"]), str(first["upload_id"]), 0, late, stage.provider)

    send_late()
    assert stage.provider.sent == [0, 0]
    assert stage.artifacts.objects[key] == kept
    stage.artifacts.objects[key] = json.dumps(json.loads(kept) | {"sha256": "0" * 64}).encode()
    with pytest.raises(ValueError, match="rendered twice, and differently"):
        send_late()


class LooksOnceInVain(KeptArtifacts):
    def __init__(self, objects: dict[str, bytes], unseen: str) -> None:
        super().__init__(objects)
        self.unseen = unseen

    def get(self, key: str) -> bytes | None:
        if key == self.unseen:
            self.unseen = ""
            return None
        return super().get(key)


@pytest.mark.parametrize("when", ["at once", "half way", "before it is completed", "by its age"])
def test_an_upload_that_expired_is_begun_anew(when: str) -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    items = stage.parts(listed)
    for number, item in enumerate(items):
        if when == "at once" or (when == "half way" and number == 5):
            stage.provider.expire()
        stage.send(item)
    if when == "before it is completed":
        stage.provider.expire()
    if when == "by its age":
        stage.now += 3001
    sent = len(stage.provider.sent)
    assert sent == {"at once": 0, "half way": 5}.get(when, len(items))
    assert stage.finish() == 1
    assert list(stage.provider.uploads) == ["upload-1", "upload-2"]
    assert len(stage.provider.sent) == sent + len(items)
    assert stage.file() == rendered(stage.train)


def test_an_upload_that_always_expires_fails_the_run_with_what_the_provider_said() -> None:
    stage = Stage(rows(40))
    for _ in range(3):
        listed = stage.step()
        stage.provider.expire()
        stage.send_all(listed)
    with pytest.raises(ProviderRefused, match=r"3 uploads of pixtune-.* the last because: upload-3 is expired"):
        stage.step()
    assert len(stage.provider.uploads) == 3


def test_a_refused_part_stops_the_others_and_fails_the_run_as_the_provider_said() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    stage.provider.fail["upload_part"] = ProviderRefused("HTTP 401: bad key", "Check the api_key.")
    stage.send_all(listed)
    assert stage.provider.sent == []
    with pytest.raises(ProviderRefused, match=r"HTTP 401: bad key Check the api_key\."):
        stage.step()
    assert stage.finish() == 1, "resumed after the key was mended, it begins another upload"
    assert stage.file() == rendered(stage.train)


def test_a_provider_that_is_away_costs_only_the_parts_it_did_not_take() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    stage.provider.fail["upload_part"] = ProviderUnavailable("503")
    with pytest.raises(ProviderUnavailable):
        stage.send_all(listed)
    assert stage.finish() == 1
    assert sorted(stage.provider.sent) == list(range(listed.parts))


@pytest.mark.parametrize("method", ["begin_upload", "complete_upload"])
@pytest.mark.parametrize("lost", [True, False], ids=["its answer lost", "before it arrived"])
def test_a_call_that_failed_is_made_good_by_the_next_run_of_the_function(method: str, lost: bool) -> None:
    stage = Stage(rows(40))
    stage.provider.fail[method] = ProviderUnavailable("dropped")
    if lost:
        stage.provider.answers_lost.add(method)
    with pytest.raises(ProviderUnavailable):
        stage.finish()
    stage.finish()
    assert stage.file() == rendered(stage.train)
    assert sorted(stage.provider.sent) == list(range(len(stage.provider.sent))), "no part was sent twice"


def test_a_file_that_is_there_already_is_adopted_without_a_part_being_sent() -> None:
    stage = Stage(rows(40))
    stage.finish()
    other = Stage(rows(40), provider=stage.provider)
    stage.provider.sent.clear()
    assert other.finish() == 0
    assert stage.provider.sent == []
    assert other.runs.get("run_1").files == stage.runs.get("run_1").files


def test_a_completion_whose_bytes_are_not_those_declared_is_sent_again() -> None:
    stage = Stage(rows(40))
    listed = stage.step()
    stage.send_all(listed)
    upload = stage.provider.uploads["upload-1"]
    upload.parts["part-1"] = b"cut"
    assert stage.finish() == 1
    assert stage.file() == rendered(stage.train)


def test_a_record_that_does_not_come_to_its_planned_length_is_never_completed() -> None:
    stage = Stage(rows(40))
    stage.send_all(stage.step())
    (key,) = [key for key in stage.artifacts.objects if key.endswith("/00001.json")]
    record = json.loads(stage.artifacts.objects[key]) | {"length": 3}
    stage.artifacts.objects[key] = json.dumps(record).encode()
    with pytest.raises(ValueError, match=r"Part 1 of pixtune-.* has 3 bytes"):
        stage.step()
    assert stage.provider.files == {}
