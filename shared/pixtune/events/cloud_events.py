"""The envelope of everything pixtune says on the bus: CloudEvents 1.0, structured mode, as the event's detail.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md (attribute names and their types).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SOURCE = "pixtune"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """id: the same however often the event is sent. type: in the past tense, with its version.

    subject: what it is about ("dataset/cats", "run/run_..."). at: Unix seconds. data: as the type's schema says.
    """

    id: str
    type: str
    subject: str
    at: float
    data: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": self.type,
            "subject": self.subject,
            "time": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "dataschema": schema_id(self.type),
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }


def schema_id(event_type: str) -> str:
    """The `$id` of the schema of a type's data; the file beside this module is `schemas/{type}.json`."""
    return f"urn:pixtune:schema:{event_type}"
