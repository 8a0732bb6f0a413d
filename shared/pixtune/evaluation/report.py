"""The report of a run: its record, metrics and evaluations in, one self-contained HTML page out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pixtune.datasets.reading import read_manifest
from pixtune.datasets.version import Manifest
from pixtune.errors import RunFault
from pixtune.evaluation.charts import loss_chart
from pixtune.evaluation.choice import RULE
from pixtune.evaluation.judge import kept_evaluation
from pixtune.evaluation.scoring import Answer, Evaluation, interval, mean_f1, share_exact
from pixtune.pages.page import bar, page, picture, table, tile, when
from pixtune.providers.limits import Limits, ProviderSpec
from pixtune.registry.models import ModelVersion
from pixtune.registry.ports import Models
from pixtune.training.ports import ArtifactStore, Runs
from pixtune.training.run import Checkpoint, Run

_EXAMPLES = 12


@dataclass(frozen=True, slots=True)
class Report:
    """All a page shows. evaluations: by step, 0 being the base model. thumbs: JPEG bytes by an image's SHA-256."""

    run: Run
    manifest: Manifest
    model: ModelVersion
    spec: ProviderSpec
    checkpoints: Sequence[Checkpoint]
    metrics: Sequence[Mapping[str, float]]
    evaluations: Mapping[int, Evaluation]
    thumbs: Mapping[str, bytes]

    @property
    def tuned(self) -> Evaluation | None:
        return self.evaluations.get(self.model.step)

    @property
    def base(self) -> Evaluation | None:
        return self.evaluations.get(0)


def write_report(
    run_id: str, attempt: int, runs: Runs, models: Models, artifacts: ArtifactStore, limits: Limits
) -> str:
    """Store the page at `reports/{run_id}/{attempt}.html`, once; answers that key."""
    run = runs.get(run_id)
    model = models.model(run.dataset, run.model_version) if run.model_version else None
    if run.manifest_key is None or model is None:
        raise RunFault(f"Run {run_id} has no model version to report on.", "Resume the run.")
    checkpoints = runs.checkpoints(run_id)
    kept = {point.step: kept_evaluation(artifacts, point.evaluation_key) for point in checkpoints}
    evaluations = {step: evaluation for step, evaluation in kept.items() if evaluation}
    tuned = evaluations.get(model.step)
    shown = [answer.images[0] for answer in worst(tuned.answers) if answer.images] if tuned else []
    thumbs = {sha256: artifacts.get(f"thumbs/{sha256}.jpg") for sha256 in shown}
    report = Report(
        run,
        read_manifest(artifacts, run.manifest_key),
        model,
        limits.spec(run.settings.provider, run.settings.base_model),
        checkpoints,
        runs.metrics(run_id),
        evaluations,
        {sha256: picture for sha256, picture in thumbs.items() if picture},
    )
    key = f"reports/{run_id}/{attempt}.html"
    artifacts.put_once(key, render(report).encode("utf-8", "replace"), "text/html; charset=utf-8")
    return key


def worst(answers: Sequence[Answer]) -> list[Answer]:
    """The wrong answers furthest from right, at most twelve."""
    wrong = [answer for answer in answers if not answer.exact]
    return sorted(wrong, key=lambda answer: (answer.f1, answer.example_id))[:_EXAMPLES]


def render(report: Report) -> str:
    """The page. Whatever people or models wrote is escaped; it loads nothing from anywhere."""
    sections = (_headline, _curves, _checkpoints, _comparison, _slices, _examples, _cost, _usage, _lineage, _footer)
    title = f"{report.model.dataset}, model version {report.model.number}"
    return page(title, [part(report) for part in sections])


