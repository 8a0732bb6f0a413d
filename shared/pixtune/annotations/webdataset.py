"""WebDataset archives: a tar of samples as it is read in, a row a sample out; its pictures are kept as they pass by.

The files of a sample share their path up to the first dot of the name: `a/7.jpg`, `a/7.json`; `8.input.jpg`,
`8.output.jpg`, `8.txt` (https://github.com/webdataset/webdataset#the-webdataset-format). The archive is read once,
from its start to its end; nothing is unpacked, so no name in it is ever a place on a disk.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from typing import IO

from pixtune.annotations import chat, fields, inline, sharegpt
from pixtune.annotations.json_text import object_of, parsed
from pixtune.annotations.paths import key_of, split_of
from pixtune.annotations.reading import BadRow, FoundRow, Problem, Reading, refused
from pixtune.keys import IMAGE_SUFFIXES, SPLIT_NAMES, is_junk
from pixtune.verdicts import Code, Note

LAYOUT = "a WebDataset archive"
MAX_BYTES = 1_000_000_000  # read, stored and sent within the function's five minutes
MAX_FILES = 20_000
_MAX_PICTURE = 64 * 1024 * 1024  # as the gate reads
_MAX_TEXT, _MAX_TEXTS = 1024 * 1024, 64 * 1024 * 1024  # bytes of one text, of all texts: they wait in memory
_MAX_HEADER = 64 * 1024  # of a long name or of extended attributes, which tarfile reads whole
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_SAMPLES = 'Pack samples: "7.jpg" and "7.json" (or .txt, .cls), whose names are alike up to the first dot.'


class _Damaged(Exception):
    """The archive cannot be read on; says why."""


class _Member(tarfile.TarInfo):
    """A header that is checked before anything it announces is read, and whose damage is never taken for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        try:
            member = super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]  # not in typeshed
            raise
        except tarfile.HeaderError as error:
            raise _Damaged(f"a header in it is damaged ({error})") from None
        if member.type in _HEADERS and member.size > _MAX_HEADER:
            raise _Damaged(f"a name or its attributes take {member.size:,} bytes")
        return member


@dataclass(slots=True)
class _Sample:
    """pictures: name after the first dot -> key. texts: of `json`, `txt` and `cls`."""

    pictures: dict[str, str] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    problem: Problem | None = None


def read(key: str, stream: IO[bytes], bucket: str, keep: inline.Keep) -> Reading:
    """What the archive at `key` says. Its pictures are kept as they are found, those of samples without a row too."""
    samples: dict[str, _Sample] = {}
    others = Counter[str]()
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
            _collect(archive, samples, others, keep)
    except _Damaged as error:
        return refused(Code.BAD_SYNTAX, f"The archive cannot be read: {error}.", "Pack it again, as a plain .tar.")
    except tarfile.TarError as error:
        return refused(Code.BAD_SYNTAX, f"It is no tar that can be read: {error}.", "Pack it again, as a plain .tar.")
    except _TooMuch as error:
        return refused(Code.FILE_TOO_LARGE, f"The archive has {error}.", "Split it into smaller shards.")
    if not any(sample.pictures or sample.texts or sample.problem for sample in samples.values()):
        return refused(Code.UNKNOWN_LAYOUT, "The archive holds no picture and no label.", _SAMPLES)
    rows: list[FoundRow] = []
    problems: list[Problem] = []
    silent = [name for name, sample in samples.items() if not sample.texts and not sample.problem]
    for name, sample in samples.items():
        if sample.problem:
            problems.append(sample.problem)
        elif sample.texts:
            try:
                rows.append(_row(name, sample, key, bucket, keep))
            except BadRow as problem:
                problems.append(problem.at(name))
    notes = [
        Note(Code.FIELD_IGNORED, f"{count} files ending in {ending} are not read.")
        for ending, count in sorted(others.items())
    ]
    if silent:
        detail = f"{len(silent)} samples have no json, txt or cls, such as {silent[0]}: their pictures show nothing."
        notes.append(Note(Code.EMPTY_ANSWER, detail))
    return Reading(LAYOUT, tuple(rows), tuple(problems), tuple(notes))


