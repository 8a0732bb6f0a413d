"""The files side of a provider for fakes that no file is ever sent to: every call raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO


class NoFiles:
    """The part of `providers.port.TrainingProvider` that keeps files."""

    def upload(self, name: str, content: IO[bytes]) -> str:
        raise NotImplementedError

    def find_file(self, name: str, size: int) -> str | None:
        raise NotImplementedError

    def begin_upload(self, name: str, size: int) -> str:
        raise NotImplementedError

    def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
        raise NotImplementedError

    def complete_upload(self, upload_id: str, part_ids: Sequence[str]) -> str:
        raise NotImplementedError

    def delete_file(self, file_id: str) -> None:
        raise NotImplementedError
