"""The manifest of a version: its cut, splits and settings in; what it holds, and notes for people, out. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pixtune.compliance.attribution import attribution
from pixtune.datasets.card import LeftOut
from pixtune.datasets.cut import Cut
from pixtune.datasets.settings import recipe_of
from pixtune.datasets.splits import Splits
from pixtune.datasets.version import DatasetSettings, Manifest, ManifestEntry
from pixtune.examples.annotation import SPLITS

_NAMED = 3  # examples that a note names


def manifest_of(
    dataset: str,
    version: int,
    digest: str,
    now: datetime,
    settings: DatasetSettings,
    cut: Cut,
    splits: Splits,
    left_out: Sequence[LeftOut],
    repaired: int,
) -> Manifest:
    """repaired: rows that the log lacked."""
    entries = tuple(
        ManifestEntry(
            row.example_id,
            row.revision,
            cut.digests[row.example_id],
            splits.of[row.example_id],
            tuple(shown.image.sha256 for shown in row.images),
        )
        for row in cut.rows.values()
    )
    counted = Counter(splits.of.values())
    counts = {name: counted[name] for name in SPLITS}
    notes = [*cut.notes, *splits.notes]
    recipes: dict[str, list[str]] = defaultdict(list)
    for row in cut.rows.values():
        for shown in row.images:
            recipes[shown.image.recipe].append(shown.upload)
    wanted = recipe_of(settings).id
    for recipe in sorted(recipes.keys() - {wanted}):
        detail = (
            f"{len(recipes[recipe])} images were converted as {recipe}, not {wanted}, such as {recipes[recipe][0]}."
        )
        notes.append({"code": "other_recipe", "detail": detail})
    if left_out:
        codes = Counter(code for one in left_out for code in one.codes)
        why = ", ".join(f"{code} {count}" for code, count in codes.most_common())
        named = ", ".join(one.example_id for one in left_out[:_NAMED])
        detail = f"{len(left_out)} examples were left out by the reject setting ({why}), such as {named}."
        notes.append({"code": "left_out", "detail": detail})
    if repaired:
        notes.append({"code": "repaired", "detail": f"The log of rows lacked {repaired}; they were appended."})
    manifest = Manifest(
        dataset,
        version,
        digest,
        now.timestamp(),
        settings,
        wanted,
        counts,
        {},
        entries,
        repaired,
        tuple(notes),
        attribution=tuple(attribution(cut.rows.values())),
        class_names=cut.class_names,
    )
    files = {name: f"{manifest.folder}/{name}.jsonl" for name in SPLITS if counts[name]}
    return replace(manifest, files=files)
