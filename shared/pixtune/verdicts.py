"""The one answer each upload gets: `accepted`, `fixed` or `rejected`, with a stable code anyone can look up.

A verdict is a value. What went wrong on our side is never a verdict, it is an exception (see errors.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict


class Outcome(StrEnum):
    """What became of an upload."""

    ACCEPTED = "accepted"
    FIXED = "fixed"
    REJECTED = "rejected"


class Code(StrEnum):
    """Why. One vocabulary for the CLI, the API, events and reports; `MEANINGS` says what each one means."""

    OK = "ok"

    # fixed: accepted after a named repair
    CONVERTED = "converted"
    # rejected: the key
    NO_DATASET = "no_dataset"
    JUNK_FILE = "junk_file"
    RESERVED_KEY = "reserved_key"
    # rejected: the image
    EMPTY_FILE = "empty_file"
    FILE_TOO_LARGE = "file_too_large"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    TOO_MANY_SCANS = "too_many_scans"
    ANIMATED = "animated"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    DECODE_TOO_SLOW = "decode_too_slow"
    DECODER_DIED = "decoder_died"
    # rejected: the annotation
    BAD_ENCODING = "bad_encoding"
    BAD_SYNTAX = "bad_syntax"
    UNKNOWN_LAYOUT = "unknown_layout"
    PARQUET = "parquet"
    XML_DOCTYPE = "xml_doctype"
    NO_VALID_ROWS = "no_valid_rows"
    BAD_SETTINGS = "bad_settings"
    # warnings: the upload is accepted, something in it deserves a look
    ROW_REJECTED = "row_rejected"
    EMPTY_ANSWER = "empty_answer"
    TEXT_TOO_LONG = "text_too_long"
    CONTROL_CHARACTER = "control_character"
    BIDI_CHARACTER = "bidi_character"
    LONE_SURROGATE = "lone_surrogate"
    RESERVED_TOKEN = "reserved_token"  # noqa: S105  no password
    LOCATION_TOKEN = "location_token"  # noqa: S105  no password
    ROLE_NOT_ALLOWED = "role_not_allowed"
    BAD_BOX = "bad_box"
    MASK_ENCODED = "mask_encoded"
    BAD_PATH = "bad_path"
    BAD_DATA_URL = "bad_data_url"
    ARCHIVE_MEMBER = "archive_member"
    FIELD_IGNORED = "field_ignored"
    AMBIGUOUS_IMAGE = "ambiguous_image"
    WAITING_FOR_IMAGE = "waiting_for_image"
    CONFLICT = "conflict"
    PERSONAL_DATA = "personal_data"
    JPEG_WARNING = "jpeg_warning"
    WRONG_EXTENSION = "wrong_extension"
    DUPLICATE = "duplicate"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    TOO_BLURRY = "too_blurry"
    LOW_INFORMATION = "low_information"
    ODD_ASPECT = "odd_aspect"
    SMALL_IMAGE = "small_image"


MEANINGS: dict[Code, str] = {
    Code.OK: "Nothing to say: it can be trained on as it is.",
    Code.CONVERTED: "Usable after a repair; the detail names each one (orientation, colours, transparency, name).",
    Code.NO_DATASET: "The key's first folder is not a dataset name ([a-z0-9][a-z0-9-]{1,62}).",
    Code.JUNK_FILE: "A file an operating system leaves behind (.DS_Store, Thumbs.db, ._*).",
    Code.RESERVED_KEY: "The key is one that pictures inside annotation files go by (dataset/inline/ and their hash).",
    Code.EMPTY_FILE: "The file has no bytes.",
    Code.FILE_TOO_LARGE: "The file has more bytes than the gate reads.",
    Code.NOT_AN_IMAGE: "The bytes are no image of a format pixtune knows.",
    Code.UNSUPPORTED_FORMAT: "An image, but of a format that is not read here.",
    Code.TOO_MANY_PIXELS: "The header declares more pixels than can be decoded safely.",
    Code.TOO_SMALL: "The image is too small to learn from.",
    Code.TOO_MANY_SCANS: "A JPEG with so many scans that decoding it is an attack.",
    Code.ANIMATED: "The file has more than one frame.",
    Code.TRUNCATED: "The file ends before the picture does.",
    Code.CORRUPT: "The picture's data is damaged.",
    Code.DECODE_TOO_SLOW: "Decoding took longer than the time one image may take.",
    Code.DECODER_DIED: "The decoder crashed on this file, twice.",
    Code.BAD_ENCODING: "The annotation file is not UTF-8 text.",
    Code.BAD_SYNTAX: "The annotation file cannot be parsed; the detail says where.",
    Code.UNKNOWN_LAYOUT: "The annotation file parses, but is of no layout pixtune knows.",
    Code.PARQUET: "Parquet is not read; export the table as metadata.csv or metadata.jsonl.",
    Code.XML_DOCTYPE: "The XML declares a document type, through which entities can explode or reach out.",
    Code.NO_VALID_ROWS: "Every row of the annotation file has a problem; each is listed.",
    Code.BAD_SETTINGS: "dataset.toml has a problem; each is listed.",
    Code.ROW_REJECTED: "A row of the annotation file cannot be used; the others are.",
    Code.EMPTY_ANSWER: "The row has no answer, or a blank one: there is nothing to learn from it.",
    Code.TEXT_TOO_LONG: "The row's text is longer than an example may be.",
    Code.CONTROL_CHARACTER: "The row's text has a control character; only line breaks and tabs may stand in text.",
    Code.BIDI_CHARACTER: "The row's text has a character that reorders what people read, hiding what is trained on.",
    Code.LONE_SURROGATE: "The row's text has half of a surrogate pair, which is no character.",
    Code.RESERVED_TOKEN: "The row's text has a token by which chat models separate turns, such as <|im_start|>.",
    Code.LOCATION_TOKEN: "PaliGemma's location tokens that are not boxes with labels; other models do not know them.",
    Code.ROLE_NOT_ALLOWED: "A message speaks in a role, or at a place, that it may not: system first, then in turns.",
    Code.BAD_BOX: "A box has no area, no known class, no readable edges, or lies outside its picture.",
    Code.MASK_ENCODED: "A COCO mask is run-length encoded and has no bbox beside it; boxes and outlines are read.",
    Code.BAD_PATH: "The row names its image by a path that is not below the annotation file's own folder.",
    Code.BAD_DATA_URL: "A picture inside a row (a data: URL) is not base64, or has no bytes.",
    Code.ARCHIVE_MEMBER: "An archive holds a link, a device or a sparse file where a plain file is read.",
    Code.FIELD_IGNORED: "A field of the annotation file says something pixtune has no use for; it was left out.",
    Code.AMBIGUOUS_IMAGE: "More than one image could be meant; name it with its extension.",
    Code.WAITING_FOR_IMAGE: "The image this annotation names has not arrived; the paths tried are listed.",
    Code.CONFLICT: "Two sources disagree about the same example; both are shown and it is held.",
    Code.PERSONAL_DATA: "The text of an annotation looks like it holds personal data (an address, a number).",
    Code.JPEG_WARNING: "The JPEG decoder objected to the data: the picture may be partly grey.",
    Code.WRONG_EXTENSION: "The file's name claims another format than its content has.",
    Code.DUPLICATE: "The same picture was uploaded under another key too.",
    Code.TOO_DARK: "The picture is nearly black.",
    Code.TOO_BRIGHT: "The picture is nearly white.",
    Code.TOO_BLURRY: "The picture has no sharp edge anywhere.",
    Code.LOW_INFORMATION: "The picture is nearly of one brightness: there is hardly anything to learn from.",
    Code.ODD_ASPECT: "One side is more than four times the other; little is left of the short one when it is scaled.",
    Code.SMALL_IMAGE: "The picture has fewer than 64 pixels on a side.",
}

IMAGE_WARNINGS = (
    Code.JPEG_WARNING,
    Code.WRONG_EXTENSION,
    Code.TOO_DARK,
    Code.TOO_BRIGHT,
    Code.TOO_BLURRY,
    Code.LOW_INFORMATION,
    Code.ODD_ASPECT,
    Code.SMALL_IMAGE,
)
"""What the gate may warn about in a picture it accepts; `reject` in dataset.toml leaves such examples out."""


class NoteJson(TypedDict):
    """A warning as it stands in JSON."""

    code: str
    detail: str


class VerdictJson(TypedDict):
    """A verdict as it stands in JSON, in tables, in `data check --json` and in the API."""

    verdict: str
    code: str
    detail: str
    fix: str
    warnings: list[NoteJson]


@dataclass(frozen=True, slots=True)
class Note:
    """A warning beside a verdict: `code` is stable, `detail` says where and what was found."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one upload. `detail`: what was found and expected; `fix`: what the user can do."""

    outcome: Outcome
    code: Code = Code.OK
    detail: str = ""
    fix: str = ""
    warnings: tuple[Note, ...] = ()

    def to_json(self) -> VerdictJson:
        return {
            "verdict": self.outcome.value,
            "code": self.code.value,
            "detail": self.detail,
            "fix": self.fix,
            "warnings": [{"code": note.code.value, "detail": note.detail} for note in self.warnings],
        }

    @classmethod
    def from_json(cls, data: VerdictJson) -> Verdict:
        """Raises KeyError or ValueError when `data` is not a verdict."""
        return cls(
            Outcome(data["verdict"]),
            Code(data["code"]),
            data["detail"],
            data["fix"],
            tuple(Note(Code(note["code"]), note["detail"]) for note in data["warnings"]),
        )


def accepted(*warnings: Note) -> Verdict:
    return Verdict(Outcome.ACCEPTED, warnings=warnings)


def rejected(code: Code, detail: str, fix: str, *warnings: Note) -> Verdict:
    return Verdict(Outcome.REJECTED, code, detail, fix, warnings)
