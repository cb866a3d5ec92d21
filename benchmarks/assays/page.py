"""Tables of results between markers of `docs/explanation/assays.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.facts import ROOT

PAGE = ROOT / "docs" / "explanation" / "assays.md"


def put(text: str, part: str, tables: Iterable[Callable[[Any], str]], found: Any) -> str:
    """Return the text with the tables of a part between their markers; each table is a function of the results, and its marker has its name."""
    for make in tables:
        begin, end = f"<!-- {part} {make.__name__} -->\n", f"<!-- end of {part} {make.__name__} -->\n"
        before, rest = text.split(begin)
        text = before + begin + "\n" + make(found) + "\n" + end + rest.split(end)[1]
    return text


def write(part: str, tables: Iterable[Callable[[Any], str]], found: Any) -> None:
    """Put the tables into the page."""
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), part, tables, found), encoding="utf-8")
