"""What a person should know of a version's rows before training on them: rows and splits in, findings out. Pure.

Nothing here rejects anything. Pictures count as near-identical by the same measure that keeps them in one split.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pixtune.datasets.near import near_links
from pixtune.datasets.together import Together
from pixtune.evaluation.scoring import normalised
from pixtune.examples.annotation import SPLITS
from pixtune.examples.rows import Row

_LABEL = 80  # characters; a longer answer is a description, and two good ones of one picture differ
_GROUPS, MEMBERS = 50, 12  # groups that are listed, and examples of each
_QUESTIONS, _ANSWERS = 6, 12  # questions whose answers are counted, and answers of each
_DOMINANT = 0.8  # share of one answer above which a model learns little by saying anything else
_NAMED = 5  # answers that a note names


@dataclass(frozen=True, slots=True)
class Lengths:
    """Characters: the fewest, the median and the most."""

    low: int
    middle: int
    high: int


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split. pictures: distinct ones. brightness, sharpness: medians, None where nothing was measured."""

    examples: int
    pictures: int
    questions: Lengths
    answers: Lengths
    brightness: float | None
    sharpness: float | None


@dataclass(frozen=True, slots=True)
class Member:
    """An example as a list shows it. upload, sha256: of its first picture."""

    example_id: str
    split: str
    upload: str
    sha256: str
    answer: str


