"""The adapter to every provider that speaks OpenAI's fine-tuning API: the port's values in, HTTP calls, values out.

The only importer of `openai`, and only inside the functions that call it (its import costs a cold start 0.5 s).
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from itertools import takewhile
from typing import IO, TYPE_CHECKING, Any, cast

from pixtune.compliance.ports import Moderation
from pixtune.costs.estimate import REPLY_MARGIN
from pixtune.costs.tokens import text_bytes
from pixtune.errors import ProviderRefused, ProviderUnavailable, UploadGone
from pixtune.examples.rows import Row
from pixtune.providers import chat_rows
from pixtune.providers.limits import ProviderSpec
from pixtune.providers.port import (
    Activation,
    JobMessage,
    JobRequest,
    JobState,
    JobView,
    Progress,
    ProviderCheckpoint,
    ReadImage,
    Reply,
)

if TYPE_CHECKING:
    import httpx2
    import openai
    from openai.types import ModerationMultiModalInputParam
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
    from openai.types.fine_tuning.job_create_params import Method

TAG = "pixtune"  # metadata every job of ours carries besides its run id; the sweep touches no others
_CREATE_SECONDS = 60.0  # the launch protocol's quiet window is longer than this
_READ_SECONDS = 30.0
_ANSWER_RETRIES = 5  # rate limits are ordinary while a test split is asked; each waits as the provider says
_MODERATION_MODELS = {"local": "pixtune-local-word-list"}  # others have OpenAI's
_NOT_LISTED_SECONDS = 15  # a finished model may answer 404 for some minutes


_STATES = {
    "validating_files": JobState.VALIDATING,
    "queued": JobState.QUEUED,
    "running": JobState.RUNNING,
    "paused": JobState.PAUSED,
    "cancelling": JobState.CANCELLING,
    "succeeded": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}

# What to do about a refusal, by OpenAI's error code, then by HTTP status.
_FIXES: Mapping[str | int | None, str] = {
    "training_not_available": (
        "The provider lets this organisation start no more fine-tuning. Train the same dataset version elsewhere: "
        "set another provider in dataset.toml or in the request. The uploaded training file may be deleted there."
    ),
    "insufficient_quota": "Add credit or raise the limit in the provider's billing settings, then resume the run.",
    401: "Check the provider's api_key in the provider secret.",
    403: "Check what the provider's key may do and which models it may train.",
    404: "Check that the model, file or job still exists at the provider, and the provider's URL.",
}


class OpenAIShapedProvider:
    """OpenAI itself, or anything that speaks its routes at `base_url`. transport: another HTTP transport (tests)."""

    def __init__(
        self, spec: ProviderSpec, base_url: str, api_key: str, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.spec = spec
        self._base_url, self._api_key, self._transport = base_url, api_key, transport
        self._create_body: Mapping[str, str] | None = None  # what a provider wants in a create besides OpenAI's

    @cached_property
    def _client(self) -> openai.OpenAI:
        import httpx2
        import openai

        http_client = httpx2.Client(transport=self._transport) if self._transport else None
        return openai.OpenAI(
            base_url=self._base_url, api_key=self._api_key, timeout=_READ_SECONDS, http_client=http_client
        )

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        """Turn the client's exceptions into the port's two: refused for good, or unavailable for now."""
        import openai

        where = f"{self.spec.provider}, {doing}"
        try:
            yield
        except openai.APIStatusError as error:
            code = error.code
            told = f"{where}: HTTP {error.status_code} {code or ''}: {error.message}"
            passing = error.status_code in (408, 409, 429) or error.status_code >= 500
            if passing and code != "insufficient_quota":
                raise ProviderUnavailable(told) from error
            raise ProviderRefused(told, _FIXES.get(code) or _FIXES.get(error.status_code, "")) from error
        except openai.APIError as error:  # no connection, a timeout, or an answer that is not the API's
            raise ProviderUnavailable(f"{where}: {type(error).__name__}: {error}") from error

    # --- training files

    def render(self, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage) -> bytes:
        return chat_rows.training_line(row, system, prompt, detail, read_image)

    def upload(self, name: str, content: IO[bytes]) -> str:
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        if (found := self.find_file(name, size)) is not None:
            return found
        with self._faults(f"uploading {name}"):
            return self._sender.files.create(file=(name, content, "text/jsonl"), purpose="fine-tune").id

    @property
    def _sender(self) -> openai.OpenAI:
        """A client for bytes: a retry of its own could store them twice, or send what is left of a stream."""
        return self._client.with_options(max_retries=0, timeout=10 * _CREATE_SECONDS)

    def find_file(self, name: str, size: int) -> str | None:
        with self._faults(f"looking for {name}"):
            for file in self._client.files.list(purpose="fine-tune", limit=10_000):
                if file.filename == name and file.bytes == size and file.status != "error":
                    return file.id
        return None

    def begin_upload(self, name: str, size: int) -> str:
        with self._faults(f"beginning the upload of {name}"):
            return self._sender.uploads.create(
                bytes=size, filename=name, mime_type="text/jsonl", purpose="fine-tune"
            ).id

    def upload_part(self, upload_id: str, index: int, data: bytes) -> str:
        with self._gone(upload_id), self._faults(f"sending part {index} of {upload_id}"):
            return self._sender.uploads.parts.create(upload_id, data=data).id

    def complete_upload(self, upload_id: str, part_ids: Sequence[str]) -> str:
        with self._gone(upload_id), self._faults(f"completing {upload_id}"):
            done = self._sender.uploads.complete(upload_id, part_ids=list(part_ids))
        if done.file is None:
            raise ProviderUnavailable(f"{self.spec.provider}: the upload {upload_id} is complete but names no file.")
        return done.file.id

    @contextmanager
    def _gone(self, upload_id: str) -> Iterator[None]:
        """No document names the error of an upload that has expired, and none can be asked for its state: whatever
        refuses the request itself is taken for it, and another upload is tried (a limited number of times)."""
        import openai

        try:
            yield
        except ProviderRefused as refused:
            cause = refused.__cause__
            if isinstance(cause, openai.APIStatusError) and cause.status_code in (400, 404, 410):
                raise UploadGone(refused.message, f"{upload_id} takes no more; begin another upload.") from cause
            raise

    def delete_file(self, file_id: str) -> None:
        import openai

        with self._faults(f"deleting file {file_id}"):
            try:
                self._client.files.delete(file_id)
            except openai.NotFoundError:
                return

    # --- jobs

    def find_jobs(self, run_id: str) -> Sequence[JobView]:
        with self._faults(f"looking for jobs of {run_id}"):
            jobs = list(self._client.fine_tuning.jobs.list(limit=100, metadata={"run_id": run_id}))
        # Not trusted to filter: a gateway that ignores the parameter would have us adopt a stranger's job.
        views = (_view(job) for job in jobs)
        return sorted((view for view in views if view.run_id == run_id), key=lambda view: view.created_at)

    def list_tagged_jobs(self, since: float) -> Sequence[JobView]:
        with self._faults("listing jobs"):
            jobs = list(self._client.fine_tuning.jobs.list(limit=100, metadata={"made_by": TAG}))
        ours = (_view(job) for job in jobs if (job.metadata or {}).get("made_by") == TAG)
        views = (view for view in ours if view.run_id and view.created_at >= since)
        return sorted(views, key=lambda view: view.created_at)

    def launch(self, request: JobRequest) -> JobView:
        from openai import omit

        asked = request.hyperparameters
        hyperparameters = {
            name: value
            for name, value in (
                ("n_epochs", asked.n_epochs),
                ("batch_size", asked.batch_size),
                ("learning_rate_multiplier", asked.learning_rate_multiplier),
            )
            if value is not None
        }
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        client = self._client.with_options(max_retries=0, timeout=_CREATE_SECONDS)
        with self._faults(f"launching {request.run_id}"):
            job = client.fine_tuning.jobs.create(
                model=request.base_model,
                training_file=request.training_file,
                validation_file=request.validation_file or omit,
                method=cast("Method", method),
                seed=omit if request.seed is None else request.seed,
                suffix=self.spec.suffix(request.suffix) or omit,
                metadata={"run_id": request.run_id, "made_by": TAG},
                extra_body=self._create_body,
            )
        return _view(job)

    def status(self, job_id: str) -> JobView:
        with self._faults(f"asking for job {job_id}"):
            return _view(self._client.fine_tuning.jobs.retrieve(job_id))

    def cancel(self, job_id: str) -> JobView:
        """A job that has ended already is answered as it is."""
        try:
            with self._faults(f"cancelling job {job_id}"):
                return _view(self._client.fine_tuning.jobs.cancel(job_id))
        except ProviderRefused:
            view = self.status(job_id)
            if view.state.ended:
                return view
            raise

    def pause(self, job_id: str) -> JobView:
        try:
            with self._faults(f"pausing job {job_id}"):
                return _view(self._client.fine_tuning.jobs.pause(job_id))
        except ProviderRefused:
            view = self.status(job_id)
            if view.state is JobState.PAUSED:  # the answer to an earlier try was lost
                return view
            raise

    def resume(self, job_id: str) -> JobView:
        try:
            with self._faults(f"letting job {job_id} go on"):
                return _view(self._client.fine_tuning.jobs.resume(job_id))
        except ProviderRefused:
            view = self.status(job_id)
            if view.state is not JobState.PAUSED:
                return view
            raise

    def progress(self, job_id: str, since: float) -> Progress:
        with self._faults(f"reading the events of job {job_id}"):
            # Newest first: a page or two are read, however long the job has been running.
            listed = self._client.fine_tuning.jobs.list_events(job_id, limit=100)
            events = list(takewhile(lambda event: event.created_at >= since, listed))[::-1]
        messages = [_message(event) for event in events if _point(event) is None]
        return Progress(_merged(point for point in map(_point, events) if point), messages)

    def metrics(self, job_id: str) -> Sequence[Mapping[str, float]]:
        with self._faults(f"reading the metrics of job {job_id}"):
            events = self._client.fine_tuning.jobs.list_events(job_id, limit=100)
            points = [point for point in map(_point, events) if point]
            if not points:
                job = self._client.fine_tuning.jobs.retrieve(job_id)
                for file_id in job.result_files[:1]:
                    points = result_points(self._client.files.content(file_id).read())
        return _merged(points)

    def checkpoints(self, job_id: str) -> Sequence[ProviderCheckpoint]:
        with self._faults(f"listing the checkpoints of job {job_id}"):
            job = self._client.fine_tuning.jobs.retrieve(job_id)
            listed = [
                ProviderCheckpoint(
                    checkpoint.step_number,
                    checkpoint.fine_tuned_model_checkpoint,
                    _numbers(checkpoint.metrics.to_dict()),
                )
                for checkpoint in self._client.fine_tuning.jobs.checkpoints.list(job_id, limit=100)
            ]
        listed.sort(key=lambda checkpoint: checkpoint.step)
        final = job.fine_tuned_model
        if not final or any(checkpoint.model_id == final for checkpoint in listed):
            return listed
        # There is a checkpoint at every epoch's end, so the last of them is the final model under another name;
        # a provider that lists none has the final model alone, at the last step its metrics name.
        if listed:
            return [*listed[:-1], ProviderCheckpoint(listed[-1].step, final, listed[-1].metrics)]
        points = self.metrics(job_id)
        last = points[-1] if points else {"step": 1}
        return [ProviderCheckpoint(int(last["step"]), final, {k: v for k, v in last.items() if k != "step"})]

    # --- models

    def retires_on(self, model_id: str) -> date | None:
        with self._faults(f"looking for model {model_id}"):
            told = self._client.models.retrieve(model_id).shutdown_date
        try:
            return date.fromisoformat(told) if told else None
        except ValueError:
            return None  # a form nobody documented; limits.toml has a date of its own

    def activate(self, model_id: str) -> Activation:
        """Nothing is deployed here; but a finished model may not be there yet."""
        import openai

        with self._faults(f"looking for model {model_id}"):
            try:
                self._client.models.retrieve(model_id)
            except openai.NotFoundError:
                return Activation(False, _NOT_LISTED_SECONDS)
        return Activation(True)

    def release(self, model_id: str) -> None:
        """Nothing is deployed, so nothing bills until it is released."""

    def delete_model(self, model_id: str) -> None:
        import openai

        with self._faults(f"deleting model {model_id}"):
            try:
                self._client.models.delete(model_id)
            except openai.NotFoundError:
                return

    def answer(
        self, model_id: str, row: Row, system: str | None, prompt: str | None, detail: str, read_image: ReadImage
    ) -> Reply:
        messages = chat_rows.question_messages(row, system, prompt, detail, read_image)
        _, expected = chat_rows.question_and_answer(row, prompt)
        client = self._client.with_options(max_retries=_ANSWER_RETRIES, timeout=_CREATE_SECONDS)
        with self._faults(f"asking {model_id}"):
            completion = client.chat.completions.create(
                model=model_id,
                messages=cast("Iterable[ChatCompletionMessageParam]", messages),
                temperature=0,
                max_completion_tokens=text_bytes(expected) + REPLY_MARGIN,
            )
        message = completion.choices[0].message
        usage = completion.usage
        return Reply(
            message.content or message.refusal or "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )

    # --- moderation

    @property
    def moderation_model(self) -> str:
        return _MODERATION_MODELS.get(self.spec.provider, "omni-moderation-latest")

    def moderate_text(self, text: str) -> Moderation:
        return self._moderate({"type": "text", "text": text})

    def moderate_image(self, data: bytes, kind: str) -> Moderation:
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return self._moderate({"type": "image_url", "image_url": {"url": url}})

    def _moderate(self, part: ModerationMultiModalInputParam) -> Moderation:
        client = self._client.with_options(max_retries=_ANSWER_RETRIES)
        with self._faults(f"moderating {part['type']}"):
            answer = client.moderations.create(model=self.moderation_model, input=[part])
        (result,) = answer.results
        flagged = [name for name, hit in result.categories.to_dict().items() if hit]
        return Moderation(answer.model, tuple(sorted(flagged)), _numbers(result.category_scores.to_dict()))


def _view(job: FineTuningJob) -> JobView:
    # A job without an error may carry `"error": {}`, which the client turns into a truthy object.
    error = job.error if job.error and (job.error.code or job.error.message) else None
    return JobView(
        job_id=job.id,
        state=_STATES.get(job.status, JobState.RUNNING),
        raw_state=job.status,
        created_at=float(job.created_at),
        run_id=(job.metadata or {}).get("run_id"),
        model_id=job.fine_tuned_model,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
        trained_tokens=job.trained_tokens,
    )


def _point(event: FineTuningJobEvent) -> dict[str, float] | None:
    """The metric point in an event; None: it has none. An event's type is not what the client's literal says
    (`moderation_checks` exists): look at the data."""
    found = _numbers(event.data) if isinstance(event.data, dict) else {}
    return found if "step" in found else None


def _merged(points: Iterable[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """One point a step, in order."""
    merged: dict[float, dict[str, float]] = {}
    for point in points:
        merged.setdefault(point["step"], {}).update(point)
    return [merged[step] for step in sorted(merged)]


def _message(event: FineTuningJobEvent) -> JobMessage:
    more = f" {json.dumps(event.data, ensure_ascii=False, default=str)}" if event.data else ""
    return JobMessage(event.id, float(event.created_at), event.level, event.message + more, event.type or "message")


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in an event's or a checkpoint's data: every number but the count of steps."""
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "total_steps"
    }


# Columns that have had another name in some provider's documentation.
_COLUMNS = {
    "train_accuracy": "train_mean_token_accuracy",
    "validation_mean_token_accuracy": "valid_mean_token_accuracy",
}


def result_points(content: bytes) -> list[dict[str, float]]:
    """Metric points of a result file: CSV read by its header's names, or the base64 of such CSV. Empty cells and
    rows without a step are left out; content that is neither gives none."""
    for text in (content, _unbase64(content)):
        reader = csv.DictReader(io.StringIO(text.decode("utf-8-sig", "replace")))
        names = [name.strip() for name in reader.fieldnames or ()]
        if "step" not in names:
            continue
        reader.fieldnames = [_COLUMNS.get(name, name) for name in names]
        points = [{name: _number(cell) for name, cell in row.items()} for row in reader]
        kept = [{name: cell for name, cell in point.items() if cell is not None} for point in points]
        return [point for point in kept if "step" in point]
    return []


def _unbase64(content: bytes) -> bytes:
    try:
        return base64.b64decode(content)
    except ValueError:
        return b""


def _number(cell: object) -> float | None:
    try:
        return float(cell) if isinstance(cell, str) else None
    except ValueError:
        return None
