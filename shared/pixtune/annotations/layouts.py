"""An annotation file's key and bytes in, what it says out: finds out by content which layout it has. No IO."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pixtune.annotations import chat, dataset_toml, fields
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow, Problem, Reading
from pixtune.keys import SETTINGS_FILE, has_image_suffix, stem_of
from pixtune.verdicts import Code, Note, rejected

IMAGE_FOLDER = "image folder metadata"
CHAT = "chat rows"
SIDECAR = "a sidecar"
_READ = "metadata.csv or metadata.jsonl with file_name, chat rows with messages, or a sidecar beside each image"
_BARE_KEY = re.compile(r"""[{,]\s*(?:([A-Za-z_]\w*)|'([^']*)')\s*:""")
_YOLO_LINE = re.compile(r"\d+(\s+-?\d*\.?\d+){4,5}")
_FORMATS = {
    ".xml": "XML (as Pascal VOC)",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".parquet": "Parquet",
    ".tar": "WebDataset",
}


def read_file(key: str, body: bytes, bucket: str) -> Reading:
    """What the annotation file at `key` says. bucket: the one that `s3://` paths may name."""
    suffix = "." + key.rsplit(".", 1)[-1].lower()
    if suffix in _FORMATS:
        return _refused(Code.UNSUPPORTED_ANNOTATION, f"{_FORMATS[suffix]} is not read here.", f"Use {_READ}.")
    if not body.strip():
        return _refused(Code.EMPTY_FILE, "The file has no content.", "Upload it again, with its rows.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = body[:2] in (b"\xff\xfe", b"\xfe\xff")
        found = "It is UTF-16" if utf16 else f"Byte {error.start:,} (0x{body[error.start]:02x}) is not UTF-8"
        return _refused(Code.BAD_ENCODING, f"{found}, expected UTF-8.", "Save the file as UTF-8.")
    if key.rsplit("/", 1)[-1] == SETTINGS_FILE:
        return dataset_toml.read(key, text)
    if suffix == ".csv":
        return _csv(key, text, bucket)
    if suffix == ".jsonl":
        return _jsonl(key, text, bucket)
    if suffix == ".json":
        return _json(key, text, bucket)
    return _txt(key, text)


def _refused(code: Code, detail: str, fix: str) -> Reading:
    return Reading("", refusal=rejected(code, detail, fix))


# ---------------------------------------------------------------------------------------------- many rows


def _csv(key: str, text: str, bucket: str) -> Reading:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if not any(_is_file_name(name) for name in columns):
            return _refused(
                Code.UNKNOWN_LAYOUT,
                f"The CSV has the columns {', '.join(columns)[:300]}; none of them names an image.",
                "Add a column file_name with the image's path relative to this file.",
            )
        if repeated := {name for name in columns if columns.count(name) > 1}:
            return _refused(
                Code.BAD_SYNTAX,
                f"The CSV has these columns twice: {', '.join(sorted(repeated))}.",
                "Name them apart.",
            )
        lines = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        return _refused(
            Code.BAD_SYNTAX, f"Line {reader.line_num} is not CSV: {error}.", "Quote it with double quotes."
        )
    return _rows(lines, lambda row, where: _folder_row(row, key, bucket, where), f"{IMAGE_FOLDER} (CSV)")


def _jsonl(key: str, text: str, bucket: str) -> Reading:
    layouts: dict[str, None] = {}

    def row(line: Any, where: str) -> FoundRow:
        values = _object(line)
        if "messages" in values:
            layouts[CHAT] = None
            return chat.row_of(values, key, bucket, where)
        if any(_is_file_name(name) for name in values):
            layouts[f"{IMAGE_FOLDER} (JSONL)"] = None
            return _folder_row(values, key, bucket, where)
        known = _foreign(values)
        raise BadRow(
            f"It is {known}, which is not read here."
            if known
            else f"It has neither messages nor file_name: {_keys(values)}.",
            f"Use {_READ}.",
        )

    lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    reading = _rows(lines, row, "")
    if not layouts and reading.problems:
        first = reading.problems[0]
        code = Code.BAD_SYNTAX if "JSON" in first.detail else Code.UNKNOWN_LAYOUT
        return Reading(
            "",
            problems=reading.problems,
            refusal=rejected(code, f"{first.where}: {first.detail}", first.fix, *row_notes(reading.problems)),
        )
    return Reading(" and ".join(layouts), reading.rows, reading.problems, reading.notes)


def _rows(lines: Iterable[tuple[str, Any]], read: Callable[[Any, str], FoundRow], layout: str) -> Reading:
    rows: list[FoundRow] = []
    problems: list[Problem] = []
    ignored: dict[str, str] = {}
    for where, line in lines:
        try:
            values = _parsed(line) if isinstance(line, str) else line
            rows.append(read(values, where))
            for name in fields.unused(values, [*(name for name in values if _is_file_name(name)), "messages"]):
                ignored.setdefault(name, where)
        except BadRow as problem:
            problems.append(Problem(where, problem.detail, problem.fix))
    notes = tuple(
        Note(Code.FIELD_IGNORED, f"{where} and on: {name!r} is neither text nor a number.")
        for name, where in ignored.items()
    )
    return Reading(layout, tuple(rows), tuple(problems), notes)


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and (
        name in ("file_name", "file_names", "image") or name.endswith(("_file_name", "_file_names"))
    )


def _folder_row(row: Mapping[str, Any], key: str, bucket: str, where: str) -> FoundRow:
    if None in row:
        raise BadRow("It has more fields than the header.", "Quote values that contain the delimiter.")
    named = [name for name in row if _is_file_name(name)]
    paths: list[str] = []
    for name in named:
        value = row[name]
        found = value if isinstance(value, list) else [value]
        if not found or not all(isinstance(path, str) and path.strip() for path in found):
            raise BadRow(f"{name!r} is {json.dumps(value)[:80]}, expected a path.", "Give the image's relative path.")
        paths += found
    images = [key_of(path, key, bucket) for path in paths]
    return fields.row_of(row, images, key, where, used=named)


def row_notes(problems: Iterable[Problem]) -> list[Note]:
    """The warnings that list problems, at most a hundred."""
    every = list(problems)
    notes = [Note(Code.ROW_REJECTED, f"{problem.where}: {problem.detail} {problem.fix}") for problem in every[:100]]
    if len(every) > 100:
        notes.append(Note(Code.ROW_REJECTED, f"and {len(every) - 100} more rows."))
    return notes


# ---------------------------------------------------------------------------------------------- sidecars


def _about(key: str) -> tuple[str, str]:
    """The image a sidecar names by its own name (`a.jpg.json`), or else the stem it shares with it (`a.json`)."""
    name = stem_of(key)
    return (name, "") if has_image_suffix(name) else ("", name)


def _json(key: str, text: str, bucket: str) -> Reading:
    try:
        values = _object(_parsed(text))
    except BadRow as problem:
        several = "Extra data" in problem.detail
        fix = "If it has one object per line, name it .jsonl." if several else problem.fix
        return _refused(Code.BAD_SYNTAX, problem.detail, fix)
    if known := _foreign(values):
        return _refused(Code.UNSUPPORTED_ANNOTATION, f"It is {known}, which is not read here.", f"Use {_READ}.")
    if "messages" not in values and not any(name in values for name in fields.ANSWERS):
        return _refused(
            Code.UNKNOWN_LAYOUT,
            f"A JSON object with {_keys(values)}; expected messages or an answer.",
            f"Use {_READ}.",
        )
    image, stem = _about(key)
    listed = values.get("images")
    try:
        if "messages" in values:
            row = chat.row_of(values, key, bucket, "", image=image or stem)
            stem = stem if row.images == (stem,) else ""
        elif listed is not None:
            if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
                raise BadRow("'images' is no list of paths.", 'Write "images": ["a.jpg", "b.jpg"].')
            stem = ""
            images = [key_of(path, key, bucket) for path in listed]
            row = fields.row_of(values, images, key, "", used=["images"])
        else:
            row = fields.row_of(values, [image or stem], key, "")
    except BadRow as problem:
        return Reading(SIDECAR, problems=(Problem("the file", problem.detail, problem.fix),))
    notes = tuple(
        Note(Code.FIELD_IGNORED, f"{name!r} is neither text nor a number.")
        for name in fields.unused(values, ["messages", "images"])
    )
    return Reading(SIDECAR, (row,), notes=notes, stem=stem)


def _txt(key: str, text: str) -> Reading:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(_YOLO_LINE.fullmatch(line) for line in lines):
        return _refused(Code.UNSUPPORTED_ANNOTATION, "It is YOLO boxes, which are not read here.", f"Use {_READ}.")
    image, stem = _about(key)
    try:
        row = fields.row_of({"answer": text.strip()}, [image or stem], key, "")
    except BadRow as problem:
        return Reading(SIDECAR, problems=(Problem("the file", problem.detail, problem.fix),))
    return Reading(SIDECAR, (row,), stem=stem)


# ---------------------------------------------------------------------------------------------- JSON


def _parsed(text: str) -> Any:
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


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and isinstance(value[0], dict) and (known := _foreign(value[0])):
        raise BadRow(f"It is {known}, which is not read here.", f"Use {_READ}.")
    raise BadRow(f"The JSON is a {type(value).__name__}, expected an object.", f"Use {_READ}.")


def _foreign(values: Mapping[str, Any]) -> str | None:
    """The name of a layout that others use and that is not read here."""
    if {"images", "annotations"} <= values.keys():
        return "COCO"
    if "conversations" in values:
        return "ShareGPT / LLaVA"
    if "data" in values and ("annotations" in values or "completions" in values):
        return "a Label Studio export"
    if "schemaVersion" in values:
        return "Bedrock's conversation format"
    return None


def _keys(values: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(list(values)[:12])}" if values else "no keys"
