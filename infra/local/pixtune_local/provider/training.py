"""Training of the small model: rows in; a metrics value for each step and a checkpoint for each epoch out.

Everything that comes out was measured on the model as it was then. The same rows, settings and seed give the same
numbers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pixtune_local.provider.answers import Answers, Reading
from pixtune_local.provider.features import (
    BLOCKS,
    JITTERED_VIEWS,
    Matrix,
    Vector,
    jitter,
    look_at_all,
    mirror,
)
from pixtune_local.provider.model import Head, Lens, Model
from pixtune_local.provider.rows import Pixels, Question, Row

Mask = NDArray[np.bool_]
Folds = NDArray[np.int64]

AUTO_EPOCHS = 4
HIDDEN = 64
OWN_HEAD_ROWS = 8
MANY_ROWS = 2000
_UPDATES = 8
_WARM_UP = 10
_RATE, _DECAY, _BETA1, _BETA2 = 0.003, 1e-3, 0.9, 0.99
_VALID_BATCH = 16
_CHOICE_ROWS, _ESTIMATE_ROWS, _FOLDS = 400, 160, 5
_RIDGE = 0.05
_SIDED = re.compile(r"\b(left|right|text|read|reads|written|letters?|word|words|spell\w*)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyperparameters with `auto` resolved."""

    epochs: int
    batch: int
    rate_multiplier: float
    seed: int

    @classmethod
    def resolve(cls, asked: dict[str, object], rows: int, seed: int) -> Settings:
        """OpenAI's hyperparameters; whatever is absent or "auto" is chosen from the number of rows."""

        def number(name: str, auto: float) -> float:
            value = asked.get(name, "auto")
            return float(value) if isinstance(value, int | float) else auto

        batch = int(number("batch_size", min(max(rows // 20, 1), 16)))
        rate = number("learning_rate_multiplier", 1.0)
        return cls(int(number("n_epochs", AUTO_EPOCHS)), min(batch, rows), rate, seed)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the first look at the training rows found: blocks chosen, and how much of the answers they leave open.

    `unexplained` is the cross-validated squared error over the variance (1 = nothing explained), None where there was
    too little to try.
    """

    prompt: str
    blocks: tuple[str, ...]
    unexplained: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step: metrics under OpenAI's names."""

    number: int
    total: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model at the end of an epoch and its metrics; `model` is the stored form."""

    number: int
    metrics: dict[str, float]
    model: bytes


@dataclass
class _Score:
    """Sums of token losses and hits."""

    loss: float = 0.0
    hits: int = 0
    tokens: int = 0

    def add(self, reading: Reading) -> None:
        self.loss += reading.loss
        self.hits += reading.hits
        self.tokens += len(reading.probabilities)

    def metrics(self, prefix: str) -> dict[str, float]:
        """No tokens, no numbers: where every answer is the same there is nothing to predict."""
        count = max(self.tokens, 1)
        return {
            f"{prefix}_loss": self.loss / count,
            f"{prefix}_mean_token_accuracy": self.hits / count if self.tokens else 1.0,
        }


class _Ridge:
    """Cross-validated kernel ridge regression from any set of blocks to the answers' columns.

    distances: squared distances between rows, by block; folds: the fold of each row.
    """

    def __init__(self, distances: dict[str, Matrix], targets: Matrix, folds: Folds) -> None:
        self._distances, self._targets, self._folds = distances, targets, folds
        self._kernels: dict[tuple[str, ...], Matrix] = {}

    def _kernel(self, blocks: tuple[str, ...]) -> Matrix:
        if blocks not in self._kernels:
            total: Matrix = np.sum([self._distances[block] for block in blocks], axis=0)
            apart = total[total > 1e-12]
            self._kernels[blocks] = np.exp(-total / (float(np.median(apart)) if apart.size else 1.0))
        return self._kernels[blocks]

    def _errors(self, blocks: tuple[str, ...], held: Mask, kept: Mask) -> Vector:
        """Squared error on `held` of a fit to `kept`, and of the mean of `kept` alone."""
        kernel, targets = self._kernel(blocks), self._targets
        mean = targets[kept].mean(axis=0)
        ridge = kernel[np.ix_(kept, kept)] + _RIDGE * np.eye(int(kept.sum()))
        guess = kernel[np.ix_(held, kept)] @ np.linalg.solve(ridge, targets[kept] - mean) + mean
        return np.array([((targets[held] - guess) ** 2).sum(), ((targets[held] - mean) ** 2).sum()])

    def _cuts(self, among: Mask) -> list[tuple[Mask, Mask]]:
        """The rows held out and kept, fold by fold."""
        numbers = np.unique(self._folds[among])
        return [(among & (self._folds == fold), among & (self._folds != fold)) for fold in numbers]

    def pick(self, among: Mask) -> tuple[str, ...]:
        """Blocks chosen greedily, until one more brings less than a hundredth."""
        chosen: tuple[str, ...] = ()
        best = float("inf")
        while len(chosen) < len(BLOCKS):
            tried = {
                block: float(sum(self._errors((*chosen, block), *cut)[0] for cut in self._cuts(among)))
                for block in BLOCKS
                if block not in chosen
            }
            block = min(tried, key=lambda name: tried[name])
            if tried[block] > 0.99 * best:
                break
            chosen, best = (*chosen, block), tried[block]
        return chosen

    def unexplained(self, among: Mask) -> float:
        """Error over variance, on each fold with the blocks that the other folds pick: picking earns nothing."""
        error, variance = np.sum(
            [self._errors(self.pick(kept), held, kept) for held, kept in self._cuts(among)], axis=0
        )
        return float(error / variance)


def _scaled(values: Matrix) -> tuple[Vector, Vector]:
    spread = values.std(axis=0)
    return values.mean(axis=0), np.maximum(spread, 0.25 * spread.mean() + 1e-4)


def _choose(looks: list[dict[str, Vector]], targets: Matrix, rng: np.random.Generator) -> tuple[Lens, float | None]:
    """Choose what to look at from the training rows alone, and estimate how much of the answers that leaves open."""
    values = {block: np.array([look[block] for look in looks]) for block in BLOCKS}
    scales = {block: _scaled(rows) for block, rows in values.items()}

    def lens(blocks: tuple[str, ...]) -> Lens:
        means, spreads = zip(*(scales[block] for block in blocks), strict=True)
        return Lens(blocks, np.concatenate(means), np.concatenate(spreads))

    some = rng.permutation(len(looks))[:_CHOICE_ROWS]
    if len(some) < _FOLDS or not targets[some].std(axis=0).any():
        return lens(BLOCKS), None
    distances = {}
    for block in BLOCKS:
        seen = np.array([lens((block,)).see(looks[row]) for row in some])
        squares = (seen**2).sum(axis=1)
        distances[block] = np.maximum(squares[:, None] + squares - 2 * seen @ seen.T, 0)
    folds = np.arange(len(some)) % _FOLDS
    every, few = np.ones(len(some), bool), np.arange(len(some)) < _ESTIMATE_ROWS
    ridge = _Ridge(distances, targets[some], folds)
    return lens(ridge.pick(every)), ridge.unexplained(few)


class _Adam:
    """Adam with decoupled weight decay over the weights of one head."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._moments = {
            name: (np.zeros_like(values), np.zeros_like(values)) for name, values in head.weights.items()
        }
        self._turn = 0

    def update(self, inputs: Matrix, truth: np.ndarray, rate: float) -> None:
        """One step down the cross-entropy of `truth` (answer numbers) given `inputs`."""
        weights, columns = self._head.weights, self._head.answers.columns
        hidden = np.maximum(inputs @ weights["w1"] + weights["b1"], 0)
        slope = self._head.chances(inputs)
        slope[np.arange(len(truth)), truth] -= 1
        outer = slope @ columns / len(truth)
        inner = (outer @ weights["w2"].T) * (hidden > 0)
        slopes = {"w1": inputs.T @ inner, "b1": inner.sum(axis=0), "w2": hidden.T @ outer, "b2": outer.sum(axis=0)}
        self._turn += 1
        for name, slope in slopes.items():
            first, second = self._moments[name]
            first += (1 - _BETA1) * (slope - first)
            second += (1 - _BETA2) * (slope**2 - second)
            step = (first / (1 - _BETA1**self._turn)) / (np.sqrt(second / (1 - _BETA2**self._turn)) + 1e-8)
            decay = _DECAY * weights[name] if name.startswith("w") else 0.0
            weights[name] -= rate * (step + decay)


@dataclass
class _Pupil:
    """A head in training: its examples' views (examples x views x features) and true answers."""

    head: Head
    adam: _Adam
    views: list[Matrix]
    truth: list[int]


def _pixels(question: Question) -> list[Pixels]:
    return [picture.pixels for picture in question.pictures]


class Trainer:
    """One training: `prepare` looks at the pictures, `run` then trains and yields what it measures."""

    def __init__(self, rows: tuple[Row, ...], valid: tuple[Row, ...], settings: Settings) -> None:
        self.rows, self.valid, self.settings = rows, valid, settings
        self.steps_per_epoch = ceil(len(rows) / settings.batch)
        self.total = self.steps_per_epoch * settings.epochs
        self._rng = np.random.default_rng(settings.seed)

    def prepare(self, alive: Callable[[], bool] = lambda: True) -> list[Choice]:
        """Look at every picture, choose what each prompt's head looks at, and make its views.

        `alive` is asked before each row; when it says no, an empty list is answered.
        """
        turns = [turn for row in self.rows for turn in row.turns]
        looks = []
        for question, _ in turns:
            if not alive():
                return []
            looks.append(look_at_all(_pixels(question)))
        often = Counter(question.prompt for question, _ in turns)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, (question, _) in enumerate(turns):
            groups[question.prompt if often[question.prompt] >= OWN_HEAD_ROWS else ""].append(index)
        numbers = {name: number for number, name in enumerate(groups)}
        self.model = Model([], {prompt: numbers.get(prompt, numbers.get("", 0)) for prompt in often})
        self._pupils: list[_Pupil] = []
        self._place: dict[int, tuple[int, int]] = {}
        choices = []
        for name, members in groups.items():
            answers = Answers.of([turns[index][1] for index in members])
            truth = [answers.texts.index(turns[index][1]) for index in members]
            lens, unexplained = _choose([looks[index] for index in members], answers.columns[truth], self._rng)
            choices.append(Choice(name, lens.blocks, unexplained))
            sided = any(_SIDED.search(f"{turns[index][0].prompt} {turns[index][1]}") for index in members)
            head = Head(lens, answers, not sided, self._fresh_weights(lens.mean.size, answers.columns.shape[1]))
            pupil = _Pupil(head, _Adam(head), [], truth)
            for index in members:
                if not alive():
                    return []
                self._place[index] = (len(self._pupils), len(pupil.views))
                pupil.views.append(self._views(head, looks[index], _pixels(turns[index][0]), len(turns)))
            self._pupils.append(pupil)
            self.model.heads.append(head)
        self._valid = [
            (head := self.model.head_for(question.prompt), head.both_ways(_pixels(question)), answer)
            for row in self.valid
            for question, answer in row.turns
        ]
        return choices

    def _fresh_weights(self, size: int, columns: int) -> dict[str, Matrix]:
        """Inputs are about 1/sqrt(size) each, so the first layer starts wide; the last at zero: even chances."""
        wide = self._rng.normal(size=(size, HIDDEN)) * np.sqrt(2) / 1.5
        return {"w1": wide, "b1": np.zeros(HIDDEN), "w2": np.zeros((HIDDEN, columns)), "b2": np.zeros(columns)}

    def _views(self, head: Head, seen: dict[str, Vector], pictures: list[Pixels], total: int) -> Matrix:
        """Clean, mirrored and jittered views of one example; two are enough where there are many."""
        ways = [[mirror(pixels) for pixels in pictures]] if head.may_mirror else []
        if total <= MANY_ROWS or not ways:
            count = JITTERED_VIEWS if total <= MANY_ROWS else 1
            ways += [
                [jitter(pixels, self._rng, may_mirror=head.may_mirror) for pixels in pictures] for _ in range(count)
            ]
        return np.array([head.lens.see(seen), *(head.lens.see(look_at_all(way, head.lens.blocks)) for way in ways)])

    def run(self) -> Iterator[Step | Checkpoint]:
        """Train; `prepare` comes first."""
        first_turn = np.cumsum([0, *(len(row.turns) for row in self.rows)])
        number = 0
        for _ in range(self.settings.epochs):
            order = self._rng.permutation(len(self.rows))
            for start in range(0, len(order), self.settings.batch):
                number += 1
                batch = order[start : start + self.settings.batch]
                indexes = [index for row in batch for index in range(first_turn[row], first_turn[row + 1])]
                metrics = self._step(indexes, self._rate(number))
                metrics |= self._batch_of_valid(number)
                yield Step(number, self.total, metrics)
            yield Checkpoint(number, metrics | self._score_valid(self._valid, "full_valid"), self.model.dump())

    def _rate(self, number: int) -> float:
        fall = 1 - 0.9 * (number - 1) / max(self.total - 1, 1)
        return _RATE * self.settings.rate_multiplier * min(number / _WARM_UP, 1) * fall

    def _step(self, indexes: list[int], rate: float) -> dict[str, float]:
        """Measure the batch as it is, then learn from it."""
        score = _Score()
        members: dict[int, list[int]] = defaultdict(list)
        for index in indexes:
            number, place = self._place[index]
            members[number].append(place)
        for number, places in members.items():
            pupil = self._pupils[number]
            chances = pupil.head.chances(np.array([pupil.views[place][0] for place in places]))
            for row, place in zip(chances, places, strict=True):
                score.add(pupil.head.answers.read(row, pupil.head.answers.texts[pupil.truth[place]]))
            views = np.concatenate([pupil.views[place] for place in places])
            truth = np.concatenate([[pupil.truth[place]] * len(pupil.views[place]) for place in places])
            for _ in range(_UPDATES):
                half = self._rng.permutation(len(views))[: max(len(views) // 2, 1)]
                pupil.adam.update(views[half], truth[half], rate)
        return score.metrics("train")

    def _batch_of_valid(self, number: int) -> dict[str, float]:
        size = min(_VALID_BATCH, len(self._valid))
        picked = [self._valid[(number * size + offset) % len(self._valid)] for offset in range(size)]
        return self._score_valid(picked, "valid")

    @staticmethod
    def _score_valid(examples: list[tuple[Head, Matrix, str]], prefix: str) -> dict[str, float]:
        if not examples:
            return {}
        score = _Score()
        for head, ways, answer in examples:
            score.add(head.answers.read(head.chances(ways).mean(axis=0), answer))
        return score.metrics(prefix)
