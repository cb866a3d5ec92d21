"""Choose the format of a file: by its content when it is read, by its name when it is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.outputs import TABLE, check_output
from mixfast.errors import TableError
from mixfast.tables._whole import is_sharded
from mixfast.tables.formats import _mixmin, _npy, _npz


def read(path: str | os.PathLike[str], *, task: str | Sequence[str] | None, conditional: bool) -> dict[str, Any]:
    """Return the arrays of a file or folder as arguments of the constructors of ExpertTable."""
    path = Path(path)
    if path.is_dir():
        return _mixmin.read(path, task, conditional)
    if task is not None or conditional:
        raise TableError(f"{path} is a file: task and conditional are for a folder of experts")
    kind = kind_of(path)
    if kind == "empty":
        raise TableError(f"{path} is empty")
    # A truncated archive lacks its list of members, so that its kind is "zip".
    if kind in ("npz", "zip"):
        return _npz.read(path)
    if kind == "npy":
        return {"loglik": _npy.read(path)}
    if kind == "pickle":
        raise TableError(f"{path} is a pickle. Pickles can run any code and are never loaded; save the table as npz")
    raise TableError(
        other_kind(path, "a table of experts (npz, npy, a folder of parts, or a folder of the MixMin code)")
    )


def holds_parts(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of parts."""
    return Path(path).is_dir() and is_sharded(Path(path))


def write(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]], *, force: bool) -> None:
    """Write arrays as npz, or a single array as npy; without ``force``, refuse to replace a file of another kind."""
    path = Path(path)
    check_output(path, TABLE, TableError, force=force)
    write_arrays = _npy.write if path.suffix.lower() == ".npy" else _npz.write
    write_arrays(path, arrays)
