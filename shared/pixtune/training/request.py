"""A training is asked for: an order from any of the three doors in, the run that serves it out, started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pixtune.errors import RequestConflict
from pixtune.training.ports import Requests, TrainingRuns, Workflow
from pixtune.training.run import Request, Run, TrainingSettings

_TRIES = 20  # each means that somebody else opened or closed a run for the same settings in between


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What to train. door: "api", "event" or "marker"; request_key: the door's key, the same for every redelivery;
    body_hash: of what was asked, so that a key used for two different things is noticed."""

    dataset: str
    settings: TrainingSettings
    door: str
    request_key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Requested:
    """The run that serves an order. replayed: the key was answered before. shared: the run was there already."""

    run_id: str
    replayed: bool
    shared: bool


def request_training(
    order: TrainingOrder,
    *,
    now: float,
    new_run_id: Callable[[], str],
    runs: TrainingRuns,
    requests: Requests,
    workflow: Workflow,
) -> Requested:
    """Find or make the run for this order and start its execution; safe to call again at any point.

    A redelivered key gets its run again, and starts an execution that a crash left unstarted. A new key gets the run
    for the same dataset and settings that has not published yet, else a new run. Raises RequestConflict when the key
    was used for something else.
    """
    settings = order.settings
    if settings.again:
        settings = replace(settings, nonce=f"{order.door}:{order.request_key}")
    for _ in range(_TRIES):
        requested = _replay(order, now, requests) or _accept(order, settings, now, new_run_id, runs, requests)
        if requested is not None:
            run = runs.get(requested.run_id)
            if not run.status.ended:
                workflow.start(run.run_id, run.attempt)
            return requested
    raise TimeoutError(
        f"{order.dataset}: runs for the same settings were opened and closed {_TRIES} times meanwhile."
    )


def _replay(order: TrainingOrder, now: float, requests: Requests) -> Requested | None:
    known = requests.find(order.door, order.request_key, now)
    if known is None:
        return None
    if known.body_hash != order.body_hash:
        raise RequestConflict(
            f"The request key {order.request_key!r} was used before for another request (run {known.run_id}). "
            "Use a new key for a new request."
        )
    return Requested(known.run_id, replayed=True, shared=known.shared)


def _accept(
    order: TrainingOrder,
    settings: TrainingSettings,
    now: float,
    new_run_id: Callable[[], str],
    runs: TrainingRuns,
    requests: Requests,
) -> Requested | None:
    """None: another request was faster; look again."""
    running = runs.open_run(order.dataset, settings.digest())
    run_id = running or new_run_id()
    request = Request(order.door, order.request_key, run_id, order.body_hash, shared=running is not None)
    if running is not None:
        stored = requests.share(request, now)
    else:
        run = Run(run_id, order.dataset, settings, now, order.door, order.request_key)
        stored = requests.open(request, run, now)
    return Requested(run_id, replayed=False, shared=request.shared) if stored else None
