"""The `reject` setting: a cut and its pictures' warnings in, the cut without the examples it keeps out, out. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pixtune.datasets.card import LeftOut
from pixtune.datasets.cut import Cut
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.survey import Judged


def apply_policy(cut: Cut, uploads: Iterable[Judged], settings: DatasetSettings) -> tuple[Cut, list[LeftOut]]:
    """The cut without the examples whose pictures carry a warning that `reject` names, and those examples.

    A picture that was replaced since its example was read is judged by what the table shows of it now.
    """
    refused = set(settings.reject)
    if not refused:
        return cut, []
    codes = {
        item.key: tuple(dict.fromkeys(note.code.value for note in item.verdict.warnings if note.code in refused))
        for item in uploads
        if item.kind == "image"
    }
    left_out = []
    for row in cut.rows.values():
        for shown in row.images:
            if found := codes.get(shown.upload):
                left_out.append(LeftOut(row.example_id, shown.upload, shown.image.sha256, found))
                break
    gone = {one.example_id for one in left_out}
    return cut.without(gone), left_out
