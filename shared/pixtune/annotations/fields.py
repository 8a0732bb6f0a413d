"""A flat record of names and values (a CSV row, a JSON sidecar, an object's metadata) in, an annotation out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pixtune.annotations import paligemma
from pixtune.annotations.paths import split_of
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import SPLITS, Annotation, Part, Scalar, Turn
from pixtune.examples.rows import canonical
from pixtune.keys import SPLIT_NAMES
from pixtune.verdicts import Code

PROMPTS = ("prompt", "question", "prefix")
ANSWERS = ("answer", "completion", "suffix", "label", "caption", "text")
_OWN = ("id", "split", "group", "weight")
_MAX_BYTES = 64 * 1024  # of one annotation: several of them must fit one table item (400 kB)
# What no text may hold, by code: how it is named, and what to do. Left-to-right marks are part of honest text; the
# characters that override and isolate directions are those of CVE-2021-42574. Markers of turns are those of the
# published chat templates (ChatML, Llama 2 and 3, Gemma).
_FORBIDDEN = (
    (Code.CONTROL_CHARACTER, re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"), "the control character"),
    (Code.BIDI_CHARACTER, re.compile("[\u202a-\u202e\u2066-\u2069]"), "the direction override"),
    (Code.LONE_SURROGATE, re.compile("[\ud800-\udfff]"), "half of a surrogate pair,"),
    (
        Code.RESERVED_TOKEN,
        re.compile(r"<\|[A-Za-z_]\w*\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<image>"),
        "the reserved token",
    ),
)


def row_of(
    values: Mapping[str, Any], images: Sequence[str], annotation_key: str, where: str, *, used: Sequence[str] = ()
) -> FoundRow:
    """The row a flat record stands for. `used`: names that said which images it is about. Raises BadRow."""
    given = {name: value for name, value in values.items() if name not in used and value not in (None, "")}
    asked = next((name for name in PROMPTS if name in given), None)
    said = next((name for name in ANSWERS if name in given), None)
    if said is None:
        raise BadRow(
            f"It has no answer; found {_names(values)}.",
            f"Add one of {', '.join(ANSWERS)} (with a value that is text).",
            Code.EMPTY_ANSWER,
        )
    answer = _text(said, given[said])
    boxes = paligemma.boxes_of(answer)
    shown = tuple(Part(image=number) for number in range(len(images)))
    question = (Part(text=_text(asked, given[asked])),) if asked else ()
    turns = (Turn("user", shown + question), Turn("assistant", (Part(boxes=boxes) if boxes else Part(text=answer),)))
    rest = {name: value for name, value in given.items() if name not in (asked, said)}
    return described(turns, None, rest, images, annotation_key, where)


def described(
    turns: tuple[Turn, ...],
    system: str | None,
    values: Mapping[str, Any],
    images: Sequence[str],
    annotation_key: str,
    where: str,
) -> FoundRow:
    """The row of these turns; `values` are what else is stated of it: id, split, group, weight, further fields."""
    if not images:
        raise BadRow("It shows no image.", "Name at least one image.")
    if len(set(images)) != len(images):
        raise BadRow("It shows the same image twice.", "Name each image once.")
    split = values.get("split")
    if split is None:
        split = split_of(images[0], annotation_key)
    elif isinstance(split, str) and split.lower() in SPLIT_NAMES:
        split = SPLIT_NAMES[split.lower()]
    else:
        raise BadRow(f"Its split is {split!r}.", f"Use one of {', '.join(SPLITS)}, or leave it out.")
    fields: dict[str, Scalar] = {
        name: value for name, value in values.items() if name not in _OWN and isinstance(value, str | int | float)
    }
    annotation = Annotation(
        turns,
        system,
        split,
        _text("group", values["group"]) if "group" in values else None,
        _weight(values["weight"]) if "weight" in values else None,
        fields,
    )
    size = len(canonical(annotation.to_json()).encode("utf-8", "surrogatepass"))
    if size > _MAX_BYTES:
        raise BadRow(
            f"It has {size:,} bytes of text.",
            f"Keep an example's text below {_MAX_BYTES:,} bytes.",
            Code.TEXT_TOO_LONG,
        )
    for name, text in _texts(annotation):
        _check_text(text, name)
    return FoundRow(tuple(images), annotation, _text("id", values["id"]) if "id" in values else None, where)


def unused(values: Mapping[str, Any], used: Sequence[str] = ()) -> list[str]:
    """Names whose values are no scalars, which nothing here reads."""
    return [name for name, value in values.items() if name not in used and isinstance(value, list | dict) and value]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise BadRow(f"{name!r} is {type(value).__name__}, expected text.", f"Write {name} as one text or number.")
    if not value.strip():
        blank = Code.EMPTY_ANSWER if name in ANSWERS else Code.ROW_REJECTED
        raise BadRow(f"{name!r} is blank.", f"Give {name} a text.", blank)
    _check_text(value, repr(name))
    return value


def _texts(annotation: Annotation) -> Iterator[tuple[str, str]]:
    """Every text of an annotation, with what to call it."""
    for number, turn in enumerate(annotation.turns):
        for part in turn.parts:
            if part.text is not None:
                yield f"turn {number + 1} ({turn.role})", part.text
            for box in part.boxes.boxes if part.boxes else ():
                yield "a box's label", box.label
    yield "the system text", annotation.system or ""
    for name, value in annotation.fields.items():
        yield repr(name), name
        yield repr(name), value if isinstance(value, str) else ""


def _check_text(text: str, name: str) -> None:
    for code, pattern, what in _FORBIDDEN:
        if found := pattern.search(text):
            token = found[0] if len(found[0]) > 1 else f"U+{ord(found[0]):04X}"
            raise BadRow(f"{name} has {what} {token}.", "Remove it, or write what it stands for.", code)


def _weight(value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if isinstance(value, bool) or not 0 < weight < math.inf:
        raise BadRow(f"Its weight is {value!r}.", "Use a number above 0, or leave it out.")
    return weight


def _names(values: Mapping[str, Any]) -> str:
    names = [str(name) for name, value in values.items() if value not in (None, "")]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "no fields"
