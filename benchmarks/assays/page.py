"""What `docs/explanation/assays.md` shows of the results: tables between markers, and a figure."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.assays import toxcast_picture
from benchmarks.facts import ROOT

PAGE = ROOT / "docs" / "explanation" / "assays.md"
PICTURE = ROOT / "docs" / "_static" / "assays-toxcast.svg"


def put(text: str, part: str, tables: Iterable[Callable[[Any], str]], found: Any) -> str:
    """Return the text with the tables of a part between their markers; each table is a function of the results, and its marker has its name."""
    for make in tables:
        begin, end = f"<!-- {part} {make.__name__} -->\n", f"<!-- end of {part} {make.__name__} -->\n"
        before, rest = text.split(begin)
        text = before + begin + "\n" + make(found) + "\n" + end + rest.split(end)[1]
    return text


def write(part: str, folder: Path) -> None:
    """Put the tables of a part's results into the page, and write its figure if it has one."""
    tables = importlib.import_module(f"benchmarks.assays.{part}_tables")
    found = tables.Results(folder)
    text = put(PAGE.read_text(encoding="utf-8"), part.replace("_", " "), tables.TABLES, found)
    PAGE.write_text(text, encoding="utf-8")
    if part == "toxcast":
        PICTURE.write_text(toxcast_picture.picture(found), encoding="utf-8")
