"""What gzip packed: one reading, and one refusal of what was cut short."""

from __future__ import annotations

import gzip
import zlib


def gunzip(data: bytes, where: object, error: type[Exception]) -> bytes:
    """Return what was packed; `error` names `where` it stood if it is damaged or cut short."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as problem:
        raise error(f"{where} is a damaged gzip file: {problem}; was it written, or copied, to its end?") from problem
