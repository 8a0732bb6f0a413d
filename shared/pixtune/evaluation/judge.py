"""Asking models the test split: rows and a provider in, kept evaluations out. An answer is paid for once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pixtune.datasets.reading import read_image_from, read_manifest, read_split
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import DatasetNotReady, ProviderRefused, RunFault
from pixtune.evaluation.sample import sampled
from pixtune.evaluation.scoring import Answer, Evaluation, slices_of
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import question_and_answer, text_of
from pixtune.providers.port import TrainingProvider
from pixtune.training.ports import ArtifactStore, Runs
from pixtune.training.run import Checkpoint, Run

_THREADS = 6
_PART = 50  # answers kept together, so that a function that is cut off goes on where it was


def checkpoint_of(runs: Runs, run: Run, step: int) -> Checkpoint:
    """The run's checkpoint at this step (0: the base model). Raises RunFault when there is none."""
    for checkpoint in runs.checkpoints(run.run_id):
        if checkpoint.step == step:
            return checkpoint
    raise RunFault(f"Run {run.run_id} has no checkpoint at step {step}.", "Resume the run: it records them again.")


def evaluate_checkpoint(
    run_id: str, attempt: int, step: int, runs: Runs, artifacts: ArtifactStore, provider: TrainingProvider
) -> float | None:
    """Store and answer the checkpoint's score; None where the version has no test split.

    The answers lie at `evaluations/{run_id}/{attempt}-{step}.json`. What an earlier attempt has kept is used again.
    """
    run = runs.get(run_id)
    if run.stage != "EvaluateCheckpoints":
        runs.update(run_id, {"stage": "EvaluateCheckpoints"})
    checkpoint = checkpoint_of(runs, run, step)
    if run.manifest_key is None:
        raise DatasetNotReady(f"Run {run_id} has no dataset version.", "Publish the dataset first.")
    manifest = read_manifest(artifacts, run.manifest_key)
    rows = read_split(artifacts, manifest, "test")
    if not rows:
        return None
    key = checkpoint.evaluation_key or f"evaluations/{run_id}/{attempt}-{step}.json"
    evaluation = evaluate(key, checkpoint.model_id, rows, manifest.settings, artifacts, provider)
    values = checkpoint.to_json() | {"score": evaluation.score, "evaluation_key": key}
    runs.put_checkpoint(Checkpoint.from_json(values))
    return evaluation.score


def kept_evaluation(artifacts: ArtifactStore, key: str | None) -> Evaluation | None:
    body = artifacts.get(key) if key else None
    return Evaluation.from_json(json.loads(body)) if body else None


def evaluate(
    key: str,
    model_id: str,
    rows: Sequence[Row],
    settings: DatasetSettings,
    artifacts: ArtifactStore,
    provider: TrainingProvider,
) -> Evaluation:
    """The evaluation kept at `key`, or a new one that is kept there. Raises ProviderUnavailable, and ProviderRefused
    when the provider refuses all of the first rows; a refusal of some is kept as their answer."""
    kept = kept_evaluation(artifacts, key)
    if kept:
        return kept
    asked = sampled(rows)
    slices = slices_of(asked)
    answers: list[Answer] = []
    for number, start in enumerate(range(0, len(asked), _PART)):
        part_key = f"{key.removesuffix('.json')}/part-{number}.json"
        part = kept_evaluation(artifacts, part_key)
        if part is None:
            some = list(zip(asked[start : start + _PART], slices[start : start + _PART], strict=True))
            part = Evaluation(model_id, len(rows), tuple(_ask(model_id, some, settings, artifacts, provider)))
            if number == 0 and all(answer.error for answer in part.answers):
                raise ProviderRefused(part.answers[0].error or "")  # it is the model or the key, not the rows
            _keep(artifacts, part_key, part)
        answers += part.answers
    evaluation = Evaluation(model_id, len(rows), tuple(answers))
    if not _keep(artifacts, key, evaluation):
        return kept_evaluation(artifacts, key) or evaluation  # somebody else was faster; what is kept counts
    return evaluation


def _keep(artifacts: ArtifactStore, key: str, evaluation: Evaluation) -> bool:
    return artifacts.put_once(key, json.dumps(evaluation.to_json(), sort_keys=True).encode(), "application/json")


def _ask(
    model_id: str,
    rows: Sequence[tuple[Row, dict[str, str]]],
    settings: DatasetSettings,
    artifacts: ArtifactStore,
    provider: TrainingProvider,
) -> list[Answer]:
    read_image = read_image_from(artifacts)

    def ask(item: tuple[Row, dict[str, str]]) -> Answer:
        row, slices = item
        turns, expected = question_and_answer(row, settings.prompt)
        question = text_of(turns[-1]) if turns else ""
        images = tuple(picture.image.sha256 for picture in row.images)
        try:
            reply = provider.answer(model_id, row, settings.system, settings.prompt, settings.detail, read_image)
        except ProviderRefused as refusal:
            return Answer(row.example_id, question, expected, "", images, slices, error=str(refusal))
        used = reply.prompt_tokens, reply.completion_tokens
        return Answer(row.example_id, question, expected, reply.text, images, slices, *used)

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            return list(pool.map(ask, rows))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
