"""settle_uploads and sweep_uploads: the bucket compared with the table, what never arrived sent again.

Training never overtakes ingest: a run waits here until every upload that was there when it was requested has its
verdict and every source its rows, or its deadline passes and the run fails, naming those that have not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pixtune.datasets.settings import read_settings, recipe_of
from pixtune.errors import FenceLost, UploadsNotSettled
from pixtune.examples.outstanding import Listed, Outstanding, outstanding
from pixtune.examples.overview import all_examples, all_uploads
from pixtune.examples.ports import Examples, Outbox
from pixtune.keys import DATASET, is_annotation
from pixtune.training.ports import Runs
from pixtune.training.run import RunStatus

_CLOCK_SLACK = 1.0  # seconds by which S3's clock may be ahead of ours
_NAMED = 20  # uploads that a failure names
_LONGEST_WAIT = 30  # seconds between two looks


class UploadListing(Protocol):
    """The uploads bucket as a list of what is current, delete markers included."""

    @property
    def bucket(self) -> str: ...
    def current(self, prefix: str) -> Iterable[Listed]: ...
    def folders(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Ingest:
    """The bucket, the table, and the two queues by which an upload is looked at again."""

    uploads: UploadListing
    examples: Examples
    images: Outbox
    annotations: Outbox

    def outstanding(self, dataset: str, until: float) -> list[Outstanding]:
        """What the table does not show of the uploads up to `until` (Unix seconds)."""
        listing = list(self.uploads.current(f"{dataset}/"))  # before the items: they may only be ahead of it
        recipe = recipe_of(read_settings(self.examples, dataset))
        return outstanding(
            listing,
            all_uploads(self.examples, dataset),
            all_examples(self.examples, dataset),
            recipe,
            datetime.fromtimestamp(until, UTC),
        )

    def send_again(self, missing: Iterable[Outstanding]) -> None:
        """Ask for each of these to be looked at again."""
        for outbox, wanted in ((self.annotations, True), (self.images, False)):
            outbox.send(one.message(self.uploads.bucket) for one in missing if is_annotation(one.key) is wanted)


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether everything has arrived; if not, in how many seconds to look again."""

    settled: bool
    wait_seconds: int = 0


def settle_uploads(
    run_id: str,
    attempt: int,
    runs: Runs,
    ingest: Ingest,
    now: float,
    *,
    reenqueue_after: float,
    deadline: float,
) -> Settled:
    """One look. reenqueue_after, deadline: seconds; the deadline counts from the run's request.

    Raises UploadsNotSettled past the deadline, and FenceLost when a newer attempt of the run exists.
    """
    run = runs.get(run_id)
    if run.attempt != attempt:
        raise FenceLost(f"Run {run_id} is at attempt {run.attempt}, not {attempt}")
    if run.version is not None:
        return Settled(True)  # an attempt that goes on from a version published before
    if run.status is RunStatus.QUEUED:
        runs.update(run_id, {"status": RunStatus.RUNNING.value, "stage": "SettleUploads"})
    if run.settings.version is not None:  # it trains what was published before: nothing that was dropped since
        runs.update(run_id, {"stage": "PublishDataset"})
        return Settled(True)
    missing = ingest.outstanding(run.dataset, run.requested_at + _CLOCK_SLACK)
    if not missing:
        # The stage closes the run to further requests; one that came in just before it has uploads of its own.
        runs.update(run_id, {"stage": "PublishDataset"})
        return Settled(True) if runs.get(run_id).requested_at == run.requested_at else Settled(False, 1)
    waited = now - run.requested_at
    if waited > deadline:
        named = "; ".join(f"{one.key}: {one.reason}" for one in missing[:_NAMED])
        more = f"; and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UploadsNotSettled(
            f"After {waited:.0f} s, {len(missing)} uploads have not been ingested: {named}{more}.",
            "Look into the dead-letter queues, or delete these uploads; then resume the run.",
        )
    if run.reenqueued_at is None or now - run.reenqueued_at >= reenqueue_after:
        late = [
            one
            for one in missing
            if one.recipe or one.modified is None or now - one.modified.timestamp() >= reenqueue_after
        ]
        if late:
            ingest.send_again(late)
            runs.update(run_id, {"reenqueued_at": now})
    return Settled(False, max(1, min(_LONGEST_WAIT, int(waited / 4))))


def sweep_uploads(ingest: Ingest, now: float, *, reenqueue_after: float) -> dict[str, int]:
    """Send again what never arrived, in every dataset; answers how many uploads by dataset."""
    sent: dict[str, int] = {}
    for dataset in ingest.uploads.folders():
        if DATASET.fullmatch(dataset) and (missing := ingest.outstanding(dataset, now - reenqueue_after)):
            ingest.send_again(missing)
            sent[dataset] = len(missing)
    return sent
