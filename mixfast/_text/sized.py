"""Text files that are read as a whole: those of a size that no such file has are refused before they fill the memory."""

from __future__ import annotations

import os
from pathlib import Path

# A mixture of 100 000 domains has a twentieth of it.
_MOST = 64 * 2**20


def text_of(path: str | os.PathLike[str], error: type[Exception], *, encoding: str = "utf-8-sig") -> str:
    """Return the text of a file; ``error`` for more than 64 MB, also from a device that never ends; UnicodeDecodeError as of `open`."""
    return bytes_of(path, error).decode(encoding)


def bytes_of(path: str | os.PathLike[str], error: type[Exception]) -> bytes:
    """Return the bytes of a file; ``error`` for more than 64 MB."""
    with Path(path).open("rb") as handle:
        data = handle.read(_MOST + 1)
    if len(data) > _MOST:
        raise error(f"{path} has more than {_MOST // 2**20} MB, which no file of this kind needs; is it another file?")
    return data
