"""The offline check: a folder in; the verdict each file would get, and what that makes of its examples, out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from pixtune.annotations import dataset_toml
from pixtune.annotations.read import ReadAnnotations
from pixtune.compliance.checks import Privacy
from pixtune.compliance.policy import Level
from pixtune.compliance.report import Finding
from pixtune.datasets.version import DatasetSettings
from pixtune.events.s3 import Change, UploadEvent
from pixtune.examples.facts import AnnotationFact, Fact, SourceFact
from pixtune.images.check import CheckedFile, check_folder, summarise
from pixtune.images.sandbox import Sandbox
from pixtune.keys import SETTINGS_FILE, class_of
from pixtune.verdicts import Code, Note, Outcome, Verdict

_DATASET = "dataset"  # keys need one; the folder is it
_SHOWN = 100  # missing images named per annotation file


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes


@dataclass(frozen=True, slots=True)
class _Current:
    size: int
    version_id: str = "local"
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder as read_annotations sees the uploads bucket: every file is its key's only version."""

    files: Mapping[str, Path]
    bucket: str = "the uploads bucket"

    def read(self, key: str, version_id: str) -> _File:  # noqa: ARG002 - the port's signature
        return _File(self.files[key].read_bytes())

    def open(self, key: str, version_id: str) -> IO[bytes]:  # noqa: ARG002 - as above
        return self.files[key].open("rb")

    def metadata(self, key: str, version_id: str) -> Mapping[str, str]:  # noqa: ARG002 - files have none
        return {}

    def tags(self, key: str, version_id: str) -> Mapping[str, str]:  # noqa: ARG002 - files have none
        return {}

    def current_of(self, key: str) -> _Current:
        return _Current(self.files[key].stat().st_size)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.files if key.startswith(prefix)]


class _Nowhere:
    """The facts stay here; nothing is sent."""

    def send(self, messages: object) -> None: ...

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        return True


@dataclass
class FolderCheck:
    """Checks a folder file by file; afterwards `summary` counts. rejected: what an upload of it would be refused."""

    folder: Path
    rejected: list[str] = field(default_factory=list)
    _checked: list[CheckedFile] = field(default_factory=list)
    _facts: list[AnnotationFact] = field(default_factory=list)
    _layouts: Counter[str] = field(default_factory=Counter)
    _privacy: Privacy | None = None

    def run(self) -> Iterator[CheckedFile]:
        """Every file's verdict, in the order of their paths."""
        files = {
            f"{_DATASET}/{path.relative_to(self.folder).as_posix()}": path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self._privacy = _privacy_of(files.get(f"{_DATASET}/{SETTINGS_FILE}"))
        reader = ReadAnnotations(_Folder(files), _Nowhere(), _Nowhere(), _Nowhere())

        def annotation(path: Path) -> Verdict:
            key = f"{_DATASET}/{path.relative_to(self.folder).as_posix()}"
            return self._annotation(reader.facts_of(UploadEvent("", key, Change.RECONCILE)), files)

        with ExitStack() as stack:
            sandboxes = [stack.enter_context(Sandbox()) for _ in range(os.cpu_count() or 1)]
            for checked in check_folder(self.folder, sandboxes, annotation):
                self._checked.append(checked)
                verdict = checked.verdict
                # What operating systems leave behind is never pushed: it fails nobody's check.
                if verdict.outcome is Outcome.REJECTED and verdict.code is not Code.JUNK_FILE:
                    self.rejected.append(checked.file)
                yield checked

    def _annotation(self, facts: list[Fact], files: Mapping[str, Path]) -> Verdict:
        """The file's verdict, with a warning for each image it names that the folder lacks, and for each text that
        looks like personal data, unless the dataset does not care."""
        closing, *rows = facts
        assert isinstance(closing, SourceFact)  # facts_of puts it first
        assert closing.verdict is not None  # and a file that is there is judged
        self._layouts[closing.layout or "not recognised"] += 1
        missing, personal = [], []
        for fact in rows:
            if isinstance(fact, AnnotationFact):
                self._facts.append(fact)
                for finding in self._personal(fact):
                    personal.append(
                        Note(Code.PERSONAL_DATA, f"{fact.where or 'It'}: {finding.where} {finding.detail}.")
                    )
                missing += [(fact.where, key) for key in fact.images if key not in files]
        notes = tuple(
            Note(Code.WAITING_FOR_IMAGE, f"{where or 'It'}: {_inside(key)} is not in the folder; looked there only.")
            for where, key in missing[:_SHOWN]
        )
        return replace(closing.verdict, warnings=(*closing.verdict.warnings, *notes, *personal[:_SHOWN]))

    def _personal(self, fact: AnnotationFact) -> Iterator[Finding]:
        if self._privacy:
            for annotation in fact.annotations:
                yield from self._privacy.of(annotation)

    def summary(self) -> dict[str, Any]:
        """Counts by verdict, code and warning; the layouts that files were taken for; examples that could be trained
        on, and images nobody labelled."""
        usable = {f"{_DATASET}/{one.file}" for one in self._checked if one.sha256 is not None}
        shown = {key for fact in self._facts for key in fact.images}
        classes = {key: label for key in usable - shown if (label := class_of(key))}
        # As a version is cut: one folder alone is where the images lie, not what they show.
        folders = len(classes) if len(set(classes.values())) > 1 else 0
        ready = {fact.example_id for fact in self._facts if set(fact.images) <= usable}
        waiting = {fact.example_id for fact in self._facts} - ready
        layouts = dict(self._layouts.most_common()) | ({"class folders": folders} if folders else {})
        return summarise(self._checked).to_json() | {
            "layouts": layouts,
            "examples": {"ready": len(ready) + folders, "waiting": len(waiting)},
            "unlabelled": len(usable - shown) - folders,
        }


def _privacy_of(settings_file: Path | None) -> Privacy | None:
    """The check as the folder's dataset.toml has it; None when it is off. A wrong file has a verdict of its own."""
    text = settings_file.read_text("utf-8", "replace") if settings_file else ""
    stated = dataset_toml.read(f"{_DATASET}/{SETTINGS_FILE}", text).settings
    policy = DatasetSettings.from_json(stated or {}).compliance
    return None if policy.privacy is Level.OFF else Privacy(policy.national_ids)


def _inside(key: str) -> str:
    return key.removeprefix(f"{_DATASET}/")
