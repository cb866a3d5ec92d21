"""One file of a table of several parts: where its arrays are, and how ranges of its rows are read.

Only the header is read when a part is opened. Log-likelihoods are mapped into memory; the vectors of the rows (weights, lengths, groups,
sequences) are read for one range of rows at a time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables._made import Made

# Vectors of the rows that a part may hold besides its log-likelihoods.
VECTORS = ("weight", "length", "group", "sequence", "bytes")


class Stored(NamedTuple):
    """An uncompressed array of a file: its type, its shape, and the position of its first value."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


class Stamp(NamedTuple):
    """What changes when a file is written to or replaced."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Part(NamedTuple):
    """The header of a part, which rank 0 reads and hands out.

    Attributes
    ----------
    path : Path
    rows : int
    dtype : dtype
        Type of the log-likelihoods.
    stamp : Stamp
        Of the file when its header was read.
    arrays : dict of str to Stored
        Where ``loglik`` and the vectors of the rows are.
    domains : tuple of str or None
        Names of the columns, if the file has any.
    group_names : tuple of str or None
        Names of the codes of ``group``, if the file has any.
    made : Made or None
        How the values were made, if the file says it.
    row_groups : tuple of int
        The rows at which the row groups of a parquet file end; empty for other formats, of which any range of rows can be read.
    """

    path: Path
    rows: int
    dtype: np.dtype[Any]
    stamp: Stamp
    arrays: dict[str, Stored]
    domains: tuple[str, ...] | None = None
    group_names: tuple[str, ...] | None = None
    made: Made | None = None
    row_groups: tuple[int, ...] = ()

    @property
    def n_domains(self) -> int:
        return self.arrays["loglik"].shape[1]

    def check(self) -> None:
        """Raise if the file is not the one whose header was read."""
        self._compare(os.stat(self.path))

    def _compare(self, status: os.stat_result) -> None:
        if (found := Stamp.of(status)) != self.stamp:
            what = (
                f"it had {self.stamp.size} bytes and now has {found.size}"
                if found.size != self.stamp.size
                else "it was written to or replaced"
            )
            raise TableError(
                f"{self.path} has changed since the table was loaded ({what}); load the table again, and write parts under a new "
                "name and rename them, instead of changing parts that are in use"
            )

    def checked(self, descriptor: int) -> None:
        """Raise if an open file is not the one whose header was read."""
        self._compare(os.fstat(descriptor))


class Readable(Protocol):
    """The rows of a part."""

    def values(self, first: int, last: int) -> NDArray[Any]:
        """Return the log-likelihoods of a range of rows, mapped if possible."""
        ...

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        """Read a range of rows of an array into memory."""
        ...

    def read_into(self, out: NDArray[Any], key: str, first: int) -> None:
        """Read rows of an array, from `first` on, until `out` is full."""
        ...

    def prefetch(self, first: int, last: int) -> None:
        """Have the system read the log-likelihoods of a range of rows from the disk, without waiting for them."""
        ...

    def close(self) -> None:
        """Close the file; arrays that were returned remain valid."""
        ...


class OpenPart:
    """The rows of an npz or npy part."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._descriptor = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            part.checked(self._descriptor)
            dtype, shape, start = part.arrays["loglik"]
            mapped: NDArray[Any] = np.memmap(part.path, dtype=dtype, mode="r", offset=start, shape=shape)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._mapped = mapped.view(np.ndarray) if mapped.flags.aligned else None

    def values(self, first: int, last: int) -> NDArray[Any]:
        """Return the log-likelihoods of a range of rows: mapped, or read if they are not aligned in the file."""
        if self._mapped is not None:
            return self._mapped[first:last]
        return self.read("loglik", first, last)

    def prefetch(self, first: int, last: int) -> None:
        """Have the system read the log-likelihoods of a range of rows from the disk, without waiting for them."""
        dtype, shape, start = self.part.arrays["loglik"]
        width = dtype.itemsize * shape[1]
        # Not every system has it, and a file system may refuse.
        with suppress(AttributeError, OSError):
            os.posix_fadvise(self._descriptor, start + first * width, (last - first) * width, os.POSIX_FADV_WILLNEED)

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        """Read a range of rows of an array into memory."""
        dtype, shape, _start = self.part.arrays[key]
        out = np.empty((last - first, *shape[1:]), dtype=dtype)
        self.read_into(out, key, first)
        return out

    def read_into(self, out: NDArray[Any], key: str, first: int) -> None:
        """Read rows of an array, from `first` on, until `out` is full."""
        dtype, shape, start = self.part.arrays[key]
        at = start + first * dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        rest = memoryview(out.reshape(-1).view(np.uint8).data)
        while rest:
            count = _read_at(self._descriptor, rest, at)
            if not count:
                raise TableError(
                    f"{self.part.path} was cut short while it was read, so its last rows are gone: write a part under a new name "
                    "and rename it, instead of changing one that is in use"
                )
            rest, at = rest[count:], at + count

    def close(self) -> None:
        """Close the file; arrays that were mapped remain valid."""
        self._mapped = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read_at(descriptor: int, out: memoryview, at: int) -> int:
    """Read bytes from a position of a file; return how many. Processes that share the descriptor after a fork do not disturb each other."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [out], at)
    data = os.pread(descriptor, len(out), at)
    out[: len(data)] = data
    return len(data)
