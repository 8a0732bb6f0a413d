"""docs/costs.md names commands, parameters and events that exist."""

from __future__ import annotations

import re
import shlex

import pytest
from tests.architecture.expanded import ROOT, source
from typer.testing import CliRunner

from pixtune.events.announced import DATA
from pixtune_cli.app import app

PAGE = (ROOT / "docs/costs.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_the_command_line_knows(command: str) -> None:
    words = shlex.split(command)[1:]
    group = words[:2] if words[0] == "run" else words[:1]
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    assert not [word for word in words if word.startswith("--") and word not in shown.output]


def test_every_parameter_is_one_of_the_template_with_the_default_it_says() -> None:
    parameters = source()["Parameters"]
    for name, meaning in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE):
        default = parameters[name]["Default"]
        days = re.search(r"\((\d+)(?: (days))?\)$", meaning)
        if days:
            assert int(default) == int(days[1]) * (86_400 if days[2] else 1), name
        else:
            assert default == "", name


def test_every_event_is_one_that_is_announced() -> None:
    assert set(re.findall(r"`(pixtune\.[a-z_.]+\.v1)`", PAGE)) <= set(DATA)
