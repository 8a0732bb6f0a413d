"""The answers a head can give: training answers in; tied output columns and token-wise loss and accuracy out.

An answer's logit is the sum of the logits of its columns. Columns are words that several, but not all, answers share,
and one of its own for an answer that was seen twice or shares nothing. So "a road with 3 lanes" learns from every
other answer with a 3 in it, and classes are ordinary softmax.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pixtune_local.provider.tokens import pieces

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_CERTAINTY = 0.98
_END = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How probable each token of the true answer was, and whether it was the most probable one."""

    probabilities: tuple[float, ...]
    hits: int

    @property
    def loss(self) -> float:
        """Sum of -ln P over the tokens."""
        return float(-np.log(self.probabilities).sum())


@dataclass(frozen=True)
class Answers:
    """The distinct training answers (`texts`, sorted) and how often each was seen."""

    texts: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, answers: list[str]) -> Answers:
        seen = sorted(Counter(answers).items())
        return cls(tuple(text for text, _ in seen), tuple(count for _, count in seen))

    @cached_property
    def columns(self) -> Matrix:
        """answers x columns, 0 or 1."""
        words = [set(pieces(text)) for text in self.texts]
        spread = Counter(word for own in words for word in own)
        shared = sorted(word for word, count in spread.items() if 2 <= count < len(self.texts))
        tied = np.array([[float(word in own) for word in shared] for own in words]).reshape(len(words), len(shared))
        alone = [
            index
            for index, count in enumerate(self.counts)
            if count >= 2 or not tied[index].any() or (tied[:index] == tied[index]).all(axis=1).any()
        ]
        return np.hstack([tied, np.eye(len(words))[:, alone]])

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        words = sorted({word for text in self.texts for word in pieces(text)})
        return {word: number for number, word in enumerate(words, start=1)}

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """answers x positions: token numbers, then the end token."""
        lines = [[self._vocabulary[word] for word in pieces(text)] for text in self.texts]
        table = np.full((len(lines), max(map(len, lines)) + 1), _END)
        for row, line in zip(table, lines, strict=True):
            row[: len(line)] = line
        return table

    def read(self, chances: Vector, truth: str) -> Reading:
        """The answer distribution as a token model: a token's probability is the share of the answers that go on so.

        Mixed with a little of everything, so that an answer never seen has a finite loss. The end counts as a token
        only where another answer could go on.
        """
        even = 1 / (len(self._vocabulary) + 1)
        agree = np.ones(len(self.texts), bool)
        probabilities: list[float] = []
        hits = 0
        for place, token in enumerate([*(self._vocabulary.get(word, -1) for word in pieces(truth)), _END]):
            on_trie = bool(agree.any()) and place < self._table.shape[1]
            if not on_trie:
                if token != _END:
                    probabilities.append(even)
                continue
            column = self._table[:, place]
            if token == _END and (column[agree] == _END).all():
                continue
            mass = np.bincount(column[agree], chances[agree] + 1e-12, len(self._vocabulary) + 1)
            share = mass[token] / mass.sum() if token >= 0 else 0.0
            probabilities.append(_CERTAINTY * float(share) + (1 - _CERTAINTY) * even)
            hits += int(mass.argmax() == token)
            agree &= column == token
        return Reading(tuple(probabilities), hits)
