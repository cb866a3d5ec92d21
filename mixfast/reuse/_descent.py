"""Track which states a ledger was made from, to decide which state of a file it may replace without losing another update."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mixfast.reuse._changes import ReuseError
from mixfast.reuse._entries import Entry, Pending
from mixfast.reuse._ledger_file import document_of


class Version:
    """One state of a ledger, and the files known to have held it."""

    def __init__(self, entries: tuple[Entry, ...], pending: Pending | None) -> None:
        self.entries = entries
        self.pending = pending
        self._files: set[str] = set()

    @cached_property
    def checksum(self) -> str:
        """The checksum in a file with this state."""
        return str(document_of(self.entries, self.pending)["checksum"])

    def is_in(self, path: Path) -> None:
        """Record that a file holds this state."""
        self._files.add(os.path.realpath(path))

    def was_in(self, path: Path) -> bool:
        """Return whether a file is known to have held this state."""
        return os.path.realpath(path) in self._files


def check_descent(path: Path, there: Version, descent: Sequence[Version]) -> None:
    """Raise `ReuseError` if replacing the state of a file by the last state of a descent would lose an update or a plan."""
    last = descent[-1]
    known = next((version for version in reversed(descent) if version.was_in(path)), None)
    if known is not None:
        if there.checksum != known.checksum:
            raise ReuseError(
                f"{path} was changed since this ledger was read from it or saved to it: {_difference(there, known)}. Nothing was "
                "written: load it and repeat the update on top of it, or save this ledger elsewhere"
            )
        return
    if there.checksum in {version.checksum for version in descent}:
        return
    # The states are not related by descent: the file may be an earlier part of this ledger, but not the reverse.
    if there.entries == last.entries[: len(there.entries)] and there.pending in (None, last.pending):
        return
    raise ReuseError(
        f"{path} has updates that this ledger lacks, {_newest(there)}: load it and record on top of it, or save this ledger elsewhere"
    )


def _difference(there: Version, known: Version) -> str:
    """Describe how the state of the file differs from the known state."""
    if there.entries == known.entries:
        return "its open plan was dropped" if there.pending is None else _newest(there)
    return _newest(there) if len(there.entries) >= len(known.entries) else "it has fewer updates"


def _newest(version: Version) -> str:
    if version.pending is not None:
        return f"it has an open plan of {version.pending.when} ({version.pending.why})"
    return f"the last of {version.entries[-1].when} ({version.entries[-1].why})"
