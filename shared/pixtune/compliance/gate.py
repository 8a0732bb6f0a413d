"""A dataset version in; its compliance report, stored beside it once, out. Whoever is outside is asked through ports.

Answers are remembered under the hash of what was asked about: an evaluation that was cut short goes on where it
stopped, and the next version asks only about what is new in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixtune.compliance.checks import Content, Skips, of_rows_alone, text_key, texts_of
from pixtune.compliance.policy import Level
from pixtune.compliance.ports import Memory, Moderation, Moderator, SkipPredictor
from pixtune.compliance.report import Check, Report, examine, summarise
from pixtune.datasets.version import Manifest
from pixtune.errors import ComplianceFailed
from pixtune.examples.facts import ImageData
from pixtune.examples.ports import Each, one_by_one
from pixtune.examples.rows import Row, canonical

_SHOWN = 20
_JSON = "application/json"
_DEPLOY = {
    "content": "Train at a provider with a moderation endpoint",
    "skips": "Deploy with the parameter SkipPredictor=rekognition",
}


@dataclass(frozen=True, slots=True)
class Judges:
    """Who outside can be asked. leaves_out: what the provider leaves out of trainings (its `content_skips`)."""

    moderator: Moderator | None = None
    predictor: SkipPredictor | None = None
    leaves_out: tuple[str, ...] = ()
    each: Each = one_by_one


def judge(manifest: Manifest, rows: Sequence[Row], memory: Memory, judges: Judges) -> Report:
    """The stored report of this version by these judges, or a new one, stored.

    Whether the policy lets it pass, `refuse` says. Raises ComplianceFailed when the policy demands a check that
    nobody here can make; ProviderUnavailable and ProviderRefused when the moderator does.
    """
    policy = manifest.settings.compliance
    asked = _asked(manifest, judges)
    unasked = [check for check in _DEPLOY if policy.level(check) is not Level.OFF and check not in asked]
    for check in unasked:
        if policy.level(check) is Level.REFUSE:
            raise ComplianceFailed(
                f"The policy of {manifest.dataset} demands the check {check!r}, which nobody here can make.",
                f"{_DEPLOY[check]}, or set {check} to warn or off under [compliance] in dataset.toml.",
            )
    key = report_key(manifest, asked)
    stored = memory.get(key)
    if stored is None:
        notes = [f"The check {check!r} was not made. {_DEPLOY[check]}." for check in unasked]
        if judges.predictor and "skips" in asked:
            blind = [what for what in judges.leaves_out if what not in judges.predictor.sees]
            notes += [f"{judges.predictor.name} does not look for {', '.join(blind)}."] if blind else []
        checks = _checks(manifest, rows, memory, judges, asked)
        findings = examine(rows, checks)
        summary = summarise(len(rows), (check.name for check in checks), findings, policy)
        new = Report(manifest.dataset, manifest.version, policy, asked, summary, findings, tuple(notes))
        body = canonical(new.to_json()).encode()
        stored = body if memory.put_once(key, body, _JSON) else memory.get(key) or body  # the first one stands
    return Report.from_json(json.loads(stored))


def report_key(manifest: Manifest, asked: Mapping[str, str]) -> str:
    """`compliance.json` beside the manifest; a report that others had a say in is named by them."""
    return f"{manifest.folder}/{'-'.join(['compliance', *asked.values()])}.json"


def _asked(manifest: Manifest, judges: Judges) -> dict[str, str]:
    """Check -> who will be asked about it."""
    policy = manifest.settings.compliance
    asked: dict[str, str] = {}
    if policy.content is not Level.OFF and judges.moderator:
        asked["content"] = judges.moderator.moderation_model
    if policy.skips is not Level.OFF and judges.predictor:
        asked["skips"] = judges.predictor.name
    return asked


def _checks(
    manifest: Manifest, rows: Sequence[Row], memory: Memory, judges: Judges, asked: Mapping[str, str]
) -> list[Check]:
    checks: list[Check] = [*of_rows_alone(manifest.settings.compliance)]
    if "content" in asked and judges.moderator:
        checks.append(Content(_moderated(rows, judges.moderator, memory, judges.each)))
    if "skips" in asked and judges.predictor:
        checks.append(Skips(_predicted(rows, judges.predictor, memory, judges), judges.leaves_out))
    return checks


def _moderated(rows: Sequence[Row], moderator: Moderator, memory: Memory, each: Each) -> dict[str, Moderation]:
    """Every distinct text and image of the rows, by its hash."""
    texts = {text_key(text): text for row in rows if row.annotation for text in texts_of(row.annotation).values()}
    images = _images(rows)

    def ask(key: str) -> dict[str, Any]:
        if key in texts:
            return moderator.moderate_text(texts[key]).to_json()
        image = images[key]
        body = memory.get(image.key)
        if body is None:
            raise LookupError(f"{image.key} is not in the artifacts bucket, but a dataset version names it.")
        return moderator.moderate_image(body, image.format).to_json()

    folder = f"moderation/{moderator.moderation_model}"
    answers = _remembered([*texts, *images], folder, ask, memory, each)
    return {key: Moderation.from_json(answer) for key, answer in answers.items()}


def _predicted(
    rows: Sequence[Row], predictor: SkipPredictor, memory: Memory, judges: Judges
) -> dict[str, tuple[str, ...]]:
    """What each distinct image shows; nobody is asked when the provider leaves nothing out."""
    images = _images(rows) if judges.leaves_out else {}

    def ask(key: str) -> dict[str, Any]:
        return {"shows": list(predictor.predict(images[key]))}

    answers = _remembered(images, f"skips/{predictor.name}", ask, memory, judges.each)
    return {key: tuple(answer["shows"]) for key, answer in answers.items()}


def _images(rows: Sequence[Row]) -> dict[str, ImageData]:
    return {shown.image.sha256: shown.image for row in rows for shown in row.images}


def _remembered(
    keys: Iterable[str], folder: str, ask: Callable[[str], dict[str, Any]], memory: Memory, each: Each
) -> dict[str, dict[str, Any]]:
    """The answer for each key, asked where it is not remembered. Raises the first failure, after all were tried."""

    def one(key: str) -> dict[str, Any] | Exception:
        try:
            kept = memory.get(f"{folder}/{key}.json")
            if kept is not None:
                remembered: dict[str, Any] = json.loads(kept)
                return remembered
            answer = ask(key)
            memory.put_once(f"{folder}/{key}.json", canonical(answer).encode(), _JSON)
        except Exception as error:  # noqa: BLE001  raised below: what the others answered is remembered first
            return error
        return answer

    wanted = list(keys)
    answers: dict[str, dict[str, Any]] = {}
    for key, answer in zip(wanted, each(one, wanted), strict=True):
        if isinstance(answer, Exception):
            raise answer
        answers[key] = answer
    return answers


def refuse(report: Report) -> None:
    """Raises ComplianceFailed when the policy refuses a finding, naming up to 20 examples."""
    refused = report.refused()
    if not refused:
        return
    counts = ", ".join(f"{check} ({n['refused']} examples)" for check, n in report.summary.items() if n["refused"])
    listed = "\n".join(f"- {example_id}: {finding}" for example_id, finding in refused[:_SHOWN])
    more = f"\n... and {len(refused) - _SHOWN} more." if len(refused) > _SHOWN else ""
    raise ComplianceFailed(
        f"Version {report.version} of {report.dataset} fails its compliance policy: {counts}.\n{listed}{more}\n",
        "Mend or delete these examples, or change [compliance] in dataset.toml, and request the training again.",
    )
