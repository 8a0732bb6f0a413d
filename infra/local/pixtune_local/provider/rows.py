"""Training files in OpenAI's chat format in; questions with their pictures and answers out, or every problem by line.

Limits are those of OpenAI's vision fine-tuning guide (2026-07-15): at least 10 examples, 10 images an example,
10 MB an image, JPEG, PNG or WEBP in RGB or RGBA, images in user messages only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pixtune_local.provider import tokens

MIN_EXAMPLES = 10
MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10_000_000
MAX_PIXELS = 50_000_000
MAX_TOKENS = 65_536
SIZE = (160, 120)
FORMATS = ("JPEG", "PNG", "WEBP")
_ROLES = ("system", "user", "assistant", "tool", "function")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)

Pixels = NDArray[np.uint8]
# JSON that somebody sent: of unknown shape until the checks below have looked at it.
Json = Any


class Unusable(ValueError):
    """An image or a message that cannot be used; says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as the model sees it: 120 x 160 RGB bytes, the hash of its file, and its nominal tokens."""

    pixels: Pixels
    sha256: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `prompt` is system and user text, folded; `pictures` all images shown so far."""

    prompt: str
    text: str
    pictures: tuple[Picture, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line: each answer that is to be learned with its question, and the line's nominal tokens."""

    turns: tuple[tuple[Question, str], ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """A file that was read: its rows, or why it cannot be trained on (`code` as OpenAI names it)."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    code: str = "invalid_training_file"


def read_picture(part: Json, *, training: bool) -> Picture:
    """The picture of an `image_url` part. Raises Unusable; training has stricter rules than answering."""
    image_url = part.get("image_url")
    url = image_url.get("url") if isinstance(image_url, dict) else None
    if not isinstance(url, str):
        raise Unusable("an image part needs image_url.url")
    detail = image_url.get("detail", "auto")
    if detail not in ("low", "high", "auto"):
        raise Unusable(f"image_url.detail is {detail!r}, expected low, high or auto")
    head = _DATA_URL.match(url)
    if head is None:
        raise Unusable(f"image URL {url[:40]!r} is no base64 data URL; the local provider fetches nothing")
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise Unusable(f"image data is not base64 ({error})") from error
    if training and len(data) > MAX_IMAGE_BYTES:
        raise Unusable(f"image too large: {len(data):,} bytes, at most {MAX_IMAGE_BYTES:,}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if training and image.format not in FORMATS:
                raise Unusable(f"image format {image.format}, expected JPEG, PNG or WEBP")
            if training and image.mode not in ("RGB", "RGBA"):
                raise Unusable(f"image mode {image.mode}, expected RGB or RGBA")
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"image too large: {image.width}x{image.height}, at most {MAX_PIXELS:,} pixels")
            cost = tokens.image_tokens(image.width, image.height, detail)
            small = ImageOps.exif_transpose(image).convert("RGB").resize(SIZE, Image.Resampling.BOX)
    except Unusable:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unusable(f"image cannot be decoded ({error})") from error
    return Picture(np.asarray(small), hashlib.sha256(data).hexdigest(), cost)


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _read_parts(message: Json, where: str, *, training: bool) -> tuple[str, list[Picture], list[str]]:
    content, role = message.get("content"), message["role"]
    if isinstance(content, str):
        return content, [], []
    if content is None and role == "assistant" and (message.get("tool_calls") or message.get("function_call")):
        return "", [], []
    if not isinstance(content, list):
        return "", [], [f"{where}: content is missing, expected text or a list of parts"]
    texts: list[str] = []
    pictures: list[Picture] = []
    problems: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and role == "assistant" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        elif kind == "image_url" and role != "user":
            problems.append(f"{where}: an image in a message of role {role}; images belong in user messages")
        elif kind == "image_url":
            try:
                pictures.append(read_picture(part, training=training))
            except Unusable as error:
                problems.append(f"{where}: {error}")
        else:
            problems.append(f"{where}: a content part of type {kind!r}, expected text or image_url")
    return "\n".join(texts), pictures, problems


def _read_messages(messages: Json, *, training: bool) -> tuple[list[tuple[Question, str, bool]], Question, list[str]]:
    """Each assistant message with the question before it and whether it is learned; the open question; problems."""
    if not isinstance(messages, list) or not messages:
        return [], Question("", "", (), 0), ["messages is missing or empty, expected a list of messages"]
    answered: list[tuple[Question, str, bool]] = []
    problems: list[str] = []
    system, user = "", ""
    pictures: list[Picture] = []
    spent = 0
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in (_ROLES if training else (*_ROLES, "developer")):
            problems.append(f"{where}: role {role!r}, expected one of {', '.join(_ROLES)}")
            continue
        text, shown, found = _read_parts(message, where, training=training)
        problems += found
        if role == "assistant":
            weight = message.get("weight", 1)
            if weight not in (0, 1):
                problems.append(f"{where}: weight {weight!r}, expected 0 or 1")
            question = Question(_fold(f"{system} {user}"), user, tuple(pictures), spent + tokens.PER_REPLY)
            answered.append((question, text, weight == 1))
            user = ""
        elif "weight" in message:
            problems.append(f"{where}: weight is for assistant messages only")
        if role in ("system", "developer"):
            system = f"{system} {text}".strip()
        elif role == "user":
            user = f"{user} {text}".strip()
            pictures += shown
        spent += tokens.PER_MESSAGE + tokens.text_tokens(text) + sum(picture.tokens for picture in shown)
    if len(pictures) > MAX_IMAGES and training:
        problems.append(f"{len(pictures)} images, at most {MAX_IMAGES} an example")
    return answered, Question(_fold(f"{system} {user}"), user, tuple(pictures), spent + tokens.PER_REPLY), problems


def read_question(messages: Json) -> Question:
    """What a chat completion is asked. Raises Unusable with every problem."""
    _, question, problems = _read_messages(messages, training=False)
    if problems:
        raise Unusable("; ".join(problems))
    return question


def _read_line(line: bytes) -> tuple[Row | None, list[str]]:
    try:
        example = json.loads(line)
    except ValueError as error:
        return None, [f"not valid JSON ({error})"]
    if not isinstance(example, dict):
        return None, ["not a JSON object"]
    strange = sorted(set(example) - {"messages", "tools", "parallel_tool_calls", "functions"})
    answered, _, problems = _read_messages(example.get("messages"), training=True)
    problems += [f"unexpected key {key!r}" for key in strange]
    learned = tuple((question, answer) for question, answer, counts in answered if counts)
    if not problems and not learned:
        problems.append("no assistant message to learn from")
    elif not problems and example["messages"][-1]["role"] != "assistant":
        problems.append("the last message must be from the assistant")
    if problems:
        return None, problems
    last, answer, _ = answered[-1]
    return Row(learned, last.tokens + tokens.text_tokens(answer)), []


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def read_training_file(path: Path, *, at_least: int = MIN_EXAMPLES) -> TrainingFile:
    """Read a whole file; all problems at once, each with its line."""
    rows: list[Row] = []
    problems: list[str] = []
    warnings: list[str] = []
    examples = 0
    for number, line in _lines(path):
        examples += 1
        row, found = _read_line(line)
        problems += [f"line {number}: {problem}" for problem in found]
        if row is not None:
            rows.append(row)
            if row.tokens > MAX_TOKENS:
                warnings.append(f"line {number}: {row.tokens:,} tokens, cut at {MAX_TOKENS:,} by the hosted service")
    if problems:
        return TrainingFile((), tuple(problems))
    if examples < at_least:
        few = f"the file has {examples} example(s), but must have at least {at_least} examples"
        return TrainingFile((), (few,), code="invalid_n_examples")
    return TrainingFile(tuple(rows), warnings=tuple(warnings))
