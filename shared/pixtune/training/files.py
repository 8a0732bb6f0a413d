"""Training files to the provider: a run in, its splits there once each and their ids stored on it.

A file of at most one part goes in one request. A larger one goes in parts: this function plans them, opens the
provider's upload and, when it is run again after every part was sent (`upload_part`), completes it. Whatever fails in
between, the next run of it goes on from what is stored.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import BytesIO
from typing import Any

from pixtune.datasets.reading import read_image_from, read_manifest, stored
from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.errors import DatasetNotReady, ProviderRefused, UploadGone
from pixtune.examples.rows import Row, canonical
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.port import ReadImage, TrainingProvider
from pixtune.training.file_plan import FilePlan, Part, Render, plan_file, write_part
from pixtune.training.ports import RangedArtifacts, Runs

_PURPOSES = {"train": "training", "validation": "validation"}
_JSON = "application/json"
_OPEN_SECONDS = 3000.0  # an upload takes parts for an hour (OpenAI's reference of Uploads); ten minutes are kept back
_ONE_PART = 1 << 40  # where a provider takes no parts: whatever the file's size, it goes in one request
_STOPPED = "stopped.json"  # beside an upload's parts: why no more of them are sent
_MOST_UPLOADS = 3  # begun for one file before the run fails: a provider that refuses each will refuse the next


@dataclass(frozen=True, slots=True)
class Uploading:
    """done: every file is at the provider. Otherwise the parts to send are listed in a JSON array at `parts_key`."""

    done: bool
    parts_key: str = ""
    parts: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A file on its way in parts. plan: artifacts key of its FilePlan; begun: how many uploads were begun for it,
    this one included; began_at: Unix seconds."""

    plan: str
    upload_id: str
    began_at: float
    begun: int

    @property
    def folder(self) -> str:
        return _folder(self.plan, self.upload_id)


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A part that the provider has. sha256 (hex) and length are of its bytes."""

    part_id: str
    sha256: str
    length: int


def upload_files(
    run_id: str, runs: Runs, artifacts: RangedArtifacts, provider: TrainingProvider, spec: ProviderSpec, now: float
) -> Uploading:
    """Store {"training": id, "validation": id} on the run, or answer which parts have to be sent first.

    Raises ProviderRefused when the provider refused a part, or every one of a few uploads.
    """
    run = runs.get(run_id)
    if run.manifest_key is None:
        raise DatasetNotReady(f"Run {run_id} has no dataset version.", "Publish the dataset first.")
    manifest = read_manifest(artifacts, run.manifest_key)
    files, uploads = dict(run.files), dict(run.uploads)
    to_send: list[dict[str, Any]] = []
    for split, purpose in _PURPOSES.items():
        if purpose in files or split not in manifest.files or (split == "validation" and not spec.validation_file):
            continue
        before = OpenUpload(**uploads.pop(purpose)) if purpose in uploads else None
        key = (
            before.plan if before else _store_plan(manifest, split, artifacts, provider, spec.part_bytes or _ONE_PART)
        )
        try:
            answer = _upload(key, before, artifacts, provider, now)
        except ProviderRefused:
            runs.update(run_id, {"uploads": uploads})  # when the run is resumed, it begins another
            raise
        if isinstance(answer, str):
            files[purpose] = answer
        else:
            upload, missing = answer
            uploads[purpose] = asdict(upload)
            to_send += [{"plan": key, "upload_id": upload.upload_id, "part": number} for number in missing]
        runs.update(run_id, {"stage": "UploadFiles", "files": files, "uploads": uploads})
    if not to_send:
        return Uploading(done=True)
    listed = canonical(to_send).encode()
    parts_key = f"{manifest.folder}/files/to-send-{sha256(listed).hexdigest()[:40]}.json"
    artifacts.put_once(parts_key, listed, _JSON)
    return Uploading(False, parts_key, len(to_send))


def upload_part(
    plan_key: str, upload_id: str, number: int, artifacts: RangedArtifacts, provider: TrainingProvider
) -> None:
    """Render one part of a planned file and send it, unless it was sent before or the upload takes no more.

    What the provider refuses is recorded, not raised: the other parts then stop too, and `upload_files` decides.
    """
    folder = _folder(plan_key, upload_id)
    if artifacts.get(f"{folder}/{_STOPPED}") or artifacts.get(_part_key(folder, number)):
        return
    plan = _read_plan(artifacts, plan_key)
    data = _write(plan, plan.parts[number], artifacts, provider)
    record = PartRecord("", sha256(data).hexdigest(), len(data))
    try:
        record = replace(record, part_id=provider.upload_part(upload_id, number, data))
    except ProviderRefused as refused:
        told = {"gone": isinstance(refused, UploadGone), "message": refused.message, "fix": refused.fix}
        artifacts.put_once(f"{folder}/{_STOPPED}", canonical(told).encode(), _JSON)
        return
    if not artifacts.put_once(_part_key(folder, number), canonical(asdict(record)).encode(), _JSON):
        first = PartRecord(**json.loads(stored(artifacts, _part_key(folder, number))))
        if first.sha256 != record.sha256:
            raise ValueError(f"Part {number} of {plan.name} was rendered twice, and differently: {first}, {record}.")


def _upload(
    plan_key: str, before: OpenUpload | None, artifacts: RangedArtifacts, provider: TrainingProvider, now: float
) -> str | tuple[OpenUpload, list[int]]:
    """The id of the provider's file; or an upload that takes parts, with the numbers of those it lacks."""
    plan = _read_plan(artifacts, plan_key)
    if len(plan.parts) == 1:
        return provider.upload(plan.name, BytesIO(_write(plan, plan.parts[0], artifacts, provider)))
    if (found := provider.find_file(plan.name, plan.size)) is not None:
        return found
    why = "it took too long"
    if before is not None:
        if told := artifacts.get(f"{before.folder}/{_STOPPED}"):
            stopped = json.loads(told)
            why = stopped["message"]
            if not stopped["gone"]:
                raise ProviderRefused(why, stopped["fix"])
        elif now - before.began_at < _OPEN_SECONDS:
            sent = {number: _sent(before.folder, number, plan, artifacts) for number in range(len(plan.parts))}
            if missing := [number for number, record in sent.items() if record is None]:
                return before, missing
            try:
                return provider.complete_upload(
                    before.upload_id, [record.part_id for record in sent.values() if record]
                )
            except UploadGone as gone:
                why = gone.message
    begun = before.begun + 1 if before else 1
    if begun > _MOST_UPLOADS:
        raise ProviderRefused(
            f"{_MOST_UPLOADS} uploads of {plan.name} ({plan.size:,} bytes) came to nothing, the last because: {why}",
            "Look at the provider's status page and at the log of upload_part; then resume the run.",
        )
    upload = OpenUpload(plan_key, provider.begin_upload(plan.name, plan.size), now, begun)
    return upload, list(range(len(plan.parts)))


