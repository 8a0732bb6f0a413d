"""Following a run: snapshots of it from the API in; a live panel, plain lines or JSON lines and an exit code out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import typer

from pixtune_cli.display import json_line, line, next_step, out, say, sparkline
from pixtune_cli.failures import Exit, Failure

if TYPE_CHECKING:
    from rich.console import Group

    from pixtune_cli.client import Api

_ENDED = frozenset({"succeeded", "failed", "cancelled", "joined"})
_SLOWEST = 15.0
# What a failed run ends the command with, by the failure's code; every other code is Exit.RUN_FAILED.
_EXIT_OF = {
    "provider_refused": Exit.PROVIDER,
    "budget_exceeded": Exit.QUOTA,
    "too_many_jobs": Exit.QUOTA,
    "run_deadline_passed": Exit.TIMEOUT,
    "uploads_not_settled": Exit.TIMEOUT,
}


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment, with the points of its loss curve and its checkpoints so far."""

    run: dict[str, Any]
    metrics: list[dict[str, float]]
    checkpoints: list[dict[str, Any]]

    @property
    def status(self) -> str:
        return str(self.run["status"])

    @property
    def losses(self) -> list[float]:
        return [point["train_loss"] for point in self.metrics if "train_loss" in point]

    def facts(self) -> dict[str, Any]:
        """What a line is printed for when it changes."""
        return {
            "run_id": self.run["run_id"],
            "status": self.status,
            "stage": self.run["stage"],
            "version": self.run["version"],
            "provider_status": self.run["provider_status"],
            "step": int(self.metrics[-1]["step"]) if self.metrics else None,
            "train_loss": self.losses[-1] if self.losses else None,
            "checkpoints": len(self.checkpoints),
            "scored": sum(point["score"] is not None for point in self.checkpoints),
            "model_version": self.run["model_version"],
        }


class OutOfTime(Exception):
    """The time to watch is over; the run is not."""


def path_of(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"


def snapshots(
    api: Api,
    run_id: str,
    timeout: float | None,
    pause: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Snapshot]:
    """The run again and again until it has ended; the pause grows while nothing changes. Raises OutOfTime."""
    started, wait = now(), pause
    before: Snapshot | None = None
    path = path_of(run_id)
    curve: dict[int, dict[str, float]] = {}
    while True:
        run = api.get(path)
        for point in api.get(f"{path}/metrics", after=_known(curve))["items"]:
            curve[int(point["step"])] = point
        snapshot = Snapshot(run, [curve[step] for step in sorted(curve)], api.get(f"{path}/checkpoints")["items"])
        yield snapshot
        if snapshot.status in _ENDED:
            return
        wait = pause if snapshot != before else min(wait * 1.5, _SLOWEST)
        before = snapshot
        if timeout is not None:
            left = started + timeout - now()
            if left <= 0:
                raise OutOfTime
            wait = min(wait, left)
        sleep(wait)


def _known(curve: Iterable[int]) -> int | None:
    """After which step to ask on: the newest point may still gain figures, so it is asked for once more."""
    newest = max(curve, default=0)
    return newest - 1 if newest > 0 else None


def follow(api: Api, run_id: str, as_json: bool, timeout: float | None) -> None:
    """Show the run until it ends, then say how it ended. Raises typer.Exit or Failure unless it succeeded."""
    show = _as_json if as_json else _live if out().is_terminal else _as_lines
    try:
        last = show(_telling(snapshots(api, run_id, timeout, pause=1.0 if api.local else 5.0)))
    except KeyboardInterrupt:
        say("\nNo longer watching. The run goes on.")
        next_step(f"pixtune run watch {run_id}")
        raise typer.Exit(Exit.CANCELLED) from None
    except OutOfTime:
        raise Failure(
            f"{run_id} has not ended within {timeout:.0f} seconds.",
            "It goes on; only the watching stopped.",
            f"pixtune run watch {run_id}",
            Exit.TIMEOUT,
        ) from None
    _conclude(last.run)


def _telling(seen: Iterator[Snapshot]) -> Iterator[Snapshot]:
    """The same, saying once that a person has to decide: nothing happens until then."""
    told = False
    for snapshot in seen:
        if snapshot.run["stage"] == "AwaitApproval" and snapshot.status not in _ENDED and not told:
            run_id = snapshot.run["run_id"]
            say("It waits until somebody lets it be paid for.")
            next_step(f"pixtune run approve {run_id}", f"pixtune run deny {run_id}")
            told = True
        yield snapshot


def _conclude(run: dict[str, Any]) -> None:
    status, run_id = run["status"], run["run_id"]
    if status == "failed":
        failure = run["failure"] or {}
        code = str(failure.get("code", ""))
        remedy = failure.get("fix") or f"pixtune run resume {run_id}"
        raise Failure(
            f"{run_id} failed: {code}.", failure.get("cause", ""), remedy, _EXIT_OF.get(code, Exit.RUN_FAILED)
        )
    if status == "cancelled":
        raise Failure(f"{run_id} was cancelled.", "", f"pixtune run start {run['dataset']}", Exit.CANCELLED)
    if status == "joined":
        say(f"{run['joined']} does, or did, exactly this training.")
        next_step(f"pixtune run watch {run['joined']}", f"pixtune run start {run['dataset']} --again")
        return
    promotion = run["promotion"] or {}
    if reason := promotion.get("reason"):
        say(str(reason))
    next_step(f"pixtune model ls {run['dataset']}", f"pixtune run show {run_id}")


def _as_json(seen: Iterator[Snapshot]) -> Snapshot:
    return _on_change(seen, lambda snapshot: json_line(snapshot.facts() | {"failure": snapshot.run["failure"]}))


def _as_lines(seen: Iterator[Snapshot]) -> Snapshot:
    def show(snapshot: Snapshot) -> None:
        known = {name: value for name, value in snapshot.facts().items() if value not in (None, 0)}
        line("  ".join(f"{name}={value}" for name, value in known.items()))

    return _on_change(seen, show)


def _on_change(seen: Iterator[Snapshot], show: Callable[[Snapshot], None]) -> Snapshot:
    before: dict[str, Any] | None = None
    for snapshot in seen:
        if snapshot.facts() != before:
            before = snapshot.facts()
            show(snapshot)
        last = snapshot
    return last


def _live(seen: Iterator[Snapshot]) -> Snapshot:
    from rich.live import Live

    with Live(console=out(), auto_refresh=False) as live:
        for snapshot in seen:
            live.update(panel(snapshot), refresh=True)
            last = snapshot
    return last


def panel(snapshot: Snapshot) -> Group:
    """What a terminal shows of a run: one line of status, the loss so far, the checkpoints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    run = snapshot.run
    version = f" version {run['version']}" if run["version"] else ""
    head = Text.assemble(
        (run["run_id"], "bold"), f"  {run['dataset']}{version}  ", (snapshot.status, "bold cyan"), f"  {run['stage']}"
    )
    parts: list[Text | Table] = [head]
    if snapshot.losses:
        parts.append(
            Text(f"  loss {sparkline(snapshot.losses)} {snapshot.losses[0]:.3f} → {snapshot.losses[-1]:.3f}")
        )
    if snapshot.checkpoints:
        grid = Table("step", "model", "score", box=None, pad_edge=False)
        for point in snapshot.checkpoints:
            score = "" if point["score"] is None else f"{point['score']:.1%}"
            grid.add_row(str(point["step"]), Text(point["model_id"]), score)
        parts.append(grid)
    return Group(*parts)
