"""The streams of a command: a failing stream does not stop the work, and names that a terminal cannot show are escaped."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# The exit status of output that was lost: the EX_IOERR of sysexits.h.
OUTPUT_LOST = 74


class OutputError(Exception):
    """The output of a command could not be printed; everything else succeeded."""


class Stream:
    """A text stream that drops text that cannot be written, and remembers the first failure.

    A command therefore writes its files even if nobody reads its report. A stream that was closed before the command started drops
    everything, which is not a failure.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._target = target
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    @property
    def over(self) -> bool:
        """Whether nothing that is written can be read any more."""
        return self._target is None or self.failure is not None

    @property
    def encoding(self) -> str:
        """Encoding of the stream; UTF-8 if it has none."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return not self.over and bool(cast("TextIO", self._target).isatty())

    def write(self, text: str) -> int:
        """Write text; characters that the stream cannot encode become escapes such as ``\\xe9``."""
        if not self.over:
            target = cast("TextIO", self._target)
            try:
                try:
                    target.write(text)
                except UnicodeEncodeError:
                    target.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as problem:
                self.failure = problem
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if not self.over:
            try:
                cast("TextIO", self._target).flush()
            except OSError as problem:
                self.failure = problem

    def write_product(self, text: str) -> None:
        """Write output for another program as UTF-8, as in a file, whatever the encoding of the terminal.

        Raises
        ------
        OutputError
            If the stream was closed before the command started, so that the output is lost.
        """
        if self._target is None:
            raise OutputError("stdout is closed, so the output is lost; commands with --out can write it to a file")
        raw = getattr(self._target, "buffer", None)
        if raw is None or self.failure is not None:
            self.write(text)
            return
        self.flush()
        left = memoryview(text.encode("utf-8", "surrogateescape"))
        try:
            # An unbuffered stream may take only a part.
            while left:
                left = left[raw.write(left) :]
        except OSError as problem:
            self.failure = problem
        self.flush()


@contextmanager
def watched() -> Iterator[Stream]:
    """Replace stdout and stderr inside the block by streams that never fail; yield the one for stdout."""
    before = sys.stdout, sys.stderr
    out, err = (each if isinstance(each, Stream) else Stream(each) for each in before)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def nobody_reads() -> bool:
    """Return whether stdout is closed or its reader has left, so that a command that writes no file may stop."""
    return isinstance(sys.stdout, Stream) and sys.stdout.over


def print_product(text: str) -> None:
    """Print output for another program: JSON, csv, the file of a loader."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.write_product(text)
    else:
        sys.stdout.write(text)


def lost(out: Stream) -> str | None:
    """Return why output was lost; None if all was written or the reader has left, as `head` does."""
    if out.failure is None or out.failure.errno == errno.EPIPE:
        return None
    return f"stdout: {out.failure.strerror or out.failure}"
