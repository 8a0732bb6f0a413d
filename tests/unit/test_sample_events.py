"""The sample events for `sam local invoke` are of the shapes that the functions read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pixtune.events.s3 import Change, parse

EVENTS = Path(__file__).resolve().parents[2] / "events"
FUNCTIONS = {folder.name for folder in (EVENTS.parent / "functions").iterdir() if (folder / "handler.py").is_file()}
STEPS = ("training_step", "training_step_with_checkpoint")


def load(name: str) -> Any:  # Any: whatever event the file holds
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_event_is_named_for_the_function_it_invokes(path: Path) -> None:
    assert path.stem in STEPS or any(path.stem.startswith(function) for function in FUNCTIONS)
    load(path.stem)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("convert_image", Change.PUT),
        ("convert_image_deleted", Change.DELETED),
        ("read_annotations", Change.PUT),
    ],
)
def test_a_sample_upload_is_read_as_what_happened(name: str, change: Change) -> None:
    for record in load(name)["Records"]:
        assert parse(record["body"]).change is change


def test_the_sample_steps_name_a_run() -> None:
    for name in (*STEPS, "poll_training", "record_failure"):
        assert {"run_id", "attempt"} <= load(name).keys()
