"""May this dataset version be trained there? Rows, settings and a spec in, every problem at once out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date

from pixtune.costs.epochs import auto_epochs
from pixtune.costs.estimate import training_tokens
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row
from pixtune.providers.byte_budget import over_budget
from pixtune.providers.chat_rows import asked_turns, text_of
from pixtune.providers.limits import ProviderSpec
from pixtune.training.run import TrainingSettings


@dataclass(frozen=True, slots=True)
class Problem:
    """where: the split and line, with the example's id, or the run. path: the field. fix: what to do. example_id:
    None where it is not about one row."""

    where: str
    path: str
    found: str
    expected: str
    fix: str
    example_id: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.path} is {self.found}, expected {self.expected}. {self.fix}"


def problems(
    splits: Mapping[str, Sequence[Row]],
    settings: DatasetSettings,
    training: TrainingSettings,
    spec: ProviderSpec,
    today: date,
) -> list[Problem]:
    """All problems: the dates and hyperparameters first, then the files, then the rows in their order."""
    return list(breaches(splits, settings, training, spec, today))


def breaches(
    splits: Mapping[str, Sequence[Row]],
    settings: DatasetSettings,
    training: TrainingSettings,
    spec: ProviderSpec,
    today: date,
) -> Iterator[Problem]:
    """The same one by one, for whoever needs to know only whether there is any."""
    yield from _run_problems(training, spec, today)
    for split in ("train", "validation"):
        if split == "validation" and not spec.validation_file:
            continue  # it is not sent
        rows = splits.get(split, ())
        yield from _file_problems(split, rows, settings, spec)
        for number, row in enumerate(rows, start=1):
            where = f"{split} line {number} ({row.example_id})"
            for problem in _row_problems(where, row, settings, spec):
                yield replace(problem, example_id=row.example_id)


def _run_problems(training: TrainingSettings, spec: ProviderSpec, today: date) -> Iterator[Problem]:
    for path, day in (("train_until", spec.train_until), ("answer_until", spec.answer_until)):
        if day is not None and today >= day:
            yield Problem(
                f"{spec.provider}/{spec.base_model}",
                path,
                day.isoformat(),
                f"a day after {today.isoformat()}",
                f"Choose another base model or provider (source: {spec.source(path).where}).",
            )
    asked = training.hyperparameters
    for name, value in asdict(asked).items():
        if value is not None and name not in spec.hyperparameters:
            yield Problem("the run", name, f"{value:g}", "none", "This provider takes none of it; leave it out.")
    for name, value, limits in (
        ("n_epochs", asked.n_epochs, spec.epochs or (1, None)),
        ("batch_size", asked.batch_size, spec.batch_size or (1, None)),
        ("learning_rate_multiplier", asked.learning_rate_multiplier, spec.learning_rate_multiplier or (0, None)),
    ):
        low, high = limits
        if value is not None and (value < low or value <= 0 or (high is not None and value > high)):
            expected = f"{low:g} to {high:g}" if high is not None else f"at least {low:g}" if low else "more than 0"
            yield Problem("the run", name, f"{value:g}", expected, "Ask again with a value in this range.")
    if training.seed is not None and not spec.seed:
        yield Problem("the run", "seed", str(training.seed), "none", "This provider takes no seed; leave it out.")


def _file_problems(
    split: str, rows: Sequence[Row], settings: DatasetSettings, spec: ProviderSpec
) -> Iterator[Problem]:
    if split == "train" and len(rows) < spec.min_rows:
        yield Problem(
            split,
            "rows",
            str(len(rows)),
            f"at least {spec.min_rows}",
            "Add examples, or give validation and test a smaller share in dataset.toml.",
        )
    most = spec.validation_rows if split == "validation" and spec.validation_rows is not None else spec.max_rows
    if most is not None and len(rows) > most:
        yield Problem(split, "rows", f"{len(rows):,}", f"at most {most:,}", "Train on a part of the dataset.")
    if (over := over_budget(rows, settings, spec)) is not None:
        yield Problem(split, "bytes", f"about {over.total:,}", f"at most {over.limit:,}", over.fix)


def _row_problems(where: str, row: Row, settings: DatasetSettings, spec: ProviderSpec) -> Iterator[Problem]:
    turns = asked_turns(row, settings.prompt)
    if not turns or turns[-1].role != "assistant" or not text_of(turns[-1]).strip():
        yield Problem(where, "turns[-1]", "no answer", "an assistant turn with text", "Annotate it, or delete it.")
    if turns and turns[0].role != "user":
        yield Problem(where, "turns[0].role", turns[0].role, "user", "Start with the question.")
    for number, turn in enumerate(turns):
        if turn.role not in spec.roles:
            yield Problem(where, f"turns[{number}].role", turn.role, " or ".join(spec.roles), "Use one of these.")
        elif spec.roles_alternate and number and turn.role != ("user", "assistant")[number % 2]:
            fix = "Let user and assistant take turns."
            yield Problem(where, f"turns[{number}].role", turn.role, ("user", "assistant")[number % 2], fix)
        for part in turn.parts:
            if part.image is not None and turn.role != "user":
                fix = "Move the image into the question."
                yield Problem(where, f"turns[{number}]", f"an image in a turn of {turn.role}", "text only", fix)
            if part.image is not None and not 0 <= part.image < len(row.images):
                fix = "Name an image the example has."
                yield Problem(where, f"turns[{number}]", f"image {part.image}", f"below {len(row.images)}", fix)
                return  # what follows would look at that image
    system = (row.annotation.system if row.annotation else None) or settings.system or ""
    texts = [("system", system), *((turn.role, text_of(turn)) for turn in turns)]
    read = "\n".join(text for role, text in texts if role in spec.reserved_in)
    for word in spec.reserved_words:
        if word in read:
            yield Problem(where, "text", f"the reserved word {word!r}", "text without it", "Reword it.")
    weight = row.annotation.weight if row.annotation else None
    if weight not in (None, 0, 1):
        yield Problem(
            where, "weight", f"{weight:g}", "0 or 1", "Leave the weight out, or say 0 to learn nothing from it."
        )
    elif weight == 0 and spec.row_format == "converse":
        yield Problem(where, "weight", "0", "none", "This provider learns from every answer; leave the example out.")
    shown = sum(part.image is not None for turn in turns for part in turn.parts)
    if spec.images_per_row is not None and shown > spec.images_per_row:
        yield Problem(where, "images", str(shown), f"at most {spec.images_per_row}", "Split the example.")
    for number, picture in enumerate(row.images):
        if picture.image.format not in spec.formats:
            kinds = ", ".join(spec.formats)
            yield Problem(
                where, f"images[{number}].format", picture.image.format, kinds, f"Convert {picture.upload}."
            )
        if spec.bytes_per_image is not None and picture.image.size > spec.bytes_per_image:
            limit = f"at most {spec.bytes_per_image:,}"
            fix = f"Make {picture.upload} smaller."
            yield Problem(where, f"images[{number}].bytes", f"{picture.image.size:,}", limit, fix)
        longest, shortest = sorted((picture.image.width, picture.image.height), reverse=True)
        low, high = spec.pixels_per_side or (shortest, longest)
        if shortest < low or longest > high:
            size = f"{picture.image.width} x {picture.image.height}"
            fix = f"Resize {picture.upload}."
            yield Problem(where, f"images[{number}].pixels", size, f"sides of {low:,} to {high:,}", fix)
    tokens = training_tokens(row, settings, spec).high
    if spec.tokens_per_row is not None and tokens > spec.tokens_per_row:
        fix = "Shorten it: a longer row is cut at its end, and the answer is what is lost."
        yield Problem(where, "tokens", f"up to {tokens:,.0f}", f"at most {spec.tokens_per_row:,}", fix)


def advice(rows: int, training: TrainingSettings, spec: ProviderSpec, today: date) -> list[str]:
    """What does not stop the training, but should be known before it is paid for."""
    notes = []
    if spec.answer_until is not None:
        days = (spec.answer_until - today).days
        notes.append(
            f"{spec.title} and every model trained on it stop answering on {spec.answer_until.isoformat()}, "
            f"in {days} days."
        )
    if training.hyperparameters.n_epochs is None:
        notes.append(f"The number of epochs is the provider's choice: about {auto_epochs(rows, spec.auto_epochs)}.")
    if spec.content_skips:
        notes.append(f"The provider leaves out, without failing, images that show {', '.join(spec.content_skips)}.")
    if spec.prices is None:
        notes.append(f"The prices of {spec.title} are not published: tokens are estimated, dollars are not.")
    return notes
