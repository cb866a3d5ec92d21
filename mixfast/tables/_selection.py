"""Select rows: positions from masks, numbers or slices, and random splits by whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast.errors import TableError


def row_index(index: ArrayLike | slice, n: int) -> NDArray[np.intp] | slice:
    """Return positions of rows from a mask, positions or a slice."""
    if isinstance(index, slice):
        start, stop, step = index.indices(n)
        if not range(start, stop, step):
            raise TableError(f"{index} selects none of the {n} rows")
        # A step would give a view that is not C-contiguous.
        return slice(start, stop) if step == 1 else np.arange(start, stop, step)
    array = np.asarray(index)
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise TableError(f"the mask has shape {array.shape}, expected ({n},)")
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TableError(
            f"rows are selected by a mask ({n},), integers (m,) or a slice, got {array.dtype} {array.shape}"
        )
    if not array.size:
        raise TableError(f"none of the {n} rows is selected")
    if array.min() < -n or array.max() >= n:
        raise TableError(f"row numbers go from {array.min()} to {array.max()}, but the table has {n} rows")
    return array.astype(np.intp)


def expand_outputs(chosen: NDArray[np.intp] | slice, n_outputs: int, n_rows: int) -> NDArray[np.intp]:
    """Return the rows of all outputs of the chosen observations."""
    positions = np.arange(n_rows // n_outputs)[chosen]
    return (positions[:, None] * n_outputs + np.arange(n_outputs)).ravel()


def split_mask(
    sequence: NDArray[Any] | None,
    offsets: NDArray[np.int64],
    share: float,
    rng: np.random.Generator,
    counts: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return a mask of the rows that go to the first part: a share of the sequences of each group, sampled whole.

    `counts` (n,) says which rows have a weight above 0 (None: all). Sequences with and without such rows are sampled separately, so that
    both parts get some with a weight.
    """
    n = int(offsets[-1])
    if sequence is None:
        first_row, unit = np.arange(n), np.arange(n)
    else:
        _, first_row, unit = np.unique(sequence, return_index=True, return_inverse=True)
    # A sequence is sampled with the group of its first row.
    stratum = np.searchsorted(offsets, first_row, side="right") - 1
    taken = np.zeros(first_row.size, dtype=bool)
    idle = (
        None if counts is None or counts.all() else np.bincount(unit, weights=counts, minlength=first_row.size) == 0.0
    )
    for code in range(offsets.size - 1):
        members = np.flatnonzero(stratum == code)
        parts = [members] if idle is None else [members[~idle[members]], members[idle[members]]]
        for part in parts:
            count = min(max(round(share * part.size), 1), max(part.size - 1, 0))
            taken[rng.permutation(part)[:count]] = True
    mask: NDArray[np.bool_] = taken[unit]
    return mask
