"""Write files so that a reader sees the old content or the new one, whole, whatever fails meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` for writing, and rename it to ``path`` when the block succeeds.

    If the block fails, the temporary file is removed and ``path`` stays as it was. A file that is replaced hands on its
    permissions. The target of a symbolic link is replaced, not the link. A pipe or a device is written to, not replaced.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as handle:
            yield handle
        return
    # A random name: two processes that write the same file do not share a temporary file.
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        handle = temporary.open("xb")
    except OSError as problem:
        problem.filename = str(path)  # the name that the caller knows
        raise
    try:
        with handle:
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            yield handle
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, with its line ends as they are."""
    write_together({os.fspath(path): text})


def write_together(files: Mapping[str, str]) -> None:
    """Write all texts as UTF-8, or none if one cannot be written; they are renamed into place in the order given."""
    with ExitStack() as stack:
        # A stack unwinds from its end, so the first file is opened last. Flushed, all bytes are written before the first rename.
        for path, text in reversed(list(files.items())):
            handle = stack.enter_context(replacing(path))
            handle.write(text.encode("utf-8"))
            handle.flush()
