"""Files that may be compressed: their names without .gz or .zst, and their decompressed bytes."""

from __future__ import annotations

from pathlib import Path

from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.packed import gunzip, unzstd
from mixfast.errors import ScoreError

ENDINGS = (".gz", ".zst")


def bare_name(path: Path) -> Path:
    """Return the path of the file without the ending of its compression."""
    return path.with_suffix("") if path.suffix in ENDINGS else path


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file, decompressed if its name says so; refuse a damaged or truncated file."""
    if file.suffix not in ENDINGS:
        return file.read_bytes()
    wanted = "gzip" if file.suffix == ".gz" else "zstd"
    if (kind := kind_of(file)) != wanted:
        raise ScoreError(
            f"{file} is empty" if kind == "empty" else other_kind(file, f"a {wanted} file, as its name says")
        )
    packed = file.read_bytes()
    return gunzip(packed, file, ScoreError) if wanted == "gzip" else unzstd(packed, file, ScoreError)
