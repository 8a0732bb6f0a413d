"""What the stages of a training need from the outside, as protocols; `aws.runs_table` and fakes implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pixtune.training.run import Checkpoint, Run


class Runs(Protocol):
    """Run records with their checkpoints, metrics and events."""

    def get(self, run_id: str) -> Run:
        """Strongly consistent. Raises KeyError when there is no such run."""
        ...

    def update(self, run_id: str, changes: Mapping[str, Any], *, fence: int | None = None) -> None:
        """Set these fields of the run (JSON values, names of `Run`). With `fence`: only while the run's fence is
        still this one, else FenceLost."""
        ...

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store or replace one checkpoint."""
        ...

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """In order of step."""
        ...

    def put_metrics(self, run_id: str, points: Sequence[Mapping[str, float]]) -> None:
        """Store metric points; each has "step"; a repeated step replaces."""
        ...

    def metrics(self, run_id: str) -> Sequence[Mapping[str, float]]:
        """In order of step."""
        ...


class ArtifactStore(Protocol):
    """The artifacts bucket as stages see it (aws.buckets.Artifacts)."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...

    def get(self, key: str) -> bytes | None: ...
