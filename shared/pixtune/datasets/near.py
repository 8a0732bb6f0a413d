"""Which pictures look alike: difference hashes in; pairs that hang all of those together that do, out. Pure.

Not every pair is named: of a thousand frames of a camera that does not move, half a million look alike, and a
thousand pairs hang them together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

NEAR = 4  # bits of a 64-bit difference hash in which two pictures may differ and still count as the same
_BITS = 64
_FEW = 128  # hashes that are compared with each other straight away
_SHORTEST = 36  # bits below which dividing further costs more than comparing


def near_links(hashes: Sequence[int], kinds: Sequence[Hashable] | None = None) -> Iterable[tuple[int, int]]:
    """Pairs of positions whose 64-bit hashes differ in at most NEAR bits (and whose kinds differ, where given):
    enough of them that what any such pairs hang together, these do. A pair may come several times.

    Two such hashes agree in at least one of NEAR + 1 bands of bits, so only those that share a band are compared; a
    band that many share (a white background) is divided again by the bits that are left.
    """
    yield from _links([(value, number) for number, value in enumerate(hashes)], _BITS, kinds)


def _links(
    items: Sequence[tuple[int, int]], bits: int, kinds: Sequence[Hashable] | None
) -> Iterator[tuple[int, int]]:
    """items: (what is left of the hash, position)."""
    if len(items) <= _FEW or bits < _SHORTEST:
        yield from _compared(items, kinds)
        return
    edges = [bits * band // (NEAR + 1) for band in range(NEAR + 2)]
    for low, high in pairwise(edges):
        below, band = (1 << low) - 1, (1 << high - low) - 1
        buckets: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for value, number in items:
            buckets[value >> low & band].append((value >> high << low | value & below, number))
        for bucket in buckets.values():
            if len(bucket) > 1:
                yield from _links(bucket, bits - (high - low), kinds)


def _compared(items: Sequence[tuple[int, int]], kinds: Sequence[Hashable] | None) -> Iterator[tuple[int, int]]:
    """Each with the groups that hang together already, and with each only until one of it looks alike."""
    groups: list[dict[Hashable, list[tuple[int, int]]]] = []
    for value, number in items:
        kind = kinds[number] if kinds else number
        mine: dict[Hashable, list[tuple[int, int]]] = {kind: [(value, number)]}
        apart = []
        for group in groups:
            twin = _twin(value, kind, group)
            if twin is None:
                apart.append(group)
            else:
                yield number, twin
                mine = _joined(mine, group)
        groups = [*apart, mine]


def _twin(value: int, kind: Hashable, group: dict[Hashable, list[tuple[int, int]]]) -> int | None:
    for other_kind, members in group.items():
        if other_kind != kind:
            for other, number in members:
                if (value ^ other).bit_count() <= NEAR:
                    return number
    return None


def _joined(
    one: dict[Hashable, list[tuple[int, int]]], other: dict[Hashable, list[tuple[int, int]]]
) -> dict[Hashable, list[tuple[int, int]]]:
    small, large = sorted((one, other), key=len)
    for kind, members in small.items():
        large.setdefault(kind, []).extend(members)
    return large
