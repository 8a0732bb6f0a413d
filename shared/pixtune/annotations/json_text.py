"""JSON as people write it: text in, values out, or what is wrong with it and where."""

from __future__ import annotations

import json
import re
from typing import Any

from pixtune.annotations.reading import BadRow

_BARE_KEY = re.compile(r"""[{,]\s*(?:([A-Za-z_]\w*)|'([^']*)')\s*:""")


def parsed(text: str) -> Any:
    """The value that the text is. Raises BadRow, which says where it stops being JSON."""

    def refuse(constant: str) -> Any:
        raise BadRow(f"{constant} is not JSON.", "Write a number, or null.")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        before = max(text.rfind("{", 0, error.pos), text.rfind(",", 0, error.pos))
        bare = _BARE_KEY.match(text, before) if "property name" in error.msg else None
        if bare:
            name = bare[1] or bare[2]
            raise BadRow(
                f"It is not JSON: the key {name!r} at column {error.colno} is not in double quotes.",
                f'Write "{name}": with double quotes.',
            ) from None
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadRow(f"It is not JSON: {error.msg} at {place}.", "Check quotes, commas and brackets there.") from None
    except RecursionError:
        raise BadRow("The JSON is nested too deeply.", "Flatten it.") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise BadRow(f"It is not JSON that can be read: {error}.", "Shorten the number.") from None


def object_of(value: Any, fix: str) -> dict[str, Any]:
    """The value, which must be an object. Raises BadRow with this fix."""
    if isinstance(value, dict):
        return value
    raise BadRow(f"The JSON is a {type(value).__name__}, expected an object.", fix)
