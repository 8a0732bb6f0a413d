"""Judging answers: what was expected and what was said in; exactness, token F1, slices and shares out. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from pixtune.examples.rows import Row

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MOST_VALUES = 12  # a field with more values than this is an id or free text, not a slice
_BRIGHTNESS = ("dark", "medium", "bright")
_RANK = {name: rank for rank, name in enumerate(_BRIGHTNESS)}


def normalised(text: str) -> str:
    """The form in which answers are compared: NFKC, case folded, white space folded to single spaces, and without
    punctuation at the end (". , ; : ! ?" and closing quotes), which says nothing about being right."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).rstrip(".,;:!?\"'’” ")


def is_exact(expected: str, actual: str) -> bool:
    return normalised(expected) == normalised(actual)


def token_f1(expected: str, actual: str) -> float:
    """Harmonic mean of precision and recall over words and signs, each counted as often as it stands (0 to 1)."""
    wanted, said = (Counter(_TOKEN.findall(normalised(text))) for text in (expected, actual))
    if not wanted or not said:
        return float(wanted == said)
    shared = (wanted & said).total()
    return 2 * shared / (wanted.total() + said.total())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one test row. images: SHA-256 of the converted pictures. slices: slice -> value.
    error: why it gave no answer (then `actual` is empty, and it counts as wrong)."""

    example_id: str
    question: str
    expected: str
    actual: str
    images: tuple[str, ...] = ()
    slices: Mapping[str, str] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    @property
    def exact(self) -> bool:
        return self.error is None and is_exact(self.expected, self.actual)

    @property
    def f1(self) -> float:
        return 0.0 if self.error else token_f1(self.expected, self.actual)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's answers to the test split. of: rows the split has; the answers may be a sample of it."""

    model_id: str
    of: int
    answers: tuple[Answer, ...]

    @property
    def score(self) -> float:
        """Share of answers that are exact, 0 to 1."""
        return share_exact(self.answers)

    @property
    def f1(self) -> float:
        return mean_f1(self.answers)

    def slices(self) -> dict[str, dict[str, list[Answer]]]:
        """Slice -> value -> the answers there, sorted by name, brightness from dark to bright."""
        found: dict[str, dict[str, list[Answer]]] = {}
        for answer in self.answers:
            for name, value in (answer.slices or {}).items():
                found.setdefault(name, {}).setdefault(value, []).append(answer)
        return {
            name: dict(sorted(values.items(), key=lambda item: (_RANK.get(item[0], 0), item[0])))
            for name, values in sorted(found.items())
        }

    def to_json(self) -> dict[str, Any]:
        """With the scores, overall and by slice, for those who only read them."""
        return {
            "model_id": self.model_id,
            "of": self.of,
            "asked": len(self.answers),
            "score": self.score,
            "f1": self.f1,
            "slices": {
                name: {
                    value: {"asked": len(some), "score": share_exact(some), "f1": mean_f1(some)}
                    for value, some in values.items()
                }
                for name, values in self.slices().items()
            },
            "answers": [asdict(answer) | {"exact": answer.exact, "f1": answer.f1} for answer in self.answers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        known = {item.name for item in fields(Answer)}
        answers = (
            {name: value for name, value in answer.items() if name in known} | {"images": tuple(answer["images"])}
            for answer in data["answers"]
        )
        return cls(data["model_id"], data["of"], tuple(Answer(**answer) for answer in answers))


def share_exact(answers: Sequence[Answer]) -> float:
    return fmean(answer.exact for answer in answers) if answers else 0.0


def mean_f1(answers: Sequence[Answer]) -> float:
    return fmean(answer.f1 for answer in answers) if answers else 0.0


def interval(right: int, asked: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's): what `right` of `asked` says about the share among all such examples."""
    if not asked:
        return 0.0, 1.0
    z, share = 1.96, right / asked
    middle = share + z * z / (2 * asked)
    spread = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked))
    scale = 1 + z * z / asked
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def slices_of(rows: Sequence[Row]) -> list[dict[str, str]]:
    """For each row the slices it is in: its annotation's fields where the rows have 2 to 12 different values, and
    its pictures' brightness by thirds of these rows (dark, medium, bright)."""
    values = [
        {name: str(value) for name, value in (row.annotation.fields if row.annotation else {}).items()}
        for row in rows
    ]
    counts = Counter(name for row in values for name in set(row))
    kept = [name for name in counts if 2 <= len({row.get(name, "none") for row in values}) <= _MOST_VALUES]
    sliced = [{name: row.get(name, "none") for name in kept} for row in values]
    third = _thirds([fmean(picture.image.brightness for picture in row.images) for row in rows if row.images])
    for row, slices in zip(rows, sliced, strict=True):
        if third and row.images:
            slices["brightness"] = third(fmean(picture.image.brightness for picture in row.images))
    return sliced


def _thirds(values: Sequence[float]) -> Callable[[float], str] | None:
    """A function from a value to its third; None where the values are too few or too equal to part in three."""
    ordered = sorted(values)
    if len(ordered) < 3:
        return None
    first, second = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    if not ordered[0] < first < second:
        return None
    return lambda value: _BRIGHTNESS[(value >= first) + (value >= second)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same rows. measure: "exact", or "f1" where neither has a single exact answer, as with free
    text. only_ours, only_theirs: rows that one alone answered exactly."""

    asked: int
    measure: str
    ours: float
    theirs: float
    only_ours: int
    only_theirs: int

    @property
    def better(self) -> bool:
        """Strictly: who does as well as the other has not beaten it."""
        return self.ours > self.theirs


def compare(ours: Sequence[Answer], theirs: Sequence[Answer]) -> Comparison:
    """On the rows both were asked."""
    known = {answer.example_id: answer for answer in theirs}
    pairs = [(mine, known[mine.example_id]) for mine in ours if mine.example_id in known]
    mine, their = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    exact = any(answer.exact for answer in (*mine, *their))
    judge = share_exact if exact else mean_f1
    return Comparison(
        asked=len(pairs),
        measure="exact" if exact else "f1",
        ours=judge(mine),
        theirs=judge(their),
        only_ours=sum(one.exact and not other.exact for one, other in pairs),
        only_theirs=sum(other.exact and not one.exact for one, other in pairs),
    )
