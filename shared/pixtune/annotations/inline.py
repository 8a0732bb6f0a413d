"""Pictures that stand inside an annotation file: a row with data URLs in, the row naming them by key out.

The bytes go to whoever keeps them, under their hash. The row then names each like an upload of its dataset, so that
the readers know one kind of path only.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from pixtune.annotations.reading import BadRow
from pixtune.verdicts import Code

Keep = Callable[[bytes], str]
"""Keeps a picture's bytes; answers the key that the picture goes by from then on."""

_NAMES = frozenset({"url", "path", "image", "images", "file_name", "file_names"})  # what rows call a picture by
_DATA_URL = re.compile(r"data:(?P<head>[^,]{0,200}),", re.IGNORECASE)  # RFC 2397
_DEEPEST = 8  # of the levels at which a layout names a picture: messages, content, image_url, url


def taken_out(values: Any, bucket: str, keep: Keep, path_of: Callable[[str], str] | None = None) -> Any:
    """The row with every data URL, where a picture may be named, replaced by the path of the kept picture.

    axolotl's `base64` is one too. path_of: the path that any other name of a picture stands for. Raises BadRow for a
    data URL that cannot be decoded.
    """

    def place(text: str, where: str) -> str:
        return f"s3://{bucket}/{keep(_decoded(text, where))}"

    def walked(value: Any, where: str, named: bool, depth: int) -> Any:
        if isinstance(value, str):
            if not named:
                return value
            return place(value, where) if value[:5].lower() == "data:" else path_of(value) if path_of else value
        if depth > _DEEPEST:
            return value
        if isinstance(value, list):
            return [walked(item, f"{where}[{number}]", named, depth + 1) for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "image" and isinstance(value.get("base64"), str):
            text = value["base64"]
            url = text if text[:5].lower() == "data:" else f"data:;base64,{text}"
            value = {name: item for name, item in value.items() if name != "base64"} | {"path": url}
        return {
            name: walked(item, f"{where}.{name}" if where else str(name), name in _NAMES, depth + 1)
            for name, item in value.items()
        }

    return walked(values, "", False, 0)


def _decoded(url: str, where: str) -> bytes:
    """The bytes of a data URL; padding may be missing and white space stand between, as in browsers."""
    head = _DATA_URL.match(url)
    if head is None or not head["head"].lower().endswith(";base64"):
        raise _bad(f"{where} is a data: URL without ';base64,' ({url[:60]!r})")
    text = "".join(url[head.end() :].split()).rstrip("=")
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"{where} is a data: URL whose base64 cannot be read: {error}") from None
    if not body:
        raise _bad(f"{where} is a data: URL of no bytes")
    return body


def _bad(detail: str) -> BadRow:
    return BadRow(f"{detail}.", "Write data:image/jpeg;base64, and the file in base64.", Code.BAD_DATA_URL)
