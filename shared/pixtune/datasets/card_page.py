"""The dataset card for people: the card and thumbnails in, one self-contained HTML page out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pixtune.compliance.attribution import CREDITS
from pixtune.datasets.card import Card, LeftOut, Shown
from pixtune.datasets.card_judgement import at_publication
from pixtune.datasets.quality import MEMBERS, Balance, Groups, Lengths, Member
from pixtune.examples.annotation import SPLITS
from pixtune.pages.page import bar, page, picture, table, tile, when
from pixtune.verdicts import MEANINGS, Code

_LISTED = 1000  # rejected uploads on the page; card.json has them all
_GROUPS, _MEMBERS = 6, 4  # groups with pictures, and pictures of each
_LEFT_OUT = 24
_CREDITS = 50
_TEXT = 160  # characters of a question or an answer

_ALL_THE_SAME = "A warning rejects nothing by itself; the dataset's reject setting may leave such examples out."
METADATA_NAMES = {
    "gps": "where it was taken (GPS)",
    "exif": "camera data (EXIF)",
    "maker_note": "the camera maker's notes",
    "thumbnail": "an embedded thumbnail",
    "xmp": "XMP",
    "iptc": "IPTC",
    "comment": "a comment",
    "icc": "a colour profile",
}
_COLOURS = {"accepted": "good", "fixed": "ours", "rejected": "bad"}
_CONTRADICTIONS = (
    "The same question about pictures that look alike, answered differently: one of them is likely wrong."
)
_DUPLICATES = "The same picture came under several names."
_NEAR = "These pictures differ in at most 4 of 64 bits of their fingerprints; each group stays within one split."

Thumbs = Mapping[str, bytes]


def pictures_of(card: Card) -> list[str]:
    """SHA-256 of the images whose thumbnails the page shows, each once: 100 or so."""
    quality = card.quality
    found = [one.sha256 for one in card.sample] + [one.sha256 for one in card.left_out[:_LEFT_OUT]]
    for groups in (quality.contradictions, quality.duplicates, quality.near):
        found += [one.sha256 for group in groups.shown[:_GROUPS] for one in group[:_MEMBERS]]
    return list(dict.fromkeys(found))


def render(card: Card, thumbs: Thumbs) -> str:
    """The page. thumbs: JPEG bytes by an image's SHA-256. Whatever people wrote is escaped."""
    return page(
        f"{card.dataset}, version {card.version}",
        [
            _headline(card),
            _verdicts(card),
            _rejected(card),
            _left_out(card, thumbs),
            at_publication(card.compliance),
            _groups("Contradictions", _CONTRADICTIONS, card.quality.contradictions, thumbs),
            _sample(card, thumbs),
            _balance(card.quality.balance),
            _splits(card),
            _groups("Duplicates", _DUPLICATES, card.quality.duplicates, thumbs),
            _groups("Look-alikes", _NEAR, card.quality.near, thumbs),
            _warned(card),
            _attribution(card),
            _stripped(card),
            _notes(card),
            f"<footer>Written by pixtune when version {card.version} was first cut, and again, with what compliance "
            "found, when it is judged for a training. The JSON of the same name beside it says the same to programs."
            "</footer>",
        ],
    )


def _headline(card: Card) -> str:
    total = sum(card.counts.values())
    arrived = sum(card.uploads.values())
    tiles = [tile("Examples", f"{total:,}", ", ".join(f"{card.counts[name]:,} {name}" for name in SPLITS))]
    used = card.uploads["accepted"] + card.uploads["fixed"]
    tiles.append(tile("Uploads used", f"{used:,}", f"of {arrived:,}: {card.uploads['fixed']:,} after a repair"))
    tiles.append(tile("Uploads rejected", f"{card.uploads['rejected']:,}", "each is listed below, with its reason"))
    if card.tokens:
        seen = sum(card.tokens.splits.values())
        tiles.append(tile("Tokens, seen once", f"{seen:,}", f"about, as {card.tokens.base_model} counts"))
    aside = ", ".join(f"{name} {card.examples[name]:,}" for name in ("waiting", "held") if card.examples[name])
    left = f" Examples that are not in it: {aside}." if aside else ""
    return (
        f'<p class="eyebrow">{when(card.created_at)} · dataset card</p>'
        f"<h1>{escape(card.dataset)}, version {card.version}</h1>"
        f"<p>Pictures prepared by recipe <code>{escape(card.recipe)}</code>; content "
        f"<code>{escape(card.digest[:16])}</code>.{left}</p>"
        f'<div class="tiles">{"".join(tiles)}</div>'
    )