def _sent(folder: str, number: int, plan: FilePlan, artifacts: RangedArtifacts) -> PartRecord | None:
    """The record of a part that was sent. Raises ValueError when it is not as long as planned: the parts would not
    come to the bytes that were declared."""
    body = artifacts.get(_part_key(folder, number))
    record = PartRecord(**json.loads(body)) if body else None
    if record and record.length != plan.parts[number].length:
        raise ValueError(f"Part {number} of {plan.name} has {record.length} bytes: {plan.parts[number]} was planned.")
    return record


def _store_plan(
    manifest: Manifest, split: str, artifacts: RangedArtifacts, provider: TrainingProvider, part_bytes: int
) -> str:
    """Plan the split's file and keep the plan; answers its key."""
    lines = BytesIO(stored(artifacts, manifest.files[split]))
    plan = plan_file(manifest, split, lines, _render_with(provider), part_bytes)
    key = f"{manifest.folder}/files/{plan.name.removesuffix('.jsonl')}-{part_bytes}.json"
    artifacts.put_once(key, canonical(plan.to_json()).encode(), _JSON)
    return key


def _read_plan(artifacts: RangedArtifacts, key: str) -> FilePlan:
    return FilePlan.from_json(json.loads(stored(artifacts, key)))


def _write(plan: FilePlan, part: Part, artifacts: RangedArtifacts, provider: TrainingProvider) -> bytes:
    lines = BytesIO(artifacts.get_range(plan.rows_key, *part.lines))
    return write_part(plan, part, lines, _render_with(provider), read_image_from(artifacts))


def _render_with(provider: TrainingProvider) -> Render:
    def render(row: Row, settings: DatasetSettings, read_image: ReadImage) -> bytes:
        return provider.render(row, settings.system, settings.prompt, settings.detail, read_image)

    return render


def _folder(plan_key: str, upload_id: str) -> str:
    """Where an upload's records are. A provider's id may hold any character, so a hash of it stands in the key."""
    return f"{plan_key.removesuffix('.json')}/{sha256(upload_id.encode()).hexdigest()[:16]}"


def _part_key(folder: str, number: int) -> str:
    return f"{folder}/{number:05d}.json"
