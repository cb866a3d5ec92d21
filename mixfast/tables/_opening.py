"""Open parts, and read their headers, in the format of their names."""

from __future__ import annotations

from pathlib import Path

from mixfast.tables._parts import OpenPart, Part, Readable
from mixfast.tables.formats._headers import read_npy_part, read_npz_part
from mixfast.tables.formats._parquet import OpenParquet, read_parquet_part

_READERS = {".npy": read_npy_part, ".npz": read_npz_part, ".parquet": read_parquet_part}


def read_part(path: Path) -> Part:
    """Return the header of a part."""
    return _READERS[path.suffix](path)


def open_part(part: Part) -> Readable:
    """Open a part for reading; raise if the file has changed since its header was read."""
    return OpenParquet(part) if part.row_groups else OpenPart(part)
