"""What models and callers give, as arrays: tensors with gradients, sparse matrices and objects become numbers; what hides values is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError


def array_of(given: Any, what: str) -> NDArray[Any]:
    """Return an array; raise `TableError` if masks hide entries, or if there is no array (``what`` begins the sentence)."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.getmaskarray(given).any():
        raise TableError(f"{what} has masked entries: drop those rows, or fill them")
    if hasattr(given, "toarray"):
        given = given.toarray()
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        # numpy has no bfloat16.
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise TableError(f"{what} is no array: {problem}") from None
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TableError(f"{what} is {type(given).__name__}, expected an array with an entry for each row")
    return array


def numbers_of(given: Any, what: str) -> NDArray[Any]:
    """Return an array as `array_of` does; numbers that are stored as objects become float64."""
    array = array_of(given, what)
    if array.dtype.kind != "O":
        return array
    for entry in array.reshape(-1).tolist():
        if not isinstance(entry, (int, float, np.integer, np.floating)):
            raise TableError(f"{what} must be numbers, got {type(entry).__name__} ({entry!r:.80})")
    return array.astype(np.float64)
