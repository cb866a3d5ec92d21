"""What a notebook shows for an object: a small table, and a line on omitted parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mixfast._text.names import distinct, named
from mixfast._text.visible import visible

# Maximum rows and columns of a table, and maximum characters of a cell.
MOST_ROWS, MOST_COLUMNS, _LONGEST = 12, 8, 60


def html_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    lines: Iterable[str] = (),
    left: Collection[int] = (0,),
    what: str = "rows",
) -> str:
    """Return a title, a table of at most `MOST_ROWS` rows, and lines below it, as HTML that follows the notebook's theme.

    Names cannot affect the page: they are made visible and escaped. No colour, font, script or address is set. ``what`` names the rows
    if some are left out.

    >>> html_table("Mixture of 1 domain", ["domain", "share"], [["<b>", "100.00%"]]).count("&lt;b&gt;")
    1
    """
    whole = list(rows)
    shown, more = whole[:MOST_ROWS], len(whole) - MOST_ROWS
    cut = [f"... and {more:,} more {what}"] if more > 0 else []
    names = distinct([row[0] for row in shown], _LONGEST)
    shown = [(names[row[0]], *row[1:]) for row in shown]
    head = "".join(_cell("th", text, place in left) for place, text in enumerate(header))
    body = "".join(
        f"<tr>{''.join(_cell('td', text, place in left) for place, text in enumerate(row))}</tr>" for row in shown
    )
    return _block(title, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", [*cut, *lines])


def html_text(title: str, text: str) -> str:
    """Return a title and a text of several lines as HTML."""
    return _block(title, f"<pre>{_escaped(visible(text, keep=chr(10)))}</pre>", [])


def _escaped(text: str) -> str:
    # Imported here: `html` builds a dictionary of 2231 characters, which commands do not need.
    from html import escape

    return escape(text)


def _block(title: str, body: str, lines: Iterable[str]) -> str:
    below = "".join(f"<div><bdi>{_escaped(visible(line))}</bdi></div>" for line in lines)
    return f"<div><div><b>{_escaped(visible(title))}</b></div>{body}{below}</div>"


def _cell(tag: str, text: str, left: bool) -> str:
    return (
        f'<{tag} style="text-align: {"left" if left else "right"}"><bdi>{_escaped(named(text, _LONGEST))}</bdi></{tag}>'
    )


def html_columns(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the first column names, and a line on how many are left out."""
    more = len(names) - MOST_COLUMNS
    return list(names[:MOST_COLUMNS]), [f"... and {more:,} more columns"] if more > 0 else []
