"""Would a provider take this version? Rows and a spec in; every problem, and what is mended on the way, out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.readiness import Problem, advice, problems
from pixtune.training.run import TrainingSettings


@dataclass(frozen=True, slots=True)
class Mend:
    """Something a provider would refuse or not understand, which rendering takes care of. rows: how many it touches;
    example_id: the first of them."""

    code: str
    detail: str
    rows: int
    example_id: str | None


@dataclass(frozen=True, slots=True)
class Lint:
    """problems: what CheckReadiness refuses the version for. mends: what it does not, and why. notes: to be known
    before it is paid for."""

    problems: tuple[Problem, ...]
    mends: tuple[Mend, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def lint(
    splits: Mapping[str, Sequence[Row]],
    settings: DatasetSettings,
    training: TrainingSettings,
    spec: ProviderSpec,
    today: date,
    name: str,
) -> Lint:
    """name: what a model trained on the version would be called, before the provider's own rule shortens it."""
    return Lint(
        tuple(problems(splits, settings, training, spec, today)),
        tuple(_mends(splits, settings, spec, name)),
        tuple(advice(len(splits.get("train", ())), training, spec, today)),
    )


_DETAILS = {
    "turns_merged": "Turns of one role that follow each other become one message.",
    "prompt_added": "The dataset's prompt is asked where a row has no question.",
    "keys_dropped": "What describes an example is not sent: {}.",
    "content_listed": "Every message's content is written as a list of parts.",
    "images_moved": "Images are named by S3 URI, in the bucket the training file lies in.",
    "images_embedded": "Images travel inside the file, as base64 data URLs.",
    "images_converted": "Images were converted: {}.",
    "detail_dropped": "The provider knows no detail of images: {} is not sent.",
    "validation_left_out": "The provider takes no validation file; the split is not sent.",
    "name_shortened": "A model's name has to fit: {}.",
}


def _mends(
    splits: Mapping[str, Sequence[Row]], settings: DatasetSettings, spec: ProviderSpec, name: str
) -> Iterator[Mend]:
    touched: dict[str, dict[str, None]] = {}  # code -> example ids, in order
    words: dict[str, set[str]] = {}
    for split in ("train", "validation"):
        for row in splits.get(split, ()):
            sent = split != "validation" or spec.validation_file
            for code, word in _told(row, settings, spec) if sent else [("validation_left_out", "")]:
                touched.setdefault(code, {})[row.example_id] = None
                words.setdefault(code, set()).add(word)
    if (short := spec.suffix(name)) != name:
        touched["name_shortened"], words["name_shortened"] = {}, {f"{name!r} becomes {short!r}"}
    for code, detail in _DETAILS.items():
        if code in touched:
            told = detail.format(", ".join(sorted(words[code])))
            yield Mend(code, told, len(touched[code]), next(iter(touched[code]), None))


def _told(row: Row, settings: DatasetSettings, spec: ProviderSpec) -> Iterator[tuple[str, str]]:
    """What rendering does to this row: a code of _DETAILS and the word for its gap."""
    annotation = row.annotation
    turns = annotation.turns if annotation else ()
    if any(one.role == following.role for one, following in pairwise(turns)):
        yield "turns_merged", ""
    asked = next((turn for turn in turns if turn.role == "user"), None)
    if settings.prompt and asked and not any(part.text for part in asked.parts):
        yield "prompt_added", ""
    for field in annotation.fields if annotation else ():
        yield "keys_dropped", field
    if spec.content_lists:
        yield "content_listed", ""
    if row.images:
        yield ("images_moved" if spec.images_as == "s3_uri" else "images_embedded"), ""
        if spec.row_format == "converse" and settings.detail != "high":
            yield "detail_dropped", settings.detail
    for picture in row.images:
        if picture.image.source_format != picture.image.format:
            yield "images_converted", f"{picture.image.source_format} to {picture.image.format}"
