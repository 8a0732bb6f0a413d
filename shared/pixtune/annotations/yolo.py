"""YOLO: a label file an image (`class cx cy w h [confidence]` a line, shares of the picture) in, its row out.

A file without lines says that nothing is on the picture; no file says nothing at all. The classes are numbers here:
`classes.txt` or `data.yaml`, which may arrive before or after, name them when a version is cut.
"""

from __future__ import annotations

import re
from typing import Any

from pixtune.annotations import boxes
from pixtune.annotations.paths import beside
from pixtune.annotations.reading import BadRow, Problem, Reading, refused
from pixtune.examples.annotation import Box, Boxes
from pixtune.keys import NAMES_FILES, stem_of
from pixtune.verdicts import Code

LAYOUT = "YOLO boxes"
NAMES = "YOLO class names"
_LINE = re.compile(r"\d+(\s+[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?){4,}")
_SLACK = 0.01  # what exporters overshoot the picture's edge by, as a share


def is_label_file(key: str, text: str) -> bool:
    """Whether it is boxes: its first line looks so, or it is empty and lies in a folder of labels."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return bool(_LINE.fullmatch(lines[0])) if lines else "/labels/" in key


def read(key: str, text: str) -> Reading:
    """The image shares the file's stem, beside it or in the `images` folder beside `labels`."""
    stem = stem_of(beside(key))
    found: list[Box] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(_box(line.split()))
            except BadRow as problem:
                problems.append(problem.at(f"line {number}"))
    if problems:  # a picture with some of its boxes left out would teach that nothing is there
        return Reading(LAYOUT, problems=tuple(problems))
    try:
        row = boxes.row_of(Boxes(tuple(found), shares=True, names_from=key.rpartition("/")[0]), stem, key, "")
    except BadRow as problem:
        return Reading(LAYOUT, problems=(problem.at("the file"),))
    return Reading(LAYOUT, (row,), stem=stem)


def _box(words: list[str]) -> Box:
    if len(words) not in (5, 6):
        raise boxes.bad(
            f"{len(words)} values, expected class, cx, cy, w, h and perhaps a confidence", "Export boxes, not shapes."
        )
    try:
        number, (cx, cy, width, height) = int(words[0]), map(float, words[1:5])
    except ValueError:
        raise boxes.bad(f"{' '.join(words)[:80]!r} is not numbers", "Write class cx cy w h.") from None
    edges = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    return boxes.box_of(str(number), edges, "the box", (1.0, 1.0), slack=_SLACK)


def read_names(key: str, text: str) -> Reading:
    """The classes' names, in the order of their numbers, as a setting of the label files at and below the folder."""
    names = text.splitlines() if key.endswith(".txt") else _listed(text)
    while names and names[-1] == "":
        names.pop()
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        return refused(
            Code.BAD_SYNTAX,
            "It does not name every class.",
            "Write one name a line in classes.txt, or names: [cat, dog] in data.yaml.",
        )
    return Reading(NAMES, settings={"names": [name.strip() for name in names]})


def is_names_file(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in NAMES_FILES


def _listed(text: str) -> list[Any]:
    """`names:` of a YAML file: a list, or numbers from 0 with a name each. Empty when there is no such thing."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    names = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, dict):
        names = [names.get(number) for number in range(len(names))]
    return [str(name) if isinstance(name, int) else name for name in names] if isinstance(names, list) else []
