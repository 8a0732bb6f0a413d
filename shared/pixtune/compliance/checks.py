"""The checks: each a value that knows what it needs, asked about one row at a time. Pure.

A check of one's own is a function in own_checks.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pixtune.compliance import own_checks as own_checks  # registers them
from pixtune.compliance.attribution import stated
from pixtune.compliance.own import OWN_CHECKS, OwnCheck
from pixtune.compliance.personal_data import personal_data
from pixtune.compliance.policy import CompliancePolicy, Level
from pixtune.compliance.ports import Moderation
from pixtune.compliance.report import Finding
from pixtune.examples.annotation import Annotation
from pixtune.examples.rows import Row
from pixtune.keys import hashed

_KINDS = {
    "email": "an e-mail address",
    "iban": "a bank account number (IBAN)",
    "card": "a payment card number",
    "national_id": "a national identity number",
    "phone": "a telephone number",
}


@dataclass(frozen=True, slots=True)
class Licence:
    """Each required field is stated, and the licence is an allowed one. Licences are compared without regard to
    case; `allowed` empty allows any."""

    required: tuple[str, ...]
    allowed: tuple[str, ...]
    name: str = "licence"

    def look(self, row: Row) -> Iterator[Finding]:
        fields = row.annotation.fields if row.annotation else {}
        for field in self.required:
            if not stated(fields, field):
                yield Finding(self.name, "field_missing", field, "not stated")
        licence = stated(fields, "license")
        if licence and self.allowed and licence.casefold() not in {one.casefold() for one in self.allowed}:
            detail = f"{licence!r} is not one of {', '.join(self.allowed)}"
            yield Finding(self.name, "licence_not_allowed", "license", detail)


@dataclass(frozen=True, slots=True)
class Privacy:
    """No personal data in what is said, nor in the fields that describe it (source and licence credit people)."""

    national_ids: tuple[str, ...]
    name: str = "privacy"

    def look(self, row: Row) -> Iterator[Finding]:
        return self.of(row.annotation) if row.annotation else iter(())

    def of(self, annotation: Annotation) -> Iterator[Finding]:
        for where, text in texts_of(annotation).items():
            for found in personal_data(text, self.national_ids):
                detail = f"looks like {_KINDS[found.kind]}, beginning {found.shown!r}"
                yield Finding(self.name, found.kind, where, detail)


@dataclass(frozen=True, slots=True)
class Content:
    """Nothing in text or pictures was flagged. answers: by `text_key` of a text, by SHA-256 of an image."""

    answers: Mapping[str, Moderation]
    name: str = "content"

    def look(self, row: Row) -> Iterator[Finding]:
        asked = {where: text_key(text) for where, text in texts_of(row.annotation).items()} if row.annotation else {}
        for where, key in (asked | {shown.upload: shown.image.sha256 for shown in row.images}).items():
            answer = self.answers.get(key)
            if answer and answer.flagged:
                detail = f"flagged as {', '.join(answer.flagged)} by {answer.model}"
                yield Finding(self.name, "flagged", where, detail)


@dataclass(frozen=True, slots=True)
class Skips:
    """The provider is not expected to leave out a picture. shown: what each image shows, by SHA-256.
    leaves_out: what the provider leaves out."""

    shown: Mapping[str, Collection[str]]
    leaves_out: tuple[str, ...]
    name: str = "skips"

    def look(self, row: Row) -> Iterator[Finding]:
        for picture in row.images:
            seen = [what for what in self.leaves_out if what in self.shown.get(picture.image.sha256, ())]
            if seen:
                detail = f"shows {', '.join(seen)}: the provider would leave the example out without saying so"
                yield Finding(self.name, "likely_skipped", picture.upload, detail)


def texts_of(annotation: Annotation) -> dict[str, str]:
    """Every text of an annotation by where it stands, without source and licence, which name their authors."""
    texts = {"system": annotation.system} if annotation.system else {}
    for number, turn in enumerate(annotation.turns):
        text = "\n".join(part.text for part in turn.parts if part.text)
        if text:
            texts[f"turns[{number}] ({turn.role})"] = text
    for name, value in annotation.fields.items():
        if isinstance(value, str) and value and name.lower() not in ("source", "license", "licence", "author"):
            texts[f"field {name}"] = value
    return texts


def text_key(text: str) -> str:
    """What answers about this text are remembered under."""
    return hashed(text, 64)


def of_rows_alone(policy: CompliancePolicy) -> list[Licence | Privacy | OwnCheck]:
    """The checks of the policy that ask nobody outside: they can be made as soon as there are rows."""
    checks: list[Licence | Privacy | OwnCheck] = []
    if policy.level("licence") is not Level.OFF:
        checks.append(Licence(policy.required_fields, policy.allowed_licences))
    if policy.level("privacy") is not Level.OFF:
        checks.append(Privacy(policy.national_ids))
    # A name that is not registered here was checked when dataset.toml was read, by a deployment that had it.
    checks += [OwnCheck(name) for name in sorted(OWN_CHECKS) if policy.level(name) is not Level.OFF]
    return checks
