"""Neutral rows in; Converse-style training lines (`bedrock-conversation-2024`) and questions out. Pure.

A training line names its images by S3 URI, so no pixel is read for it; a question carries their bytes. Turns of one
role that follow each other are one message: Amazon Nova wants roles that strictly alternate.
Source: https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html (2026-11-22).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pixtune.errors import ProviderRefused
from pixtune.examples.annotation import Turn
from pixtune.examples.facts import ImageData
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import asked_turns, question_and_answer
from pixtune.providers.port import ReadImage

SCHEMA = "bedrock-conversation-2024"
_URI = re.compile(r"s3://[\w\-/.]+", re.ASCII)  # Nova's own check of a dataset reads no other characters

ImageSource = Callable[[ImageData], dict[str, Any]]
"""An image to Converse's `source` of it. Any: JSON."""


def stored_in(bucket: str, owner: str) -> ImageSource:
    """Images by reference: in the bucket of the training file itself, as Bedrock demands. owner: its account."""

    def source(image: ImageData) -> dict[str, Any]:
        uri = f"s3://{bucket}/{image.key}"
        if not _URI.fullmatch(uri):
            raise ProviderRefused(
                f"The image {uri!r} cannot be named in a training file for Amazon Nova.",
                "Only letters, digits and _ - / . may stand in it: use a bucket with such a name.",
            )
        return {"s3Location": {"uri": uri, "bucketOwner": owner}}

    return source


def read_with(read_image: ReadImage) -> ImageSource:
    """Images by value, as boto3 takes them (it encodes the bytes itself)."""
    return lambda image: {"bytes": read_image(image.key)}


def _content(row: Row, turn: Turn, source: ImageSource) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if part.image is not None:
            image = row.images[part.image].image
            parts.append({"image": {"format": image.format, "source": source(image)}})
        elif part.text and part.text.strip():  # Converse refuses a blank one
            parts.append({"text": part.text})
    return parts


def _conversation(row: Row, turns: list[Turn], system: str | None, source: ImageSource) -> dict[str, Any]:
    said = (row.annotation.system if row.annotation else None) or system
    messages = [{"role": turn.role, "content": _content(row, turn, source)} for turn in turns]
    return ({"system": [{"text": said}]} if said else {}) | {"messages": messages}


def question(row: Row, system: str | None, prompt: str | None, source: ImageSource) -> dict[str, Any]:
    """What a model is asked for this row: `system` (where there is one) and `messages`, as Converse takes them."""
    turns, _ = question_and_answer(row, prompt)
    return _conversation(row, turns, system, source)


def training_line(row: Row, system: str | None, prompt: str | None, source: ImageSource) -> bytes:
    """One line of a training file, with its newline. Equal rows give equal bytes, all of them ASCII.

    Raises ProviderRefused for a row of weight 0: a Converse row has no way to keep an answer out of the loss, and
    leaving the weight out would train on it.
    """
    if row.annotation and row.annotation.weight == 0:
        raise ProviderRefused(
            f"Example {row.example_id} has weight 0, and Amazon Nova cannot leave an answer out of the loss.",
            "Delete the example, or remove its weight.",
        )
    line = {"schemaVersion": SCHEMA} | _conversation(row, asked_turns(row, prompt), system, source)
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()
