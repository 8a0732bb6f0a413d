"""What a reader makes of an annotation file: rows, problems and notes, each with the place it stands at. Values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pixtune.examples.annotation import Annotation
from pixtune.verdicts import Code, Note, Verdict, rejected


class BadRow(ValueError):
    """A row that cannot be used: what was found and expected, and what to do about it."""

    def __init__(self, detail: str, fix: str, code: Code = Code.ROW_REJECTED) -> None:
        super().__init__(f"{detail} {fix}")
        self.detail = detail
        self.fix = fix
        self.code = code

    def at(self, where: str) -> Problem:
        return Problem(where, self.detail, self.fix, self.code)


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One row. images: upload keys, in order. where: "line 12", empty where a file has one row only."""

    images: tuple[str, ...]
    annotation: Annotation
    stated_id: str | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the row at this place is not among the rows."""

    where: str
    detail: str
    fix: str
    code: Code = Code.ROW_REJECTED


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as it was understood. layout: what it was taken for, in words.

    stem: its one row is about the image that shares this stem, which the row does not name. refusal: the verdict on
    a file that cannot be read at all. settings: what dataset.toml says.
    """

    layout: str
    rows: tuple[FoundRow, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    stem: str = ""
    refusal: Verdict | None = None
    settings: Mapping[str, Any] | None = None


def refused(code: Code, detail: str, fix: str, *warnings: Note) -> Reading:
    """The reading of a file that cannot be read at all."""
    return Reading("", refusal=rejected(code, detail, fix, *warnings))


def row_notes(problems: Iterable[Problem]) -> list[Note]:
    """The warnings that list problems, at most a hundred."""
    every = list(problems)
    notes = [Note(problem.code, f"{problem.where}: {problem.detail} {problem.fix}") for problem in every[:100]]
    if len(every) > 100:
        notes.append(Note(Code.ROW_REJECTED, f"and {len(every) - 100} more rows."))
    return notes
