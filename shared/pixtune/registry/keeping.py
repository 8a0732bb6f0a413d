"""What becomes of a run's checkpoints: kept ones can be named by an alias later, the others are removed."""

from __future__ import annotations

from dataclasses import replace

from pixtune.datasets.reading import read_manifest
from pixtune.datasets.version import Manifest
from pixtune.errors import AliasRefused, ProviderRefused, ProviderUnavailable
from pixtune.evaluation.retention import Retained, RetentionPolicy, retained
from pixtune.providers.port import TrainingProvider
from pixtune.registry.models import ModelVersion
from pixtune.registry.ports import Models
from pixtune.training.ports import ArtifactStore, Runs, TrainingRuns
from pixtune.training.run import Checkpoint, Run, RunEvent


def keep_checkpoints(
    run: Run, policy: RetentionPolicy, *, now: float, runs: TrainingRuns, models: Models, provider: TrainingProvider
) -> None:
    """Write down of each trained checkpoint whether it is kept, and remove the models of those that are not. Safe to
    repeat. A registered model version is never removed; what cannot be removed is told, and costs nothing to keep."""
    numbers = {model.model_id: model.number for model in models.models(run.dataset)}
    checkpoints = {checkpoint.step: checkpoint for checkpoint in runs.checkpoints(run.run_id)}
    for found in retained(list(checkpoints.values()), policy):
        checkpoint = checkpoints[found.step]
        decided = _unless_registered(found, numbers.get(checkpoint.model_id))
        runs.put_checkpoint(replace(checkpoint, kept=decided.kept, kept_because=decided.reason))
        if decided.kept:
            continue
        try:
            provider.delete_model(checkpoint.model_id)
        except (ProviderUnavailable, ProviderRefused) as error:
            text = f"The model {checkpoint.model_id} of step {checkpoint.step} was not removed: {error}"
            runs.add_event(run.run_id, RunEvent(now, f"checkpoint-{checkpoint.step}-not-removed", text, "warn"))


def _unless_registered(found: Retained, number: int | None) -> Retained:
    if found.kept or number is None:
        return found
    return Retained(found.step, True, f"it is model version {number}")


def register_kept(
    run_id: str, step: int, *, now: float, runs: Runs, models: Models, artifacts: ArtifactStore
) -> ModelVersion:
    """The model version of a kept checkpoint, registered now if it never was. Raises KeyError for an unknown run,
    AliasRefused for a checkpoint that there is not, or that was not kept."""
    run = runs.get(run_id)
    checkpoints = {checkpoint.step: checkpoint for checkpoint in runs.checkpoints(run_id)}
    kept = ", ".join(f"{run_id}@{one}" for one, checkpoint in checkpoints.items() if checkpoint.kept) or "none yet"
    checkpoint = checkpoints.get(step)
    if checkpoint is None or not checkpoint.kept or run.manifest_key is None:
        raise AliasRefused(f"{run_id}@{step} cannot be named: {_why_not(checkpoint)}.", f"Kept are: {kept}.")
    return models.register(model_version(run, read_manifest(artifacts, run.manifest_key), checkpoint, now))


def _why_not(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "there is no such checkpoint"
    if checkpoint.step == 0:
        return "it is the base model"
    return checkpoint.kept_because or "its run has not ended well"


def model_version(run: Run, manifest: Manifest, chosen: Checkpoint, now: float) -> ModelVersion:
    """A checkpoint as the model version it becomes, without its number."""
    return ModelVersion(
        dataset=run.dataset,
        number=0,
        run_id=run.run_id,
        step=chosen.step,
        provider=run.settings.provider,
        base_model=run.settings.base_model,
        model_id=chosen.model_id,
        version=manifest.version,
        version_digest=manifest.digest,
        manifest_key=manifest.key,
        recipe=manifest.recipe,
        created_at=now,
        score=chosen.score,
        evaluation_key=chosen.evaluation_key,
        retires_on=(run.estimate or {}).get("retires_on"),
    )
