"""The README's commands, run as they stand there, and the demo."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from tests.architecture.test_docs import PROVIDERS, readme_commands
from tests.e2e.conftest import checkout
from tests.e2e.pictures import lit
from tests.e2e.service import Service

pytestmark = pytest.mark.e2e


def test_the_readme_s_commands_do_what_they_say_one_after_the_other(service: Service) -> None:
    photos = service.root / "photos"
    photos.mkdir()
    answers = {f"{number:02}.jpg": random.Random(number).choice(["dark", "light"]) for number in range(40)}
    for name, answer in answers.items():
        (photos / name).write_bytes(lit(90_000 + int(name[:2]), answer))
    rows = [{"file_name": name, "prompt": "Dark or light?", "answer": answer} for name, answer in answers.items()]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = [*readme_commands(), *readme_commands(PROVIDERS)]
    commands = [command for command in shown if command.startswith(".venv/bin/pixtune")]
    assert len(commands) >= 14
    for command in commands:
        done = subprocess.run(command.split(), cwd=service.root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_demo_ends_well_and_leaves_nothing_running(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    done = subprocess.run(
        [".venv/bin/pixtune", "demo"], cwd=root, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout + done.stderr
    assert not (root / ".pixtune" / "stack.json").exists()
