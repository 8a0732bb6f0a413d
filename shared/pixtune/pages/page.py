"""Self-contained HTML pages: a title and a body in, one file that loads nothing from anywhere out; and their parts.

Whoever fills in a part escapes what people or models wrote, unless the part says that it does.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template


def page(title: str, sections: Sequence[str]) -> str:
    """The whole page; `title` is escaped here, and empty sections are left out."""
    template = Template(files("pixtune.pages").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body="\n".join(filter(None, sections)))


def tile(name: str, value: str, note: str) -> str:
    """One figure with its name above and a note below; all three are escaped here."""
    told = f'<span class="name">{escape(name)}</span><b>{escape(value)}</b><span>{escape(note)}</span>'
    return f'<div class="card tile">{told}</div>'


def table(heading: str, rows: Sequence[str]) -> str:
    """heading: `<th>` cells, or nothing for a table without a head. rows: whole `<tr>` elements."""
    head = f"<thead><tr>{heading}</tr></thead>" if heading else ""
    return f'<div class="card scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def bar(share: float, css: str = "ours", label: str | None = None) -> str:
    """A share of 0 to 1 as a bar with its percentage, or another label (escaped here), beside it."""
    width = 100 * max(0.0, min(1.0, share))
    drawn = f'<span class="bar"><span class="fill {css}" style="width:{width:.1f}%"></span></span>'
    return f'<span class="share">{drawn}{f"{share:.0%}" if label is None else escape(label)}</span>'


def picture(thumb: bytes | None) -> str:
    """A JPEG inside the page, or words in its place."""
    if not thumb:
        return '<div class="no-picture">no picture</div>'
    return f'<img alt="" src="data:image/jpeg;base64,{b64encode(thumb).decode()}">'


def when(at: float) -> str:
    """Unix seconds as people read them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
