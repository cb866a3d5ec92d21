"""What a ledger was made from, and so which state of a file it may replace: of two updates of one state, one is lost otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mixfast.reuse._changes import ReuseError
from mixfast.reuse._entries import Entry, Pending
from mixfast.reuse._ledger_file import document_of


class Version:
    """One state of a ledger, and the files that are known to have held it."""

    def __init__(self, entries: tuple[Entry, ...], pending: Pending | None) -> None:
        self.entries = entries
        self.pending = pending
        self._files: set[str] = set()

    @cached_property
    def checksum(self) -> str:
        """The checksum that the file of this state holds."""
        return str(document_of(self.entries, self.pending)["checksum"])

    def is_in(self, path: Path) -> None:
        """Remember that a file holds this state."""
        self._files.add(os.path.realpath(path))

    def was_in(self, path: Path) -> bool:
        """Say whether a file is known to have held this state."""
        return os.path.realpath(path) in self._files


def check_descent(path: Path, there: Version, descent: Sequence[Version]) -> None:
    """Refuse to replace the state of a file by the last of a descent, unless nothing of it is lost by that."""
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
    # Of another making: the file may lack something, and not the other way round.
    if there.entries == last.entries[: len(there.entries)] and there.pending in (None, last.pending):
        return
    raise ReuseError(
        f"{path} has updates that this ledger lacks, {_newest(there)}: load it and record on top of it, or save this ledger elsewhere"
    )


def _difference(there: Version, known: Version) -> str:
    """Say what is in the file instead of the known state."""
    if there.entries == known.entries:
        return "its open plan was dropped" if there.pending is None else _newest(there)
    return _newest(there) if len(there.entries) >= len(known.entries) else "it has fewer updates"


def _newest(version: Version) -> str:
    if version.pending is not None:
        return f"it has an open plan of {version.pending.when} ({version.pending.why})"
    return f"the last is of {version.entries[-1].when} ({version.entries[-1].why})"
