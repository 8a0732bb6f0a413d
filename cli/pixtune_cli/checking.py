"""The offline check: a folder in; the verdict each file would get, and what that makes of its examples, out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from pixtune.annotations import dataset_toml
from pixtune.annotations.read import ReadAnnotations
from pixtune.compliance.checks import Privacy
from pixtune.compliance.policy import Level
from pixtune.datasets.settings import recipe_of
from pixtune.datasets.version import DatasetSettings
from pixtune.events.s3 import Change, UploadEvent
from pixtune.examples.facts import AnnotationFact, Fact, ImageFact, SourceFact
from pixtune.images.check import CheckedFile, check_folder, summarise
from pixtune.images.sandbox import Sandbox
from pixtune.keys import SETTINGS_FILE, inline_hash, inline_key, is_annotation
from pixtune.verdicts import Code, Note, Outcome, Verdict
from pixtune_cli.rehearsal import joined, outcome

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


@dataclass(frozen=True, slots=True)
class _Inside:
    """Pictures inside annotation files, as files of their hash's name in a folder that goes away again."""

    folder: Path

    def put_once(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        (self.folder / key.rpartition("/")[2]).write_bytes(body)
        return True


@dataclass
class FolderCheck:
    """Checks a folder file by file; afterwards `summary` counts. rejected: what an upload of it would be refused.
    many: annotation files that speak about more than one example."""

    folder: Path
    rejected: list[str] = field(default_factory=list)
    many: set[str] = field(default_factory=set)
    _checked: list[CheckedFile] = field(default_factory=list)
    _facts: list[Fact] = field(default_factory=list)
    _layouts: dict[str, str] = field(default_factory=dict)
    _settings: DatasetSettings = field(default_factory=DatasetSettings)

    def run(self) -> Iterator[CheckedFile]:
        """Every file's verdict, in the order of their paths; then those of pictures inside annotation files, which
        go by `inline/` and their hash. Pictures are prepared as the folder's own dataset.toml says."""
        files = {
            f"{_DATASET}/{path.relative_to(self.folder).as_posix()}": path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self._settings = _settings_of(files.get(f"{_DATASET}/{SETTINGS_FILE}"))
        policy, recipe = self._settings.compliance, recipe_of(self._settings)
        privacy = None if policy.privacy is Level.OFF else Privacy(policy.national_ids)
        with ExitStack() as stack:
            inside = Path(stack.enter_context(TemporaryDirectory(prefix="pixtune-")))
            reader = ReadAnnotations(_Folder(files), _Nowhere(), _Inside(inside), _Nowhere())

            def annotation(path: Path) -> Verdict:
                name = path.relative_to(self.folder).as_posix()
                facts = reader.facts_of(UploadEvent("", f"{_DATASET}/{name}", Change.RECONCILE))
                return self._annotation(name, facts, files, privacy)

            sandboxes = [stack.enter_context(Sandbox()) for _ in range(os.cpu_count() or 1)]
            for checked in check_folder(self.folder, sandboxes, annotation, recipe):
                self._checked.append(checked)
                if not is_annotation(f"{_DATASET}/{checked.file}"):
                    self._facts.append(_image_fact(checked, "local", files[f"{_DATASET}/{checked.file}"]))
                yield self._told(replace(checked, layout=self._layouts.get(checked.file, "")))
            shown = {key for fact in self._facts if isinstance(fact, AnnotationFact) for key in fact.images}
            for path in inside.iterdir():
                if inline_key(_DATASET, path.name) not in shown:
                    path.unlink()  # of a sample without a label, or of a row with a problem
            for checked in check_folder(inside, sandboxes, None, recipe):
                named = replace(checked, file=f"inline/{checked.file}")
                self._facts.append(_image_fact(named, checked.file, inside / checked.file))
                yield self._told(named)

    def _told(self, checked: CheckedFile) -> CheckedFile:
        verdict = checked.verdict
        # What operating systems leave behind is never pushed: it fails nobody's check.
        if verdict.outcome is Outcome.REJECTED and verdict.code is not Code.JUNK_FILE:
            self.rejected.append(checked.file)
        return checked

    def _annotation(
        self, name: str, facts: Sequence[Fact], files: Mapping[str, Path], privacy: Privacy | None
    ) -> Verdict:
        """The file's verdict, with a warning for each image it names that the folder lacks, and for each text that
        looks like personal data, unless the dataset does not care."""
        closing, *rows = facts
        assert isinstance(closing, SourceFact)  # facts_of puts it first
        assert closing.verdict is not None  # and a file that is there is judged
        self._facts += facts
        self._layouts[name] = closing.layout or "not recognised"
        if len(rows) > 1:
            self.many.add(name)
        missing, personal = [], []
        for fact in rows:
            if isinstance(fact, AnnotationFact):
                for annotation in fact.annotations if privacy else ():
                    for finding in privacy.of(annotation) if privacy else ():
                        detail = f"{fact.where or 'It'}: {finding.where} {finding.detail}."
                        personal.append(Note(Code.PERSONAL_DATA, detail))
                missing += [(fact.where, key) for key in fact.images if key not in files and not inline_hash(key)]
        notes = tuple(
            Note(Code.WAITING_FOR_IMAGE, f"{where or 'It'}: {_inside(key)} is not in the folder; looked there only.")
            for where, key in missing[:_SHOWN]
        )
        return replace(closing.verdict, warnings=(*closing.verdict.warnings, *notes, *personal[:_SHOWN]))

    def summary(self) -> dict[str, Any]:
        """Counts by verdict, code and warning; the layouts that files were taken for; what the examples would be, and
        the version that would be cut of them."""
        found = outcome(joined(self._facts), _DATASET, self._settings)
        folders = found.pop("folders")
        layouts = dict(Counter(self._layouts.values()).most_common())
        layouts |= {"class folders": folders} if folders else {}
        return summarise(self._checked).to_json() | {"layouts": layouts} | found


def _settings_of(settings_file: Path | None) -> DatasetSettings:
    """As the folder's dataset.toml states them. A wrong file has a verdict of its own; the defaults hold then."""
    text = settings_file.read_text("utf-8", "replace") if settings_file else ""
    return DatasetSettings.from_json(dataset_toml.read(f"{_DATASET}/{SETTINGS_FILE}", text).settings or {})


def _image_fact(checked: CheckedFile, version_id: str, path: Path) -> ImageFact:
    key = f"{_DATASET}/{checked.file}"
    size = path.stat().st_size
    return ImageFact(_DATASET, key, Change.PUT, version_id, verdict=checked.verdict, image=checked.image, size=size)


def _inside(key: str) -> str:
    return key.removeprefix(f"{_DATASET}/")
