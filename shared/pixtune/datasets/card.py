"""The dataset card: what a version holds, what became of every upload, and what deserves a look, as one value. Pure.

`card_page` makes the page for people of it; `to_json` is the same for programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from pixtune.costs.bands import ZERO
from pixtune.costs.estimate import training_tokens
from pixtune.datasets.quality import Quality, answer_of, quality, question_of
from pixtune.datasets.version import Manifest
from pixtune.examples.annotation import SPLITS
from pixtune.examples.facts import METADATA
from pixtune.examples.items import State
from pixtune.examples.rows import Row
from pixtune.examples.survey import Judged
from pixtune.keys import inline_hash
from pixtune.providers.limits import ProviderSpec
from pixtune.verdicts import Code, Outcome

_SAMPLE = 24  # examples shown, chosen by hash
_WARNINGS = 200  # warnings listed; all of them are counted


@dataclass(frozen=True, slots=True)
class Refused:
    """An upload that was rejected, and why."""

    key: str
    code: str
    detail: str
    fix: str


@dataclass(frozen=True, slots=True)
class Warned:
    """An upload that is used, and what deserves a look in it."""

    key: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An example that the dataset's own policy keeps out of the version. codes: the warnings that did."""

    example_id: str
    upload: str
    sha256: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """An example of the sample. upload, sha256: of its first picture."""

    example_id: str
    split: str
    upload: str
    sha256: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the rows come to, seen once, by the middle reading. base_model: whose rule counted the images."""

    base_model: str
    splits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Card:
    """uploads: by outcome, without pictures inside annotation files, which stand in what follows. reasons: verdict
    code -> how many, `ok` left out. warnings: code -> how many. examples: by state. rejected: every one. warned: the
    first. compliance: check -> {outcome: examples}, empty where none ran. attribution: as in the manifest. metadata:
    what uploads carried beside their pixels and the version's pictures do not -> pictures."""

    dataset: str
    version: int
    digest: str
    created_at: float
    recipe: str
    counts: Mapping[str, int]
    examples: Mapping[str, int]
    uploads: Mapping[str, int]
    reasons: Mapping[str, int]
    warnings: Mapping[str, int]
    rejected: tuple[Refused, ...]
    warned: tuple[Warned, ...]
    left_out: tuple[LeftOut, ...]
    sample: tuple[Shown, ...]
    quality: Quality
    tokens: Tokens | None
    notes: tuple[Mapping[str, str], ...]
    compliance: Mapping[str, Mapping[str, int]]
    attribution: tuple[Mapping[str, Any], ...]
    metadata: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def card_of(
    manifest: Manifest,
    rows: Sequence[Row],
    left_out: Sequence[LeftOut],
    states: Iterable[State],
    uploads: Iterable[Judged],
    spec: ProviderSpec | None,
    compliance: Mapping[str, Mapping[str, int]] | None = None,
) -> Card:
    """rows: the version's. left_out, states (one for each example), uploads: of the whole dataset at the cut. spec:
    counts the tokens."""
    splits = {entry.example_id: entry.split for entry in manifest.examples}
    prompt = manifest.settings.prompt
    verdicts = [(item.key, item.verdict) for item in sorted(uploads, key=lambda item: item.key)]
    notes = sorted(
        (Warned(key, note.code.value, note.detail) for key, verdict in verdicts for note in verdict.warnings),
        key=lambda warned: (warned.code, warned.key, warned.detail),
    )
    counted = Counter(states)
    outcomes = Counter(verdict.outcome for key, verdict in verdicts if not inline_hash(key))
    reasons = Counter(verdict.code.value for _, verdict in verdicts if verdict.code is not Code.OK)
    return Card(
        manifest.dataset,
        manifest.version,
        manifest.digest,
        manifest.created_at,
        manifest.recipe,
        {name: manifest.counts.get(name, 0) for name in SPLITS},
        {state.value: counted[state] for state in State},
        {outcome.value: outcomes[outcome] for outcome in Outcome},
        dict(reasons.most_common()),
        dict(Counter(warned.code for warned in notes).most_common()),
        tuple(
            Refused(key, verdict.code.value, verdict.detail, verdict.fix)
            for key, verdict in verdicts
            if verdict.outcome is Outcome.REJECTED
        ),
        tuple(notes[:_WARNINGS]),
        tuple(left_out),
        tuple(_shown(row, splits[row.example_id], prompt) for row in _sampled(rows)),
        quality(rows, splits, prompt),
        _tokens(manifest, rows, splits, spec) if spec else None,
        manifest.notes,
        compliance or {},
        manifest.attribution,
        _metadata(rows),
    )


def _metadata(rows: Sequence[Row]) -> dict[str, int]:
    pictures = {shown.image.sha256: shown.image for row in rows for shown in row.images}
    counts = Counter(name for image in pictures.values() for name in image.metadata)
    return {name: counts[name] for name in METADATA if counts[name]}


def _sampled(rows: Sequence[Row]) -> list[Row]:
    """The same ones each time: those with the lowest hashes, in the version's order."""
    lowest = sorted(rows, key=lambda row: sha256(row.example_id.encode()).digest())[:_SAMPLE]
    return sorted(lowest, key=lambda row: row.example_id)


def _shown(row: Row, split: str, prompt: str | None) -> Shown:
    first = row.images[0]
    return Shown(row.example_id, split, first.upload, first.image.sha256, question_of(row, prompt), answer_of(row))


def _tokens(manifest: Manifest, rows: Sequence[Row], splits: Mapping[str, str], spec: ProviderSpec) -> Tokens:
    totals = dict.fromkeys(SPLITS, ZERO)
    for row in rows:
        totals[splits[row.example_id]] += training_tokens(row, manifest.settings, spec)
    return Tokens(spec.base_model, {name: round(total.mid) for name, total in totals.items()})
