"""An annotation file's key and bytes in, what it says out: finds out by content which layout it has.

No IO, but for pictures inside the file, whose bytes are handed to whoever keeps them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from pixtune.annotations import chat, coco, dataset_toml, fields, inline, label_studio, objects, sharegpt, voc, yolo
from pixtune.annotations.json_text import object_of, parsed
from pixtune.annotations.paths import key_of
from pixtune.annotations.reading import BadRow, FoundRow, Problem, Reading, refused, row_notes
from pixtune.keys import SETTINGS_FILE, has_image_suffix, inline_key, stem_of
from pixtune.verdicts import Code, Note

IMAGE_FOLDER = "image folder metadata"
CHAT = "chat rows"
SIDECAR = "a sidecar"
_READ = (
    "metadata.csv or .jsonl with file_name, chat rows with messages, conversations, COCO, YOLO, Pascal VOC, "
    "a Label Studio export, or a sidecar beside each image"
)
_USE = f"Use {_READ}."
_READ_LISTS = ("messages", "conversations", "images", "data", "annotations", "predictions", "drafts", "meta")
_Outside = Callable[[Any], Any]  # a row in, the same row out with the pictures inside it named by key
_TABLE = "Export it as metadata.csv or metadata.jsonl, with a column file_name."


def named_only(dataset: str) -> inline.Keep:
    """Keeps nothing: answers the key that a picture would go by."""
    return lambda body: inline_key(dataset, sha256(body).hexdigest())


def read_file(key: str, body: bytes, bucket: str, keep: inline.Keep | None = None) -> Reading:
    """What the annotation file at `key` says. bucket: the one that `s3://` paths may name. keep: takes the pictures
    that stand inside the file; without it they are named only."""
    kept = keep or named_only(key.partition("/")[0])
    suffix = "." + key.rsplit(".", 1)[-1].lower()
    if suffix == ".parquet":
        return refused(Code.PARQUET, "It is a Parquet table.", _TABLE)
    if suffix == ".txt" and not body.strip() and yolo.is_label_file(key, ""):
        return yolo.read(key, "")
    if not body.strip():
        return refused(Code.EMPTY_FILE, "The file has no content.", "Upload it again, with its rows.")
    if suffix == ".xml":
        return voc.read(key, body, bucket)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = body[:2] in (b"\xff\xfe", b"\xfe\xff")
        found = "It is UTF-16" if utf16 else f"Byte {error.start:,} (0x{body[error.start]:02x}) is not UTF-8"
        return refused(Code.BAD_ENCODING, f"{found}, expected UTF-8.", "Save the file as UTF-8.")
    if key.rsplit("/", 1)[-1] == SETTINGS_FILE:
        return dataset_toml.read(key, text)
    if yolo.is_names_file(key):
        return yolo.read_names(key, text)
    if suffix in (".yaml", ".yml"):
        return refused(Code.UNKNOWN_LAYOUT, "It is YAML of another name.", "Name a list of YOLO's classes data.yaml.")
    if suffix == ".csv":
        return _csv(key, text, bucket)

    def outside(values: Any) -> Any:
        return inline.taken_out(values, bucket, kept)

    if suffix == ".jsonl":
        return _jsonl(key, text, bucket, outside)
    if suffix == ".json":
        return _json(key, text, bucket, outside)
    return _txt(key, text)


# ---------------------------------------------------------------------------------------------- many rows


def _csv(key: str, text: str, bucket: str) -> Reading:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if not any(_is_file_name(name) for name in columns):
            return refused(
                Code.UNKNOWN_LAYOUT,
                f"The CSV has the columns {', '.join(columns)[:300]}; none of them names an image.",
                "Add a column file_name with the image's path relative to this file.",
            )
        if repeated := {name for name in columns if columns.count(name) > 1}:
            return refused(
                Code.BAD_SYNTAX,
                f"The CSV has these columns twice: {', '.join(sorted(repeated))}.",
                "Name them apart.",
            )
        lines = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        return refused(
            Code.BAD_SYNTAX, f"Line {reader.line_num} is not CSV: {error}.", "Quote it with double quotes."
        )
    return _rows(lines, lambda row, where: [_folder_row(row, key, bucket, where)], f"{IMAGE_FOLDER} (CSV)")


def _jsonl(key: str, text: str, bucket: str, outside: _Outside) -> Reading:
    lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return _objects(key, lines, bucket, outside)


def _objects(key: str, lines: Iterable[tuple[str, Any]], bucket: str, outside: _Outside) -> Reading:
    """Rows that are JSON objects (or the text of one), each of the layout that its keys show."""
    layouts: dict[str, None] = {}

    def read(values: Any, where: str) -> list[FoundRow]:
        layout, rows_of = _layout_of(object_of(values, _USE))
        layouts[layout] = None
        return rows_of(outside(values), key, bucket, where)

    reading = _rows(lines, read, "")
    if not layouts and reading.problems:
        first = reading.problems[0]
        code = Code.BAD_SYNTAX if "JSON" in first.detail else Code.UNKNOWN_LAYOUT
        return refused(code, f"{first.where}: {first.detail}", first.fix, *row_notes(reading.problems))
    return Reading(" and ".join(layouts), reading.rows, reading.problems, reading.notes)


def _layout_of(values: Mapping[str, Any]) -> tuple[str, Callable[[Any, str, str, str], list[FoundRow]]]:
    """What a row is, and what reads it. Raises BadRow."""
    if "messages" in values:
        return CHAT, lambda row, key, bucket, where: [chat.row_of(row, key, bucket, where)]
    if "conversations" in values:
        return sharegpt.LAYOUT, lambda row, key, bucket, where: [sharegpt.row_of(row, key, bucket, where)]
    if label_studio.is_task(values):
        return label_studio.LAYOUT, label_studio.rows_of
    if any(_is_file_name(name) for name in values):
        layout = objects.LAYOUT if objects.are_the_answer(values) else f"{IMAGE_FOLDER} (JSONL)"
        return layout, lambda row, key, bucket, where: [_folder_row(row, key, bucket, where)]
    if "schemaVersion" in values:
        raise BadRow("It is Bedrock's conversation format, which is not read here.", _USE)
    raise BadRow(f"It has neither messages nor file_name: {_keys(values)}.", _USE)


def _rows(lines: Iterable[tuple[str, Any]], read: Callable[[Any, str], list[FoundRow]], layout: str) -> Reading:
    rows: list[FoundRow] = []
    problems: list[Problem] = []
    ignored: dict[str, str] = {}
    for where, line in lines:
        try:
            values = parsed(line) if isinstance(line, str) else line
            rows += read(values, where)
            said = [objects.FIELD] if objects.are_the_answer(values) else []
            for name in fields.unused(values, [*filter(_is_file_name, values), *_READ_LISTS, *said]):
                ignored.setdefault(name, where)
        except BadRow as problem:
            problems.append(problem.at(where))
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
    if objects.are_the_answer(row) and len(images) == 1:
        return objects.row_of(row, images[0], key, where, named)
    return fields.row_of(row, images, key, where, used=named)


# ---------------------------------------------------------------------------------------------- sidecars


def _about(key: str) -> tuple[str, str]:
    """The image a sidecar names by its own name (`a.jpg.json`), or else the stem it shares with it (`a.json`)."""
    name = stem_of(key)
    return (name, "") if has_image_suffix(name) else ("", name)


def _json(key: str, text: str, bucket: str, outside: _Outside) -> Reading:
    try:
        values = parsed(text)
        if isinstance(values, list) and values:
            return _objects(key, [(f"item {number}", item) for number, item in enumerate(values, 1)], bucket, outside)
        values = object_of(values, _USE)
    except BadRow as problem:
        several = "Extra data" in problem.detail
        fix = "If it has one object per line, name it .jsonl." if several else problem.fix
        return refused(Code.BAD_SYNTAX, problem.detail, fix)
    if coco.is_coco(values):
        return coco.read(key, values, bucket)
    if "conversations" in values or label_studio.is_task(values):
        return _objects(key, [("the file", values)], bucket, outside)
    if "messages" not in values and not any(name in values for name in fields.ANSWERS):
        return refused(
            Code.UNKNOWN_LAYOUT,
            f"A JSON object with {_keys(values)}; expected messages or an answer.",
            _USE,
        )
    image, stem = _about(key)
    try:
        values = outside(values)
        listed = values.get("images")
        if "messages" in values:
            row = chat.row_of(values, key, bucket, "", shown=(image or stem,))
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
        return Reading(SIDECAR, problems=(problem.at("the file"),))
    notes = tuple(
        Note(Code.FIELD_IGNORED, f"{name!r} is neither text nor a number.")
        for name in fields.unused(values, ["messages", "images"])
    )
    return Reading(SIDECAR, (row,), notes=notes, stem=stem)


def _txt(key: str, text: str) -> Reading:
    if yolo.is_label_file(key, text):
        return yolo.read(key, text)
    image, stem = _about(key)
    try:
        row = fields.row_of({"answer": text.strip()}, [image or stem], key, "")
    except BadRow as problem:
        return Reading(SIDECAR, problems=(problem.at("the file"),))
    return Reading(SIDECAR, (row,), stem=stem)


def _keys(values: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(list(values)[:12])}" if values else "no keys"
