"""How a picture is made fit for training: the named steps it goes through, each with its parameters. Data only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from pixtune.images import own_steps as own_steps  # registers them
from pixtune.images.steps import STEPS, Parameter, fit, parameter_problem, window

Detail = Literal["high", "low"]
Shares = tuple[float, float, float, float]  # left, top, right, bottom, from 0 to 1

VERSION = 3  # rises whenever the same bytes under the same steps would come out differently

# What a model sees: at detail high 2048 square, then 768 on the short side; at low its 512 box.
BOXES: dict[str, dict[str, Parameter]] = {
    "high": {"long_side": 2048, "short_side": 768},
    "low": {"long_side": 512, "short_side": 512},
}
# Shrinking comes before whatever a small picture makes cheaper; the outcome is the same.
STANDARD = ("flatten", "resize", "to_srgb", "orient", "encode")
_NEEDED = ("flatten", "resize", "encode")
_MAX_STEPS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a recipe: its name in images.steps.STEPS and every one of its parameters."""

    name: str
    parameters: Mapping[str, Parameter]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **self.parameters}


class RecipeRefused(ValueError):
    """Steps that make no recipe. problems: each one, naming the step's place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class View:
    """What a recipe makes of a picture's plane. width, height: of the outcome, in pixels. shown: which part of the
    picture it shows; of the upright one, or, where it is not `upright`, of the picture as it is stored."""

    width: int
    height: int
    shown: Shares
    upright: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps a picture goes through, in their order."""

    steps: tuple[Step, ...]
    version: int = VERSION

    @classmethod
    def default(cls, detail: Detail = "high") -> Recipe:
        return cls.of(STANDARD, detail)

    @classmethod
    def low(cls) -> Recipe:
        return cls.default("low")

    @classmethod
    def of(cls, stated: Sequence[str | Mapping[str, Any]], detail: Detail = "high") -> Recipe:
        """The recipe a dataset states: names, or tables of a `name` and parameters; defaults filled in.

        detail: the box that `resize` shrinks into where it states none. Raises RecipeRefused with every problem.
        """
        problems: list[str] = []
        steps = tuple(_steps(stated, detail, problems))
        problems += _order_problems([step.name for step in steps]) if not problems else []
        if problems:
            raise RecipeRefused(problems)
        return cls(steps)

    @property
    def id(self) -> str:
        """A short name that differs whenever the outcome may, such as `3-5d0c3a9e41b7`: a part of object keys."""
        text = json.dumps([[STEPS[step.name].version, step.to_json()] for step in self.steps], sort_keys=True)
        return f"{self.version}-{sha256(text.encode()).hexdigest()[:12]}"

    def keeps(self, source_format: str) -> int | None:
        """Up to how many bytes a file of this format keeps its compressed pixels if no step would change one."""
        encode = self.steps[-1].parameters
        formats = {"jpeg", "png", *(["webp"] if encode["keep_webp"] else [])}
        usual = all(step.name in STANDARD for step in self.steps)
        return int(encode["keep_bytes"]) if encode["keep"] and usual and source_format in formats else None

    def draft_size(self, width: int, height: int, orientation: int) -> tuple[int, int] | None:
        """The least size, as stored, that a picture may be decoded at; None when a step needs every pixel."""
        stored, turned = (width, height), False
        for step in self.steps:
            if step.name == "resize":
                fitted = fit(width, height, **step.parameters)  # type: ignore[arg-type]  # checked: numbers
                across, down = fitted[0] / width, fitted[1] / height
                if turned:
                    across, down = down, across
                return round(stored[0] * across), round(stored[1] * down)
            if step.name == "crop":
                left, top, right, bottom = window(width, height, **step.parameters)  # type: ignore[arg-type]
                width, height = right - left, bottom - top
            elif step.name == "orient":
                turned = orientation >= 5
                width, height = (height, width) if turned else (width, height)
            elif step.name not in STANDARD and step.name != "greyscale":
                return None
        return None

    def view(self, width: int, height: int, orientation: int) -> View:
        """What a picture stored with these sides becomes."""
        left, top, right, bottom = 0.0, 0.0, 1.0, 1.0
        for step in self.steps:
            if step.name == "orient":
                corners = [_turned(x, y, 1.0, 1.0, orientation) for x, y in ((left, top), (right, bottom))]
                (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
                width, height = (height, width) if orientation >= 5 else (width, height)
            elif step.name == "crop":
                x0, y0, x1, y1 = window(width, height, **step.parameters)  # type: ignore[arg-type]  # as above
                left, right = (left + (right - left) * x / width for x in (x0, x1))
                top, bottom = (top + (bottom - top) * y / height for y in (y0, y1))
                width, height = x1 - x0, y1 - y0
            elif step.name == "resize":
                width, height = fit(width, height, **step.parameters)  # type: ignore[arg-type]  # as above
        turned = orientation == 1 or any(step.name == "orient" for step in self.steps)
        return View(width, height, (left, top, right, bottom), turned)

    def to_json(self) -> dict[str, Any]:
        return {"steps": [step.to_json() for step in self.steps], "version": self.version}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Raises KeyError or ValueError when `data` is not a recipe, or names a step that is not registered here."""
        return cls(cls.of(data["steps"]).steps, int(data["version"]))


def _steps(stated: Sequence[str | Mapping[str, Any]], detail: Detail, problems: list[str]) -> Iterator[Step]:
    for place, entry in enumerate(stated, 1):
        values = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = values.pop("name", None)
        kind = STEPS.get(name) if isinstance(name, str) else None
        if kind is None or not isinstance(name, str):
            problems.append(f"steps[{place}]: no step is called {name!r}; there are {', '.join(sorted(STEPS))}")
            continue
        found = [problem for key, value in values.items() if (problem := parameter_problem(kind, key, value))]
        problems += [f"steps[{place}]: {name} {problem}" for problem in found]
        if found:
            continue
        parameters = {**kind.parameters, **(BOXES[detail] if name == "resize" else {}), **values}
        yield Step(
            name,
            {
                key: float(value) if isinstance(kind.parameters[key], float) else value
                for key, value in sorted(parameters.items())
            },
        )


def _order_problems(names: list[str]) -> Iterator[str]:
    for needed in _NEEDED:
        if needed not in names:
            yield f"steps: {needed} is missing; every recipe has {', '.join(_NEEDED)}"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"steps: {name} stands there {names.count(name)} times"
    if "encode" in names[:-1]:
        yield f"steps: encode comes last, and {names[-1]} comes after it"
    if "flatten" in names and set(names[: names.index("flatten")]) - {"orient"}:
        yield f"steps: only orient may come before flatten, and {names[0]} does"
    if len(names) > _MAX_STEPS:
        yield f"steps: {len(names)} of them; at most {_MAX_STEPS}"


def _turned(x: float, y: float, width: float, height: float, orientation: int) -> tuple[float, float]:
    """Where a point of the stored picture lies in the upright one (CIPA DC-008, tag 0x0112)."""
    return {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }.get(orientation, (x, y))
