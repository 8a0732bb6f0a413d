"""Time for the runner is an asyncio event loop: the real one, or this one, in which waiting costs nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Stalled(Exception):
    """Everything waits and no timer is set: the virtual clock would stand still for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next timer whenever nothing is ready. Starts at 2026-01-01T00:00Z."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(_Leaping(self))
        # asyncio runs timers due within the clock's resolution. The monotonic clock's 1 ns is finer than a float can
        # hold after three years (99,999,999 s, the longest wait), and a due timer would then never run.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class _Leaping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("everything waits for an answer that nothing will give")
        self.loop.seconds += timeout
        return []


def run_virtually(loop: VirtualLoop, work: Coroutine[Any, Any, T]) -> T:
    """Runs the work to its end on the virtual clock and closes the loop."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)
