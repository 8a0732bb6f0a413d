"""Which split each example of a version belongs to: rows in, splits and what a person should know out. Pure.

Near-identical pictures never sit on both sides: examples that share an image, a near-duplicate or a stated group
form a component, and a component goes to one split as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from pixtune.datasets.near import near_links
from pixtune.datasets.together import Together
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row

_SMALLEST_TO_DEAL = 30  # examples below which all that state no split are trained on
_SMALLEST_SHARE = 5  # examples that a dealt split gets at least
_NAMED = 10  # examples that a note names


@dataclass(frozen=True, slots=True)
class Splits:
    """of: example id -> split. notes: {"code", "detail"} each."""

    of: Mapping[str, str]
    notes: tuple[Mapping[str, str], ...] = ()


def split(rows: Sequence[Row], settings: DatasetSettings) -> Splits:
    """A stated split wins; components with two of them are reported and go to train; the others are dealt.

    Dealing goes by a hash of the examples' ids, so that it repeats itself and moves little as the dataset grows.
    """
    of: dict[str, str] = {}
    notes: list[Mapping[str, str]] = []
    free: list[list[str]] = []
    stated = {row.example_id: row.annotation.split for row in rows if row.annotation and row.annotation.split}
    for component in components(rows):
        splits = sorted({stated[example] for example in component if example in stated})
        if not splits:
            free.append(component)
            continue
        if len(splits) > 1:
            notes.append(_conflict(component, splits))
        of |= dict.fromkeys(component, splits[0] if len(splits) == 1 else "train")
    dealt = _dealt(free, Counter(of.values()), len(rows), settings)
    of |= dealt
    if free and len(rows) >= _SMALLEST_TO_DEAL:
        largest = max(free, key=len)
        if len(largest) > len(rows) / 2:
            detail = f"{len(largest)} of {len(rows)} examples hang together by equal or near-equal images or groups."
            notes.append({"code": "large_component", "detail": detail})
    return Splits(of, tuple(notes))


def _conflict(component: Sequence[str], splits: Sequence[str]) -> Mapping[str, str]:
    named = ", ".join(component[:_NAMED]) + (
        f" and {len(component) - _NAMED} more" if len(component) > _NAMED else ""
    )
    detail = f"{named} share images, near-duplicates or a group, but state {' and '.join(splits)}: all went to train."
    return {"code": "split_conflict", "detail": detail}


def _dealt(
    free: Iterable[Sequence[str]], given: Counter[str], total: int, settings: DatasetSettings
) -> dict[str, str]:
    quotas = {"test": settings.test_share, "validation": settings.validation_share}
    wanted = {
        name: max(_SMALLEST_SHARE, round(share * total)) if share > 0 and total >= _SMALLEST_TO_DEAL else 0
        for name, share in quotas.items()
    }
    have = Counter(given)
    of: dict[str, str] = {}
    for component in sorted(free, key=lambda component: sha256(component[0].encode()).digest()):
        size = len(component)
        # A component is not cut, so it may overshoot a quota, but not by more than half of it.
        fitting = (name for name, quota in wanted.items() if have[name] < quota and have[name] + size <= quota * 1.5)
        name = next(fitting, "train")
        have[name] += size
        of |= dict.fromkeys(component, name)
    return of


def components(rows: Sequence[Row]) -> list[list[str]]:
    """Example ids that must stay together, each list sorted, the lists in order of their first."""
    together = Together(len(rows))
    first: dict[tuple[str, str], int] = {}
    hashes: dict[int, int] = {}  # difference hash -> an example that shows it
    for number, row in enumerate(rows):
        marks = [("image", shown.image.sha256) for shown in row.images]
        if row.annotation and row.annotation.group is not None:
            marks.append(("group", row.annotation.group))
        for mark in marks:
            together.join(number, first.setdefault(mark, number))
        for shown in row.images:
            dhash = int(shown.image.dhash, 16)
            together.join(number, hashes.setdefault(dhash, number))
    first_of = list(hashes.values())
    for one, other in near_links(list(hashes)):
        together.join(first_of[one], first_of[other])
    return sorted(sorted(rows[number].example_id for number in group) for group in together.groups())
