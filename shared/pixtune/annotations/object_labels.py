"""What an uploaded picture says of itself: its `x-amz-meta-pixtune-*` values and its tags in, its one row out."""

from __future__ import annotations

from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from pixtune.annotations import fields
from pixtune.annotations.reading import BadRow, Reading
from pixtune.verdicts import Code, Note

_PREFIX = "pixtune-"
_TAGS = {"class": "label", "split": "split", "license": "license"}  # tag -> what it is called elsewhere


def read(key: str, metadata: Mapping[str, str], tags: Mapping[str, str]) -> Reading:
    """The row about the picture at `key`; names other than ours are none of our business.

    Where metadata and tags name the same thing differently, both are rows: the example contradicts itself.
    """
    tagged = {_TAGS[name]: value for name, value in tags.items() if name in _TAGS and value}
    layout = "object metadata and tags" if tagged else "object metadata"
    stated = _stated(metadata)
    values = {**tagged, **stated}
    if not any(name in values for name in fields.PROMPTS + fields.ANSWERS):
        found = ", ".join(sorted(values)) or "its tags"
        note = Note(Code.FIELD_IGNORED, f"Without an answer, {found} describe no example.")
        return Reading(layout, notes=(note,))
    said = [(values, "")]
    if any(stated.get(name, value) != value for name, value in tagged.items()):
        said = [(values, "the metadata"), ({**stated, **tagged}, "the tags")]
    try:
        return Reading(layout, tuple(fields.row_of(found, [key], key, where) for found, where in said))
    except BadRow as problem:
        return Reading(layout, problems=(problem.at("the metadata"),))


def asked(metadata: Mapping[str, str]) -> str:
    """The question that a picture's metadata ask; its tags never do."""
    stated = _stated(metadata)
    return next((stated[name] for name in fields.PROMPTS if stated.get(name)), "")


def _stated(metadata: Mapping[str, str]) -> dict[str, str]:
    ours = {name.removeprefix(_PREFIX): value for name, value in metadata.items() if name.startswith(_PREFIX)}
    return {name: _decoded(value) for name, value in ours.items()}


def _decoded(value: str) -> str:
    """S3 answers values that are not ASCII as RFC 2047 words (AWS: "Working with object metadata")."""
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (HeaderParseError, LookupError, ValueError):
        return value
