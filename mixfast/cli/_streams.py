"""The streams of a command: a stream that fails ends no work, and a name that a terminal cannot show is shown escaped."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# The exit status of output that was lost: the EX_IOERR of sysexits.h.
OUTPUT_LOST = 74


class OutputError(Exception):
    """What a command was to print could not be printed; nothing else went wrong."""


class Stream:
    """A text stream that drops what cannot be written, and remembers the first failure.

    So a command that is to write files writes them, even if nobody reads its report. A stream that was closed before the command began
    drops everything, and that is no failure.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._target = target
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    @property
    def over(self) -> bool:
        """Whether nothing more can be read of what is written."""
        return self._target is None or self.failure is not None

    @property
    def encoding(self) -> str:
        """That of the stream; UTF-8 if it has none."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return not self.over and bool(cast("TextIO", self._target).isatty())

    def write(self, text: str) -> int:
        """Write what the stream can encode, and the rest as escapes such as ``\\xe9``."""
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
        """Hand on what was written so far."""
        if not self.over:
            try:
                cast("TextIO", self._target).flush()
            except OSError as problem:
                self.failure = problem

    def write_product(self, text: str) -> None:
        """Write text that is the product of a command, not a report on it: as UTF-8, as a file would hold it, whatever the terminal shows.

        Raises
        ------
        OutputError
            If the stream was closed before the command began: there is nowhere else to find the product.
        """
        if self._target is None:
            raise OutputError(
                "stdout is closed, and what was to be printed is lost; --out writes a file where there is one"
            )
        raw = getattr(self._target, "buffer", None)
        if raw is None or self.failure is not None:
            self.write(text)
            return
        self.flush()
        left = memoryview(text.encode("utf-8", "surrogateescape"))
        try:
            # An unbuffered stream may take a part only.
            while left:
                left = left[raw.write(left) :]
        except OSError as problem:
            self.failure = problem
        self.flush()


@contextmanager
def watched() -> Iterator[Stream]:
    """Let prints inside the block go to streams that never fail; the stream in place of stdout comes with it."""
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
    """Whether the reader of stdout has left or never was, so that a command that writes no file may stop."""
    return isinstance(sys.stdout, Stream) and sys.stdout.over


def print_product(text: str) -> None:
    """Print what another program reads: JSON, csv, the file of a loader."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.write_product(text)
    else:
        sys.stdout.write(text)


def lost(out: Stream) -> str | None:
    """Return why output was lost; None if all was written, or if the reader has left, as `head` does."""
    if out.failure is None or out.failure.errno == errno.EPIPE:
        return None
    return f"stdout: {out.failure.strerror or out.failure}"
