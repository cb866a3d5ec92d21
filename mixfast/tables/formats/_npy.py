"""npy: one array of numpy, version 1.0 or 2.0 of its format.

A table in this format holds the (n, K) log-likelihoods only, as float16, float32 or float64 in C or Fortran order. The file is mapped
into memory. Arrays of Python objects are refused: reading them could run any code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixfast._text.arrays import Header, read_header
from mixfast._text.atomic import replacing
from mixfast.errors import TableError


def read(path: Path) -> NDArray[Any]:
    with path.open("rb") as handle:
        header = read_header(handle, str(path), TableError)
    header.check_size(path.stat().st_size - header.start, str(path), TableError)
    if 0 in header.shape:
        raise TableError(f"{path} holds an empty array of shape {header.shape}")
    return map_array(path, header.start, header)


def write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write the log-likelihoods; raise if there are other arrays, which would be lost."""
    if lost := [key for key in arrays if key != "loglik"]:
        raise TableError(f"{path}: npy holds log-likelihoods only and would lose {', '.join(lost)}; save as .npz")
    with replacing(path) as handle:
        np.lib.format.write_array(handle, arrays["loglik"], allow_pickle=False)


def map_array(path: Path, offset: int, header: Header) -> NDArray[Any]:
    """Map the array that begins at an offset of a file into memory."""
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(path, dtype=header.dtype, mode="r", offset=offset, shape=header.shape, order=order)
