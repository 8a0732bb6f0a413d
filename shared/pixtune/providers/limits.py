"""What a provider takes for a base model: `limits.toml` in, one frozen, validated `ProviderSpec` out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal

from pixtune.costs.epochs import AutoEpochs
from pixtune.costs.tokens import ImageTokenRule
from pixtune.errors import ProviderRefused

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
    parts of at most part_bytes. learning_rate: what the asked multiplier multiplies, where the provider takes a rate
    and not a multiplier. suffix_characters: inside a regex class. pauses: jobs can be paused and resumed. deploys: a
    model answers only once deployed, and bills until released. idempotent_create: a create sent twice with one token
    makes one job. lists_checkpoints: False where only the final model is known. prices: None where not published;
    estimates then say tokens only. train_until, answer_until: the first day without training, without answers; None:
    not announced. sources: figure -> where it comes from, with `default` for the rest.
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
    quiet_window_seconds: int
    image_tokens: ImageTokenRule
    auto_epochs: AutoEpochs
    prices: Prices | None = None
    sources: Mapping[str, Source]
    train_until: date | None = None
    answer_until: date | None = None

    def source(self, figure: str) -> Source:
        return self.sources.get(figure, self.sources["default"])

    def suffix(self, name: str) -> str:
        """`name` as the provider takes it in a model's name: other characters become "-", cut to length."""
        return re.sub(rf"[^{self.suffix_characters}]+", "-", name)[: self.suffix_length].strip("-")


@cache
def all_specs() -> Mapping[tuple[str, str], ProviderSpec]:
    """Every (provider, base model) of limits.toml. Raises pydantic's ValidationError when the file is wrong."""
    import tomllib

    from pydantic import TypeAdapter

    table = tomllib.loads(files("pixtune.providers").joinpath("limits.toml").read_text(encoding="utf-8"))
    sources = table["sources"]
    specs = TypeAdapter(list[ProviderSpec]).validate_python(
        [
            model | {"sources": {figure: sources[name] for figure, name in model["sources"].items()}}
            for model in table["model"]
        ]
    )
    figures = {field.name for field in fields(ProviderSpec)} - {"provider", "title", "sources"}
    for spec in specs:
        if "default" not in spec.sources or not set(spec.sources) <= figures | {"default"}:
            raise ValueError(
                f"limits.toml: [model.sources] of {spec.provider}/{spec.base_model} needs `default`, and besides it "
                f"only names of figures; found {sorted(set(spec.sources) - figures)}."
            )
    return {(spec.provider, spec.base_model): spec for spec in specs}


def spec_for(provider: str, base_model: str) -> ProviderSpec:
    """The spec, or ProviderRefused naming what can be trained instead."""
    specs = all_specs()
    try:
        return specs[provider, base_model]
    except KeyError:
        known = ", ".join(f"{name}/{model}" for name, model in specs)
        raise ProviderRefused(
            f"No limits are known for base model {base_model!r} of provider {provider!r}.",
            f"Choose one of: {known}; or add it to pixtune/providers/limits.toml.",
        ) from None


def default_base_model(provider: str) -> str:
    """The base model of a provider that is trained unless another is asked for: its first in limits.toml. Raises
    ProviderRefused for an unknown provider."""
    for name, base_model in all_specs():
        if name == provider:
            return base_model
    known = ", ".join(sorted({name for name, _ in all_specs()}))
    raise ProviderRefused(f"No provider {provider!r} is known.", f"Choose one of: {known}.")
