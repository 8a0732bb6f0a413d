"""What the join needs from the outside, as protocols; `aws.examples_table`, `aws.buckets` and fakes fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

Item = Mapping[str, Any]  # Any: plain JSON; examples.items gives it types

T = TypeVar("T")
R = TypeVar("R")


class Place(NamedTuple):
    """Where an item lies: partition and sort key."""

    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Write:
    """Replace the item at `place`, provided that its `v` is still this one (0: there is none). It gets v + 1."""

    place: Place
    item: Item
    v: int


class Examples(Protocol):
    """The examples table. Every read is strongly consistent, every write compares and sets."""

    def read(self, places: Sequence[Place]) -> list[Item | None]:
        """The items at these places, in this order; each is read on its own, not as one cut."""
        ...

    def query(self, pk: str, prefix: str) -> Sequence[Item]:
        """All items of a partition whose sort key starts so, in its order. Each has `sk`."""
        ...

    def stream(self, pk: str, prefix: str, only: Sequence[str] = (), after: str | None = None) -> Iterator[Item]:
        """As `query`, a page at a time. only: the attributes that are wanted besides `sk`, all when it is empty.
        after: the sort key to start behind."""
        ...

    def write(self, *writes: Write) -> bool:
        """All of these writes or, when an item's `v` moved on, none of them (then False)."""
        ...

    def mark(self, hints: Mapping[Place, Item]) -> None:
        """Put hints: items that nothing compares and nobody removes."""
        ...


class Outbox(Protocol):
    """A queue to send to. Raises unless every message was taken."""

    def send(self, messages: Iterable[Mapping[str, Any]]) -> None: ...


class Segments(Protocol):
    """Where segments of rows are stored, once."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...


class Each(Protocol):
    """Calls a function for each value, several at a time or one by one; answers in order. The function must not
    raise."""

    def __call__(self, function: Callable[[T], R], values: Iterable[T], /) -> list[R]: ...


def one_by_one(function: Callable[[T], R], values: Iterable[T], /) -> list[R]:
    return [function(value) for value in values]
