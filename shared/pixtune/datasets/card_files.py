"""The files of a dataset card: a version's rows and its dataset's uploads in, `card.json` and `card.html` stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Protocol

from pixtune.compliance.checks import of_rows_alone
from pixtune.compliance.gate import report_key
from pixtune.compliance.report import Report, examine, summarise
from pixtune.datasets.card import LeftOut, card_of
from pixtune.datasets.card_judgement import MARK, with_report
from pixtune.datasets.card_page import pictures_of, render
from pixtune.datasets.version import Manifest
from pixtune.examples.items import State
from pixtune.examples.ports import Each
from pixtune.examples.rows import Row
from pixtune.examples.survey import Judged
from pixtune.providers.limits import ProviderSpec


class CardStore(Protocol):
    """The artifacts bucket: thumbnails are read, cards written once."""

    def put_once(self, key: str, body: bytes, content_type: str) -> bool: ...
    def get(self, key: str) -> bytes | None: ...


def store_card(
    manifest: Manifest,
    rows: Sequence[Row],
    left_out: Sequence[LeftOut],
    states: Iterable[State],
    uploads: Iterable[Judged],
    spec: ProviderSpec | None,
    store: CardStore,
    each: Each,
) -> None:
    """As `card_of`; the page comes last, so that where it is, the card is whole."""
    policy = manifest.settings.compliance
    checks = of_rows_alone(policy)  # what others are asked about is known only when a training is
    counts = summarise(len(rows), [check.name for check in checks], examine(rows, checks), policy)
    card = card_of(manifest, rows, left_out, states, uploads, spec, counts)
    body = json.dumps(card.to_json(), sort_keys=True).encode()
    store.put_once(f"{manifest.folder}/card.json", body, "application/json")
    pictures = pictures_of(card)
    thumbs = each(lambda sha256: store.get(f"thumbs/{sha256}.jpg") or b"", pictures)
    page = render(card, dict(zip(pictures, thumbs, strict=True))).encode("utf-8", "replace")
    store.put_once(manifest.card_key, page, "text/html; charset=utf-8")


def store_judged_card(manifest: Manifest, report: Report, store: CardStore, today: date) -> str | None:
    """The version's card as its compliance report makes it, stored once beside it; the page's key.

    A version may be judged by several: each report has its card. None for a version from before there were cards.
    """
    page, data = store.get(manifest.card_key), store.get(f"{manifest.folder}/card.json")
    if page is None or data is None or MARK not in page:
        return None
    name = f"{manifest.folder}/card-judged" + report_key(manifest, report.asked).partition("/compliance")[2][:-5]
    told = {"compliance": report.summary, "asked": report.asked, "compliance_notes": report.notes}
    body = json.dumps(json.loads(data) | told, sort_keys=True).encode()
    store.put_once(f"{name}.json", body, "application/json")
    judged = with_report(page.decode(), report, today.isoformat())
    store.put_once(f"{name}.html", judged.encode(), "text/html; charset=utf-8")
    return f"{name}.html"
