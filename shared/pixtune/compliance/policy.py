"""What a dataset demands of its examples besides being trainable: `[compliance]` of dataset.toml as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """What a finding of a check means: nothing (the check is not made), a warning, or that nothing is trained."""

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"


CHECKS = ("licence", "privacy", "content", "skips")


@dataclass(frozen=True, slots=True)
class CompliancePolicy:
    """A level for each of CHECKS, and what the checks go by.

    licence: each of `required_fields` is stated, and the licence is one of `allowed_licences` (none: any). privacy:
    no personal data in the text; national_ids: countries ("es", "fr", "us") whose identity numbers count too.
    content: the provider's moderation flags neither text nor pictures. skips: the provider is not expected to leave
    a picture out. own: levels of checks of one's own (compliance.own_checks), by name.
    """

    licence: Level = Level.OFF
    privacy: Level = Level.WARN
    content: Level = Level.OFF
    skips: Level = Level.OFF
    required_fields: tuple[str, ...] = ("license", "source")
    allowed_licences: tuple[str, ...] = ()
    national_ids: tuple[str, ...] = ()
    own: Mapping[str, Level] = field(default_factory=dict)

    def level(self, check: str) -> Level:
        """The level of one of CHECKS, or of a check of one's own (off where the policy does not name it)."""
        if check in CHECKS:
            level: Level = getattr(self, check)
            return level
        return self.own.get(check, Level.OFF)

    def to_json(self) -> dict[str, Any]:
        """`own` only where there is one: a policy without keeps the digests of its versions."""
        values = {
            name: list(value) if isinstance(value, tuple) else str(value) for name, value in asdict(self).items()
        }
        own = {name: str(level) for name, level in self.own.items()}
        return {name: value for name, value in values.items() if name != "own"} | ({"own": own} if own else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CompliancePolicy:
        """What is not stated is the default. Raises ValueError on an unknown level."""
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {
            name: Level(value) if name in CHECKS else tuple(value)
            for name, value in data.items()
            if name in known and name != "own"
        }
        if data.get("own"):
            values["own"] = {name: Level(level) for name, level in data["own"].items()}
        return cls(**values)
