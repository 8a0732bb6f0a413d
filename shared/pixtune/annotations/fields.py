"""A flat record of names and values (a CSV row, a JSON sidecar, an object's metadata) in, an annotation out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pixtune.annotations.paths import SPLITS, split_of
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import SPLITS as SPLIT_NAMES
from pixtune.examples.annotation import Annotation, Part, Scalar, Turn
from pixtune.examples.rows import canonical

PROMPTS = ("prompt", "question", "prefix")
ANSWERS = ("answer", "completion", "suffix", "label", "caption", "text")
_OWN = ("id", "split", "group", "weight")
_MAX_BYTES = 64 * 1024  # of one annotation: several of them must fit one table item (400 kB)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PALIGEMMA = re.compile(r"<loc\d{4}>")


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
        )
    answer = _text(said, given[said])
    if _PALIGEMMA.search(answer):
        raise BadRow(
            f"{said!r} holds PaliGemma location tokens, which other models do not know.",
            "State the answer in words or as JSON with pixel coordinates.",
        )
    shown = tuple(Part(image=number) for number in range(len(images)))
    question = (Part(text=_text(asked, given[asked])),) if asked else ()
    turns = (Turn("user", shown + question), Turn("assistant", (Part(text=answer),)))
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
    elif isinstance(split, str) and split.lower() in SPLITS:
        split = SPLITS[split.lower()]
    else:
        raise BadRow(f"Its split is {split!r}.", f"Use one of {', '.join(SPLIT_NAMES)}, or leave it out.")
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
        raise BadRow(f"It has {size:,} bytes of text.", f"Keep an example's text below {_MAX_BYTES:,} bytes.")
    _check_text(canonical(annotation.to_json()), "a field")
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
        raise BadRow(f"{name!r} is blank.", f"Give {name} a text.")
    _check_text(value, repr(name))
    return value


def _check_text(text: str, name: str) -> None:
    if found := _CONTROL.search(text):
        raise BadRow(f"{name} has the control character U+{ord(found[0]):04X}.", "Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{name} has half of a surrogate pair.", "Write the character itself, in UTF-8.") from None


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
