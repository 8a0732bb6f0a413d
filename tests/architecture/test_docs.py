"""The documentation says what the code does: codes, commands, routes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
from tests.architecture.expanded import ROOT
from typer.testing import CliRunner

from pixtune.annotations.dataset_toml import read as read_toml
from pixtune.evaluation.retention import RetentionPolicy
from pixtune.providers.azure import ControlPlane
from pixtune.providers.limits import all_specs, limits_with
from pixtune.verdicts import MEANINGS, Code
from pixtune_cli.app import app

README = (ROOT / "README.md").read_text()


PROVIDERS = (ROOT / "docs/providers.md").read_text()


def readme_commands(page: str = README) -> list[str]:
    """Every line of a shell block of the README, or of another page, comments cut off."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_code_has_a_meaning_and_the_page_lists_them_all() -> None:
    assert set(MEANINGS) == set(Code)
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/verdicts.md").read_text(), re.MULTILINE))
    assert listed == {code.value: meaning for code, meaning in MEANINGS.items()}


@pytest.mark.parametrize("command", [line for line in readme_commands() if line.startswith("make ")])
def test_every_make_target_of_the_readme_exists(command: str) -> None:
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


SHOWN = [*readme_commands(), *readme_commands(PROVIDERS)]


@pytest.mark.parametrize("command", [line for line in SHOWN if "pixtune" in line and "sam" not in line])
def test_every_command_of_the_readme_is_one_the_command_line_knows(command: str) -> None:
    words = shlex.split(command)[1:]
    group = words[:2]
    options = {word for word in words if word.startswith("--")}
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    assert not [option for option in options if option not in shown.output]


def test_the_page_on_bedrock_names_every_model_that_is_trained_there_and_settings_that_are_read() -> None:
    page = (ROOT / "docs/bedrock.md").read_text()
    models = [spec.base_model for spec in all_specs().values() if spec.provider == "bedrock"]
    assert [model for model in models if f"`{model}`" not in page and f'"{model}"' not in page] == []
    (settings,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    read = tomllib.loads(settings)
    assert (read["provider"], read["base_model"]) in all_specs()


def test_the_page_on_compliance_shows_settings_that_are_read_and_the_check_that_ships() -> None:
    page = (ROOT / "docs/compliance.md").read_text()
    settings = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(settings) == 2
    for text in settings:
        assert read_toml("cards/dataset.toml", text).refusal is None
    (check,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert check in (ROOT / "shared/pixtune/compliance/own_checks.py").read_text()
    for command in re.findall(r"`pixtune ([a-z ]+?) cards", page):
        shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"TERM": "dumb"})
        assert shown.exit_code == 0, command


def test_the_page_on_providers_shows_the_figures_of_the_table() -> None:
    shown = []
    for spec in all_specs().values():
        jobs = "yes" if spec.adapter else "rows only"
        rows = f"{spec.min_rows} to {spec.max_rows:,}" if spec.max_rows else f"{spec.min_rows} or more"
        images, until = spec.images_per_row or "not stated", spec.train_until or "not announced"
        cells = (f"`{spec.provider}`", f"`{spec.base_model}`", jobs, rows, images, " ".join(spec.formats), until)
        shown.append(f"| {' | '.join(map(str, cells))} |")
    assert [line for line in PROVIDERS.splitlines() if line.startswith("| `")] == shown


def test_the_tables_and_the_secret_of_the_page_on_providers_are_read() -> None:
    (own,) = re.findall(r"```toml\n(.*?)```", PROVIDERS, re.DOTALL)
    limits = limits_with(own)
    assert limits.spec("azure", "gpt-4.1-2025-04-14").source("prices").where == "user: our contract"
    assert limits.spec("bedrock", "amazon.nova-micro-v2:0").tokens_per_row == 65_536
    (secret,) = re.findall(r"```json\n(.*?)```", PROVIDERS, re.DOTALL)
    plane = ControlPlane.of("https://lanes.openai.azure.com/openai/v1/", json.loads(secret)["azure"])
    assert (plane.account, plane.capacity) == ("lanes", 1)


def test_the_page_on_following_names_commands_that_exist_limits_of_the_template_and_the_default_policy() -> None:
    page = (ROOT / "docs/following.md").read_text()
    for group in set(re.findall(r"`pixtune (run \w+|model \w+)", page)):
        shown = CliRunner().invoke(app, [*group.split(), "--help"], env={"NO_COLOR": "1", "TERM": "dumb"})
        assert shown.exit_code == 0, group
    template = (ROOT / "template.yaml").read_text()
    assert all(f"  {name}:" in template for name in re.findall(r"`((?:Run|Queue|Poll)\w+|StuckJobsAlarm)`", page))
    (settings,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert tomllib.loads(settings)["checkpoints"] == RetentionPolicy().to_json()
