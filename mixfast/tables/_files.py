"""Which format a file has: by its content when it is read, by its name when it is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables.formats import _mixmin, _npy, _npz


def read(path: str | os.PathLike[str], *, task: str | Sequence[str] | None, conditional: bool) -> dict[str, Any]:
    """Return the arrays of a file or folder as arguments of the constructors of ExpertTable."""
    path = Path(path)
    if path.is_dir():
        return _mixmin.read(path, task, conditional)
    if task is not None or conditional:
        raise TableError(f"{path} is a file: task and conditional are for a folder of experts")
    with path.open("rb") as handle:
        start = handle.read(8)
    if not start:
        raise TableError(f"{path} is empty")
    if start[:4] == b"PK\x03\x04":
        return _npz.read(path)
    if start[:6] == b"\x93NUMPY":
        return {"loglik": _npy.read(path)}
    if start[:1] == b"\x80":
        raise TableError(f"{path} is a pickle, which could run any code and is never loaded; save the table as npz")
    raise TableError(f"{path} is neither npz nor npy: it begins with {start!r}")


def write(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as npz, or the only one as npy."""
    path = Path(path)
    if path.suffix == ".npz":
        _npz.write(path, arrays)
    elif path.suffix == ".npy":
        _npy.write(path, arrays)
    else:
        raise TableError(f"{path}: a table is saved as .npz or .npy, not {path.suffix or 'without a suffix'}")
