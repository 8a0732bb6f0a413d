"""The JSON Schemas (2020-12) of all event data, made from the classes in `announced`.

    python -m pixtune.events.schema_files        writes them beside this module

Only this tool imports pydantic; publishing an event needs no validation of our own values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pixtune.events.announced import DATA
from pixtune.events.cloud_events import schema_id

FOLDER = Path(__file__).parent / "schemas"


def schema(event_type: str) -> dict[str, Any]:
    """The schema of one type's data. Receivers must take fields they do not know: versions may add some."""
    from pydantic import TypeAdapter

    made = TypeAdapter(DATA[event_type]).json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schema_id(event_type), **made}


def text(event_type: str) -> str:
    return json.dumps(schema(event_type), indent=2, sort_keys=True) + "\n"


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for event_type in DATA:
        (FOLDER / f"{event_type}.json").write_text(text(event_type))


if __name__ == "__main__":
    write()