@dataclass(frozen=True, slots=True)
class Groups:
    """groups, examples: how many there are. shown: the largest groups, each with its first examples."""

    groups: int
    examples: int
    shown: tuple[tuple[Member, ...], ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """The answers to one question. answers: the most frequent, each with its count per split. distinct: of all.
    evenness: 1 when all are equally frequent, 0 when there is only one."""

    question: str
    examples: int
    distinct: int
    evenness: float
    answers: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Quality:
    """duplicates: one picture uploaded under several keys. near: pictures that look alike. contradictions: the same
    question about such pictures, answered differently. notes: {"code", "detail"} each."""

    splits: Mapping[str, SplitFacts]
    duplicates: Groups
    near: Groups
    contradictions: Groups
    balance: tuple[Balance, ...]
    notes: tuple[Mapping[str, str], ...]


def question_of(row: Row, prompt: str | None) -> str:
    """All that the row asks, or the dataset's own prompt where it asks nothing."""
    return (row.annotation.question().strip() if row.annotation else "") or prompt or ""


def answer_of(row: Row) -> str:
    """All that the row answers, turn by turn."""
    turns = row.annotation.turns if row.annotation else ()
    return "\n".join(part.text for turn in turns if turn.role == "assistant" for part in turn.parts if part.text)


def quality(rows: Sequence[Row], splits: Mapping[str, str], prompt: str | None) -> Quality:
    """splits: example id -> split. prompt: asked by rows that ask nothing. About 2 s for 50,000 rows."""
    questions = [question_of(row, prompt) for row in rows]
    answers = [answer_of(row) for row in rows]

    def listed(groups: Iterable[Sequence[int]]) -> Groups:
        found = sorted(groups, key=lambda group: (-len(group), group))
        shown = tuple(tuple(member(number) for number in group[:MEMBERS]) for group in found[:_GROUPS])
        return Groups(len(found), sum(map(len, found)), shown)

    def member(number: int) -> Member:
        row = rows[number]
        first = row.images[0]
        return Member(row.example_id, splits[row.example_id], first.upload, first.image.sha256, answers[number])

    return Quality(
        {name: _facts([n for n, row in enumerate(rows) if splits[row.example_id] == name], rows, questions, answers)
         for name in SPLITS},
        listed(_duplicates(rows)),
        listed(_near(rows)),
        listed(_contradictions(rows, questions, answers)),
        tuple(_balances(rows, splits, questions, answers)),
        tuple(_notes(rows, splits, questions, answers)),
    )  # fmt: skip


def _facts(
    numbers: Sequence[int], rows: Sequence[Row], questions: Sequence[str], answers: Sequence[str]
) -> SplitFacts:
    shown = {one.image.sha256: one.image for number in numbers for one in rows[number].images}
    sharp = [image.sharpness for image in shown.values() if image.sharpness is not None]
    return SplitFacts(
        len(numbers),
        len(shown),
        _lengths([len(questions[number]) for number in numbers]),
        _lengths([len(answers[number]) for number in numbers]),
        round(median(image.brightness for image in shown.values()), 3) if shown else None,
        round(median(sharp), 1) if sharp else None,
    )


def _lengths(found: Sequence[int]) -> Lengths:
    return Lengths(min(found), int(median(found)), max(found)) if found else Lengths(0, 0, 0)


def _duplicates(rows: Sequence[Row]) -> list[list[int]]:
    """Examples by picture, of the pictures that came under more than one key."""
    keys: dict[str, set[str]] = defaultdict(set)
    examples: dict[str, dict[int, None]] = defaultdict(dict)
    for number, row in enumerate(rows):
        for shown in row.images:
            keys[shown.image.sha256].add(shown.upload)
            examples[shown.image.sha256][number] = None
    return [list(examples[picture]) for picture, uploads in keys.items() if len(uploads) > 1]


def _near(rows: Sequence[Row]) -> list[list[int]]:
    """Examples whose pictures look alike, where there is more than one picture."""
    pictures: dict[str, int] = {}  # sha256 -> difference hash
    examples: dict[str, set[int]] = defaultdict(set)
    for number, row in enumerate(rows):
        for shown in row.images:
            pictures[shown.image.sha256] = int(shown.image.dhash, 16)
            examples[shown.image.sha256].add(number)
    names = list(pictures)
    together = Together(len(names))
    first: dict[int, int] = {}
    for number, name in enumerate(names):
        together.join(number, first.setdefault(pictures[name], number))
    first_of = list(first.values())
    for one, other in near_links(list(first)):
        together.join(first_of[one], first_of[other])
    return [
        sorted(set().union(*(examples[names[number]] for number in group)))
        for group in together.groups()
        if len(group) > 1
    ]


def _contradictions(rows: Sequence[Row], questions: Sequence[str], answers: Sequence[str]) -> Iterable[Sequence[int]]:
    """Examples that ask the same about pictures that look alike and answer it differently, with a label's length.

    Examples of several pictures are compared only where all of them have the same hashes in the same order.
    """
    folded = {text: normalised(text) for text in {*questions, *answers}}
    cells: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if 0 < len(answers[number]) <= _LABEL:
            cells[folded[questions[number]], tuple(shown.image.dhash for shown in row.images)].append(number)
    places = list(cells)
    said = [{folded[answers[number]] for number in cells[place]} for place in places]
    together = Together(len(places))
    guilty = {cell for cell, answers_there in enumerate(said) if len(answers_there) > 1}
    asked: dict[str, list[int]] = defaultdict(list)
    for cell, (question, hashes) in enumerate(places):
        if len(hashes) == 1:
            asked[question].append(cell)
    for there in asked.values():
        # A cell with one answer contradicts none with the same; one with several contradicts every other.
        kinds = [next(iter(said[cell])) if len(said[cell]) == 1 else cell for cell in there]
        for one, other in near_links([int(places[cell][1][0], 16) for cell in there], kinds):
            together.join(there[one], there[other])
            guilty |= {there[one], there[other]}
    for group in together.groups():
        if group[0] in guilty:
            yield sorted(number for cell in group for number in cells[places[cell]])


def _balances(
    rows: Sequence[Row], splits: Mapping[str, str], questions: Sequence[str], answers: Sequence[str]
) -> Iterable[Balance]:
    asked: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        asked[question].append(number)
    for question, numbers in sorted(asked.items(), key=lambda item: (-len(item[1]), item[0]))[:_QUESTIONS]:
        counts = Counter(answers[number] for number in numbers)
        per_split: dict[str, Counter[str]] = defaultdict(Counter)
        for number in numbers:
            per_split[answers[number]][splits[rows[number].example_id]] += 1
        most = sorted(counts, key=lambda answer: (-counts[answer], answer))[:_ANSWERS]
        shown = {answer: {name: per_split[answer][name] for name in SPLITS} for answer in most}
        yield Balance(question, len(numbers), len(counts), _evenness(counts), shown)


def _evenness(counts: Counter[str]) -> float:
    """Entropy as a share of the highest that this many answers can have."""
    if len(counts) < 2:
        return 0.0
    shares = [count / counts.total() for count in counts.values()]
    return round(-sum(share * math.log(share) for share in shares) / math.log(len(shares)), 3)


def _notes(
    rows: Sequence[Row], splits: Mapping[str, str], questions: Sequence[str], answers: Sequence[str]
) -> Iterable[Mapping[str, str]]:
    folded = {text: normalised(text) for text in {*questions, *answers}}
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    trained: set[tuple[str, str]] = set()
    judged: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows):
        question, answer = folded[questions[number]], folded[answers[number]]
        asked[question][answer] += 1
        if splits[row.example_id] == "train":
            trained.add((question, answer))
        elif len(answer) <= _LABEL:
            judged.setdefault((question, answer), answers[number])
    for question, counts in asked.items():
        answer, count = counts.most_common(1)[0]
        if len(counts) > 1 and counts.total() >= 10 and count > _DOMINANT * counts.total():
            detail = f"{count} of {counts.total()} answers to {question[:_LABEL]!r} are {answer[:_LABEL]!r}."
            yield {"code": "one_sided", "detail": detail}
    unseen = sorted({told for place, told in judged.items() if place not in trained})
    if unseen:
        named = ", ".join(repr(answer) for answer in unseen[:_NAMED]) + (
            " and others" if len(unseen) > _NAMED else ""
        )
        detail = f"{len(unseen)} answers of validation and test stand nowhere in train: {named}."
        yield {"code": "unseen_answers", "detail": detail}