def _verdicts(card: Card) -> str:
    arrived = max(1, sum(card.uploads.values()))
    rows = [
        f"<tr><td>{name}</td><td>{bar(count / arrived, _COLOURS[name], f'{count:,}')}</td></tr>"
        for name, count in card.uploads.items()
    ]
    for counts, kind in ((card.reasons, "reason"), (card.warnings, "warning")):
        rows += [
            f'<tr><td>{kind} <code>{escape(code)}</code><br><span class="quiet">{escape(MEANINGS[Code(code)])}</span>'
            f"</td><td>{bar(count / arrived, 'theirs', f'{count:,}')}</td></tr>"
            for code, count in counts.items()
        ]
    return f"<h2>Verdicts</h2>{table('<th>uploads</th><th>how many</th>', rows)}"


def _rejected(card: Card) -> str:
    if not card.rejected:
        return '<h2>Rejected</h2><p class="quiet">Nothing was.</p>'
    rows = [
        f"<tr><td><code>{escape(one.key)}</code></td><td><code class=wrong>{escape(one.code)}</code>"
        f"<br>{escape(one.detail)}</td><td>{escape(one.fix)}</td></tr>"
        for one in card.rejected[:_LISTED]
    ]
    told = "What cannot be decoded has no picture; its name and reason stand for it."
    if len(card.rejected) > _LISTED:
        told = f"The first {_LISTED:,} of {len(card.rejected):,}; card.json lists them all. {told}"
    heads = "<th>upload</th><th>why</th><th>what to do</th>"
    return f'<h2>Rejected</h2>{table(heads, rows)}<p class="quiet">{told}</p>'


def _left_out(card: Card, thumbs: Thumbs) -> str:
    if not card.left_out:
        return ""
    cards = "".join(_left(one, thumbs) for one in card.left_out[:_LEFT_OUT])
    told = "These examples are complete; the dataset's <code>reject</code> setting keeps them out of its versions."
    return f'<h2>Left out by policy</h2><p class="quiet">{_of(card.left_out, _LEFT_OUT)}{told}</p>{_grid(cards)}'


def _left(one: LeftOut, thumbs: Thumbs) -> str:
    return _figure(thumbs.get(one.sha256), "", [("why", ", ".join(one.codes), "wrong"), ("upload", one.upload, "")])


def _sample(card: Card, thumbs: Thumbs) -> str:
    cards = "".join(_shown(one, thumbs) for one in card.sample)
    total = sum(card.counts.values())
    told = f"{len(card.sample)} of {total:,}, chosen by hash." if len(card.sample) < total else "All of them."
    return f'<h2>Examples</h2><p class="quiet">{told}</p>{_grid(cards)}'


def _shown(one: Shown, thumbs: Thumbs) -> str:
    return _figure(
        thumbs.get(one.sha256),
        one.question,
        [("answer", one.answer or "(none)", "right"), ("split", one.split, ""), ("upload", one.upload, "")],
    )


def _groups(heading: str, told: str, found: Groups, thumbs: Thumbs) -> str:
    if not found.groups:
        return ""
    shown = "".join(
        f'<p class="quiet">{len(group)} examples{" or more" if len(group) == MEMBERS else ""}</p>'
        f"{_grid(''.join(_member(one, thumbs) for one in group[:_MEMBERS]))}"
        for group in found.shown[:_GROUPS]
    )
    count = f"{found.groups:,} groups, {found.examples:,} examples. " if found.groups > 1 else ""
    most = f" The largest {_GROUPS} are shown." if found.groups > _GROUPS else ""
    return f'<h2>{heading}</h2><p class="quiet">{count}{told}{most}</p>{shown}'


def _member(one: Member, thumbs: Thumbs) -> str:
    pairs = [("answer", one.answer, ""), ("split", one.split, ""), ("upload", one.upload, "")]
    return _figure(thumbs.get(one.sha256), "", pairs)


def _balance(found: Sequence[Balance]) -> str:
    parts = []
    for balance in found:
        most = max((sum(counts.values()) for counts in balance.answers.values()), default=1)
        rows = [
            f"<tr><td>{escape(_cut(answer) or '(none)')}</td>"
            f"<td>{bar(sum(counts.values()) / most, label=f'{sum(counts.values()):,}')}</td>"
            + "".join(f'<td class="number">{counts[name]:,}</td>' for name in SPLITS)
            + "</tr>"
            for answer, counts in balance.answers.items()
        ]
        heads = "<th>answer</th><th>how many</th>" + "".join(f'<th class="number">{name}</th>' for name in SPLITS)
        rest = balance.distinct - len(balance.answers)
        more = f" {rest:,} more answers are not shown." if rest else ""
        even = f"Evenness {balance.evenness:.2f} (1: all equally frequent).{more}"
        asked = escape(_cut(balance.question) or "(no question: the provider sees the picture alone)")
        parts.append(f'<p>{asked}</p>{table(heads, rows)}<p class="quiet">{even}</p>')
    return f"<h2>Balance of answers</h2>{''.join(parts)}"