class _TooMuch(Exception):
    """The archive has more of something than is read; says of what."""


def _collect(archive: tarfile.TarFile, samples: dict[str, _Sample], others: Counter[str], keep: inline.Keep) -> None:
    texts = 0
    for number, member in enumerate(archive):
        if number >= MAX_FILES:
            raise _TooMuch(f"more than {MAX_FILES:,} files")
        folder, slash, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        if member.isdir() or is_junk(member.name):
            continue
        suffix = f".{ending.rsplit('.', 1)[-1].lower()}"
        picture = suffix in IMAGE_SUFFIXES
        if not stem or not (picture or ending in ("json", "txt", "cls")):
            others[suffix if ending else base] += 1
            continue
        name = folder + slash + stem
        sample = samples.setdefault(name, _Sample())
        limit = _MAX_PICTURE if picture else _MAX_TEXT
        if not member.isreg() or member.issparse():
            sample.problem = Problem(
                member.name, "It is a link, a device or sparse.", "Pack the file itself.", Code.ARCHIVE_MEMBER
            )
        elif member.size > limit:
            detail = f"It has {member.size:,} bytes; {limit:,} are read at most."
            sample.problem = Problem(member.name, detail, "Save it smaller.", Code.FILE_TOO_LARGE)
        elif ending in sample.pictures or ending in sample.texts:
            sample.problem = Problem(member.name, "It stands in the archive twice.", "Pack it once.")
        else:
            body = _content(archive, member)
            if picture:
                sample.pictures[ending] = keep(body)
            else:
                sample.texts[ending] = body
                texts += len(body)
        if texts > _MAX_TEXTS:
            raise _TooMuch(f"more than {_MAX_TEXTS:,} bytes of text")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    body = opened.read() if opened else b""
    if len(body) != member.size:
        raise _Damaged(f"it ends within {member.name[:100]!r}")
    return body


def _row(name: str, sample: _Sample, key: str, bucket: str, keep: inline.Keep) -> FoundRow:
    """`json` is read like a sidecar, or as a whole chat or conversation; then `txt`, then `cls` is the answer."""
    texts = {ending: _text(ending, body) for ending, body in sample.texts.items()}
    stated = object_of(parsed(texts["json"]), _SAMPLES) if "json" in texts else {}
    paths = {ending: f"s3://{bucket}/{sample.pictures[ending]}" for ending in sorted(sample.pictures)}
    base = name.rpartition("/")[2]
    named = {f"{front}{ending}": path for ending, path in paths.items() for front in ("", f"{base}.", f"{name}.")}
    values = inline.taken_out(stated, bucket, keep, lambda path: named.get(path, path))
    pictures = [sample.pictures[ending] for ending in sorted(sample.pictures)]
    values.setdefault("split", _split(name, key))
    if "messages" in values:
        return chat.row_of(values, key, bucket, name, shown=pictures)
    if "conversations" in values:
        if not values.get("image") and not values.get("images"):
            values["images"] = list(paths.values())
        return sharegpt.row_of(values, key, bucket, name)
    if not any(values.get(answer) for answer in fields.ANSWERS):
        values |= {"answer": texts["txt"]} if "txt" in texts else {"label": texts["cls"]} if "cls" in texts else {}
    listed = values.get("images")
    if isinstance(listed, list) and all(isinstance(path, str) for path in listed):
        pictures = [key_of(path, key, bucket) for path in listed]
    return fields.row_of(values, pictures, key, name, used=["images", "image", "file_name"])


def _text(ending: str, body: bytes) -> str:
    try:
        return body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        found = f"Byte {error.start:,} of its {ending} is not UTF-8."
        raise BadRow(found, "Save it as UTF-8.", Code.BAD_ENCODING) from None


def _split(name: str, key: str) -> str | None:
    """As the sample's folders state it, or the archive's, or a word of the archive's name: `cards-train-0001.tar`."""
    words = re.split(r"[^a-z]+", key.rpartition("/")[2].lower())
    said = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    return split_of(f"{key.partition('/')[0]}/{name}", key) or (said[0] if said else None)
