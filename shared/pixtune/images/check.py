"""The offline check of a folder: files in, for each the verdict it would get as an upload out. Needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pixtune.examples.facts import ImageData
from pixtune.images.gate import named, refuse
from pixtune.images.ingest import Converter
from pixtune.images.recipe import Recipe
from pixtune.keys import is_annotation, is_ready_marker
from pixtune.verdicts import Code, Note, Verdict


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file (its path below the folder, with `/`) and its verdict. image: the picture it becomes, if any. layout:
    what an annotation file was taken for."""

    file: str
    verdict: Verdict
    image: ImageData | None = None
    layout: str = ""

    @property
    def sha256(self) -> str | None:
        return self.image.sha256 if self.image else None

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, **({"layout": self.layout} if self.layout else {}), **self.verdict.to_json()}


@dataclass(frozen=True, slots=True)
class Summary:
    """How many files got which verdict, which code and which warning; names as in JSON, most frequent first."""

    files: int
    verdicts: dict[str, int]
    codes: dict[str, int]
    warnings: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def summarise(checked: Iterable[CheckedFile]) -> Summary:
    verdicts: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for file in checked:
        verdicts[file.verdict.outcome.value] += 1
        codes[file.verdict.code.value] += 1
        warnings.update(note.code.value for note in file.verdict.warnings)
    return Summary(verdicts.total(), *(dict(counter.most_common()) for counter in (verdicts, codes, warnings)))


def check_folder(
    folder: Path,
    sandboxes: Sequence[Converter],
    check_annotation: Callable[[Path], Verdict] | None = None,
    recipe: Recipe | None = None,
) -> Iterator[CheckedFile]:
    """The verdicts on every file below `folder`, in the order of their paths; as many at once as there are sandboxes.

    Annotation files are asked about with `check_annotation`, or left out without it. `_READY` is no upload.
    A picture that an earlier file already holds gets a `duplicate` warning. Raises OSError for an unreadable file.
    """
    chosen = recipe or Recipe.default()
    free: SimpleQueue[Converter] = SimpleQueue()
    for sandbox in sandboxes:
        free.put(sandbox)

    def check(path: Path) -> CheckedFile:
        name = path.relative_to(folder).as_posix()
        if check_annotation and is_annotation(_key(name)):
            return CheckedFile(name, check_annotation(path))
        refusal = refuse(name, path.stat().st_size)
        if refusal:
            return CheckedFile(name, refusal)
        sandbox = free.get()
        try:
            converted = sandbox.convert(path.read_bytes(), chosen)
        finally:
            free.put(sandbox)
        image = converted.image
        if image is None:
            return CheckedFile(name, converted.verdict)
        return CheckedFile(name, named(converted.verdict, name, image.source_format), image)

    def counts(path: Path) -> bool:
        key = _key(path.relative_to(folder).as_posix())
        return not is_ready_marker(key) and (check_annotation is not None or not is_annotation(key))

    paths = sorted(path for path in folder.rglob("*") if path.is_file() and counts(path))
    seen: dict[str, str] = {}
    with ThreadPoolExecutor(len(sandboxes)) as pool:
        for checked in pool.map(check, paths):
            first = seen.setdefault(checked.sha256, checked.file) if checked.sha256 else checked.file
            yield checked if first == checked.file else _duplicate(checked, first)


def _key(name: str) -> str:
    """The key a file would have as an upload: the folder becomes a dataset."""
    return f"dataset/{name}"


def _duplicate(checked: CheckedFile, first: str) -> CheckedFile:
    note = Note(Code.DUPLICATE, f"The same picture as {first}.")
    return replace(checked, verdict=replace(checked.verdict, warnings=(*checked.verdict.warnings, note)))
