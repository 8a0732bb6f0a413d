"""OpenAI's chat rows, with image paths relative to the file: one JSON object with `messages` in, a row out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pixtune.annotations.fields import described
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow
from pixtune.examples.annotation import Part, Turn
from pixtune.verdicts import Code

_STRICT = ConfigDict(strict=True, extra="forbid")
_SHAPE = 'Expected {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "photo.jpg"}}]}.'


class _ImageUrl(BaseModel):
    model_config = _STRICT
    url: str
    detail: Literal["low", "high", "auto"] | None = None  # a setting of the dataset here, not of a row


class _TextPart(BaseModel):
    model_config = _STRICT
    type: Literal["text"]
    text: str = Field(min_length=1)


class _ImagePart(BaseModel):
    model_config = _STRICT
    type: Literal["image_url"]
    image_url: _ImageUrl


class _Message(BaseModel):
    model_config = _STRICT
    role: Literal["system", "user", "assistant"]
    content: list[Annotated[_TextPart | _ImagePart, Field(discriminator="type")]] = Field(min_length=1)
    weight: Literal[1] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _listed(cls, content: Any) -> Any:
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        return [_as_image_url(part) for part in content] if isinstance(content, list) else content


class _Chat(BaseModel):
    messages: list[_Message] = Field(min_length=2)


def _as_image_url(part: Any) -> Any:
    """axolotl's `{"type": "image", "path": "a.jpg"}` (or `url`) as the part it stands for."""
    if not isinstance(part, dict) or part.get("type") != "image" or part.keys() - {"type", "path", "url"}:
        return part
    return {"type": "image_url", "image_url": {"url": part.get("path", part.get("url"))}}


def row_of(
    values: Mapping[str, Any], annotation_key: str, bucket: str, where: str, *, shown: Sequence[str] = ()
) -> FoundRow:
    """The row of a chat. shown: the images it is about when it names none (a sidecar's). Raises BadRow."""
    try:
        chat = _Chat.model_validate({"messages": values["messages"]})
    except ValidationError as error:
        faults = {"role" if problem["loc"][-1:] == ("role",) else problem["type"] for problem in error.errors()}
        codes = {"role": Code.ROLE_NOT_ALLOWED, "string_unicode": Code.LONE_SURROGATE}
        code = next((codes[fault] for fault in codes if fault in faults), Code.ROW_REJECTED)
        raise BadRow("; ".join(_explained(error)[:5]) + ".", _SHAPE, code) from None
    images: list[str] = []
    turns: list[Turn] = []
    system: list[str] = []
    for number, message in enumerate(chat.messages):
        if message.role == "system":
            if turns:
                raise BadRow(
                    f"messages[{number}] is a system message after others.", "Put it first.", Code.ROLE_NOT_ALLOWED
                )
            system += [_text_of(part, number) for part in message.content]
            continue
        parts = tuple(_part(part, message.role, number, images, annotation_key, bucket) for part in message.content)
        if turns and turns[-1].role == message.role:  # many trainers want roles to alternate
            turns[-1] = Turn(message.role, turns[-1].parts + parts)
        else:
            turns.append(Turn(message.role, parts))
    roles = [turn.role for turn in turns]
    if roles[:1] != ["user"] or roles[-1:] != ["assistant"]:
        raise BadRow(
            f"Its messages go {', '.join(roles) or 'nowhere'}.",
            "Begin with a user's and end with an assistant's.",
            Code.ROLE_NOT_ALLOWED,
        )
    if not images and shown:
        images += shown
        turns[0] = Turn("user", (*(Part(image=number) for number in range(len(images))), *turns[0].parts))
    rest = {name: value for name, value in values.items() if name != "messages" and value is not None}
    return described(tuple(turns), "\n".join(system) or None, rest, images, annotation_key, where)


def _part(
    part: _TextPart | _ImagePart, role: str, number: int, images: list[str], annotation_key: str, bucket: str
) -> Part:
    if isinstance(part, _TextPart):
        return Part(text=_text_of(part, number))
    if role != "user":
        raise BadRow(
            f"messages[{number}] shows an image as {role}.",
            "Images stand in user messages only.",
            Code.ROLE_NOT_ALLOWED,
        )
    key = key_of(part.image_url.url, annotation_key, bucket)
    if key not in images:
        images.append(key)
        return Part(image=len(images) - 1)
    raise BadRow(f"It shows {part.image_url.url!r} twice.", "Show each image once.")


def _text_of(part: _TextPart | _ImagePart, number: int) -> str:
    if isinstance(part, _ImagePart) or not part.text.strip():
        raise BadRow(f"messages[{number}] has no text where text is expected.", _SHAPE, Code.EMPTY_ANSWER)
    return part.text


def _explained(error: ValidationError) -> list[str]:
    """pydantic's findings as `messages[1].content[0].text: ...`."""
    lines = []
    for problem in error.errors():
        path = ""
        steps = list(problem["loc"])
        for position, step in enumerate(steps):
            if isinstance(step, int):
                path += f"[{step}]"
            elif not (position and isinstance(steps[position - 1], int) and step in ("text", "image_url")):
                path += f".{step}" if path else step
        lines.append(f"{path}: {problem['msg'][:1].lower()}{problem['msg'][1:]}")
    return lines
