"""What the command line costs to start, and what it refuses before it talks to anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pixtune_cli.app import app
from pixtune_cli.failures import Exit


def test_help_loads_neither_an_sdk_nor_pictures_and_costs_little_more_than_typer_and_rich() -> None:
    script = """
import json, sys, time
started = time.perf_counter()
import typer, rich.console, rich.panel, rich.table, rich.markdown
base = time.perf_counter() - started
from pixtune_cli.app import app
typer.main.get_command(app)
print(json.dumps({"base": base, "whole": time.perf_counter() - started, "modules": sorted(sys.modules)}))
"""
    found = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    heavy = {"boto3", "botocore", "openai", "PIL", "pydantic", "numpy", "urllib3"}
    assert not heavy & {name.partition(".")[0] for name in found["modules"]}
    assert found["whole"] < 3 * found["base"]


def test_without_a_stack_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXTUNE_STACK", raising=False)
    result = CliRunner().invoke(app, ["run", "ls"])
    assert result.exit_code == Exit.USAGE
    assert "pixtune up" in result.stderr
    assert result.stdout == ""


def test_a_stack_file_of_another_version_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".pixtune").mkdir()
    (tmp_path / ".pixtune" / "stack.json").write_text('{"outputs": {}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXTUNE_STACK", raising=False)
    result = CliRunner().invoke(app, ["run", "ls"])
    assert result.exit_code == Exit.USAGE
    assert "another version" in result.stderr


@pytest.mark.parametrize("name", ["Cats", "a", "cats/dogs", "_x"])
def test_a_bad_dataset_name_is_refused_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    result = CliRunner().invoke(app, ["data", "push", str(tmp_path), "--dataset", name])
    assert result.exit_code == Exit.USAGE
    assert "no dataset name" in result.stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["run", "start", "cats", "--epoch", "3"]).exit_code == Exit.USAGE


def test_a_bug_is_called_one_and_keeps_its_trace_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("pixtune_cli.target.find", broken)
    result = CliRunner().invoke(app, ["run", "ls"])
    assert result.exit_code == Exit.BUG
    assert "ZeroDivisionError" in result.stderr
    monkeypatch.setenv("PIXTUNE_DEBUG", "1")
    assert isinstance(CliRunner().invoke(app, ["run", "ls"]).exception, ZeroDivisionError)


def test_the_version_is_data() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.startswith("pixtune 0.")
