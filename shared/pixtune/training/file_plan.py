"""A training file before it is written: neutral lines in; its exact size, its name and its parts out, and then the
bytes of any one part. Planning reads no picture; writing reads those whose bytes are in the part.

A provider's line is text with pictures in base64 between. The text is had by rendering the row with a mark for each
picture, and the base64 of n bytes has 4 * ceil(n / 3) characters, so a line's length follows from the row alone.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from itertools import chain
from typing import Any

from pixtune.datasets.tasks import in_words
from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.examples.rows import Row
from pixtune.providers.port import ReadImage

Render = Callable[[Row, DatasetSettings, ReadImage], bytes]
"""A row as a provider's line with its newline, under a dataset's settings."""

_MARKS = [b"a picture's bytes stand here, no %02d" % number for number in range(100)]  # 33 bytes: base64 unpadded
_THREADS = 8  # pictures are fetched side by side
_AHEAD = 16  # pieces (about half of them pictures) under way before the one that is written


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a line has in it as base64. key: in the artifacts bucket; size: its bytes."""

    key: str
    size: int

    def __len__(self) -> int:
        """Characters in the line."""
        return 4 * -(-self.size // 3)


Piece = bytes | Picture


def pieces_of(row: Row, settings: DatasetSettings, render: Render) -> list[Piece]:
    """The row's line as text and pictures in turn, without reading a picture.

    Raises ValueError for a provider that does not put each picture it reads into the line once, as base64, in order.
    """
    sizes = {picture.image.key: picture.image.size for picture in row.images}
    for mark in _MARKS:  # the next one, should a text happen to hold it
        keys: list[str] = []

        def read(key: str, keys: list[str] = keys, mark: bytes = mark) -> bytes:
            keys.append(key)
            return mark

        first, *rest = render(row, settings, read).split(b64encode(mark))
        if len(rest) == len(keys):
            pieces: list[Piece] = [first]
            for key, text in zip(keys, rest, strict=True):
                pieces += [Picture(key, sizes[key]), text]
            return [piece for piece in pieces if len(piece)]
    raise ValueError(f"The line of {row.example_id} does not hold its pictures as base64.")


@dataclass(frozen=True, slots=True)
class Part:
    """A range of the training file. lines: the byte range of the version's JSONL whose rows it has something of;
    skip: bytes of the first of them that stand in the part before; length: bytes of the part."""

    lines: tuple[int, int]
    skip: int
    length: int


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One training file. name: holds a hash of all that its bytes depend on. rows_key: the JSONL of the version's
    split; settings, class_names: what its rows are said under. Any provider that renders the same has the same plan.
    """

    name: str
    size: int
    rows_key: str
    settings: DatasetSettings
    class_names: Mapping[str, Sequence[str]]
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"settings": self.settings.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FilePlan:
        parts = tuple(
            Part((part["lines"][0], part["lines"][1]), part["skip"], part["length"]) for part in data["parts"]
        )
        return cls(**{**data, "settings": DatasetSettings.from_json(data["settings"]), "parts": parts})


def plan_file(manifest: Manifest, split: str, lines: Iterable[bytes], render: Render, part_bytes: int) -> FilePlan:
    """The plan of a split from its JSONL's lines, newlines included; every part but the last has `part_bytes`."""
    digest = sha256()

    def rendered_lengths() -> Iterator[tuple[int, int]]:
        for line in lines:
            length = 0
            for piece in pieces_of(_row(line, manifest.settings, manifest.class_names), manifest.settings, render):
                said = piece.key.encode() if isinstance(piece, Picture) else piece
                digest.update(b"%c%d:%s" % (isinstance(piece, Picture), len(said), said))
                length += len(piece)
            yield len(line), length

    parts = tuple(cut(rendered_lengths(), part_bytes))
    name = f"pixtune-{digest.hexdigest()[:40]}.jsonl"
    size = sum(part.length for part in parts)
    return FilePlan(name, size, manifest.files[split], manifest.settings, manifest.class_names, parts)


def cut(lengths: Iterable[tuple[int, int]], part_bytes: int) -> Iterator[Part]:
    """Parts of lines whose lengths (as stored, as rendered) these are; a part begins wherever the one before ends."""
    end = begin = skip = filled = 0  # begin, skip, filled: of the part that is open
    for stored, rendered in lengths:
        start, end, taken = end, end + stored, 0
        while taken < rendered:
            if not filled:
                begin, skip = start, taken
            fits = min(rendered - taken, part_bytes - filled)
            taken, filled = taken + fits, filled + fits
            if filled == part_bytes:
                yield Part((begin, end), skip, filled)
                filled = 0
    if filled:
        yield Part((begin, end), skip, filled)


def write_part(plan: FilePlan, part: Part, lines: Iterable[bytes], render: Render, read_image: ReadImage) -> bytes:
    """The part's bytes, from the lines of its byte range. Besides them only a few pictures are in memory at a time.

    Raises ValueError when a picture or a line is not as long as was planned.
    """
    written = BytesIO()
    pieces = chain.from_iterable(
        pieces_of(_row(line, plan.settings, plan.class_names), plan.settings, render) for line in lines
    )
    with ThreadPoolExecutor(_THREADS) as pool:
        under_way: deque[tuple[bytes | Future[bytes], slice]] = deque()
        for piece, within in _between(pieces, part.skip, part.skip + part.length):
            ready = pool.submit(_encoded, piece, read_image) if isinstance(piece, Picture) else piece
            under_way.append((ready, within))
            if len(under_way) > _AHEAD:
                _write(written, *under_way.popleft())
        for ready, within in under_way:
            _write(written, ready, within)
    if written.tell() != part.length:
        raise ValueError(f"{plan.name}: a part has {written.tell()} bytes, planned were {part.length}.")
    return written.getvalue()


def _row(line: bytes, settings: DatasetSettings, class_names: Mapping[str, Sequence[str]]) -> Row:
    return in_words(Row.from_json(json.loads(line)), settings, class_names)


def _between(pieces: Iterable[Piece], start: int, stop: int) -> Iterator[tuple[Piece, slice]]:
    """The pieces that have bytes from `start` to before `stop`, each with which of its own."""
    at = 0
    for piece in pieces:
        if at + len(piece) > start:
            yield piece, slice(max(start - at, 0), stop - at)
        at += len(piece)
        if at >= stop:
            return


def _encoded(picture: Picture, read_image: ReadImage) -> bytes:
    data = read_image(picture.key)
    if len(data) != picture.size:
        raise ValueError(f"{picture.key} has {len(data)} bytes, its rows say {picture.size}.")
    return b64encode(data)


def _write(file: BytesIO, piece: bytes | Future[bytes], within: slice) -> None:
    file.write((piece if isinstance(piece, bytes) else piece.result())[within])
