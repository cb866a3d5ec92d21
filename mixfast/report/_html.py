"""The HTML of a report: a few elements, one style sheet, and no reference to anything outside the file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mixfast._text.names import distinct, named
from mixfast._text.visible import visible
from mixfast.errors import BackendError
from mixfast.report import _axes as draw
from mixfast.report._svg import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Tables show at most this many rows, so that the file stays small; the last row says how many more there are.
MOST_LINES = 200
_LONGEST = 100
# Columns of a table, without the column of names.
_COLUMNS = 8
# Names of at most this many characters are not broken into lines.
_UNBROKEN = 22
_ENDLESS = re.compile(rf"\S{{{_LONGEST + 1},}}")

_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'"

# Colours of the page that its figures do not use: in light and in dark mode.
_PALETTE = draw.PALETTE | {
    "soft": ("#5c5c5c", "#a9afb5"), "line": ("#dcdcdc", "#3a4046"), "rule": ("#9a9a9a", "#6b7278"), "link": ("#00507d", "#7cc4f0"),
    "tint": ("#f5f7f9", "#1f242a"), "warn": ("#b35900", "#ff9a4d"), "warm": ("#fdf6ee", "#2b2219"),
}  # fmt: skip


def _variables(dark: bool) -> str:
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in _PALETTE.items())


_CSS = (
    f"""
