"""The names of groups in several files: what each entry of ``group`` is called, and in which order the groups come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mixfast.errors import TableError
from mixfast.tables._names import some


class Grouped(Protocol):
    """A file whose rows have groups."""

    @property
    def path(self) -> Path: ...

    @property
    def group_names(self) -> tuple[str, ...] | None: ...


def labels_of(file: Grouped, entries: Sequence[Any]) -> dict[Any, str]:
    """Return the name of each distinct entry of a file's ``group``."""
    names = file.group_names
    if names is None:
        return {entry: entry if isinstance(entry, str) else f"group_{entry}" for entry in entries}
    unknown = [
        entry for entry in entries if (entry not in names if isinstance(entry, str) else not 0 <= entry < len(names))
    ]
    if unknown:
        raise TableError(f"{file.path}: group holds {some(unknown)}, which group_names {list(names)} do not cover")
    return {entry: entry if isinstance(entry, str) else names[entry] for entry in entries}


def ordered_names(
    files: Sequence[Grouped], labels: Sequence[Mapping[Any, str]], given: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the names of the groups of files.

    They have the order of table.json, if it gives them, else that of integers without names, else that in which the files name them.
    """
    if given is not None:
        return given
    plain = all(file.group_names is None for file in files)
    if plain and all(isinstance(entry, int) for found in labels for entry in found):
        return tuple(f"group_{entry}" for entry in sorted({entry for found in labels for entry in found}))
    listed = [file.group_names or found.values() for file, found in zip(files, labels, strict=True)]
    return tuple(dict.fromkeys(name for found in listed for name in found))