def _splits(card: Card) -> str:
    heads = "".join(f'<th class="number">{name}</th>' for name in SPLITS)
    facts = card.quality.splits

    def row(name: str, values: Iterable[object]) -> str:
        cells = "".join(f'<td class="number">{"–" if value is None else value}</td>' for value in values)
        return f"<tr><td>{name}</td>{cells}</tr>"

    rows = [
        row("examples", (f"{facts[name].examples:,}" for name in SPLITS)),
        row("distinct pictures", (f"{facts[name].pictures:,}" for name in SPLITS)),
        row("characters of a question", (_range(facts[name].questions) for name in SPLITS)),
        row("characters of an answer", (_range(facts[name].answers) for name in SPLITS)),
        row("brightness, median (0 to 1)", (facts[name].brightness for name in SPLITS)),
        row("sharpness, median", (facts[name].sharpness for name in SPLITS)),
    ]
    if card.tokens:
        rows.append(row("tokens, seen once", (f"{card.tokens.splits[name]:,}" for name in SPLITS)))
    told = "Lengths are shortest, median and longest."
    return f'<h2>Splits</h2>{table(f"<th></th>{heads}", rows)}<p class="quiet">{told}</p>'


def _range(found: Lengths) -> str:
    return f"{found.low:,} · {found.middle:,} · {found.high:,}"


def _warned(card: Card) -> str:
    if not card.warned:
        return ""
    rows = [
        f"<tr><td><code>{escape(one.key)}</code></td>"
        f"<td><code>{escape(one.code)}</code><br>{escape(one.detail)}</td></tr>"
        for one in card.warned
    ]
    total = sum(card.warnings.values())
    told = f"The first {len(card.warned):,} of {total:,}. " if len(card.warned) < total else ""
    heads = "<th>upload</th><th>why</th>"
    return f'<h2>Warnings</h2>{table(heads, rows)}<p class="quiet">{told}{_ALL_THE_SAME}</p>'


def _stripped(card: Card) -> str:
    if not card.metadata:
        return ""
    rows = [
        f'<tr><td>{METADATA_NAMES[name]}</td><td class="number">{count:,}</td></tr>'
        for name, count in card.metadata.items()
    ]
    heads = '<th>found in uploads and left out of the pictures</th><th class="number">pictures</th>'
    told = "Converted pictures carry none of it; the uploads themselves are as they were dropped."
    return f'<h2>Metadata</h2>{table(heads, rows)}<p class="quiet">{told}</p>'


def _attribution(card: Card) -> str:
    if not card.attribution:
        return ""
    rows = [
        "<tr>"
        + "".join(f"<td>{escape(_cut(str(credit[name]))) or '–'}</td>" for name in CREDITS)
        + f'<td class="number">{credit["examples"]:,}</td></tr>'
        for credit in sorted(card.attribution, key=lambda credit: -int(credit["examples"]))[:_CREDITS]
    ]
    heads = "".join(f"<th>{name}</th>" for name in CREDITS) + '<th class="number">examples</th>'
    return f'<h2>Attribution</h2>{table(heads, rows)}<p class="quiet">{_of(card.attribution, _CREDITS)}</p>'


def _notes(card: Card) -> str:
    notes = (*card.notes, *card.quality.notes)
    rows = [
        f"<tr><td class=share><code>{escape(note['code'])}</code></td><td>{escape(note['detail'])}</td></tr>"
        for note in notes
    ]
    return f"<h2>Notes</h2>{table('', rows)}" if rows else ""


def _grid(cards: str) -> str:
    return f'<div class="examples">{cards}</div>'


def _figure(thumb: bytes | None, question: str, pairs: Sequence[tuple[str, str, str]]) -> str:
    """A picture with what is said about it: name, value and CSS class of the value."""
    asked = f"<p>{escape(_cut(question))}</p>" if question else ""
    told = "".join(f'<dt>{name}</dt><dd class="{css}">{escape(_cut(value))}</dd>' for name, value, css in pairs)
    return f'<div class="card example">{picture(thumb)}{asked}<dl>{told}</dl></div>'


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _of(every: Sequence[object], shown: int) -> str:
    return f"The first {shown} of {len(every):,}. " if len(every) > shown else ""
