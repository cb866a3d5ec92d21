"""The weights, lengths and bytes of the rows that a conversion reads: which of them all files have, and whether their entries are valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import TableError
from mixfast.tables._parts import VECTORS
from mixfast.tables._rows_in import RowsIn

# What a value of a vector must be.
_VALID: dict[str, tuple[str, Callable[[NDArray[Any]], NDArray[np.bool_]]]] = {
    "weight": ("a finite number of at least 0", lambda x: (x >= 0) & (x < np.inf)),
    "length": ("a finite number above 0", lambda x: (x > 0) & (x < np.inf)),
    "bytes": ("a number of at least 0", lambda x: x >= 0),
}


def checked_vector(file: RowsIn, key: str, first: int, last: int) -> NDArray[Any]:
    """Return the weights, lengths or bytes of a range of rows; raise with the row for an entry that a table refuses."""
    found = file.read(key, first, last)
    expected, valid = _VALID[key]
    wrong = np.flatnonzero(~valid(found))
    if wrong.size:
        row = int(wrong[0])
        raise TableError(
            f"{file.path}, row {first + row}: {key} is {found[row]}, expected {expected}; correct it, or leave the row out"
        )
    return found


def common_vectors(files: Sequence[RowsIn], *, grouped: bool) -> dict[str, np.dtype[Any]]:
    """Return the vectors of the output with their types, without groups and sequences; refuse one that only some files have."""
    out = {}
    for key in VECTORS:
        has = [file for file in files if key in file.dtypes]
        lacks = [file for file in files if key not in file.dtypes]
        # A file without ids of sequences has one sequence for each row.
        if has and lacks and key != "sequence" and not (key == "group" and grouped):
            advice = "give --group-by-file to make each table a group, or " if key == "group" else ""
            raise TableError(
                f"{has[0].path} has {key}, but {listing(file.path for file in lacks)} {'has' if len(lacks) == 1 else 'have'} not: {advice}"
                "give all tables the same keys"
            )
        if has and key not in ("group", "sequence"):
            kinds = {"weight": "iuf", "length": "iuf", "bytes": "iu"}[key]
            dtype = np.result_type(*(file.dtypes[key] for file in has))
            if wrong := [file for file in has if file.dtypes[key].kind not in kinds] or (
                has if dtype.kind not in kinds else []
            ):
                raise TableError(f"{wrong[0].path}: {key} is {wrong[0].dtypes[key]}, expected numbers")
            out[key] = dtype
    return out
