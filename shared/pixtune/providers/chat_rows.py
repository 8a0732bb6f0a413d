"""Neutral rows in, OpenAI-shaped chat messages and training lines out. Pure; the pixels come through `read_image`.

One form for every provider that speaks this format: content is always a list of parts, images are data URLs in user
messages, and turns of one role that follow each other are one message, because some providers (Together, Nova)
refuse two user messages in a row that others accept.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from pixtune.examples.annotation import Part, Turn
from pixtune.examples.rows import Row
from pixtune.providers.port import ReadImage


class ImageUrl(TypedDict):
    url: str
    detail: Literal["high", "low"]


class TextPart(TypedDict):
    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    type: Literal["image_url"]
    image_url: ImageUrl


class Message(TypedDict, total=False):
    """weight: 0 leaves an assistant message out of the loss; absent means 1."""

    role: str
    content: list[TextPart | ImagePart]
    weight: int


def asked_turns(row: Row, prompt: str | None) -> list[Turn]:
    """The row's turns as they are asked: the dataset's prompt where the first user turn has no text, and turns of
    one role that follow each other as one. A row without annotation (a tombstone) has none."""
    turns: list[Turn] = []
    for turn in row.annotation.turns if row.annotation else ():
        if turns and turns[-1].role == turn.role:
            turns[-1] = Turn(turn.role, turns[-1].parts + turn.parts)
        else:
            turns.append(turn)
    for number, turn in enumerate(turns):
        if turn.role == "user":
            if prompt and not any(part.text for part in turn.parts):
                turns[number] = Turn(turn.role, (*turn.parts, Part(text=prompt)))
            break
    return turns


def text_of(turn: Turn) -> str:
    return "\n".join(part.text for part in turn.parts if part.text is not None)


def question_and_answer(row: Row, prompt: str | None) -> tuple[list[Turn], str]:
    """The turns up to the last assistant turn, and that turn's text: what is asked and what is expected."""
    turns = asked_turns(row, prompt)
    last = max((number for number, turn in enumerate(turns) if turn.role == "assistant"), default=len(turns))
    return turns[:last], text_of(turns[last]) if last < len(turns) else ""


def _content(row: Row, turn: Turn, detail: str, read_image: ReadImage) -> list[TextPart | ImagePart]:
    parts: list[TextPart | ImagePart] = []
    for part in turn.parts:
        if part.image is None:
            parts.append({"type": "text", "text": part.text or ""})
            continue
        image = row.images[part.image].image
        data = base64.b64encode(read_image(image.key)).decode()
        url: ImageUrl = {
            "url": f"data:image/{image.format};base64,{data}",
            "detail": "low" if detail == "low" else "high",
        }
        parts.append({"type": "image_url", "image_url": url})
    return parts


def _messages(row: Row, turns: Sequence[Turn], system: str | None, detail: str, read: ReadImage) -> list[Message]:
    said = (row.annotation.system if row.annotation else None) or system
    messages: list[Message] = [{"role": "system", "content": [{"type": "text", "text": said}]}] if said else []
    return messages + [{"role": turn.role, "content": _content(row, turn, detail, read)} for turn in turns]


def question_messages(
    row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
) -> list[Message]:
    """What a model is asked for this row."""
    turns, _ = question_and_answer(row, prompt)
    return _messages(row, turns, system, detail, read_image)


def training_line(row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
    """One line of a training file, with its newline. Equal rows give equal bytes, all of them ASCII: text may hold
    line separators that some readers split at, and half surrogates that UTF-8 cannot."""
    messages = _messages(row, asked_turns(row, prompt), system, detail, read_image)
    weight = row.annotation.weight if row.annotation else None
    if weight == 0:
        for message in messages:
            if message["role"] == "assistant":
                message["weight"] = 0
    line: dict[str, Any] = {"messages": messages}
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()
