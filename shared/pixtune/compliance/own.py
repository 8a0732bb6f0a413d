"""How a check of your own is made known: a function over a row in, a registered check with its name out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pixtune.compliance.policy import CHECKS
from pixtune.compliance.report import Finding
from pixtune.examples.rows import Row

Objections = Iterable[tuple[str, str, str]]
"""code (stable), where (field or upload) and detail of each thing that a check objects to; see Finding."""

OWN_CHECKS: dict[str, Callable[[Row], Objections]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """A registered check as `report.Check`."""

    name: str

    def look(self, row: Row) -> Iterator[Finding]:
        for code, where, detail in OWN_CHECKS[self.name](row):
            yield Finding(self.name, code, where, detail)


def own_check(function: Callable[[Row], Objections]) -> Callable[[Row], Objections]:
    """Register a check under its function's name; `[compliance.own]` of a dataset.toml gives it a level. Raises
    ValueError when the name is taken or is none."""
    name = function.__name__
    if name in CHECKS or name in OWN_CHECKS or not _NAME.fullmatch(name):
        raise ValueError(f"A check cannot be named {name!r}: names match {_NAME.pattern} and are given once.")
    OWN_CHECKS[name] = function
    return function
