"""`pixtune data check` warns of personal data before anything leaves the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.provider_rows import picture
from typer.testing import CliRunner

from pixtune_cli.app import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture("red", 1).resize((200, 200)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "answer": "ask jane.doe@mail.example.org"}\n')
    return tmp_path


def warnings(folder: Path) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    assert "jane.doe" not in result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [note for line in lines for note in line.get("warnings", []) if note["code"] == "personal_data"]


def test_personal_data_is_a_warning_that_names_the_row_and_does_not_repeat_it(folder: Path) -> None:
    (note,) = warnings(folder)
    assert note["detail"] == "line 1: turns[1] (assistant) looks like an e-mail address, beginning 'ja…'."


def test_a_dataset_that_does_not_care_hears_nothing_and_a_broken_policy_does_not_silence_it(folder: Path) -> None:
    (folder / "dataset.toml").write_text('[compliance]\nprivacy = "off"\n')
    assert warnings(folder) == []
    (folder / "dataset.toml").write_bytes(b"[compliance\xff")
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--json"])
    assert result.exit_code == 2
    assert "personal_data" in result.stdout
