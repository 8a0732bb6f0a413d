"""Fine-tuning jobs: a request goes in; a job is checked, queued, trained and ended, one at a time, in the background.

A job's status changes only from an expected one, so that a cancellation and an end cannot both happen. A job that was
running when the process died starts its training again: same rows, same seed, the same events under the same ids.
A paused job stops after a step and lets others train; let go on, it is queued and goes on with the next step, or
from its first one where the process has died since.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from threadpoolctl import threadpool_limits

from pixtune_local.provider.faults import Faults
from pixtune_local.provider.files import file_document
from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.rows import TrainingFile, read_training_file
from pixtune_local.provider.store import Document, Store
from pixtune_local.provider.training import Checkpoint, Settings, Step, Trainer
from pixtune_local.provider.webhooks import Webhooks

log = logging.getLogger(__name__)

BASE_MODEL = "local-vision-1"
OWNER = "pixtune-local-small-model"
WHAT_IT_IS = "This is the local provider: it trains a small image-to-answer model on this machine's CPU."
PAUSABLE = {"queued", "running"}
GOING = {"validating_files", "queued", "running", "paused"}
KEPT_CHECKPOINTS = 3
_COLUMNS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
_SHOWN_PROBLEMS = 20
_SUFFIX = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_IDLE_SECONDS = 0.2


def _bounded(given: dict[str, Any], name: str, low: float, high: float, *, whole: bool) -> None:
    value = given.get(name, "auto")
    kinds = int if whole else (int, float)
    if value != "auto" and (not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high):
        raise Refused(
            f"Invalid {name}: {value!r}. Expected 'auto' or a number from {low:g} to {high:g}.",
            param=f"method.supervised.hyperparameters.{name}",
            code="invalid_value",
        )


def _object(given: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under `name`, empty where there is none."""
    value = given.get(name) or {}
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object.", param=name, code="invalid_type")
    return value


def _hyperparameters(body: dict[str, Any]) -> dict[str, Any]:
    method = _object(body, "method")
    if method.get("type", "supervised") != "supervised":
        raise Refused("Only the method 'supervised' takes images.", param="method.type", code="invalid_value")
    given = _object(_object(method, "supervised"), "hyperparameters") or _object(body, "hyperparameters")
    _bounded(given, "n_epochs", 1, 50, whole=True)
    _bounded(given, "batch_size", 1, 256, whole=True)
    _bounded(given, "learning_rate_multiplier", 1e-9, 1e3, whole=False)
    return {name: given.get(name, "auto") for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}


def _check_metadata(metadata: Any) -> dict[str, str]:
    good = isinstance(metadata, dict) and all(
        isinstance(key, str) and isinstance(value, str) and len(key) <= 64 and len(value) <= 512
        for key, value in metadata.items()
    )
    if not good or len(metadata) > 16:
        raise Refused(
            "metadata: at most 16 pairs of text, keys of 64 and values of 512 characters.", param="metadata"
        )
    return dict(metadata)


def _listed(problems: tuple[str, ...]) -> str:
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


@dataclass
class _Training:
    """A training in this process' memory. outcomes: what is still to come of it. table: its steps so far."""

    trainer: Trainer
    outcomes: Iterator[Step | Checkpoint]
    tokens: int
    table: list[dict[str, float]] = field(default_factory=list)


