"""The files side of a provider in memory: whole files, and uploads in parts that can expire and misbehave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from tests.fakes.answering import AnsweringProvider

from pixtune.errors import UploadGone
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import training_line
from pixtune.providers.port import ReadImage


@dataclass
class Upload:
    name: str
    size: int
    parts: dict[str, bytes] = field(default_factory=dict)
    open: bool = True


@dataclass
class PartUploads(AnsweringProvider):
    """files: name -> bytes. fail: raised once by the next call of that method, after it has done its work where
    `answers_lost` names it, else before."""

    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    fail: dict[str, BaseException] = field(default_factory=dict)
    answers_lost: set[str] = field(default_factory=set)

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        return training_line(row, system, prompt, detail, read_image)

    def _misbehave(self, method: str, *, done: bool) -> None:
        if method in self.fail and (method in self.answers_lost) is done:
            raise self.fail.pop(method)

    def find_file(self, name: str, size: int) -> str | None:
        return f"file-{name}" if len(self.files.get(name, b"")) == size else None

    def upload(self, name: str, content: IO[bytes]) -> str:
        self.files[name] = content.read()
        return f"file-{name}"

    def begin_upload(self, name: str, size: int) -> str:
        self._misbehave("begin_upload", done=False)
        upload_id = f"upload-{len(self.uploads) + 1}"
        self.uploads[upload_id] = Upload(name, size)
        self._misbehave("begin_upload", done=True)
        return upload_id

    def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
        self._misbehave("upload_part", done=False)
        upload = self._open(upload_id)
        with self._lock:
            self.sent.append(index)
            part_id = f"part-{len(self.sent)}"
            upload.parts[part_id] = bytes(data)
        self._misbehave("upload_part", done=True)
        return part_id

    def complete_upload(self, upload_id: str, part_ids: Sequence[str]) -> str:
        self._misbehave("complete_upload", done=False)
        upload = self._open(upload_id)
        body = b"".join(upload.parts[part_id] for part_id in part_ids)
        if len(body) != upload.size:
            raise UploadGone(f"{len(body)} bytes, announced were {upload.size}")
        upload.open = False
        self.files[upload.name] = body
        self._misbehave("complete_upload", done=True)
        return f"file-{upload.name}"

    def expire(self) -> None:
        for upload in self.uploads.values():
            upload.open = False

    def _open(self, upload_id: str) -> Upload:
        upload = self.uploads[upload_id]
        if not upload.open:
            raise UploadGone(f"{upload_id} is expired")
        return upload
