"""What a provider takes for a base model: `limits.toml` and a user's own table in, validated `ProviderSpec`s out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pixtune.costs.epochs import AutoEpochs
from pixtune.costs.tokens import ImageTokenRule
from pixtune.errors import LimitsRefused, ProviderRefused

_NAMES = {"provider", "base_model", "title", "sources"}  # of a spec, all else being figures
_STRICT = {"extra": "forbid"}  # read by pydantic: a misspelt figure is an error, never a silent default


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from, and the day it was read there. verified: False where it is second-hand, inferred or
    was never tried against the live service."""

    __pydantic_config__ = _STRICT

    where: str
    read: date
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    __pydantic_config__ = _STRICT

    train: float
    input: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One provider and base model. Sizes in bytes; ranges inclusive; None: the provider does not state it.

    adapter: False where rows can be rendered and linted, but no job can be launched yet. row_format, images_as: how a
    row is written and how it carries its images. roles_alternate: user and assistant strictly in turn, user first,
    assistant last. content_lists: every message's content has to be a list of parts. modes: empty where not stated.
    pixels_per_side: of an image. reserved_words: refused in the texts of the roles in reserved_in. content_skips:
    what the provider leaves out of training without failing the job. file_bytes: in one request; upload_bytes: in
    parts of at most part_bytes. hyperparameters: those that can be asked for at all. learning_rate: what the asked
    multiplier multiplies, where the provider takes a rate and not a multiplier. suffix_characters: inside a regex
    class. pauses: jobs can be paused and resumed. deploys: a model answers only once deployed, and bills until
    released. idempotent_create: a create sent twice with one token makes one job. finds_jobs: jobs are known to keep
    the tag they were created with, and to be listed by it. lists_checkpoints: False where only the final model is
    known. prices: None where not published; estimates then say tokens only. train_until, answer_until: the first day
    without training, without answers; None: not announced. sources: figure -> where it comes from, with `default`
    for the rest.
    """

    __pydantic_config__ = _STRICT

    provider: str
    base_model: str
    title: str
    adapter: bool
    row_format: Literal["chat", "converse"]
    images_as: Literal["data_url", "s3_uri"]
    roles_alternate: bool
    content_lists: bool
    min_rows: int
    max_rows: int | None = None
    validation_rows: int | None = None
    images_per_row: int | None = None
    bytes_per_image: int | None = None
    pixels_per_side: tuple[int, int] | None = None
    formats: tuple[str, ...]
    modes: tuple[str, ...]
    roles: tuple[str, ...]
    reserved_words: tuple[str, ...]
    reserved_in: tuple[str, ...] = ("system", "user", "assistant")
    content_skips: tuple[str, ...]
    tokens_per_row: int | None = None
    file_bytes: int | None = None
    upload_bytes: int | None = None
    part_bytes: int | None = None
    hyperparameters: tuple[str, ...] = ("n_epochs", "batch_size", "learning_rate_multiplier")
    epochs: tuple[int, int] | None = None
    batch_size: tuple[int, int] | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: tuple[float, float] | None = None
    suffix_length: int
    suffix_characters: str
    seed: bool
    validation_file: bool
    checkpoints_kept: int
    lists_checkpoints: bool
    pauses: bool
    deploys: bool
    idempotent_create: bool
    finds_jobs: bool = True
    quiet_window_seconds: int
    image_tokens: ImageTokenRule
    auto_epochs: AutoEpochs
    prices: Prices | None = None
    sources: Mapping[str, Source]
    train_until: date | None = None
    answer_until: date | None = None

    def source(self, figure: str) -> Source:
        return self.sources.get(figure, self.sources["default"])

    def to_json(self) -> dict[str, Any]:
        """What it is called, whether jobs can be launched, and until when."""
        return {
            "provider": self.provider,
            "base_model": self.base_model,
            "title": self.title,
            "adapter": self.adapter,
            "train_until": _text(self.train_until),
            "answer_until": _text(self.answer_until),
        }

    def figures(self) -> list[dict[str, Any]]:
        """Each figure with its source: {figure, value, where, read, verified}; value None: not stated."""
        values, listed = asdict(self), []
        for name in (field.name for field in fields(self) if field.name not in _NAMES):
            value, source = values[name], self.source(name)
            told = {"where": source.where, "read": source.read.isoformat(), "verified": source.verified}
            listed.append({"figure": name, "value": _text(value) if isinstance(value, date) else value, **told})
        return listed

    def suffix(self, name: str) -> str:
        """`name` as the provider takes it in a model's name: other characters become "-", cut to length."""
        return re.sub(rf"[^{self.suffix_characters}]+", "-", name)[: self.suffix_length].strip("-")


@dataclass(frozen=True, slots=True)
class Limits:
    """The table in force: every (provider, base model) that is known, in the order of the table."""

    specs: Mapping[tuple[str, str], ProviderSpec]

    def spec(self, provider: str, base_model: str) -> ProviderSpec:
        """Raises ProviderRefused naming what can be trained instead."""
        try:
            return self.specs[provider, base_model]
        except KeyError:
            known = ", ".join(f"{name}/{model}" for name, model in self.specs)
            raise ProviderRefused(
                f"No limits are known for base model {base_model!r} of provider {provider!r}.",
                f"Choose one of: {known}; or add it to the deployment's own limits (docs/providers.md).",
            ) from None

    def default_base_model(self, provider: str) -> str:
        """The base model of a provider that is trained unless another is asked for: its first in the table. Raises
        ProviderRefused for an unknown provider."""
        for name, base_model in self.specs:
            if name == provider:
                return base_model
        known = ", ".join(sorted({name for name, _ in self.specs}))
        raise ProviderRefused(f"No provider {provider!r} is known.", f"Choose one of: {known}.")


