"""The cut of a version: what the table shows of a dataset's examples in, the rows a version may hold out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pixtune.examples.folders import Claim, claim_of, that_count
from pixtune.examples.items import ExampleItem, State
from pixtune.examples.rows import Row


@dataclass(frozen=True, slots=True)
class Seen:
    """An example as the cut saw it. line, digest: of its current row or tombstone, empty while it never was ready."""

    claim: Claim
    line: str
    digest: str

    @classmethod
    def of(cls, example: ExampleItem) -> Seen:
        return cls(claim_of(example), example.line, example.digest)


@dataclass(frozen=True, slots=True)
class Cut:
    """What the table showed: rows by example id, in its order, each with its digest and the line it is stored as.

    class_names, notes: as in the manifest.
    """

    rows: Mapping[str, Row]
    digests: Mapping[str, str]
    lines: Mapping[str, str]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[Mapping[str, str]] = ()

    def without(self, left_out: Collection[str]) -> Cut:
        """The cut without these examples; digests and lines of them may stay."""
        if not left_out:
            return self
        return replace(self, rows={name: row for name, row in self.rows.items() if name not in left_out})


def read_cut(examples: Iterable[Seen], class_folders: bool = True) -> Cut:
    """The ready examples that count. class_folders: as in DatasetSettings."""
    every = sorted(examples, key=lambda seen: seen.claim.example_id)
    counting = {claim.example_id for claim in that_count([seen.claim for seen in every], class_folders)}
    ready = {
        seen.claim.example_id: seen
        for seen in every
        if seen.claim.state is State.READY and seen.claim.example_id in counting
    }
    labels = [seen.claim.label for seen in every if seen.claim.label]
    used = [seen.claim.label for seen in ready.values() if seen.claim.label]
    notes = []
    if used:
        detail = f"{len(used)} examples are labelled by their folder: {', '.join(sorted(set(used))[:20])}."
        notes.append({"code": "class_folders", "detail": detail})
    elif labels and not ready:
        detail = f"{len(labels)} images lie in folders that are no classes, or one only."
        notes.append({"code": "class_folders", "detail": detail})
    return Cut(
        {name: Row.from_json(json.loads(seen.line)) for name, seen in ready.items()},
        {name: seen.digest for name, seen in ready.items()},
        {name: seen.line for name, seen in ready.items()},
        notes=notes,
    )
