"""Open parts, and read their headers, in the format of their names; keep the parts open that were used last."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

from mixfast.tables._parts import OpenPart, Part, Readable, Stamp
from mixfast.tables.formats._headers import read_npy_part, read_npz_part
from mixfast.tables.formats._parquet import OpenParquet, read_parquet_part

# The limit of descriptors of most systems, and the fraction of the limit that may be parts.
_LIKELY_DESCRIPTORS, _FRACTION = 1024, 4
_READERS = {".npy": read_npy_part, ".npz": read_npz_part, ".parquet": read_parquet_part}


def read_part(path: Path) -> Part:
    """Return the header of a part."""
    return _READERS[path.suffix](path)


def open_part(part: Part) -> Readable:
    """Open a part for reading; raise if the file has changed since its header was read."""
    return OpenParquet(part) if part.row_groups else OpenPart(part)


class OpenParts:
    """The parts that a process has open, of all its tables of parts: those that were used last.

    A part takes two file descriptors, of which a process has few: its limit is 1024 on most systems.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, Stamp], Readable] = OrderedDict()
        self._most = _descriptors() // _FRACTION

    def part(self, part: Part, most: int) -> Readable:
        """Return an open part. The least recently used ones are closed if there are more than ``most``."""
        key = part.path, part.stamp
        found = self._open.get(key)
        if found is None:
            for other in list(self._open)[: max(len(self._open) + 1 - max(min(most, self._most), 1), 0)]:
                self._open.pop(other).close()
            # An open parquet file holds the rows that were read last, so there is one at a time.
            for other in [other for other in self._open if part.row_groups and other[0].suffix == ".parquet"]:
                self._open.pop(other).close()
            found = self._open[key] = open_part(part)
        self._open.move_to_end(key)
        return found


def _descriptors() -> int:
    """Return how many file descriptors this process may have."""
    if sys.platform == "win32":
        return _LIKELY_DESCRIPTORS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _LIKELY_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
