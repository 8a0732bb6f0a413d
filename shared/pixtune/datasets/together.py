"""Things that belong together: numbers joined in pairs in, groups out (a disjoint-set forest)."""

from __future__ import annotations

from collections import defaultdict


class Together:
    """The numbers from 0 to `count` - 1, at first each on its own."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, number: int) -> int:
        """The number that stands for the group this one is in."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        self._parents[self.root(one)] = self.root(other)

    def groups(self) -> list[list[int]]:
        """Every group, its numbers in order, by its first number."""
        together: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parents)):
            together[self.root(number)].append(number)
        return sorted(together.values())
