"""Decompress gzip files, and refuse truncated ones."""

from __future__ import annotations

import gzip
import zlib


def gunzip(data: bytes, where: object, error: type[Exception]) -> bytes:
    """Decompress gzip data; raise ``error``, which names ``where``, if it is damaged or truncated."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as problem:
        raise error(f"{where} is a damaged gzip file: {problem}; was it written, or copied, to its end?") from problem
