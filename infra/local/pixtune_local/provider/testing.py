"""A real local provider for tests: a folder goes in, a process on a free port comes out, killable and restartable."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from pixtune_local.provider.server import DEFAULT_KEY

_START_SECONDS = 30.0


@cache
def _client() -> httpx2.Client:
    """One for all: making a client reads every certificate of the machine, which takes 0.1 s."""
    return httpx2.Client()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Provider:
    """A provider process. `base_url` is for the openai client; it stays the same over `kill` and `start`."""

    state_dir: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    api_key: str = DEFAULT_KEY
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the provider was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers. Raises RuntimeError with its last words if it does not."""
        command = [sys.executable, "-m", "pixtune_local.provider.server", "--port", str(self.port)]
        log = (self.state_dir / "provider.log").open("ab")
        self._process = subprocess.Popen(
            [*command, "--state-dir", str(self.state_dir), *self.arguments], stdout=log, stderr=log
        )
        log.close()
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if _client().get(f"{self.url}/_local/health", timeout=1).is_success:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        words = (self.state_dir / "provider.log").read_text()[-2000:]
        self.kill()
        raise RuntimeError(f"the local provider did not start:\n{words}")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """An admin route, e.g. `admin("POST", "faults", {"rules": [...]})`; answers its JSON."""
        headers = {"authorization": f"Bearer {self.api_key}"}
        answer = _client().request(method, f"{self.url}/_local/{path}", json=body, headers=headers, timeout=5)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def faults(self, **plan: Any) -> None:
        """Misbehave: `rules=[{...}]`, `queue={...}`, `webhooks={...}`, `shutdown_date=...` (see faults.py)."""
        self.admin("POST", "faults", plan)

    def requests(self, method: str, path: str) -> list[dict[str, Any]]:
        """The requests that came with this method and path."""
        log = self.admin("GET", "requests")["data"]
        return [entry for entry in log if (entry["method"], entry["path"]) == (method, path)]


@contextmanager
def running_provider(state_dir: Path, *arguments: str) -> Iterator[Provider]:
    """A provider on a free port, with further command line `arguments`; killed at the end."""
    state_dir.mkdir(parents=True, exist_ok=True)
    provider = Provider(state_dir, arguments)
    provider.start()
    try:
        yield provider
    finally:
        provider.kill()
