"""Rendering and uploading a version's splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import IO

import pytest
from tests.fakes.answering import AnsweringProvider
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, row, store_version

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import spec_for
from pixtune.providers.port import ReadImage
from pixtune.training.files import upload_files
from pixtune.training.run import Run, TrainingSettings

SPEC = spec_for("local", "local-vision-1")


@dataclass
class FileStore(AnsweringProvider):
    """Keeps what is uploaded, by name."""

    files: dict[str, bytes] = field(default_factory=dict)

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        return training_line(row, system, prompt, detail, read_image)

    def upload(self, name: str, content: IO[bytes]) -> str:
        content.seek(0)
        self.files[name] = content.read()
        return f"file-{len(self.files)}"


def uploaded(train: Sequence[Row], validation: Sequence[Row], **changes: object) -> tuple[FileStore, FakeRuns]:
    artifacts, runs, store = KeptArtifacts(), FakeRuns(), FileStore()
    settings = DatasetSettings(system="Count.", detail="low")
    manifest = store_version(artifacts, {"train": train, "validation": validation}, settings=settings)
    run = Run("run_1", "lanes", TrainingSettings("local", "local-vision-1"), 0.0, "api", "k")
    runs.records["run_1"] = replace(run, manifest_key=manifest.key)
    upload_files("run_1", runs, artifacts, store, replace(SPEC, **changes))  # type: ignore[arg-type]  # fields by name
    return store, runs


def test_lines_keep_the_order_of_the_version_however_pictures_arrive() -> None:
    rows = [row(f"e{number:03d}", answer=str(number)) for number in range(200)]
    store, runs = uploaded(rows, [])
    (content,) = store.files.values()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["messages"][-1]["content"][0]["text"] for line in lines] == [str(number) for number in range(200)]
    assert {line["messages"][0]["content"][0]["text"] for line in lines} == {"Count."}
    assert runs.get("run_1").files == {"training": "file-1"}


def test_a_files_name_is_the_hash_of_its_content() -> None:
    store, runs = uploaded([row("e1")], [row("v1", answer="4")])
    assert list(store.files) == [f"pixtune-{sha256(body).hexdigest()[:40]}.jsonl" for body in store.files.values()]
    assert runs.get("run_1").files == {"training": "file-1", "validation": "file-2"}


def test_a_provider_without_validation_files_gets_none() -> None:
    store, _ = uploaded([row("e1")], [row("v1")], validation_file=False)
    assert len(store.files) == 1


def test_a_file_the_run_names_already_is_not_rendered_again() -> None:
    store, runs = uploaded([row("e1")], [row("v1")])
    artifacts = KeptArtifacts()
    manifest = store_version(artifacts, {"train": [row("e1")], "validation": [row("v1")]})
    runs.update("run_1", {"manifest_key": manifest.key})
    upload_files("run_1", runs, artifacts, store, SPEC)
    assert not any(key.startswith("images/") for key in artifacts.reads)


def test_a_picture_that_is_missing_is_a_fault_that_names_it() -> None:
    artifacts, runs = KeptArtifacts(), FakeRuns()
    manifest = store_version(artifacts, {"train": [row("e1")]})
    artifacts.objects = {key: body for key, body in artifacts.objects.items() if not key.startswith("images/")}
    run = Run("run_1", "lanes", TrainingSettings("local", "local-vision-1"), 0.0, "api", "k")
    runs.records["run_1"] = replace(run, manifest_key=manifest.key)
    with pytest.raises(LookupError, match="images/"):
        upload_files("run_1", runs, artifacts, FileStore(), SPEC)
