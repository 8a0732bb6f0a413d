"""A provider that only answers: models by id, each a function from a row to what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from tests.fakes.no_files import NoFiles

from pixtune.errors import ProviderRefused
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import question_and_answer
from pixtune.providers.port import Activation, JobRequest, JobView, Progress, ProviderCheckpoint, ReadImage, Reply

Says = Callable[[Row], str]


def knows(*example_ids: str, otherwise: str = "no idea") -> Says:
    """A model that is right on these examples alone."""
    return lambda row: question_and_answer(row, None)[1] if row.example_id in example_ids else otherwise


@dataclass
class AnsweringProvider(NoFiles):
    """`providers.port.TrainingProvider`; what is not about answering raises, because no test should come to it."""

    models: dict[str, Says] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    active: dict[str, Activation] = field(default_factory=dict)
    retiring: dict[str, date] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self, model_id: str, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
    ) -> Reply:
        for picture in row.images:
            read_image(picture.image.key)
        if model_id not in self.models:
            raise ProviderRefused(f"{model_id} is gone.", "Promote another.")
        said = self.models[model_id](row)
        with self._lock:
            self.asked.append((model_id, row.example_id))
        return Reply(said, 300, 2)

    def retires_on(self, model_id: str) -> date | None:
        return self.retiring.get(model_id)

    def activate(self, model_id: str) -> Activation:
        return self.active.get(model_id, Activation(True))

    def release(self, model_id: str) -> None:
        self.released.append(model_id)

    def delete_model(self, model_id: str) -> None:
        self.removed.append(model_id)

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        raise NotImplementedError

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        raise NotImplementedError

    def list_tagged_jobs(self, since: float) -> Sequence[JobView]:
        raise NotImplementedError

    def launch(self, request: JobRequest) -> JobView:
        raise NotImplementedError

    def status(self, job_id: str) -> JobView:
        raise NotImplementedError

    def cancel(self, job_id: str) -> JobView:
        raise NotImplementedError

    def pause(self, job_id: str) -> JobView:
        raise NotImplementedError

    def resume(self, job_id: str) -> JobView:
        raise NotImplementedError

    def progress(self, job_id: str, since: float) -> Progress:
        raise NotImplementedError

    def metrics(self, job_id: str) -> Sequence[Mapping[str, float]]:
        raise NotImplementedError

    def checkpoints(self, job_id: str) -> Sequence[ProviderCheckpoint]:
        raise NotImplementedError