class Jobs:
    """The jobs of one provider."""

    def __init__(self, store: Store, webhooks: Webhooks, faults: Faults) -> None:
        self._store, self._webhooks, self._faults = store, webhooks, faults
        self._wakes = (threading.Event(), threading.Event())
        self._halted: dict[str, _Training] = {}

    # --- what the API asks for

    def create(self, body: dict[str, Any]) -> Document:
        """A new job in `validating_files`. Raises Refused where the request itself is wrong."""
        for name in ("model", "training_file"):
            if not isinstance(body.get(name), str):
                raise Refused(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
        if body["model"] != BASE_MODEL:
            raise Refused(
                f"Model {body['model']} is not available for fine-tuning or does not exist.",
                param="model",
                code="model_not_available",
            )
        for name in ("training_file", "validation_file"):
            key = body.get(name)
            file = self._store.get("file", key) if isinstance(key, str) else None
            if key is not None and (file is None or file["purpose"] != "fine-tune"):
                raise Refused(f"invalid {name}: {key}", param=name, code="invalid_file")
        if body.get("integrations"):
            raise Refused("The local provider has no integrations.", param="integrations")
        suffix, seed = body.get("suffix"), body.get("seed")
        if suffix is not None and not (isinstance(suffix, str) and _SUFFIX.fullmatch(suffix)):
            raise Refused("suffix has at most 64 characters: letters, digits, '-', '_' and '.'.", param="suffix")
        if seed is not None and not isinstance(seed, int):
            raise Refused("seed is a whole number.", param="seed")
        hyperparameters = _hyperparameters(body)
        job: Document = {
            "object": "fine_tuning.job",
            "id": f"ftjob-{secrets.token_hex(12)}",
            "model": body["model"],
            "created_at": int(time.time()),
            "finished_at": None,
            "estimated_finish": None,
            "fine_tuned_model": None,
            "organization_id": "org-local",
            "result_files": [],
            "status": "validating_files",
            "training_file": body["training_file"],
            "validation_file": body.get("validation_file"),
            "hyperparameters": hyperparameters,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "trained_tokens": None,
            "error": {},
            "user_provided_suffix": suffix,
            "seed": secrets.randbelow(2**31) if seed is None else seed,
            "integrations": [],
            "metadata": _check_metadata(body.get("metadata") or {}),
        }
        with self._store.transaction():
            self._store.put("job", job)
            self._say(job["id"], f"Created fine-tuning job: {job['id']}")
            self._say(job["id"], f"Validating training file: {job['training_file']}")
        self._wake()
        return job

    def cancel(self, job_id: str) -> Document:
        """The job, now cancelled. Raises Refused where it has ended before."""
        with self._store.transaction():
            cancelled = self._store.change("job", job_id, GOING, **_end("cancelled", time.time()))
            job = self._store.get("job", job_id)
            if job is None:
                raise Refused(f"Could not find fine tune: {job_id}", status=404, code="fine_tune_not_found")
            if not cancelled:
                raise Refused(f"Job has already ended: it {job['status']}.", code="invalid_job_state")
            self._say(job_id, "The job has been cancelled")
            self._webhooks.enqueue("fine_tuning.job.cancelled", job_id, time.time())
        self._halted.pop(job_id, None)
        return job

    def pause(self, job_id: str) -> Document:
        """The job, now paused; its training stops after the step it is at. Raises Refused unless it may be paused."""
        return self._turn(job_id, PAUSABLE, "paused", "The job has been paused")

    def resume(self, job_id: str) -> Document:
        """The job, queued to go on. Raises Refused unless it is paused."""
        job = self._turn(job_id, {"paused"}, "queued", "The job has been resumed and is queued")
        self._wake()
        return job

    def _turn(self, job_id: str, expected: set[str], status: str, message: str) -> Document:
        with self._store.transaction():
            turned = self._store.change("job", job_id, expected, status=status)
            job = self._store.get("job", job_id)
            if job is None:
                raise Refused(f"Could not find fine tune: {job_id}", status=404, code="fine_tune_not_found")
            if not turned:
                raise Refused(f"Job is {job['status']}, and cannot become {status}.", code="invalid_job_state")
            self._say(job_id, message)
        return job

    # --- what runs in the background

    def validate_forever(self) -> None:
        self._forever(self._wakes[0], "validating_files", self._validate)

    def train_forever(self) -> None:
        with threadpool_limits(1):
            for job in self._in_status("running"):
                self._say(job["id"], "The provider was restarted; training starts again from its first step", "warn")
                self._attempt(self._train, job)
            self._forever(self._wakes[1], "queued", self._train)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _in_status(self, status: str) -> list[Document]:
        return [job for job in self._store.all("job") if job["status"] == status]

    def _forever(self, wake: threading.Event, status: str, work: Callable[[Document], None]) -> None:
        """Do the oldest job in `status`, again and again."""
        while True:
            wake.clear()
            stuck = status == "queued" and self._faults.queue.stuck
            waiting = [] if stuck else self._in_status(status)
            if waiting:
                self._attempt(work, waiting[0])
            else:
                wake.wait(_IDLE_SECONDS)

    def _attempt(self, work: Callable[[Document], None], job: Document) -> None:
        """Our own failure fails the job, never the thread."""
        try:
            work(job)
        except Exception:
            log.exception("job %s failed in the provider itself", job["id"])
            self._fail(job["id"], "server_error", "The job failed due to an internal error.", None)

    def _read(self, job: Document, param: str) -> TrainingFile | None:
        """The job's file; None, and the job failed, where it cannot be trained on."""
        path = self._store.blob(job[param])
        if not path.exists():
            self._fail(job["id"], "invalid_file", f"The file {job[param]} was deleted.", param)
            return None
        file = read_training_file(path, at_least=10 if param == "training_file" else 1)
        if file.problems:
            what = param.replace("_", " ")
            message = f"The job failed due to an invalid {what}. {job[param]}: {_listed(file.problems)}"
            code = file.code if param == "training_file" else file.code.replace("training", "validation")
            self._fail(job["id"], code, message, param)
            return None
        return file

    def _validate(self, job: Document) -> None:
        for param in ("training_file", "validation_file"):
            if job[param] is None:
                continue
            file = self._read(job, param)
            if file is None:
                return
            for warning in file.warnings[:_SHOWN_PROBLEMS]:
                self._say(job["id"], f"{job[param]}: {warning}", "warn")
        with self._store.transaction():
            if self._store.change("job", job["id"], {"validating_files"}, status="queued"):
                self._say(job["id"], "Files validated, moving job to queued state")
        self._wakes[1].set()

    def _train(self, job: Document) -> None:
        job_id: str = job["id"]

        def alive() -> bool:
            now = self._store.get("job", job_id)
            return now is not None and now["status"] == "running"

        training = self._halted.pop(job_id, None)
        if training is None:
            training = self._begin(job, alive)
        elif self._store.change("job", job_id, {"queued"}, status="running"):
            self._say(job_id, f"Training goes on after step {len(training.table)}")
        if training is None or not alive():
            return
        for outcome in training.outcomes:
            if isinstance(outcome, Step):
                training.table.append({"step": outcome.number, **outcome.metrics})
                self._say_step(job_id, outcome)
                if self._faults.queue.step_seconds:
                    time.sleep(self._faults.queue.step_seconds)
            else:
                training.table[-1].update(outcome.metrics)
                self._keep(job, outcome)
            if not alive():
                if not self._ended(job_id):
                    self._halted[job_id] = training
                return
        self._succeed(job, training.table, training.tokens)

    def _ended(self, job_id: str) -> bool:
        now = self._store.get("job", job_id)
        return now is None or now["status"] not in GOING

    def _begin(self, job: Document, alive: Callable[[], bool]) -> _Training | None:
        """A training from its first step; None, and the job failed or left, where it does not come to that."""
        job_id: str = job["id"]
        train = self._read(job, "training_file")
        valid = self._read(job, "validation_file") if job["validation_file"] else TrainingFile(())
        if train is None or valid is None:
            return None
        settings = Settings.resolve(job["hyperparameters"], len(train.rows), job["seed"])
        resolved = {
            "n_epochs": settings.epochs,
            "batch_size": settings.batch,
            "learning_rate_multiplier": settings.rate_multiplier,
        }
        method = {"type": "supervised", "supervised": {"hyperparameters": resolved}}
        if not self._store.change(
            "job", job_id, {"queued", "running"}, status="running", hyperparameters=resolved, method=method
        ):
            return None
        self._say(job_id, "Fine-tuning job started")
        self._say(job_id, WHAT_IT_IS)
        trainer = Trainer(train.rows, valid.rows, settings)
        for choice in trainer.prepare(alive):
            self._say_choice(job_id, choice.prompt, choice.blocks, choice.unexplained)
        return _Training(trainer, trainer.run(), settings.epochs * sum(row.tokens for row in train.rows))

    # --- what is written down

    def _say(
        self, job_id: str, message: str, level: str = "info", data: dict[str, Any] | None = None, name: str = ""
    ) -> None:
        """An event. One with a `name` has an id that a training started again will use again."""
        digest = hashlib.sha256(f"{job_id}/{name}".encode()).hexdigest()[:24] if name else secrets.token_hex(12)
        event = {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{digest}",
            "created_at": int(time.time()),
            "level": level,
            "message": message,
            "type": "message" if data is None else "metrics",
            "data": data or {},
        }
        self._store.put("event", event, parent=job_id)

    def _say_choice(self, job_id: str, prompt: str, blocks: tuple[str, ...], unexplained: float | None) -> None:
        about = f"for the question {prompt!r}" if prompt else "for questions with few rows"
        found = (
            "too little to try" if unexplained is None else f"cross-validated error {unexplained:.2f} of the variance"
        )
        self._say(job_id, f"The small local model looks at {', '.join(blocks)} {about} ({found})")
        if unexplained is not None and unexplained > 0.95:
            self._say(
                job_id, "the small local model finds little in these pictures that explains the answers", "warn"
            )

    def _say_step(self, job_id: str, step: Step) -> None:
        data = {"step": step.number, "total_steps": step.total, **step.metrics}
        shown = ", ".join(
            f"{name.replace('_', ' ')}={value:.2f}" for name, value in step.metrics.items() if "loss" in name
        )
        self._say(job_id, f"Step {step.number}/{step.total}: {shown}", data=data, name=f"step-{step.number}")

    def _model_name(self, job: Document) -> str:
        return f"ft:{job['model']}:local:{job['user_provided_suffix'] or ''}:{job['id'][-8:]}"

    def _put_model(self, job: Document, name: str, weights: str) -> None:
        model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": OWNER, "weights": weights}
        self._store.put("model", model, parent=job["id"])

    def _keep(self, job: Document, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, usable as a model at once; of each job only the last three are kept."""
        name = f"{self._model_name(job)}:ckpt-step-{checkpoint.number}"
        weights = f"{job['id']}-{checkpoint.number}.npz"
        self._store.write_blob(weights, io.BytesIO(checkpoint.model))
        digest = hashlib.sha256(name.encode()).hexdigest()[:24]
        record = {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt_{digest}",
            "created_at": int(time.time()),
            "fine_tuned_model_checkpoint": name,
            "fine_tuning_job_id": job["id"],
            "step_number": checkpoint.number,
            "metrics": {"step": checkpoint.number, **checkpoint.metrics},
        }
        with self._store.transaction():
            self._store.put("checkpoint", record, parent=job["id"])
            self._put_model(job, name, weights)
            data = {"step": checkpoint.number, **checkpoint.metrics}
            message = f"Checkpoint created at step {checkpoint.number}: {name}"
            self._say(job["id"], message, data=data, name=f"checkpoint-{checkpoint.number}")
        for old in self._store.all("checkpoint", job["id"], newest_first=True)[KEPT_CHECKPOINTS:]:
            with self._store.transaction():
                self._store.delete("checkpoint", old["id"])
                self._store.delete("model", old["fine_tuned_model_checkpoint"])
            self._store.drop_blob(f"{job['id']}-{old['step_number']}.npz")

    def _succeed(self, job: Document, table: list[dict[str, float]], tokens: int) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        data = text.getvalue().encode()
        name = self._model_name(job)
        now = time.time()
        result = file_document("step_metrics.csv", len(data), "fine-tune-results")
        self._store.write_blob(result["id"], io.BytesIO(data))
        with self._store.transaction():
            ended = _end("succeeded", now, fine_tuned_model=name, result_files=[result["id"]], trained_tokens=tokens)
            if not self._store.change("job", job["id"], {"running"}, **ended):
                return
            self._store.put("file", result)
            self._put_model(job, name, f"{job['id']}-{int(table[-1]['step'])}.npz")
            self._say(job["id"], f"New fine-tuned model created: {name}")
            self._say(job["id"], "The job has successfully completed")
            self._webhooks.enqueue("fine_tuning.job.succeeded", job["id"], now)

    def _fail(self, job_id: str, code: str, message: str, param: str | None) -> None:
        now = time.time()
        error = {"code": code, "message": message, "param": param}
        with self._store.transaction():
            if self._store.change("job", job_id, GOING, **_end("failed", now, error=error)):
                self._say(job_id, message, "error")
                self._webhooks.enqueue("fine_tuning.job.failed", job_id, now)


def _end(status: str, now: float, **values: object) -> dict[str, object]:
    return {"status": status, "finished_at": int(now), "estimated_finish": None, **values}
