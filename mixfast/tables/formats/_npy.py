"""npy: one array of numpy, version 1.0 or 2.0 of its format.

As a table it holds the (n, K) log-likelihoods and nothing else, in float16, float32 or float64 and either order. The file is mapped
into memory. Arrays of Python objects are refused: reading them could run any code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import replacing
from mixfast.errors import TableError


def read(path: Path) -> NDArray[Any]:
    with path.open("rb") as handle:
        shape, fortran, dtype = read_header(handle, str(path))
        offset = handle.tell()
    if offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
        raise TableError(f"{path} is truncated: its header promises {dtype} {shape}")
    if 0 in shape:
        raise TableError(f"{path} holds an empty array of shape {shape}")
    return map_array(path, offset, shape, fortran, dtype)


def write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write the log-likelihoods; refuse to lose anything else."""
    if lost := [key for key in arrays if key != "loglik"]:
        raise TableError(f"{path}: npy holds log-likelihoods only and would lose {', '.join(lost)}; save as .npz")
    with replacing(path) as handle:
        np.lib.format.write_array(handle, arrays["loglik"], allow_pickle=False)


def map_array(path: Path, offset: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the array at an offset of a file, mapped into memory."""
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def read_header(handle: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, the order (whether Fortran's) and the type that an npy header promises."""
    try:
        version = np.lib.format.read_magic(handle)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(handle)
        else:
            raise ValueError(f"npy format {version} is for structured arrays")
        if any(size < 0 for size in shape):
            raise ValueError(f"shape {shape}")
    except Exception as error:
        # The header is a literal that is parsed: damage can surface as almost any exception.
        raise TableError(f"{where} is no readable npy array: {error}") from None
    if dtype.hasobject:
        raise TableError(
            f"{where} holds pickled Python objects, which could run any code and are never loaded; save numbers as "
            "floats and names as np.array(names, dtype=str)"
        )
    return shape, fortran, dtype
