"""A dataset as a version would hold it now, without cutting one: the examples table in, settings and rows out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pixtune.datasets.class_names import with_class_names
from pixtune.datasets.cut import Seen, read_cut
from pixtune.datasets.reject_setting import apply_policy
from pixtune.datasets.settings import read_class_names, stated_settings
from pixtune.datasets.splits import split
from pixtune.datasets.tasks import in_words
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetEmpty
from pixtune.examples.ports import Each, Examples, one_by_one
from pixtune.examples.rows import Row
from pixtune.examples.survey import examples_of, judged_uploads


def as_it_is_now(
    dataset: str, table: Examples, each: Each = one_by_one
) -> tuple[DatasetSettings, Mapping[str, Sequence[Row]]]:
    """The dataset's settings and its ready rows by split, boxes in words. Raises DatasetEmpty when none is ready, and
    DatasetNotReady when dataset.toml was refused."""
    settings = stated_settings(table, dataset)
    seen = examples_of(table, dataset, Seen.of, each)
    cut = with_class_names(
        read_cut(seen, settings.class_folders), lambda folder: read_class_names(table, dataset, folder)
    )
    if settings.reject:
        cut, _ = apply_policy(cut, judged_uploads(table, dataset, each), settings)
    if not cut.rows:
        raise DatasetEmpty(
            f"No example of {dataset!r} is ready.", "See what its examples wait for (pixtune data show)."
        )
    of = split(list(cut.rows.values()), settings).of
    rows: dict[str, list[Row]] = defaultdict(list)
    for name, row in cut.rows.items():
        rows[of[name]].append(in_words(row, settings, cut.class_names))
    return settings, rows
