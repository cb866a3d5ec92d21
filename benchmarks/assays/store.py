"""A csv file of results to which a run appends, and which a second run continues."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Store:
    """Lines of a csv file, known by the columns that are their key. A run that was killed may leave half a line, which is removed."""

    def __init__(self, path: Path, columns: Iterable[str], keys: Iterable[str]) -> None:
        self.path, self.columns, self.keys = path, tuple(columns), tuple(keys)
        if not path.exists() or not path.read_text(encoding="utf-8").endswith("\n"):
            self._mend()
        lines = read(path)
        if lines and tuple(lines[0]) != self.columns:
            raise SystemExit(f"{path} has the columns {', '.join(lines[0])}; expected {', '.join(self.columns)}")
        self._done = {tuple(line[key] for key in self.keys) for line in lines}

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        """Say whether the file has a line with this key."""
        return tuple(map(str, key)) in self._done

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines in one write; those whose keys are in the file are left out."""
        new = [line for line in lines if tuple(line[key] for key in self.keys) not in self]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerows(new)
        self._done |= {tuple(str(line[key]) for key in self.keys) for line in new}

    def _mend(self) -> None:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text[: text.rfind("\n") + 1] or ",".join(self.columns) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a csv file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