@cache
def limits_with(own: str = "", name: str = "PROVIDER_LIMITS") -> Limits:
    """The table that ships, with `own` laid over it: TOML or JSON of the same shape, empty for none.

    A row of a known model overrides the figures it states; a row of another model states all of them, or begins from
    the model named in `like` ("provider/base_model"). Each row says when its figures were `read`, and may say
    `where`. Raises LimitsRefused naming every wrong row and figure of `name`.
    """
    rows, figures = _shipped_rows(), _figures()
    faults: list[str] = []
    for number, row in enumerate(_own_rows(own, name), start=1):
        found = f"row {number}"
        if isinstance(row, dict):
            found += f" ({row.get('provider')}/{row.get('base_model')})"
        try:
            merged = _merged(row, rows, figures)
        except ValueError as fault:
            faults.append(f"{found}: {fault}")
        else:
            rows[merged["provider"], merged["base_model"]] = merged
    specs: dict[tuple[str, str], ProviderSpec] = {}
    for (provider, base_model), row in rows.items():
        try:
            specs[provider, base_model] = _validated(row, figures)
        except ValueError as fault:
            faults += [f"{provider}/{base_model}: {line}" for line in str(fault).splitlines()]
    if faults:
        raise LimitsRefused(name, faults)
    return Limits(specs)


def all_specs() -> Mapping[tuple[str, str], ProviderSpec]:
    """Every (provider, base model) of the table that ships."""
    return limits_with().specs


def spec_for(provider: str, base_model: str) -> ProviderSpec:
    """As `Limits.spec`, of the table that ships."""
    return limits_with().spec(provider, base_model)


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


Table = dict[str, Any]  # one model's figures as TOML or JSON has them, before they are validated


def _figures() -> set[str]:
    return {figure.name for figure in fields(ProviderSpec)} - (_NAMES - {"base_model"})


def _shipped_rows() -> dict[tuple[str, str], Table]:
    import tomllib

    table = tomllib.loads(files("pixtune.providers").joinpath("limits.toml").read_text(encoding="utf-8"))
    sources = table["sources"]
    return {
        (model["provider"], model["base_model"]): model
        | {"sources": {figure: sources[name] for figure, name in model["sources"].items()}}
        for model in table["model"]
    }


def _own_rows(own: str, name: str) -> list[Any]:
    import json
    import tomllib

    if not own.strip():
        return []
    try:
        table = json.loads(own) if own.lstrip().startswith("{") else tomllib.loads(own)
    except ValueError as error:
        raise LimitsRefused(name, [f"it is neither TOML nor JSON: {error}"]) from None
    rows = table.get("model")
    if set(table) != {"model"} or not isinstance(rows, list):
        raise LimitsRefused(name, [f"it holds {', '.join(sorted(table)) or 'nothing'}; expected a list named model"])
    return rows


def _merged(row: object, rows: Mapping[tuple[str, str], Table], figures: set[str]) -> Table:
    """A user's row over the row it names or begins from. Raises ValueError saying what it lacks."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("provider", "base_model")):
        raise ValueError("it needs provider and base_model, both text")
    if "read" not in row:
        raise ValueError("it needs read, the day its figures were read: read = 2026-11-22")
    key = (row["provider"], row["base_model"])
    like = row.get("like")
    if like is None:
        begun = rows.get(key, {})
    else:
        begun = next((rows[other] for other in rows if "/".join(other) == like), {})
        if not begun:
            raise ValueError(f"like names {like!r}; known are {', '.join('/'.join(other) for other in rows)}")
        begun = begun | {"title": "/".join(key)}
    stated = {name: value for name, value in row.items() if name not in ("like", "read", "where")}
    source = {"where": f"user: {row['where']}" if "where" in row else "user", "read": row["read"]}
    for name, value in stated.items():
        before = begun.get(name)
        if isinstance(value, dict) and isinstance(before, dict):  # prices = {train = 20} leaves the others
            stated[name] = before | value
    sources = {"default": source} | begun.get("sources", {}) | {name: source for name in stated if name in figures}
    return {"title": "/".join(key)} | begun | stated | {"sources": sources}


def _validated(row: Table, figures: set[str]) -> ProviderSpec:
    """Raises ValueError with a line for each figure that is wrong."""
    from pydantic import TypeAdapter, ValidationError

    try:
        spec = TypeAdapter(ProviderSpec).validate_python(row)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}; found {str(fault['input'])[:80]!r}"
            if fault["type"] != "missing"
            else f"{'.'.join(map(str, fault['loc']))}: it is missing"
            for fault in error.errors(include_url=False)
        ]
        raise ValueError("\n".join(lines)) from None
    if "default" not in spec.sources or not set(spec.sources) <= figures | {"default"}:
        unknown = sorted(set(spec.sources) - figures - {"default"})
        raise ValueError(f"sources: it needs `default`, and besides it only names of figures; found {unknown}")
    return spec
