"""Notice that the file behind a mapped table was written to after its values were checked."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from mixfast._text.visible import visible
from mixfast.errors import TableError


class MappedFile(NamedTuple):
    """A file that an array is mapped from, as it was before the values were checked.

    A write changes the time of the file. A file that is replaced by renaming another one to its path is not written to: the array keeps the
    old content, and the path has another inode.
    """

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, array: Any) -> MappedFile | None:
        """Return the file of an array as it is now; None for an array in memory."""
        while isinstance(array, np.ndarray):
            if isinstance(array, np.memmap) and array.filename is not None:
                return cls._read(os.fspath(array.filename))
            array = array.base
        return None

    @classmethod
    def _read(cls, path: str) -> MappedFile | None:
        try:
            found = os.stat(path)
        except OSError:  # a removed file keeps its content as long as it is mapped
            return None
        return cls(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def change(self) -> str:
        """Return how the file has changed; empty if it has not."""
        now = self._read(self.path)
        if now is None or now == self or (now.device, now.inode) != (self.device, self.inode):
            return ""
        return "was cut short" if now.size < self.size else "was written to"

    def error(self, change: str, rows: str) -> TableError:
        """Return the error for a change; ``rows`` names rows that have become invalid, or is empty."""
        return TableError(
            f"{visible(self.path)} {change} after its values were checked{rows and ': '}{rows}. Load the table again, and write a table to a "
            "new file and rename that, instead of changing one that is in use"
        )
