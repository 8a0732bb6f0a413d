"""Following a run: what is printed, when it stops, and with which exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
import typer
from rich.console import Console

from pixtune_cli.client import Api
from pixtune_cli.display import sparkline
from pixtune_cli.failures import Exit, Failure
from pixtune_cli.watching import OutOfTime, Snapshot, follow, panel, snapshots

RUN: dict[str, Any] = {
    "run_id": "run_1",
    "dataset": "cats",
    "status": "queued",
    "stage": "Requested",
    "version": None,
    "provider_status": None,
    "model_version": None,
    "failure": None,
    "joined": None,
    "promotion": None,
}


class ScriptedApi:
    """Answers the run's next moment each time it is asked for; the last one stays. An exception is raised."""

    local = True

    def __init__(self, *moments: dict[str, Any] | BaseException) -> None:
        self._moments = list(moments)
        self.asked = 0

    def get(self, path: str, **query: object) -> dict[str, Any]:
        if path.endswith("/metrics"):
            return {"items": [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 0.5}]}
        if path.endswith("/checkpoints"):
            return {"items": []}
        self.asked += 1
        moment = self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]
        if isinstance(moment, BaseException):
            raise moment
        return RUN | moment


def api(*moments: dict[str, Any] | BaseException) -> Api:
    return cast("Api", ScriptedApi(*moments))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def moments(*arguments: Any, **options: Any) -> Iterator[Any]:
        return snapshots(*arguments, **options | {"sleep": lambda _: None})

    monkeypatch.setattr("pixtune_cli.watching.snapshots", moments)


def test_each_change_is_one_line_and_no_change_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    follow(api({}, {}, {"status": "running", "stage": "PollTraining"}, {"status": "succeeded"}), "run_1", False, None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["status=queued", "status=running", "status=succeeded"]
    assert "train_loss=0.5" in lines[0]


def test_json_lines_stay_on_stdout_and_talk_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    follow(api({}, {"status": "succeeded", "model_version": 3}), "run_1", True, None)
    shown = capsys.readouterr()
    assert [json.loads(line)["status"] for line in shown.out.splitlines()] == ["queued", "succeeded"]
    assert json.loads(shown.out.splitlines()[-1])["model_version"] == 3
    assert "pixtune model ls cats" in shown.err


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("dataset_empty", Exit.RUN_FAILED),
        ("provider_refused", Exit.PROVIDER),
        ("budget_exceeded", Exit.QUOTA),
        ("run_deadline_passed", Exit.TIMEOUT),
    ],
)
def test_a_failed_run_ends_with_its_cause_its_remedy_and_its_own_exit_code(code: str, exit_code: Exit) -> None:
    failed = {"status": "failed", "failure": {"code": code, "cause": "No example is ready.", "fix": "add images"}}
    with pytest.raises(Failure) as raised:
        follow(api(failed), "run_1", True, None)
    assert (raised.value.exit, raised.value.why, raised.value.remedy) == (
        exit_code,
        "No example is ready.",
        "add images",
    )


def test_a_run_that_waits_for_approval_says_once_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = {"stage": "AwaitApproval"}
    follow(api({}, waiting, waiting, {"status": "succeeded"}), "run_1", False, None)
    said = capsys.readouterr().err
    assert said.count("pixtune run approve run_1") == 1
    assert "pixtune run deny run_1" in said


def test_a_cancelled_run_ends_with_its_exit_code() -> None:
    with pytest.raises(Failure) as raised:
        follow(api({"status": "cancelled"}), "run_1", True, None)
    assert raised.value.exit is Exit.CANCELLED


def test_a_joined_run_names_the_one_to_follow(capsys: pytest.CaptureFixture[str]) -> None:
    follow(api({"status": "joined", "joined": "run_0"}), "run_1", True, None)
    assert "pixtune run watch run_0" in capsys.readouterr().err


def test_ctrl_c_detaches_and_says_that_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised:
        follow(api({}, KeyboardInterrupt()), "run_1", False, None)
    assert raised.value.exit_code == Exit.CANCELLED
    assert "The run goes on." in capsys.readouterr().err


def test_the_time_limit_ends_the_watching_with_its_own_exit_code() -> None:
    with pytest.raises(Failure) as raised:
        follow(api({}), "run_1", True, 0.0)
    assert raised.value.exit is Exit.TIMEOUT


def test_the_pause_grows_while_nothing_changes_and_never_passes_the_time_limit() -> None:
    clock, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    def watch() -> None:
        for _ in snapshots(api({}), "run_1", 60, 1.0, now=lambda: clock[0], sleep=sleep):
            pass

    with pytest.raises(OutOfTime):
        watch()
    assert pauses[:4] == [1.0, 1.5, 2.25, 3.375]
    assert max(pauses) <= 15
    assert sum(pauses) == pytest.approx(60)


def test_on_a_terminal_the_panel_shows_status_loss_and_scored_checkpoints() -> None:
    checkpoints = [
        {"step": 30, "model_id": "ft:[x]:30", "score": 0.75},
        {"step": 60, "model_id": "ft:60", "score": None},
    ]
    metrics = [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 0.5}]
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True)
    console.print(panel(Snapshot(RUN | {"status": "running", "version": 3}, metrics, checkpoints)))
    text = console.export_text()
    assert "run_1  cats version 3  running" in text
    assert "█▁ 2.000 → 0.500" in text
    assert [line.split() for line in text.splitlines() if line.startswith(("30", "60"))] == [
        ["30", "ft:[x]:30", "75.0%"],
        ["60", "ft:60"],
    ]


def test_a_sparkline_keeps_its_width_and_shows_the_fall() -> None:
    assert sparkline([float(100 - step) for step in range(100)], width=8) == "█▇▆▅▄▃▂▁"
    assert sparkline([2.0]) == "▁"
    assert sparkline([]) == ""
