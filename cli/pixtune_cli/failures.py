"""What can go wrong on the command line, and the exit code each kind ends with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Scripts rely on these; they are documented in the README and never change meaning."""

    OK = 0
    BUG = 1
    USAGE = 2  # also: input that does not pass
    RUN_FAILED = 3
    CANCELLED = 4
    TIMEOUT = 5
    AUTH = 6
    PROVIDER = 7
    QUOTA = 8


@dataclass(eq=False)
class Failure(Exception):
    """Shown as three lines. what: happened; why: as far as known; remedy: a command or a step to try."""

    what: str
    why: str = ""
    remedy: str = ""
    exit: Exit = Exit.USAGE
