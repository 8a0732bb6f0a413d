"""What the event door and the marker door ask for: an EventBridge event in; an order or a refusal out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pixtune.errors import RunFault
from pixtune.events.s3 import Change, parse
from pixtune.examples.rows import canonical
from pixtune.keys import DATASET, dataset_of, is_ready_marker
from pixtune.training.request import TrainingOrder
from pixtune.training.run import Hyperparameters, Terms, TrainingSettings

if TYPE_CHECKING:
    from pydantic import TypeAdapter

REQUESTED = "pixtune.training.requested"  # the detail-type that asks for a training on our bus


@dataclass(frozen=True, slots=True)
class TrainingWish:
    """The detail of such an event. None: the deployment's default provider, that provider's default base model.
    version: train this published version and cut none. max_usd, approval_above_usd, accept_retirement: as in
    `training.run.Terms`."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012  # read by pydantic

    dataset: str
    provider: str | None = None
    base_model: str | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    seed: int | None = None
    again: bool = False
    version: int | None = None
    max_usd: float | None = None
    approval_above_usd: float | None = None
    accept_retirement: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that asks for nothing that can be done, and would not after another delivery either."""

    code: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Defaults:
    """provider: where to train unless asked otherwise. base_model: a provider's default; KeyError or a RunFault for
    a provider that is not known."""

    provider: str
    base_model: Callable[[str], str]


def order_of(event: Mapping[str, Any], defaults: Defaults) -> TrainingOrder | Refusal:
    """Any: an event is outside JSON until it is read here.

    Raises KeyError or ValueError for what no rule of ours lets through; EventWithoutVersion.
    """
    if event["source"] == "aws.s3":
        return _marker_order(event, defaults)
    detail = event["detail"]
    key = event["id"]
    if "specversion" in detail:  # a CloudEvent: its sender's id stays the same when it is sent again
        key = f"{detail['source']}/{detail['id']}"
        detail = detail.get("data") or {}
    wish = read_wish(detail)
    if isinstance(wish, Refusal):
        return wish
    body_hash = sha256(canonical(asdict(wish)).encode()).hexdigest()
    return order_for(wish, "event", key, body_hash, defaults)


def read_wish(detail: Mapping[str, Any]) -> TrainingWish | Refusal:
    """The wish, or all that is wrong with it."""
    from pydantic import ValidationError

    try:
        # As JSON: strictly read Python values would have to be dataclasses already.
        wish = _reader().validate_json(json.dumps(detail))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc'])) or 'detail'}: {item['msg']}" for item in error.errors())
        return Refusal("bad_training_request", tuple(problems))
    if not DATASET.fullmatch(wish.dataset):
        return Refusal("no_dataset", (f"dataset: {wish.dataset!r} is no dataset name, {DATASET.pattern}",))
    return wish


@cache
def _reader() -> TypeAdapter[TrainingWish]:
    from pydantic import TypeAdapter

    return TypeAdapter(TrainingWish)


def _marker_order(event: Mapping[str, Any], defaults: Defaults) -> TrainingOrder | Refusal:
    upload = parse(event)
    if upload.change is not Change.PUT or not is_ready_marker(upload.key):
        return Refusal("no_marker", (f"{upload.key!r} was {upload.change.value}: only a new _READY asks.",))
    dataset = dataset_of(upload.key)
    if dataset is None:
        return Refusal("no_dataset", (f"key: {upload.key!r} does not start with a dataset name and a slash",))
    key = f"{upload.key}#{upload.version_id}"
    return order_for(TrainingWish(dataset), "marker", key, sha256(key.encode()).hexdigest(), defaults)


def order_for(wish: TrainingWish, door: str, key: str, body_hash: str, defaults: Defaults) -> TrainingOrder | Refusal:
    """The order for a wish that came through this door under this key, what it leaves open filled in."""
    provider = wish.provider or defaults.provider
    terms = Terms(wish.max_usd, wish.approval_above_usd, wish.accept_retirement)
    for name in ("max_usd", "approval_above_usd"):
        dollars = getattr(terms, name)
        if dollars is not None and not 0 <= dollars < math.inf:  # no number is in between either
            return Refusal("bad_training_request", (f"{name}: {dollars} is no sum of US dollars",))
    if wish.version is not None and wish.version < 1:
        return Refusal("bad_training_request", (f"version: {wish.version}; versions are numbered from 1",))
    try:
        base_model = wish.base_model or defaults.base_model(provider)
    except RunFault as error:
        return Refusal("unknown_provider", (f"provider: {error}",))
    open_to_the_dataset = tuple(name for name in ("provider", "base_model") if getattr(wish, name) is None)
    settings = TrainingSettings(
        provider,
        base_model,
        wish.hyperparameters,
        wish.seed,
        wish.again,
        defaulted=open_to_the_dataset,
        version=wish.version,
        terms=terms,
    )
    return TrainingOrder(wish.dataset, settings, door, key, body_hash)
