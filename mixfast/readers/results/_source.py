"""A file of results: its kind, and its content as a document, lines or a table.

A damaged file raises ValueError, whose message says what is wrong but does not name the file. `OSError` is not caught.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from mixfast._text.json import unique
from mixfast._text.nesting import TOO_DEEP
from mixfast._text.optional import needed
from mixfast.swarm import read_columns

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_START = 4096
# Bytes. The results of one model on a thousand tasks have about 20 MB.
_LARGEST, _LONGEST_LINE = 1 << 28, 1 << 26
_CUT_OFF = "; was it written or copied completely?"


class Source:
    """A file, or an object that a caller holds.

    Parameters
    ----------
    path : path
        For messages, and to read.
    document : object, optional
        The content, if the caller already has it. Then no file is read.

    Attributes
    ----------
    path : Path
    kind : str
        "json" (one document), "jsonl" (one document in each line), "table" (csv, tsv, parquet), "events" (TensorBoard), "empty" or "other".
    notes : list of str
        Faults of the file that did not prevent reading it.
    """

    def __init__(self, path: Path, document: Any = None) -> None:
        self.path = Path(path)
        self._document = document
        self.notes: list[str] = []

    @property
    def name(self) -> str:
        """The name of the file without the folder and the ending of a compression."""
        return self.path.name.removesuffix(".gz").removesuffix(".zst")

    @cached_property
    def kind(self) -> str:
        """What the file is, from its first bytes."""
        if self._document is not None:
            return "json"
        if "tfevents" in self.name:
            return "events"
        with self.open() as handle:
            start = self._checked(handle, _START)
        if start.startswith(_PARQUET):
            return "table"
        if start.startswith(_UTF16):
            start = start[: len(start) // 2 * 2].decode("utf-16", errors="replace").encode()
        text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not text:
            return "empty"
        if not text.startswith((b"{", b"[")):
            return "table" if self.name.lower().endswith((".csv", ".tsv")) else "other"
        first, newline, rest = text.partition(b"\n")
        if self.name.endswith((".jsonl", ".ndjson")) or (
            newline and rest.lstrip().startswith(b"{") and _is_whole(first)
        ):
            return "jsonl"
        return "json"

    def open(self) -> IO[bytes]:
        """Open the file, decompressed if it is compressed."""
        handle = self.path.open("rb")
        start = handle.read(4)
        handle.seek(0)
        if start.startswith(_GZIP):
            return gzip.open(handle)  # type: ignore[return-value]
        if start.startswith(_ZSTD):
            with needed("a file compressed by zstd", "zstandard", "mixfast[io]", ValueError):
                import zstandard
            return io.BufferedReader(
                zstandard.ZstdDecompressor().stream_reader(handle, read_across_frames=True, closefd=True)
            )
        return handle

    def open_parquet(self) -> IO[bytes]:
        """Open the file for readers that go back and forth, which the stream of a zstd file cannot."""
        handle = self.open()
        if handle.seekable():
            return handle
        with handle:
            return io.BytesIO(handle.read())

    @cached_property
    def document(self) -> Any:
        """The content of a JSON file; raises ValueError if it is damaged, too large, or repeats a key."""
        if self._document is not None:
            return self._document
        with self.open() as handle:
            data = self._checked(handle, _LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(
                f"it has more than {_LARGEST >> 20} MB, the largest size that is read for one JSON document"
            )
        return _parsed(data)

    def lines(self, *, may_end_early: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield the number and the document of each line that is not empty.

        Parameters
        ----------
        may_end_early : bool
            Whether the last line may be cut off, as in the log of a run that was killed. Such a line is left out, with a note.

        Raises
        ------
        ValueError
            With the number of the line, if one is damaged or too long.
        """
        with self.open() as handle:
            number = 0
            while line := self._checked(handle, _LONGEST_LINE + 1, line=True):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise ValueError(f"line {number} has more than {_LONGEST_LINE >> 20} MB")
                if not line.strip():
                    continue
                try:
                    document = _parsed(line)
                except ValueError as problem:
                    if may_end_early and number > 1 and not line.endswith(b"\n"):
                        self.notes.append("the last line is cut off and was left out")
                        return
                    raise ValueError(f"line {number}: {problem}") from problem
                yield number, document

    @cached_property
    def columns(self) -> dict[str, Sequence[object]]:
        """The columns of a table, csv or parquet; raises ValueError if it is malformed."""
        return read_columns(self.path, "results")

    def _checked(self, handle: IO[bytes], most: int, *, line: bool = False) -> bytes:
        """Read at most so many bytes, or a line; damaged compression is a ValueError."""
        try:
            return handle.readline(most) if line else handle.read(most)
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise ValueError(f"a damaged gzip file: {problem}{_CUT_OFF}") from problem
        except Exception as problem:
            if type(problem).__name__ == "ZstdError":
                raise ValueError(f"a damaged zstd file: {problem}{_CUT_OFF}") from problem
            raise


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=unique)
    except json.JSONDecodeError as problem:
        # An unterminated string is reported where it begins.
        is_open = problem.pos >= len(problem.doc.rstrip()) or problem.msg.startswith("Unterminated string")
        whole = len(data.rstrip()) == 0 or not is_open
        raise ValueError(f"not JSON: {problem}{'' if whole else _CUT_OFF}") from problem
    except UnicodeDecodeError as problem:
        raise ValueError(f"not UTF-8 text: {problem}") from problem
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
