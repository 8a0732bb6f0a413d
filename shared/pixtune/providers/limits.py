"""What a provider takes for a base model: `limits.toml` in, one frozen, validated `ProviderSpec` out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from importlib.resources import files

from pixtune.costs.epochs import AutoEpochs
from pixtune.costs.tokens import ImageTokenRule
from pixtune.errors import ProviderRefused

_STRICT = {"extra": "forbid"}  # read by pydantic: a misspelt figure is an error, never a silent default


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from, and the day it was read there."""

    __pydantic_config__ = _STRICT

    where: str
    read: date


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    __pydantic_config__ = _STRICT

    train: float
    input: float
    output: float


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider and base model. Sizes in bytes; ranges inclusive.

    file_bytes: in one request; upload_bytes: in parts of at most part_bytes. suffix_characters: inside a regex class.
    content_skips: what the provider leaves out of training without failing the job. train_until, answer_until: the
    first day without training, without answers; None: not announced. sources: figure -> where it comes from, with
    `default` for the rest.
    """

    __pydantic_config__ = _STRICT

    provider: str
    base_model: str
    title: str
    min_rows: int
    max_rows: int
    images_per_row: int
    bytes_per_image: int
    formats: tuple[str, ...]
    modes: tuple[str, ...]
    roles: tuple[str, ...]
    reserved_words: tuple[str, ...]
    content_skips: tuple[str, ...]
    tokens_per_row: int
    file_bytes: int
    upload_bytes: int
    part_bytes: int
    epochs: tuple[int, int]
    batch_size: tuple[int, int]
    suffix_length: int
    suffix_characters: str
    seed: bool
    validation_file: bool
    checkpoints_kept: int
    quiet_window_seconds: int
    image_tokens: ImageTokenRule
    auto_epochs: AutoEpochs
    prices: Prices
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
    figures = {field.name for field in fields(ProviderSpec)} - {"provider", "base_model", "title", "sources"}
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
