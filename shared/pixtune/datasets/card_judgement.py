"""What a card says of compliance: a version's counts or its report in, one section of the page out. Pure.

The section stands between two marks, so that the page of a version that was judged is the page it was published with,
and this section written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pixtune.compliance.listing import findings_page
from pixtune.compliance.report import Report
from pixtune.pages.page import table

_BEGIN, _END = "<!-- compliance -->", "<!-- end of compliance -->"
MARK = _BEGIN.encode()  # in the bytes of every page with such a section
_LISTED = 200  # findings on the page; the report has them all
_CSS = {"refuse": " class=wrong", "warn": "", "off": ""}
_TOLD = {"passed": "passed", "warned": "warned of", "refused": "refused"}

Counts = Mapping[str, Mapping[str, int]]


def at_publication(counts: Counts) -> str:
    """The section of a version that no training has been asked for yet: what its rows alone say."""
    told = "What others are asked about (moderation, predicted skips) is added when a training is asked for."
    return _marked(_counted(counts, {}, told) if counts else "")


def with_report(page: str, report: Report, on: str) -> str:
    """The page with the section as this report says it. on: the day it was judged, for people."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError("The page is no dataset card: it has no section for compliance.")
    return before + _marked(_judged(report, on)) + after


def _marked(section: str) -> str:
    return f"{_BEGIN}{section}{_END}"


def _judged(report: Report, on: str) -> str:
    refused = sum(counts["refused"] for counts in report.summary.values())
    word = '<span class="wrong">refused</span>' if refused else "passed"
    told = f"Judged on {escape(on)}; the policy: {word}." + "".join(f" {escape(note)}" for note in report.notes)
    return _counted(report.summary, report.asked, told) + _findings(report)


def _counted(counts: Counts, asked: Mapping[str, str], told: str) -> str:
    heads = "<th>check</th>" + "".join(f'<th class="number">{name}</th>' for name in _TOLD.values())

    def cell(name: str, count: int) -> str:
        return f'<td class="number{" wrong" if name == "refused" and count else ""}">{count:,}</td>'

    rows = [
        f"<tr><td>{escape(check)}{_by(asked.get(check))}</td>"
        f"{''.join(cell(name, found.get(name, 0)) for name in _TOLD)}</tr>"
        for check, found in counts.items()
    ]
    return f'<h2>Compliance</h2>{table(heads, rows)}<p class="quiet">Examples by check. {told}</p>'


def _by(who: str | None) -> str:
    return f' <span class="quiet">by {escape(who)}</span>' if who else ""


def _findings(report: Report) -> str:
    every, _ = findings_page(report, _LISTED, 0)
    if not every:
        return ""
    total = sum(map(len, report.findings.values()))
    rows = [
        f"<tr><td><code>{escape(one['example_id'])}</code></td><td><code{_CSS[one['level']]}>{escape(one['check'])}, "
        f"{escape(one['code'])}</code></td><td>{escape(one['where'])}: {escape(one['detail'])}</td></tr>"
        for one in every
    ]
    more = f"The first {_LISTED:,} of {total:,} findings; the report beside this card has them all."
    heads = "<th>example</th><th>check</th><th>what it found</th>"
    return table(heads, rows) + (f'<p class="quiet">{more}</p>' if total > _LISTED else "")
