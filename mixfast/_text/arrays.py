"""Read numpy's npy and npz files without executing anything in them and without trusting their headers.

A header gives shape and type of an array. Memory is allocated only for as many bytes as the file holds and the machine has free.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from mixfast._text.memory import available_memory
from mixfast._text.names import counted, given_twice, named, shown
from mixfast._text.numbers import size

# numpy writes headers of 128 bytes and reads at most this many.
_LONGEST_HEADER = 10_000
# Largest number of zero bytes that one byte of deflate can represent.
_DEFLATE_MOST = 1032
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


class Header(NamedTuple):
    """The shape and type in the header of an npy array, and the length of the header in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_size(self, held: int, where: str, error: type[Exception]) -> None:
        """Raise ``error`` unless exactly as many bytes follow the header as it claims."""
        promise = f"its header promises {self.dtype} {self.shape}, {counted(self.nbytes, 'byte')}"
        if held < self.nbytes:
            raise error(f"{where} is truncated: {promise}, and {counted(max(held, 0), 'byte')} follow")
        if held > self.nbytes:
            raise error(f"{where} holds more than its array: {promise}, and {counted(held, 'byte')} follow")


def read_header(handle: IO[bytes], where: str, error: type[Exception]) -> Header:
    """Return the npy header at the start of a file; raise ``error`` if there is none, and for Python objects."""
    try:
        version = np.lib.format.read_magic(handle)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy format {version} is for structured arrays")
        digits = handle.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(digits, "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        text = handle.read(length)
        parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = parse(io.BytesIO(digits + text))
        start = np.lib.format.MAGIC_LEN + len(digits) + length
    except Exception as problem:
        # The header is a literal that is parsed; a damaged one can raise almost any exception.
        raise error(f"{where} is no readable npy array: {_said(problem)}") from None
    if dtype.hasobject:
        raise error(
            f"{where} holds pickled Python objects, which could run any code and are never loaded; save numbers as floats and "
            "names as np.array(names, dtype=str)"
        )
    # Entries of 0 bytes: any number of them would fit into an empty file.
    if dtype.itemsize == 0 or any(type(length) is not int or not 0 <= length < 1 << 63 for length in shape):
        raise error(f"{where} is no readable npy array: its header says {named(dtype)} of the shape {shown(shape)}")
    return Header(shape, fortran, dtype, start)


class Archive:
    """An open npz file: a zip archive with one npy array for each key.

    Attributes
    ----------
    keys : tuple of str
        In the order of the file.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, error: type[Exception]) -> None:
        self._path, self._archive, self._error = path, archive, error
        found = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        if repeated := given_twice(found):
            raise error(f"{path}: {repeated}")
        self._members = dict(zip(found, archive.infolist(), strict=True))
        self.keys = tuple(found)

    def all(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by their keys."""
        return {key: self.read(key) for key in self.keys}

    def read(self, key: str) -> NDArray[Any]:
        """Return the array of a key after verifying its checksum."""
        header, info, where = self.header(key), self._members[key], self._where(key)
        available = available_memory()
        if available is not None and header.nbytes > available:
            self._refuse_size(where, header, f"{size(available)} are free")
        try:
            with self._archive.open(info) as member:
                array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        except MemoryError:
            self._refuse_size(where, header, "less memory is free")
        except Exception as problem:
            raise self._error(f"{where} is truncated or damaged: {_said(problem)}") from None
        return array

    def header(self, key: str) -> Header:
        """Return the header of a key's array after checking that the file holds as many bytes as it claims."""
        info, where = self._members[key], self._where(key)
        if info.flag_bits & 1:
            raise self._error(f"{where} is encrypted; save the archive without a password")
        held, packed, stored = info.file_size, info.compress_size, info.compress_type == zipfile.ZIP_STORED
        # Other methods can expand far more than is plausible for a file, and numpy does not write them.
        if not stored and info.compress_type != zipfile.ZIP_DEFLATED:
            raise self._error(
                f"{where} is packed by method {info.compress_type} of zip; save it with numpy.savez or numpy.savez_compressed"
            )
        cannot = held != packed if stored else held > _DEFLATE_MOST * packed
        if cannot or packed > self._path.stat().st_size:
            raise self._error(f"{where} is truncated or damaged: its {counted(packed, 'byte')} cannot hold {held}")
        try:
            with self._archive.open(info) as member:
                header = read_header(member, where, self._error)
        except self._error:
            raise
        except Exception as problem:
            raise self._error(f"{where} is truncated or damaged: {_said(problem)}") from None
        header.check_size(held - header.start, where, self._error)
        return header

    def stored_at(self, key: str) -> int | None:
        """Return the position in the file of a key's uncompressed values; None if they are compressed."""
        info = self._members[key]
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        with self._path.open("rb") as handle:
            handle.seek(info.header_offset)
            fields = _LOCAL_HEADER.unpack(handle.read(_LOCAL_HEADER.size))
        name_bytes, extra_bytes = fields[-2:]
        return info.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes) + self.header(key).start

    def member(self, key: str) -> IO[bytes]:
        """Open the npy file of a key for reading from its start; it stays open when the archive is closed."""
        return self._archive.open(self._members[key])

    def _where(self, key: str) -> str:
        return f"{self._path}, key {named(key)}"

    def _refuse_size(self, where: str, header: Header, but: str) -> NoReturn:
        raise self._error(
            f"{where} does not fit in memory: {named(header.dtype)} {header.shape} takes {size(header.nbytes)}, and {but}"
        )


@contextmanager
def open_npz(path: Path, error: type[Exception]) -> Iterator[Archive]:
    """Open an npz file; raise ``error`` if it is not one, is damaged, or repeats a key."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError:
        raise
    except MemoryError:
        raise error(f"{path}: its list of members does not fit in memory") from None
    except Exception as problem:
        # A damaged archive can raise almost any exception of zipfile and struct.
        raise error(f"{path} is truncated or damaged, or no npz file: {_said(problem)}") from None
    with archive:
        yield Archive(path, archive, error)


def _said(problem: Exception) -> str:
    return shown(str(problem) or type(problem).__name__).strip("'\"")
