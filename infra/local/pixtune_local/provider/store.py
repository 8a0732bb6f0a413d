"""What the local provider remembers: JSON documents and file bytes go into a folder and survive a SIGKILL.

Documents stand in one SQLite table, in the order in which they were first written; bytes stand beside it in
`blobs/`, put there by a rename, so that a name is either absent or whole.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# A document as it stands in JSON: its shape is OpenAI's and is checked where it is made, in api.py and jobs.py.
Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS by_parent ON documents (kind, parent, seq);
"""


class Store:
    """One folder of state. Safe to use from several threads; one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        for half_written in self._blobs.glob("*.part"):
            half_written.unlink()
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else in between. May be nested; the outermost one commits."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("COMMIT")

    def put(self, kind: str, body: Document, parent: str = "") -> None:
        """Store `body` under its `id`; writing the same id again replaces the body and keeps its place."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO documents (kind, id, parent, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, body["id"], parent, json.dumps(body)),
            )

    def get(self, kind: str, key: str) -> Document | None:
        with self._lock:
            found = self._db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return None if found is None else json.loads(found[0])

    def delete(self, kind: str, key: str) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))

    def all(self, kind: str, parent: str | None = None, *, newest_first: bool = False) -> list[Document]:
        """Every document of a kind (and, where given, of a parent), in the order of their first writing."""
        query = "SELECT body FROM documents WHERE kind = ? AND (? IS NULL OR parent = ?) ORDER BY seq"
        with self._lock:
            rows = self._db.execute(query + (" DESC" if newest_first else ""), (kind, parent, parent)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def change(self, kind: str, key: str, expected: set[str], **values: object) -> bool:
        """Set `values` on a document whose `status` is one of `expected`; False, and no change, where it is not."""
        with self.transaction():
            body = self.get(kind, key)
            if body is None or body["status"] not in expected:
                return False
            self.put(kind, {**body, **values})
            return True

    def write_blob(self, name: str, source: BinaryIO) -> int:
        """Keep the bytes of `source` under `name`; answers how many there were."""
        part = self._blobs / f"{name}.part"
        with part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        size = part.stat().st_size
        part.replace(self._blobs / name)
        return size

    def join_blobs(self, name: str, parts: list[str]) -> int:
        """Put the bytes of `parts` one after another under `name`; answers how many there were."""
        part = self._blobs / f"{name}.part"
        with part.open("wb") as target:
            for one in parts:
                with (self._blobs / one).open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
        size = part.stat().st_size
        part.replace(self._blobs / name)
        return size

    def blob(self, name: str) -> Path:
        """Where the bytes of `name` are, if they are there."""
        return self._blobs / name

    def drop_blob(self, name: str) -> None:
        (self._blobs / name).unlink(missing_ok=True)
