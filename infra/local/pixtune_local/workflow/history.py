"""The execution's history: events as GetExecutionHistory shows them, and the 25,000 that one execution may have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

from pixtune_local.workflow.faults import RUNTIME, Fault

# Its keys depend on the type (`taskFailedEventDetails`, ...): the API's own loose shape.
Event: TypeAlias = dict[str, Any]

LIMIT = 25_000
_DETAILS = {"StateEntered": "stateEnteredEventDetails", "StateExited": "stateExitedEventDetails"}


class History:
    """Appends to `events`. `now` gives the timestamps."""

    def __init__(self, now: Callable[[], datetime], events: list[Event] | None = None, limit: int = LIMIT) -> None:
        self.now = now
        self.events = [] if events is None else events
        self.limit = limit

    def add(self, kind: str, previous: int, **details: object) -> int:
        """Records one event after the event `previous` and returns its id.

        Raises Fault(States.Runtime) when only the place of the execution's last event is left.
        """
        if len(self.events) >= self.limit - 1 and not kind.startswith("Execution"):
            raise Fault(RUNTIME, f"The execution reached the maximum number of history events ({self.limit}).")
        event: Event = {
            "id": len(self.events) + 1,
            "previousEventId": previous,
            "timestamp": timestamp(self.now()),
            "type": kind,
        }
        if details:
            event[_details_key(kind)] = details
        self.events.append(event)
        return len(self.events)


def timestamp(moment: datetime) -> str:
    """A UTC moment as Step Functions writes it: milliseconds and a Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _details_key(kind: str) -> str:
    for suffix, key in _DETAILS.items():
        if kind.endswith(suffix):
            return key
    return f"{kind[0].lower()}{kind[1:]}EventDetails"
