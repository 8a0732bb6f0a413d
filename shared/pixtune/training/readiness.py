"""Before a cent is spent: a run in; what it will cost stored on it, or every problem of its version raised."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from pixtune.compliance.gate import Judges, judge, refuse, report_key
from pixtune.compliance.ports import Moderator, SkipPredictor
from pixtune.costs.calibration import calibrated
from pixtune.costs.estimate import Estimate, estimate
from pixtune.datasets.card_files import store_judged_card
from pixtune.datasets.reading import read_manifest, read_split
from pixtune.errors import DatasetNotReady
from pixtune.evaluation.sample import sampled
from pixtune.examples.ports import Each, one_by_one
from pixtune.providers.limits import Limits
from pixtune.providers.port import TrainingProvider
from pixtune.providers.readiness import advice, problems
from pixtune.training.ports import ArtifactStore
from pixtune.training.reconcile import BilledRuns
from pixtune.training.retirement import satisfied, too_short_lived

_SHOWN = 20


def check_readiness(
    run_id: str,
    runs: BilledRuns,
    artifacts: ArtifactStore,
    provider: TrainingProvider,
    limits: Limits,
    today: date,
    predictor: SkipPredictor | None = None,
    each: Each = one_by_one,
    least_days: int = 0,
) -> Estimate:
    """Store and answer the run's estimate. Raises DatasetNotReady with up to 20 problems and the number of all,
    ComplianceFailed when the dataset's own policy refuses it, ProviderRefused when this account may not use the base
    model or nothing is known of it. predictor: of images the provider would leave out, if the deployment has one.
    least_days: how long a model has to answer to be worth training."""
    run = runs.get(run_id)
    if run.manifest_key is None:
        raise DatasetNotReady(f"Run {run_id} has no dataset version.", "Publish the dataset first.")
    manifest = read_manifest(artifacts, run.manifest_key)
    splits = {split: read_split(artifacts, manifest, split) for split in ("train", "validation", "test")}
    spec = limits.spec(run.settings.provider, run.settings.base_model)
    ends = provider.retires_on(spec.base_model)  # the provider's own word counts before the table's
    spec = replace(spec, answer_until=ends) if ends else spec
    found = problems(splits, manifest.settings, run.settings, spec, today)
    named = satisfied(splits, manifest.settings, limits, today, least_days)
    instead = [name for name in named if name != f"{spec.provider}/{spec.base_model}"]
    if spec.answer_until is not None and (spec.answer_until - today).days < least_days:
        accepted = run.settings.terms.accept_retirement
        found += too_short_lived(spec, today, least_days, accepted, instead)
    if found:
        listed = "\n".join(f"- {problem}" for problem in found[:_SHOWN])
        more = f"\n... and {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
        raise DatasetNotReady(
            f"Version {manifest.version} of {manifest.dataset} has {len(found)} problem(s) for {spec.title}:\n"
            f"{listed}{more}",
            "Mend them, and request the training again."
            + (f" As it is, this version keeps the limits of {', '.join(instead)}." if instead else ""),
        )
    judges = Judges(provider if isinstance(provider, Moderator) else None, predictor, spec.content_skips, each)
    report = judge(manifest, [row for rows in splits.values() for row in rows], artifacts, judges)
    card = store_judged_card(manifest, report, artifacts, today)
    refuse(report)
    epochs = run.settings.hyperparameters.n_epochs
    bills = runs.observations(spec.provider, spec.base_model)
    cost = calibrated(estimate(splits["train"], sampled(splits["test"]), manifest.settings, epochs, spec), bills)
    notes = [*advice(len(splits["train"]), run.settings, spec, today), *report.warnings()]
    retires = spec.answer_until.isoformat() if spec.answer_until else None
    compliance = {"report": report_key(manifest, report.asked), "summary": report.summary, "card": card}
    told = {"notes": notes, "retires_on": retires, "compliance": compliance, "alternatives": instead}
    kept = cost.to_json() | told
    runs.update(run_id, {"stage": "CheckReadiness", "estimate": kept})
    return cost
