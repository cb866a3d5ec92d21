"""Decompress gzip and zstd files, and refuse truncated ones."""

from __future__ import annotations

import gzip
import zlib

from mixfast._text.optional import needed


def gunzip(data: bytes, where: object, error: type[Exception]) -> bytes:
    """Decompress gzip data; raise ``error``, which names ``where``, if it is damaged or truncated."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as problem:
        raise error(f"{where} is a damaged gzip file: {problem}; was it written or copied completely?") from problem


def unzstd(data: bytes, where: object, error: type[Exception]) -> bytes:
    """Decompress zstd data; raise ``error``, which names ``where``, if it is damaged or truncated, or if zstandard is missing."""
    with needed(f"{where}: reading zstd", "zstandard", "mixfast[io]", error):
        import zstandard

    pieces = []
    try:
        while data:
            # A file may hold several frames, one after the other.
            frame = zstandard.ZstdDecompressor().decompressobj()
            pieces.append(frame.decompress(data))
            if not frame.eof:
                raise error(
                    f"{where} is a damaged zstd file: it ends inside a frame; was it written or copied completely?"
                )
            data = frame.unused_data
    except zstandard.ZstdError as problem:
        raise error(f"{where} is a damaged zstd file: {problem}; was it written or copied completely?") from None
    return b"".join(pieces)