def _headline(report: Report) -> str:
    run, model = report.run, report.model
    promotion = run.promotion or {}
    alias = str(promotion.get("alias", "challenger"))
    name = f"{escape(model.dataset)}, model version {model.number}"
    tiles = [_score_tile(f"Tuned model, step {model.step}", report.tuned)]
    tiles.append(_score_tile(f"Base model, {model.base_model}", report.base))
    if promotion.get("rival") == "champion" and promotion.get("comparison"):
        found = promotion["comparison"]
        on = f"on {found['asked']} examples new to it; this model {found['ours']:.0%} there"
        tiles.append(tile("Champion before", f"{found['theirs']:.0%}", on))
    rows = ", ".join(f"{report.manifest.counts.get(split, 0)} {split}" for split in ("train", "validation", "test"))
    tiles.append(tile("Examples", f"{sum(report.manifest.counts.values()):,}", rows))
    return (
        f'<p class="eyebrow">{when(model.created_at)} · {escape(report.spec.title)} · run {escape(run.run_id)}</p>'
        f'<h1>{name} <span class="badge {escape(alias)}">{escape(alias)}</span></h1>'
        f"<p>{escape(str(promotion.get('reason', 'Nothing was decided about it yet.')))}</p>"
        f'<div class="tiles">{"".join(tiles)}</div>'
    )


