"""Read whole text files; files too large for their kind are refused before they fill the memory."""

from __future__ import annotations

import os
from pathlib import Path

# Twenty times the size of a mixture of 100 000 domains.
_MOST = 64 * 2**20


def text_of(path: str | os.PathLike[str], error: type[Exception], *, encoding: str = "utf-8-sig") -> str:
    """Return the text of a file; raise ``error`` above 64 MB, also for an endless device, and UnicodeDecodeError like `open`."""
    return bytes_of(path, error).decode(encoding)


def bytes_of(path: str | os.PathLike[str], error: type[Exception]) -> bytes:
    """Return the bytes of a file; raise ``error`` above 64 MB."""
    with Path(path).open("rb") as handle:
        data = handle.read(_MOST + 1)
    if len(data) > _MOST:
        raise error(f"{path} has more than {_MOST // 2**20} MB, which no file of this kind needs; is it another file?")
    return data
