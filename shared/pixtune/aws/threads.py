"""Several calls to AWS at a time: a function and values in, its answers in order out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_THREADS = 10  # as many as botocore keeps connections

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], values: Iterable[T], /) -> list[R]:
    """Call a function for each value, up to 10 at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, values))
