"""ShareGPT and LLaVA conversations: an object with `conversations` and `image` or `images` in, a row out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixtune.annotations.fields import described
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import Part, Turn
from pixtune.verdicts import Code

LAYOUT = "ShareGPT / LLaVA conversations"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_HERE = "<image>"
_SHAPE = 'Expected {"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"}, ...]}.'


def row_of(values: Mapping[str, Any], annotation_key: str, bucket: str, where: str) -> FoundRow:
    """`<image>` in a human's words stands for the next image; without any, all come first. Raises BadRow."""
    named = [name for name in ("images", "image") if values.get(name)]
    listed = values[named[0]] if named else []
    paths = listed if isinstance(listed, list) else [listed]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise BadRow("It names no image.", _SHAPE, Code.BAD_PATH)
    said = values["conversations"]
    if not isinstance(said, list) or not said:
        raise BadRow("'conversations' is no list of messages.", _SHAPE)
    placed = any(isinstance(message, dict) and _HERE in str(message.get("value")) for message in said)
    shown = 0 if placed else len(paths)
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(said):
        role, text = _said(message, number)
        if role == "system":
            if turns:
                place = f"conversations[{number}]"
                raise BadRow(f"{place} is a system message after others.", "Put it first.", Code.ROLE_NOT_ALLOWED)
            system.append(text)
            continue
        parts: list[Part] = [] if placed or turns else [Part(image=image) for image in range(len(paths))]
        for piece, words in enumerate(text.split(_HERE) if role == "user" else [text]):
            if piece:
                parts.append(Part(image=shown))
                shown += 1
            if words.strip():
                parts.append(Part(text=words.strip()))
        if turns and turns[-1].role == role:
            turns[-1] = Turn(role, turns[-1].parts + tuple(parts))
        else:
            turns.append(Turn(role, tuple(parts)))
    if shown != len(paths):
        raise BadRow(f"It has {len(paths)} images and {shown} <image> in its questions.", "Name as many as it shows.")
    roles = [turn.role for turn in turns]
    if roles[:1] != ["user"] or roles[-1:] != ["assistant"]:
        detail = f"Its conversation goes {', '.join(roles) or 'nowhere'}."
        raise BadRow(detail, "Begin with a human's and end with gpt's.", Code.ROLE_NOT_ALLOWED)
    rest = {
        name: value for name, value in values.items() if name not in ("conversations", "image", "images") and value
    }
    images = [key_of(path, annotation_key, bucket) for path in paths]
    return described(tuple(turns), "\n".join(system) or None, rest, images, annotation_key, where)


def _said(message: Any, number: int) -> tuple[str, str]:
    place = f"conversations[{number}]"
    if not isinstance(message, dict) or not isinstance(message.get("value"), str):
        raise BadRow(f"{place} has no value that is text.", _SHAPE)
    role = _ROLES.get(str(message.get("from")))
    if role is None:
        raise BadRow(
            f"{place} is from {message.get('from')!r}.", f"Use one of {', '.join(_ROLES)}.", Code.ROLE_NOT_ALLOWED
        )
    if role == "assistant" and not message["value"].strip():
        raise BadRow(f"{place} is blank.", "Give it the answer.", Code.EMPTY_ANSWER)
    return role, message["value"]
