"""The files of a dataset card: a version's rows and its dataset's uploads in, `card.json` and `card.html` stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from pixtune.compliance.checks import of_rows_alone
from pixtune.compliance.report import examine, summarise
from pixtune.datasets.card import LeftOut, card_of
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