:root {{ color-scheme: light; {_variables(dark=False)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {_variables(dark=True)} }} }}
"""
    """
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "Noto Sans", sans-serif; }
main { max-width: 1288px; margin: 0 auto; padding: 20px 24px 64px; }
h1 { font-size: 24px; line-height: 1.2; margin: 0 0 2px; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); font-weight: 650; }
h2 a { color: inherit; text-decoration: none; }
h3 { font-size: 14px; margin: 14px 0 2px; font-weight: 650; }
p { margin: 4px 0; max-width: 110ch; }
.soft, figcaption, caption { color: var(--soft); font-size: 13px; }
nav { margin: 18px 0 4px; font-size: 13px; }
nav a { color: var(--link); margin-right: 11px; white-space: nowrap; }
figure { margin: 14px 0 10px; overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { fill: var(--ink); font-family: "DejaVu Sans", Verdana, "Noto Sans", sans-serif; }
figure svg.narrow { display: none; }
figcaption { max-width: 100ch; margin-top: 4px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 6px 18px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 8px; margin: 10px 0 4px; padding: 0; }
.facts > div { background: var(--tint); border: 1px solid var(--line); border-radius: 4px; padding: 6px 10px; min-width: 0; }
.facts dt { font-size: 12px; line-height: 1.3; color: var(--soft); }
.facts dd { margin: 0; font-size: 17px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts .sub { display: block; font-size: 12px; line-height: 1.3; font-weight: 400; color: var(--soft); }
.doubt dd::before { content: "! "; }
.facts > .doubt { border-left: 4px solid var(--ink); }
.decision > div, .pair > div { min-width: 0; }
.decision h2 { font-size: 15px; margin: 10px 0 2px; padding: 0; border: 0; }
.decision th, .decision td { padding-right: 10px; line-height: 1.35; }
.decision td { white-space: nowrap; }
.decision td:first-child, .decision th:first-child { min-width: 7em; overflow-wrap: break-word; white-space: normal; }
.pair { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 36px; }
.pair > div { max-width: 100%; }
ul.warnings { list-style: none; margin: 6px 0; padding: 0; font-size: 14px; line-height: 1.4; }
ul.warnings li { border-left: 4px solid var(--warn); background: var(--warm); padding: 3px 10px; margin: 4px 0; overflow-wrap: anywhere; }
ul.warnings li::before { content: "! "; font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 4px 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 3px; }
th, td, dd, li, code, figcaption { unicode-bidi: isolate; }
th, td { padding: 2px 12px 2px 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 12em; max-width: 34em; }
td.text, th.text { text-align: left; overflow-wrap: anywhere; min-width: 6em; }
th { font-weight: 600; border-bottom: 1px solid var(--rule); vertical-align: bottom; }
tr.rest td { font-style: italic; }
details { margin: 6px 0; }
summary { cursor: pointer; color: var(--link); font-size: 13px; }
code, pre { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre, code { overflow-wrap: anywhere; white-space: pre-wrap; }
@media (min-width: 640px) and (max-width: 999px) {
  .decision { columns: 2 280px; column-gap: 28px; }
  .decision > div { break-inside: avoid; }
}
@media (min-width: 1000px) {
  .facts { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); }
  .decision { display: flex; gap: 0 28px; }
  .decision > div { flex: 1 1 0; }
  .decision > div:first-child { flex-grow: 1.2; }
}
@media (max-width: 860px) {
  figure svg.wide { display: none; }
  figure svg.narrow { display: block; }
}
@media (max-width: 639px) {
  main { padding: 14px 14px 48px; }
  .facts { grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); }
  th:first-child, td:first-child { min-width: 8em; }
}
@media print {
  body { font-size: 11pt; } main { max-width: none; padding: 0; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure svg, .facts > div, tr { break-inside: avoid; } figure, .scroll { overflow: visible; }
  figcaption { break-before: avoid; } table { font-size: 8.5pt; } th, td { padding-right: 7px; }
  th:first-child, td:first-child { min-width: 9em; }
  summary { display: none; } details::details-content { content-visibility: visible; display: block; }
}
"""
)


@dataclass(frozen=True)
class Section:
    """A part of the page: the anchor for links, the title, and the HTML."""

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
    longest: int = _LONGEST,
) -> str:
    """Return a table with names in the first column and numbers aligned to the right; columns of `words` align to the left.

    Names of more than `longest` characters are shortened where they do not differ from each other.

    At most 200 rows are shown. `rest` returns the row for all others, given the number of rows shown; by default that row says how
    many there are. Columns beyond the ninth continue in further tables, so that paper and small screens hold them.
    """
    lines = list(rows)
    if len(header) > _COLUMNS + 1:
        parts: list[str] = []
        # Of the same width, as far as possible.
        step = -(-(len(header) - 1) // -(-(len(header) - 1) // _COLUMNS))
        for start in range(1, len(header), step):
            places = [0, *range(start, min(start + step, len(header)))]
            parts.append(
                table(
                    [header[i] for i in places], [[line[i] for i in places] for line in lines], caption="" if parts else caption,
                    words=[at for at, i in enumerate(places) if i in words], longest=longest,
                )
            )  # fmt: skip
        return "".join(parts)
    over = max(len(lines) - MOST_LINES, 0)
    shown = lines[: len(lines) - over]
    short = distinct((line[0] for line in lines), longest)

    def cell(tag: str, place: int, value: object) -> str:
        inside = (
            _name(value, short if tag == "td" else {})
            if place == 0 or tag == "th"
            else prose(value)
            if place in words
            else text(value)
        )
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


def _name(value: object, short: dict[str, str]) -> str:
    """Return a name in its short form; a pointer over it shows the whole one."""
    whole = visible(str(value))
    shown = short.get(str(value), named(value, _LONGEST))
    more = "" if shown == whole else f' title="{escape(whole, quote=True)}"'
    # Long names break after the characters that end their parts.
    parts = re.split(r"(?<=[/_\-.:])(?=[^…])", shown) if len(shown) > _UNBROKEN else [shown]
    return f"<bdi{more}>{'<wbr>'.join(escape(part, quote=True) for part in parts)}</bdi>"


def folded(summary: str, body: str) -> str:
    """A collapsible section, expanded in print."""
    return f"<details><summary>{prose(summary)}</summary>{body}</details>"


def bullets(items: Iterable[object], kind: str = "") -> str:
    """Return a list of sentences."""
    return f'<ul class="{kind}">' + "".join(f"<li>{prose(item)}</li>" for item in items) + "</ul>"


class Figures:
    """Put figures into the page; without matplotlib there are none, and the page says so."""

    def __init__(self) -> None:
        self._count = 0
        try:
            with draw.style():
                self.available = True
        except BackendError:
            self.available = False

    def html(self, make: Callable[[], Axes], alt: str, caption: str) -> str:
        """Return a figure with a description in words, in one size for desktops and one for small screens; nothing without matplotlib."""
        if not self.available:
            return ""
        wide = self._inline(make(), "wide")
        with draw.narrowed():
            narrow = self._inline(make(), "narrow")
        return _figure(f'<div role="img" aria-label="{prose(alt)}">{wide}{narrow}</div>', caption)

    def panels(self, make: Callable[[], Sequence[Axes]], alt: str, caption: str) -> str:
        """Return small figures, side by side as far as the screen is wide enough; nothing without matplotlib."""
        if not self.available:
            return ""
        each = "".join(self._inline(ax, "panel") for ax in make())
        return _figure(f'<div class="panels" role="img" aria-label="{prose(alt)}">{each}</div>', caption)

    def _inline(self, made: Axes, kind: str) -> str:
        self._count += 1
        figure: Any = made.figure
        return inline(figure, f"f{self._count}", kind)


def with_numbers(figure: str, summary: str, listed: str) -> str:
    """Return a figure with its numbers in a collapsed table below it; if there is no figure, the table alone, open."""
    return figure + folded(summary, listed) if figure else listed


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>{drawn}<figcaption>{prose(caption)}</figcaption></figure>"


def side_by_side(*blocks: str) -> str:
    """Return narrow blocks side by side, as many as fit the width of the screen."""
    return '<div class="pair">' + "".join(f"<div>{block}</div>" for block in blocks if block) + "</div>"


def page(
    title: str,
    under: str,
    head: str,
    sections: Sequence[Section],
    missing: Sequence[Missing],
    *,
    style: str = "",
    script: str = "",
) -> str:
    """Return the whole document. `style` is added to the style sheet; the browser runs `script` and no other."""
    links = [*sections, *([Section("missing", "Not in this report", "")] if missing else [])]
    # A list of one section leads nowhere.
    names = " ".join(f'<a href="#{one.anchor}">{text(one.title)}</a>' for one in links)
    nav = f"<nav>{names}</nav>\n" if len(links) > 1 else ""
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
        # The section on provenance stays last.
        at = body.rfind('<section id="origin">')
        body = body[:at] + lost + body[at:] if at >= 0 else body + lost
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing is loaded, whatever a name may hold.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}{_allowed(script)}">'
        f"<title>{text(title)}</title><style>{_CSS}{style}</style></head>\n<body><main>"
        f'<header><h1>{text(title)}</h1><p class="soft">{prose(under)}</p></header>\n{head}\n{nav}{body}'
        f"</main>{_running(script)}</body></html>\n"
    )


def _allowed(script: str) -> str:
    """Return the part of the page's policy that allows this script, by its hash; nothing if there is none."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"; script-src 'sha256-{digest}'" if script else ""


def _running(script: str) -> str:
    return f'<script type="module">{script}</script>' if script else ""
