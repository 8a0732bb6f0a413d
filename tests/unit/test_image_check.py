"""The offline check: every file of a folder, one verdict each, through the gate an upload would meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit import drawn

from pixtune.images.check import CheckedFile, check_folder, summarise
from pixtune.images.sandbox import Sandbox
from pixtune.verdicts import Code, Note, Outcome, Verdict, accepted


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[list[Sandbox]]:
    with Sandbox() as one, Sandbox() as two:
        yield [one, two]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "a/1.jpg": drawn.jpeg(),
        "a/2.png": drawn.jpeg(drawn.photo(300, 200)),
        "a/3.webp": drawn.encoded(drawn.photo(300, 200).rotate(90), "WEBP"),
        "b/copy.jpg": drawn.jpeg(),
        "b/cut.jpg": drawn.jpeg()[:900],
        "b/scan.tif": drawn.encoded(drawn.photo(64, 64), "TIFF"),
        "b/empty.jpg": b"",
        "b/.DS_Store": b"\0\0\0\1Bud1",
        "metadata.csv": b"file_name,text\n",
        "dataset.toml": b"",
        "_READY": b"",
    }
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_every_file_gets_its_verdict_in_the_order_of_paths(folder: Path, sandboxes: list[Sandbox]) -> None:
    found = {file.file: file.verdict.code for file in check_folder(folder, sandboxes)}
    assert list(found.items()) == [
        ("a/1.jpg", Code.OK),
        ("a/2.png", Code.CONVERTED),
        ("a/3.webp", Code.OK),
        ("b/.DS_Store", Code.JUNK_FILE),
        ("b/copy.jpg", Code.OK),
        ("b/cut.jpg", Code.TRUNCATED),
        ("b/empty.jpg", Code.EMPTY_FILE),
        ("b/scan.tif", Code.UNSUPPORTED_FORMAT),
    ]


def test_the_second_of_two_equal_pictures_is_named_a_duplicate(folder: Path, sandboxes: list[Sandbox]) -> None:
    notes = {file.file: file.verdict.warnings for file in check_folder(folder, sandboxes)}
    assert notes["a/1.jpg"] == ()
    assert notes["b/copy.jpg"] == (Note(Code.DUPLICATE, "The same picture as a/1.jpg."),)


def test_annotation_files_are_asked_about_where_someone_can_tell(folder: Path, sandboxes: list[Sandbox]) -> None:
    asked: list[Path] = []

    def check_annotation(path: Path) -> Verdict:
        asked.append(path)
        return accepted()

    found = [file.file for file in check_folder(folder, sandboxes, check_annotation)]
    assert sorted(asked) == [folder / "dataset.toml", folder / "metadata.csv"]
    assert found[-2:] == ["dataset.toml", "metadata.csv"]


def test_the_summary_counts_verdicts_codes_and_warnings(folder: Path, sandboxes: list[Sandbox]) -> None:
    summary = summarise(check_folder(folder, sandboxes))
    assert summary.files == 8
    assert summary.verdicts == {"rejected": 4, "accepted": 3, "fixed": 1}
    assert summary.codes["ok"] == 3
    assert summary.warnings == {"wrong_extension": 1, "duplicate": 1}
    assert summary.to_json()["files"] == 8


def test_a_checked_file_is_one_flat_json_object() -> None:
    checked = CheckedFile("a.jpg", Verdict(Outcome.REJECTED, Code.CORRUPT, "what", "how"))
    assert checked.to_json() == {
        "file": "a.jpg",
        "verdict": "rejected",
        "code": "corrupt",
        "detail": "what",
        "fix": "how",
        "warnings": [],
    }
