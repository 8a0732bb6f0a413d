"""A small image-to-answer model: a question goes in, the most probable training answer comes out.

One head per prompt (its own features, one hidden layer); prompts with few rows share a common head. The untrained
base model guesses evenly among the options that the prompt itself names.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixtune_local.provider.answers import Answers
from pixtune_local.provider.features import Matrix, Vector, look_at_all, mirror
from pixtune_local.provider.rows import Pixels, Question

_RANGE = re.compile(r"\b(\d{1,4})\s*(?:to|-|–|through|and)\s*(\d{1,4})\b")
_LISTED = re.compile(r":\s*([^.:?\n]*\bor\b[^.:?\n]*)|((?:[\w-]+,\s+)*[\w-]+,?\s+or\s+[\w-]+)")
_WEIGHTS = ("w1", "b1", "w2", "b2")
DONT_KNOW = "I don't know."


@dataclass(frozen=True)
class Lens:
    """Which blocks a head looks at, and the mean and scale (of clean training rows) it sees them in."""

    blocks: tuple[str, ...]
    mean: Vector
    scale: Vector

    def see(self, seen: dict[str, Vector]) -> Vector:
        raw = np.concatenate([seen[block] for block in self.blocks])
        width = np.concatenate([np.full(seen[block].size, np.sqrt(seen[block].size)) for block in self.blocks])
        return np.asarray(np.clip((raw - self.mean) / self.scale, -4, 4) / width)


@dataclass
class Head:
    """One prompt's answers and weights: features -> 64 ReLU units -> columns -> answers."""

    lens: Lens
    answers: Answers
    may_mirror: bool
    weights: dict[str, NDArray[np.float64]]

    def chances(self, inputs: Matrix) -> Matrix:
        """rows x features -> rows x answers, summing to one."""
        hidden = np.maximum(inputs @ self.weights["w1"] + self.weights["b1"], 0)
        logits = (hidden @ self.weights["w2"] + self.weights["b2"]) @ self.answers.columns.T
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def both_ways(self, pictures: list[Pixels]) -> Matrix:
        """The pictures as the head sees them, and mirrored where that changes no answer."""
        ways = [pictures, [mirror(pixels) for pixels in pictures]] if self.may_mirror else [pictures]
        return np.array([self.lens.see(look_at_all(way, self.lens.blocks)) for way in ways])


@dataclass
class Model:
    """Heads, and which head each training prompt has."""

    heads: list[Head]
    prompts: dict[str, int]

    def head_for(self, prompt: str) -> Head:
        """The prompt's own head; for a prompt never seen, that of the prompt with most words in common."""
        if prompt in self.prompts:
            return self.heads[self.prompts[prompt]]
        words = set(prompt.split())

        def likeness(known: str) -> tuple[float, int]:
            others = set(known.split())
            return len(words & others) / max(len(words | others), 1), sum(
                self.heads[self.prompts[known]].answers.counts
            )

        return self.heads[self.prompts[max(self.prompts, key=likeness)]]

    def answer(self, question: Question) -> tuple[str, tuple[float, ...]]:
        """The most probable answer and the probability of each of its tokens."""
        head = self.head_for(question.prompt)
        chances = head.chances(head.both_ways([picture.pixels for picture in question.pictures])).mean(axis=0)
        text = head.answers.texts[int(chances.argmax())]
        return text, head.answers.read(chances, text).probabilities

    def dump(self) -> bytes:
        """The whole model as the bytes of an npz file."""
        about = {
            "prompts": self.prompts,
            "heads": [
                {
                    "blocks": head.lens.blocks,
                    "texts": head.answers.texts,
                    "counts": head.answers.counts,
                    "may_mirror": head.may_mirror,
                }
                for head in self.heads
            ],
        }
        arrays: dict[str, NDArray[np.float32]] = {}
        for number, head in enumerate(self.heads):
            parts = {"mean": head.lens.mean, "scale": head.lens.scale, **head.weights}
            arrays |= {f"{number}.{name}": values.astype(np.float32) for name, values in parts.items()}
        file = io.BytesIO()
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]  # numpy's stub takes no mixed dict
        return file.getvalue()

    @classmethod
    def load(cls, path: Path) -> Model:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        heads = []
        for number, told in enumerate(about["heads"]):
            own = {name: arrays[f"{number}.{name}"].astype(float) for name in ("mean", "scale", *_WEIGHTS)}
            lens = Lens(tuple(told["blocks"]), own["mean"], own["scale"])
            answers = Answers(tuple(told["texts"]), tuple(told["counts"]))
            heads.append(Head(lens, answers, told["may_mirror"], {name: own[name] for name in _WEIGHTS}))
        return cls(heads, about["prompts"])


def options(prompt: str) -> list[str]:
    """The answers a prompt names itself: "from 1 to 5", "one of: low sun, fog or night", "A, B or C"."""
    found = _RANGE.search(prompt)
    if found and int(found[1]) < int(found[2]):
        return [str(number) for number in range(int(found[1]), int(found[2]) + 1)]
    listed = _LISTED.search(prompt)
    if listed is None:
        return []
    return [part.strip() for part in re.split(r",\s*(?:or\s+)?|\s+or\s+", listed[1] or listed[2]) if part.strip()]


def guess(base: str, question: Question) -> str:
    """What the untrained base model answers: drawn evenly by a hash of its name and the pictures."""
    choices = options(question.text)
    if not choices:
        return DONT_KNOW
    seed = "/".join([base, *(picture.sha256 for picture in question.pictures)])
    return choices[int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % len(choices)]
