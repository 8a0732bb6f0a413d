"""What becomes of a run's chosen model: its answers against the champion's in, an alias moved and the run ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pixtune.datasets.reading import read_manifest, read_split
from pixtune.datasets.version import Manifest
from pixtune.errors import AliasConflict, FenceLost, ProviderRefused, RunFault
from pixtune.evaluation.judge import checkpoint_of, evaluate, kept_evaluation
from pixtune.evaluation.sample import sampled
from pixtune.evaluation.scoring import Answer, Comparison, compare
from pixtune.examples.rows import Row
from pixtune.providers.port import TrainingProvider
from pixtune.registry.aliases import promote
from pixtune.registry.keeping import keep_checkpoints, model_version
from pixtune.registry.models import CHALLENGER, CHAMPION, AliasMove, ModelVersion
from pixtune.registry.ports import Models
from pixtune.training.ports import ArtifactStore, TrainingRuns
from pixtune.training.run import Checkpoint, Run, RunStatus

ProviderOf = Callable[[str, str], TrainingProvider]
"""A provider's name and a base model to its adapter; a champion may live elsewhere than its challenger."""

_TRIES = 5  # an alias that moves between reading and writing is decided about anew
_BY = "promote_model"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What was decided and why. rival: "champion", "base model", or None where nothing could be compared.

    alias: the one that names the model now. seen: the champion's alias version that the decision is about (0: none).
    comparison: on the test rows that neither was trained on.
    """

    alias: str
    reason: str
    seen: int
    rival: str | None = None
    rival_model_id: str | None = None
    comparison: Comparison | None = None

    @property
    def promoted(self) -> bool:
        return self.alias == CHAMPION

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"promoted": self.promoted}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Promotion:
        values = {name: data[name] for name in ("alias", "reason", "seen", "rival", "rival_model_id")}
        return cls(**values, comparison=Comparison(**data["comparison"]) if data["comparison"] else None)


def decide(ours: Sequence[Answer], theirs: Sequence[Answer], rival: str, rival_model_id: str, seen: int) -> Promotion:
    """champion for who strictly beats the rival on the rows both were asked, else challenger."""
    found = compare(ours, theirs)
    if not found.asked:
        reason = (
            f"There is no test example that neither it nor the {rival} has learned from, so nothing was compared."
        )
        return Promotion(CHALLENGER, reason, seen, rival, rival_model_id)
    what = "exact answers" if found.measure == "exact" else "token F1"
    told = (
        f"{found.ours:.1%} {what} against the {rival}'s {found.theirs:.1%} on {found.asked} test examples "
        f"(it alone was right on {found.only_ours}, the {rival} alone on {found.only_theirs})"
    )
    if found.better:
        return Promotion(CHAMPION, f"It beats the {rival}: {told}.", seen, rival, rival_model_id, found)
    return Promotion(CHALLENGER, f"It does not beat the {rival}: {told}.", seen, rival, rival_model_id, found)


def unseen_by(champion: Manifest, rows: Sequence[Row]) -> list[Row]:
    """The rows the champion was not trained on: neither the example nor any of its pictures."""
    trained = [entry for entry in champion.examples if entry.split in ("train", "validation")]
    examples = {entry.example_id for entry in trained}
    pictures = {picture for entry in trained for picture in entry.images}
    return [
        row
        for row in rows
        if row.example_id not in examples and not pictures & {picture.image.sha256 for picture in row.images}
    ]


@dataclass(frozen=True, slots=True)
class Registrar:
    """What promoting a run's model takes. now: Unix seconds."""

    runs: TrainingRuns
    models: Models
    artifacts: ArtifactStore
    provider_of: ProviderOf
    now: float

    def promote_model(self, run_id: str, attempt: int, step: int) -> Promotion:
        """Register the model, compare it, and move `champion` or `challenger`. Safe to repeat: a run has one model
        version and moves an alias once, and every answer is kept. FenceLost: a newer attempt owns the run."""
        run = self.runs.get(run_id)
        if run.attempt != attempt:
            raise FenceLost(f"Run {run_id} is at attempt {run.attempt}, this is {attempt}.")
        if run.manifest_key is None:
            raise RunFault(f"Run {run_id} has no dataset version.", "Publish the dataset first.")
        manifest = read_manifest(self.artifacts, run.manifest_key)
        chosen, base = checkpoint_of(self.runs, run, step), checkpoint_of(self.runs, run, 0)
        model = self.models.register(model_version(run, manifest, chosen, self.now))
        self.runs.update(run_id, {"stage": "PromoteModel", "model_version": model.number})
        for _ in range(_TRIES):
            promotion = self._settled(run, model)
            if promotion:
                self._release_loser(promotion, model)
                return promotion
            champion = self.models.alias(run.dataset, CHAMPION)
            promotion = self._decide(run, attempt, chosen, base, manifest, champion)
            # Stored before the alias moves: afterwards the champion would be the model itself.
            self.runs.update(run_id, {"promotion": promotion.to_json()})
            try:
                self._move(promotion, model)
            except AliasConflict:
                continue
            self._release_loser(promotion, model)
            return promotion
        raise AliasConflict(run.dataset, CHAMPION, champion.alias_version if champion else 0)

    def _settled(self, run: Run, model: ModelVersion) -> Promotion | None:
        """What an earlier try of this run has come to, if it got as far as moving an alias."""
        stored = self.runs.get(run.run_id).promotion
        moved = any(
            move.run_id == run.run_id
            for alias in (CHAMPION, CHALLENGER)
            for move in self.models.history(model.dataset, alias)
        )
        return Promotion.from_json(stored) if stored and moved else None

    def _decide(
        self, run: Run, attempt: int, chosen: Checkpoint, base: Checkpoint, manifest: Manifest, at: AliasMove | None
    ) -> Promotion:
        ours, base_answers = self._answers(chosen), self._answers(base)
        seen = at.alias_version if at else 0
        champion = self.models.model(run.dataset, at.model_version) if at else None
        if champion is None or (champion.retires_on and champion.retires_on <= self._today()):
            # Nobody can use a retired champion any more: who beats the base model takes its place.
            return decide(ours, base_answers, "base model", base.model_id, seen)
        tested = sampled(read_split(self.artifacts, manifest, "test"))
        rows = unseen_by(read_manifest(self.artifacts, champion.manifest_key), tested)
        key = f"evaluations/{run.run_id}/{attempt}-against-model-{champion.number}.json"
        try:
            provider = self.provider_of(champion.provider, champion.base_model)
            theirs = evaluate(key, champion.model_id, rows, manifest.settings, self.artifacts, provider).answers
        except ProviderRefused as refusal:
            reason = f"The champion could not be asked, so nothing was compared: {refusal}"
            return Promotion(CHALLENGER, reason, seen, "champion", champion.model_id)
        return decide(ours, theirs, "champion", champion.model_id, seen)

    def _answers(self, checkpoint: Checkpoint) -> Sequence[Answer]:
        kept = kept_evaluation(self.artifacts, checkpoint.evaluation_key)
        return kept.answers if kept else ()

    def _today(self) -> str:
        return datetime.fromtimestamp(self.now, UTC).date().isoformat()

    def _move(self, promotion: Promotion, model: ModelVersion) -> None:
        present = self.models.alias(model.dataset, promotion.alias)
        if present and present.model_version == model.number:
            return
        expected = promotion.seen if promotion.alias == CHAMPION else None
        promote(
            self.models,
            model.dataset,
            promotion.alias,
            model.number,
            expected=expected,
            by=_BY,
            reason=promotion.reason,
            at=self.now,
            run_id=model.run_id,
        )

    def _release_loser(self, promotion: Promotion, model: ModelVersion) -> None:
        """Where a model is deployed to answer, it bills until it is released. Never the champion of this moment."""
        number: int | None = model.number
        if promotion.promoted:
            moves = self.models.history(model.dataset, CHAMPION)
            number = next((move.previous for move in moves if move.run_id == model.run_id), None)
        champion = self.models.alias(model.dataset, CHAMPION)
        loser = self.models.model(model.dataset, number) if number else None
        if loser and not (champion and champion.model_version == loser.number):
            self.provider_of(loser.provider, loser.base_model).release(loser.model_id)
            freed = checkpoint_of(self.runs, self.runs.get(loser.run_id), loser.step)
            self.runs.put_checkpoint(replace(freed, activated=False))

    def end_run(self, run_id: str, report_key: str) -> None:
        """The run has succeeded, whichever alias its model got; of its other checkpoints some are kept."""
        run = self.runs.get(run_id)
        policy = read_manifest(self.artifacts, run.manifest_key or "").settings.checkpoints
        provider = self.provider_of(run.settings.provider, run.settings.base_model)
        keep_checkpoints(run, policy, now=self.now, runs=self.runs, models=self.models, provider=provider)
        self.runs.update(
            run_id,
            {
                "status": RunStatus.SUCCEEDED.value,
                "stage": "TrainingSucceeded",
                "ended_at": run.ended_at or self.now,
                "report_key": report_key,
            },
        )