def _score_tile(name: str, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return tile(name, "–", "not scored: the dataset version has no test split")
    right, asked = sum(answer.exact for answer in evaluation.answers), len(evaluation.answers)
    low, high = interval(right, asked)
    return tile(name, f"{evaluation.score:.0%}", f"{right} of {asked} exact; 95 % interval {low:.0%} to {high:.0%}")


def _curves(report: Report) -> str:
    merged = [*report.metrics]
    known = {point["step"] for point in merged if "full_valid_loss" in point}
    merged += [
        {"step": float(point.step), "full_valid_loss": point.metrics["full_valid_loss"]}
        for point in report.checkpoints
        if "full_valid_loss" in point.metrics and point.step not in known
    ]
    merged.sort(key=lambda point: point["step"])
    chart = loss_chart(merged, report.model.step)
    told = "The strong line is the mean of 8 steps, dots are the loss over the whole validation split"
    return f'<h2>Loss</h2><div class="card">{chart}</div><p class="quiet">{told}, dashes the chosen checkpoint.</p>'


def _checkpoints(report: Report) -> str:
    names = ("train_loss", "valid_loss", "full_valid_loss", "full_valid_mean_token_accuracy")
    heads = ("training loss", "validation loss", "full validation loss", "token accuracy")
    present = [(name, head) for name, head in zip(names, heads, strict=True) if _any_has(report.checkpoints, name)]
    rows = []
    for point in report.checkpoints:
        chosen = point.step == report.model.step
        label = "base model" if point.step == 0 else f"step {point.step}" + (" (chosen)" if chosen else "")
        cells = "".join(f'<td class="number">{_figure(point.metrics.get(name))}</td>' for name, _ in present)
        score = "–" if point.score is None else bar(point.score, "ours" if point.step else "theirs")
        rows.append(
            f"<tr{' class=chosen' if chosen else ''}><td>{label}</td><td>{score}</td>{cells}"
            f"<td><code>{escape(point.model_id)}</code></td></tr>"
        )
    heading = "".join(f'<th class="number">{head}</th>' for _, head in present)
    listed = table(f"<th>checkpoint</th><th>test score</th>{heading}<th>model</th>", rows)
    return f'<h2>Checkpoints</h2>{listed}<p class="quiet">Chosen: {RULE}.</p>'


def _any_has(checkpoints: Sequence[Checkpoint], name: str) -> bool:
    return any(name in point.metrics for point in checkpoints)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _comparison(report: Report) -> str:
    if not report.tuned or not report.base:
        return ""
    before = {answer.example_id: answer for answer in report.base.answers}
    pairs = [(answer, before[answer.example_id]) for answer in report.tuned.answers if answer.example_id in before]
    counts = {
        "right before and after": sum(new.exact and old.exact for new, old in pairs),
        "learned: wrong before, right now": sum(new.exact and not old.exact for new, old in pairs),
        "lost: right before, wrong now": sum(old.exact and not new.exact for new, old in pairs),
        "wrong before and after": sum(not old.exact and not new.exact for new, old in pairs),
    }
    rows = [
        f"<tr><td>{name}</td><td>{bar(count / max(1, len(pairs)), label=str(count))}</td></tr>"
        for name, count in counts.items()
    ]
    f1 = f"{report.base.f1:.2f} → {report.tuned.f1:.2f}"
    rows.append(f"<tr><td>token F1, base model and tuned</td><td>{f1}</td></tr>")
    asked, of = len(report.tuned.answers), report.tuned.of
    told = f"{asked} of the split's {of:,} examples were asked, chosen by hash. " if asked < of else ""
    note = (
        f"{told}An answer is exact when it equals the expected one, letter case, spacing and final punctuation aside."
    )
    return f'<h2>Before and after tuning</h2>{table("", rows)}<p class="quiet">{note}</p>'


def _slices(report: Report) -> str:
    if not report.tuned or not (slices := report.tuned.slices()):
        return ""
    before = report.base.slices() if report.base else {}
    rows = []
    for name, values in slices.items():
        for number, (value, answers) in enumerate(values.items()):
            old = before.get(name, {}).get(value, [])
            head = escape(name) if number == 0 else ""
            base = bar(share_exact(old), "theirs") if old else "–"
            rows.append(
                f'<tr><td>{head}</td><td>{escape(value)}</td><td class="number">{len(answers)}</td><td>{base}</td>'
                f"<td>{bar(share_exact(answers))}</td>"
                f'<td class="number">{mean_f1(answers):.2f}</td></tr>'
            )
    heading = '<th>slice</th><th>value</th><th class="number">examples</th><th>base model</th><th>tuned</th>'
    listed = table(heading + '<th class="number">token F1</th>', rows)
    told = "From the annotations' own fields and the pictures' brightness."
    return f'<h2>Slices</h2>{listed}<p class="quiet">{told}</p>'


def _examples(report: Report) -> str:
    if not report.tuned:
        return ""
    shown = worst(report.tuned.answers)
    if not shown:
        return '<h2>Wrong answers</h2><p class="quiet">There are none.</p>'
    before = {answer.example_id: answer for answer in report.base.answers} if report.base else {}
    cards = "".join(_example(answer, before.get(answer.example_id), report.thumbs) for answer in shown)
    total = sum(not answer.exact for answer in report.tuned.answers)
    which = f"The {len(shown)} furthest from right of {total}." if total > len(shown) else f"All {total}."
    return f'<h2>Wrong answers</h2><p class="quiet">{which}</p><div class="examples">{cards}</div>'


def _example(answer: Answer, before: Answer | None, thumbs: Mapping[str, bytes]) -> str:
    image = picture(thumbs.get(answer.images[0]) if answer.images else None)
    said = escape(answer.error or answer.actual or "(nothing)")
    base = ""
    if before:
        css = "right" if before.exact else "quiet"
        base = f'<dt>base</dt><dd class="{css}">{escape(before.error or before.actual or "(nothing)")}</dd>'
    return (
        f'<div class="card example">{image}<p>{escape(answer.question)}</p><dl>'
        f'<dt>expected</dt><dd>{escape(answer.expected)}</dd><dt>tuned</dt><dd class="wrong">{said}</dd>{base}'
        f"<dt>example</dt><dd><code>{escape(answer.example_id)}</code></dd></dl></div>"
    )


def _cost(report: Report) -> str:
    estimate, trained = report.run.estimate, report.run.trained_tokens
    if not estimate:
        return ""
    tokens, usd = estimate["tokens"], estimate["usd"]
    rows = [
        ("estimated training tokens", f"{tokens['mid']:,} ({tokens['low']:,} to {tokens['high']:,})"),
        ("trained tokens, as the provider counts them", "not told" if trained is None else f"{trained:,}"),
    ]
    if usd:
        cost = f"${usd['mid']:,.2f} (${usd['low']:,.2f} to ${usd['high']:,.2f})"
        rows.append(("estimated cost, evaluation included", cost))
    if trained is not None:
        if report.spec.prices:
            spent = trained * report.spec.prices.train / 1_000_000
            rows.insert(2, ("training cost at these tokens", f"${spent:,.2f}"))
        inside = tokens["low"] <= trained <= tokens["high"]
        off = trained / tokens["mid"] - 1 if tokens["mid"] else 0.0
        where = "inside" if inside else "outside"
        rows.insert(2, ("estimate against provider", f"{off:+.1%} off the middle, {where} the band"))
    notes = "".join(f"<li>{escape(note)}</li>" for note in estimate.get("notes", ()))
    listed = table("", [f'<tr><td>{name}</td><td class="number">{value}</td></tr>' for name, value in rows])
    told = f"Prices of {escape(str(estimate['price_date']))}." if usd else "The provider publishes no prices."
    dated = f'<p class="quiet">{told}</p>'
    return f"<h2>Cost</h2>{listed}{dated}" + (f"<ul>{notes}</ul>" if notes else "")


def _usage(report: Report) -> str:
    model, settings = report.model, report.manifest.settings
    prompt = json.dumps(settings.prompt or "your question", ensure_ascii=False)
    system = (
        [f'    {{"role": "system", "content": {json.dumps(settings.system, ensure_ascii=False)}}},']
        if settings.system
        else []
    )
    lines = [
        "from openai import OpenAI  # with the provider's base_url and key",
        "",
        "answer = OpenAI().chat.completions.create(",
        f"    model={json.dumps(model.model_id)}, temperature=0,",
        "    messages=[",
        *(f"    {line}" for line in system),
        '        {"role": "user", "content": [',
        f'            {{"type": "image_url", "image_url": {{"url": data_url, "detail": "{settings.detail}"}}}},',
        f'            {{"type": "text", "text": {prompt}}},',
        "        ]},",
        "    ],",
        ")",
    ]
    told = (
        f"Ask for the alias rather than the model id, so that a promotion reaches you: "
        f"<code>{escape(str((report.run.promotion or {}).get('alias', 'champion')))}</code> of dataset "
        f"<code>{escape(model.dataset)}</code>. Prepare pictures as in training: recipe "
        f"<code>{escape(model.recipe)}</code>."
    )
    retires = f"<p>It answers until {escape(model.retires_on)}.</p>" if model.retires_on else ""
    code = escape("\n".join(lines))
    return f'<h2>Using the model</h2><p>{told}</p>{retires}<div class="card"><pre>{code}</pre></div>'


def _lineage(report: Report) -> str:
    run, model, manifest = report.run, report.model, report.manifest
    asked = run.settings.hyperparameters
    chosen = {
        "epochs": asked.n_epochs,
        "batch size": asked.batch_size,
        "learning rate": asked.learning_rate_multiplier,
    }
    pairs = [
        ("dataset version", f"{manifest.dataset} {manifest.version}, digest {manifest.digest}"),
        ("manifest", manifest.key),
        *((f"{purpose} file", file_id) for purpose, file_id in sorted(run.files.items())),
        ("hyperparameters", ", ".join(f"{name} {value or 'auto'}" for name, value in chosen.items())),
        ("seed", str(run.settings.seed) if run.settings.seed is not None else "the provider's"),
        ("training", run.training_id or "–"),
        ("provider job", f"{run.provider_job_id or '–'} at {model.provider}"),
        ("base model", model.base_model),
        ("model", model.model_id),
        ("image recipe", model.recipe),
        ("evaluation", model.evaluation_key or "–"),
        ("run", f"{run.run_id}, attempt {run.attempt}, requested {when(run.requested_at)} by {run.door}"),
    ]
    rows = [f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in pairs]
    return f"<h2>Where it comes from</h2>{table('', rows)}"


def _footer(report: Report) -> str:
    skipped = report.spec.content_skips
    told = f" The provider may have left out images that show {', '.join(skipped)}." if skipped else ""
    return f"<footer>Written by pixtune when the run ended; nothing on this page changes afterwards.{told}</footer>"
