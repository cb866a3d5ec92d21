"""A file of results, opened once: which kind it is, and its content as a document, lines or a table."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"
_START = 4096


class Source:
    """A file, or an object that a caller holds.

    Parameters
    ----------
    path : path
        For messages, and to read.
    document : object, optional
        The content, if the caller holds it: nothing is read then.

    Attributes
    ----------
    path : Path
    kind : str
        "json" (one document), "jsonl" (one document in each line), "table" (csv, tsv, parquet), "events" (TensorBoard), or "other".
    """

    def __init__(self, path: Path, document: Any = None) -> None:
        self.path = Path(path)
        self._document = document

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
            start = handle.read(_START)
        if start.startswith(_PARQUET):
            return "table"
        text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
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
            import zstandard

            return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(handle, closefd=True))
        return handle

    @cached_property
    def document(self) -> Any:
        """The content of a JSON file; raises ValueError if it is damaged."""
        if self._document is not None:
            return self._document
        with self.open() as handle:
            return json.loads(handle.read())

    def lines(self) -> Iterator[tuple[int, Any]]:
        """Yield the number and the document of each line that is not empty; raises ValueError with the number if one is damaged."""
        with self.open() as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError as problem:
                        raise ValueError(f"line {number}: {problem}") from problem


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
