"""The HTML of a report: a few elements, one style sheet, and no reference to anything outside the file."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mixfast._text.names import named
from mixfast._text.visible import visible
from mixfast.errors import BackendError
from mixfast.report import _axes as draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Tables show at most this many lines, so that the file stays small; the last line says how many more there are.
MOST_LINES = 200
_LONGEST = 100
_ENDLESS = re.compile(rf"\S{{{_LONGEST + 1},}}")

_CSS = """
:root { --ink: #1a1a1a; --soft: #5c5c5c; --line: #dcdcdc; --blue: #00507d; --tint: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "Noto Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); font-weight: 650; }
h2 a { color: inherit; text-decoration: none; }
h3 { font-size: 14px; margin: 18px 0 4px; font-weight: 650; }
p { margin: 6px 0; max-width: 80ch; }
.soft, figcaption, caption { color: var(--soft); font-size: 13px; }
nav { margin: 14px 0 4px; font-size: 13px; }
nav a { color: var(--blue); margin-right: 14px; white-space: nowrap; }
figure { margin: 14px 0 10px; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { max-width: 90ch; margin-top: 4px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 10px; margin: 18px 0 8px; padding: 0; }
.facts > div { background: var(--tint); border: 1px solid var(--line); border-radius: 4px; padding: 8px 12px; }
.facts dt { font-size: 12px; color: var(--soft); }
.facts dd { margin: 0; font-size: 18px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts .sub { display: block; font-size: 12px; font-weight: 400; color: var(--soft); }
.doubt dd::before { content: "! "; }
.doubt { border-left: 4px solid var(--ink) !important; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 4px 36px; }
.pair > div { min-width: 0; }
ul.warnings { list-style: none; margin: 8px 0; padding: 0; }
ul.warnings li { border-left: 4px solid #b35900; background: #fdf6ee; padding: 4px 12px; margin: 5px 0; overflow-wrap: anywhere; }
ul.warnings li::before { content: "! "; font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 6px 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 4px; }
th, td, dd, li, code, figcaption { unicode-bidi: isolate; }
th, td { padding: 2px 12px 2px 0; text-align: right; border-bottom: 1px solid #ececec; vertical-align: top; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 15em; max-width: 34em; }
td.text, th.text { text-align: left; overflow-wrap: anywhere; min-width: 6em; }
th { font-weight: 600; border-bottom: 1px solid #9a9a9a; vertical-align: bottom; }
tr.rest td { font-style: italic; }
details { margin: 6px 0; }
summary { cursor: pointer; color: var(--blue); font-size: 13px; }
code, pre { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre, code { overflow-wrap: anywhere; white-space: pre-wrap; }
@media print {
  body { font-size: 11pt; } main { max-width: none; padding: 0; } nav { display: none; }
  h2 { break-after: avoid; } figure, .facts > div, tr { break-inside: avoid; } .scroll { overflow: visible; }
  th:first-child, td:first-child { min-width: 9em; }
  summary { display: none; } details::details-content { content-visibility: visible; display: block; }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: where links lead to, its title, and its HTML."""

    anchor: str
    title: str
    body: str


@dataclass(frozen=True)
class Missing:
    """A part that the page lacks: why, and how to get it."""

    anchor: str
    title: str
    why: str


@dataclass(frozen=True)
class Why:
    """Why a section cannot be made, and how to add it; builders of sections return it in place of HTML."""

    words: str


def text(value: object) -> str:
    """Escape a name: one line, shortened, with control characters and marks of direction made visible."""
    return escape(named(value, _LONGEST), quote=True)


def prose(value: object) -> str:
    """Escape text of any length; words longer than a line are shortened."""
    return escape(_ENDLESS.sub(lambda found: named(found[0], _LONGEST), visible(str(value))), quote=True)


def verbatim(value: object) -> str:
    """Escape text that is to be copied, whole."""
    return f"<pre><code>{escape(visible(str(value)), quote=True)}</code></pre>"


def paragraph(value: object, kind: str = "") -> str:
    """Return a paragraph."""
    return f'<p class="{kind}">{prose(value)}</p>' if kind else f"<p>{prose(value)}</p>"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    words: Sequence[int] = (),
    rest: Callable[[int], Sequence[object]] | None = None,
) -> str:
    """Return a table with names in the first column and numbers aligned to the right; columns of `words` align to the left.

    At most 200 rows are shown. `rest` makes the line that stands for the others from the number of rows shown; by default that
    line says how many there are.
    """
    lines = list(rows)
    over = max(len(lines) - MOST_LINES, 0)
    shown = lines[: len(lines) - over]

    def cell(tag: str, place: int, value: object) -> str:
        inside = f"<bdi>{text(value)}</bdi>" if place == 0 else prose(value) if place in words else text(value)
        scope = ' scope="col"' if tag == "th" else ""
        side = ' class="text"' if place in words else ""
        return f"<{tag}{scope}{side}>{inside}</{tag}>"

    out = ['<div class="scroll"><table>']
    out += [f"<caption>{prose(caption)}</caption>"] if caption else []
    out.append("<thead><tr>" + "".join(cell("th", i, name) for i, name in enumerate(header)) + "</tr></thead><tbody>")
    out += ["<tr>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>" for row in shown]
    if over:
        last = rest(len(shown)) if rest is not None else [f"and {over} more", *[""] * (len(header) - 1)]
        out.append('<tr class="rest">' + "".join(cell("td", i, value) for i, value in enumerate(last)) + "</tr>")
    return "".join(out) + "</tbody></table></div>"


def folded(summary: str, body: str) -> str:
    """A collapsible section, expanded in print."""
    return f"<details><summary>{prose(summary)}</summary>{body}</details>"


def bullets(items: Iterable[object], kind: str = "") -> str:
    """Return a list of sentences."""
    return f'<ul class="{kind}">' + "".join(f"<li>{prose(item)}</li>" for item in items) + "</ul>"


class Figures:
    """Put figures into the page; without matplotlib there are none, and the page says so."""

    def __init__(self) -> None:
        try:
            with draw.style():
                self.available = True
        except BackendError:
            self.available = False

    def html(self, make: Callable[[], Axes | Figure], alt: str, caption: str) -> str:
        """Return a figure with what it shows in words; nothing without matplotlib."""
        if not self.available:
            return ""
        made: Any = make()
        data = base64.b64encode(draw.svg(getattr(made, "figure", None) or made)).decode("ascii")
        return (
            f'<figure><img alt="{prose(alt)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{prose(caption)}</figcaption></figure>"
        )

    def with_numbers(
        self, make: Callable[[], Axes | Figure], alt: str, caption: str, *, summary: str, listed: str
    ) -> str:
        """Return a figure with its numbers in a collapsed table below it; without matplotlib the table alone, open."""
        return self.html(make, alt, caption) + folded(summary, listed) if self.available else listed


def page(title: str, under: str, head: str, sections: Sequence[Section], missing: Sequence[Missing]) -> str:
    """Return the whole document."""
    links = [*sections, *([Section("missing", "Not in this report", "")] if missing else [])]
    nav = " ".join(f'<a href="#{one.anchor}">{text(one.title)}</a>' for one in links)
    body = "".join(
        f'<section id="{one.anchor}"><h2><a href="#{one.anchor}">{text(one.title)}</a></h2>{one.body}</section>\n'
        for one in sections
    )
    if missing:
        rows = "".join(
            f'<tr id="missing-{one.anchor}"><td>{text(one.title)}</td><td class="text">{prose(one.why)}</td></tr>'
            for one in missing
        )
        lost = (
            '<section id="missing"><h2><a href="#missing">Not in this report</a></h2><table><thead><tr>'
            '<th scope="col">What</th><th scope="col" class="text">Why, and how to get it</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></section>\n"
        )
        # Where the numbers come from stays last.
        at = body.rfind('<section id="origin">')
        body = body[:at] + lost + body[at:] if at >= 0 else body + lost
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing is loaded, whatever a name may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{_CSS}</style></head>\n<body><main>"
        f'<header><h1>{text(title)}</h1><p class="soft">{prose(under)}</p></header>\n{head}\n<nav>{nav}</nav>\n{body}'
        "</main></body></html>\n"
    )
