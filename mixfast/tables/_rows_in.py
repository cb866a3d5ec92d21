"""The files that a conversion reads: rows of tables of log-likelihoods in any form, a range of rows at a time.

Parts that `ExpertTable.load` refuses because they cannot be mapped (compressed npz, Fortran order, another byte order) are read here, so that
a conversion can write them again.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.arrays import Header, open_npz, read_header
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing
from mixfast.errors import AlignmentError, MixfastWarning, TableError
from mixfast.tables._made import MADE, Made, popped
from mixfast.tables._names import checked_names, domain_names, order_of
from mixfast.tables._opening import open_part
from mixfast.tables._parts import VECTORS, Part, Readable, Stamp
from mixfast.tables._whole import compare_listed, is_sharded, listed, made_of_parts
from mixfast.tables.formats import _mixmin, _npy, _npz
from mixfast.tables.formats._headers import read_npy_part, read_npz_part
from mixfast.tables.formats._manifest import Manifest
from mixfast.tables.formats._parquet import read_parquet_part

# Keys of an npz file that a conversion reads.
_NAMES = ("domains", "experts", "group_names")
_KEYS = ("loglik", "condition", *VECTORS, *_NAMES, *MADE)
_EXPECTED = "a table of experts (npz, npy, parquet, a folder of parts, or a folder of the MixMin code)"


class RowsIn:
    """Rows of one file.

    Attributes
    ----------
    path : Path
    n_rows : int
    domains : tuple of K str
        Names of the columns, in the order of the file.
    dtypes : mapping of str to dtype
        Types of ``loglik`` and of the vectors that the file has, in the byte order of this machine.
    group_names : tuple of str or None
        Names of the codes of ``group``; None if it holds names or has no names for its codes.
    made : Made or None
        How the values were made, if the file says it.
    is_direct : bool
        Whether any range of rows is read directly, without those before it.
    """

    is_direct = True

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtypes: Mapping[str, np.dtype[Any]],
        domains: Sequence[str] | None,
        group_names: Sequence[str] | None,
        made: Made | None = None,
    ) -> None:
        if len(shape) != 2 or 0 in shape:
            raise TableError(f"{path}: loglik has shape {shape}, expected (rows, domains), at least one of each")
        if dtypes["loglik"].kind != "f" or dtypes["loglik"].itemsize not in (2, 4, 8):
            raise TableError(f"{path}: loglik must be float16, float32 or float64, got {dtypes['loglik']}")
        self.path, self.n_rows, self.made = path, shape[0], made
        self.domains = domain_names(domains, shape[1], str(path))
        self.dtypes = {key: dtype.newbyteorder("=") for key, dtype in dtypes.items()}
        self.group_names = None if group_names is None else checked_names(group_names, "group_names")
        self._stamp = Stamp.of(os.stat(path))

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        """Return a range of rows of a column, in memory."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise if the file has changed since its header was read."""
        if Stamp.of(os.stat(self.path)) != self._stamp:
            raise TableError(f"{self.path} has changed while it was read; run the command again when it is complete")

    def close(self) -> None:
        """Close the file until it is read again."""


class _PartRows(RowsIn):
    """Rows of a file whose ranges can be read directly."""

    def __init__(self, part: Part, domains: Sequence[str] | None) -> None:
        dtypes = {key: stored.dtype for key, stored in part.arrays.items()}
        shape = (part.rows, part.n_domains)
        super().__init__(part.path, shape, dtypes, part.domains or domains, part.group_names, part.made)
        self._part = part
        self._open: Readable | None = None

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        if self._open is None:
            self._open = open_part(self._part)
        return self._open.read(key, first, last)

    def check(self) -> None:
        self._part.check()

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class _ArrayRows(RowsIn):
    """Rows of arrays that are in memory or mapped."""

    def __init__(self, path: Path, arrays: Mapping[str, Any], domains: Sequence[str] | None) -> None:
        self._arrays = arrays
        dtypes = {key: arrays[key].dtype for key in ("loglik", *VECTORS) if key in arrays}
        names = arrays.get("domains", domains)
        made = _made(path, arrays, arrays["loglik"].shape)
        super().__init__(path, arrays["loglik"].shape, dtypes, names, arrays.get("group_names"), made)
        _check_vectors(path, self.n_rows, {key: arrays[key].shape for key in dtypes if key != "loglik"})

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        found = np.array(self._arrays[key][first:last], dtype=self.dtypes[key], order="C")
        if key == "loglik" and "condition" in self._arrays:
            return _conditional(found, np.asarray(self._arrays["condition"][first:last]))
        return found


class _PackedRows(RowsIn):
    """Rows of an npz file whose arrays are compressed, or belong to a condition: they are unpacked in order."""

    is_direct = False

    def __init__(self, path: Path, headers: Mapping[str, Header], names: Mapping[str, Any]) -> None:
        self._headers = headers
        dtypes = {key: headers[key].dtype for key in ("loglik", *VECTORS) if key in headers}
        shape = headers["loglik"].shape
        made = _made(path, names, shape)
        super().__init__(path, shape, dtypes, names.get("domains"), names.get("group_names"), made)
        _check_vectors(path, self.n_rows, {key: headers[key].shape for key in dtypes if key != "loglik"})
        condition = headers.get("condition")
        if condition is not None and condition.shape != headers["loglik"].shape:
            raise TableError(f"{path}: condition has shape {condition.shape}, but loglik {headers['loglik'].shape}")
        self._streams: dict[str, tuple[IO[bytes], int]] = {}

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        found = self._unpacked(key, first, last).astype(self.dtypes[key], copy=False)
        if key == "loglik" and "condition" in self._headers:
            return _conditional(found, self._unpacked("condition", first, last))
        return found

    def _unpacked(self, key: str, first: int, last: int) -> NDArray[Any]:
        dtype, shape = self._headers[key].dtype, self._headers[key].shape
        width = dtype.itemsize * (shape[1] if len(shape) > 1 else 1)
        stream, row = self._streams.get(key, (None, 0))
        if stream is None or row > first:
            stream, row = self._opened(key), 0
        out = np.empty((last - first, *shape[1:]), dtype=dtype)
        rest = out.reshape(-1).view(np.uint8)
        try:
            stream.seek((first - row) * width, os.SEEK_CUR)
            data = stream.read((last - first) * width)
        except Exception as problem:
            # A damaged archive can raise almost any exception of zipfile and zlib.
            raise TableError(f"{self.path}, key {key} is truncated or damaged: {problem}") from None
        if len(data) != rest.size:
            raise TableError(f"{self.path}, key {key} is truncated or damaged: its last rows are missing")
        rest[:] = np.frombuffer(data, dtype=np.uint8)
        self._streams[key] = stream, last
        return out

    def _opened(self, key: str) -> IO[bytes]:
        if key in self._streams:
            self._streams.pop(key)[0].close()
        with open_npz(self.path, TableError) as archive:
            stream = archive.member(key)
        read_header(stream, f"{self.path}, key {key}", TableError)
        return stream

    def close(self) -> None:
        for stream, _ in self._streams.values():
            stream.close()
        self._streams.clear()


def _made(path: Path, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> Made | None:
    return popped({key: arrays[key] for key in MADE if key in arrays}, shape[-1] if shape else 0, f"{path}: ")


def _check_vectors(path: Path, n_rows: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for key, shape in shapes.items():
        if shape != (n_rows,):
            raise TableError(f"{path}: {key} has shape {shape}, expected ({n_rows},): one entry for each row of loglik")


def _conditional(loglik: NDArray[Any], condition: NDArray[Any]) -> NDArray[Any]:
    # -inf - -inf is NaN, which is refused with its row.
    with np.errstate(invalid="ignore", over="ignore"):
        return loglik - condition


class Input(NamedTuple):
    """A table that a conversion reads.

    Attributes
    ----------
    path : Path
    files : tuple of RowsIn
        In the order of the rows.
    domains : tuple of K str
    groups : tuple of str or None
        Names of the groups in their order, if table.json gives them.
    made : Made or None
        How the values were made, for experts in the order of `domains`.
    """

    path: Path
    files: tuple[RowsIn, ...]
    domains: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    made: Made | None = None


def read_input(path: str | os.PathLike[str], *, task: Any = None, conditional: bool = False) -> Input:
    """Read the headers of a table in any form."""
    path = Path(path)
    if path.is_dir() and not is_sharded(path):
        return _mixmin_folder(path, task, conditional)
    if task is not None or conditional:
        raise TableError(f"{path} is not a folder of experts: task and conditional have no effect")
    if not path.is_dir():
        return _alone(_file(path, None))
    manifest, found = Manifest.read(path), listed(path)
    if manifest is not None:
        compare_listed(manifest, path, found)
    rows = {} if manifest is None else {entry.file: entry.rows for entry in manifest.parts}
    files = tuple(_file(path / name, None if manifest is None else manifest.domains) for name, _ in found)
    for file in files:
        if rows.get(file.path.name, file.n_rows) != file.n_rows:
            raise TableError(f"{file.path} has {file.n_rows} rows, but table.json lists {rows[file.path.name]}")
    if not files:
        raise TableError(
            f"{path} holds no parts: expected files part-00000.npz, part-00001.npz, ... (or .npy or .parquet)"
        )
    domains = files[0].domains if manifest is None else manifest.domains
    for file in files:
        if set(file.domains) != set(domains):
            raise AlignmentError.between(str(file.path), file.domains, str(path), domains)
    groups = None if manifest is None or manifest.groups == ("all",) else manifest.groups
    made = made_of_parts(manifest, {str(file.path): (file.made, order_of(file.domains, domains)) for file in files})
    return Input(path, files, domains, groups, made)


def _mixmin_folder(path: Path, task: Any, conditional: bool) -> Input:
    """Read a folder of the MixMin code: each task is a file whose rows are a group."""
    domains, tasks, found = _mixmin.read_tasks(path, task, conditional)
    files = []
    for number, arrays in enumerate(found):
        if len(tasks) > 1:
            arrays["group"] = np.broadcast_to(np.int32(number), arrays["loglik"].shape[:1])
            arrays["group_names"] = tasks
        files.append(_ArrayRows(path, arrays, domains))
    return Input(path, tuple(files), files[0].domains)


def _alone(rows: RowsIn) -> Input:
    return Input(rows.path, (rows,), rows.domains, made=rows.made)


def _file(path: Path, domains: Sequence[str] | None) -> RowsIn:
    """Read the header of a file; `domains` names the columns of a file without names."""
    kind = kind_of(path)
    if kind == "npy":
        with path.open("rb") as handle:
            header = read_header(handle, str(path), TableError)
        if _is_direct(header):
            return _PartRows(read_npy_part(path), domains)
        return _ArrayRows(path, {"loglik": _npy.read(path)}, domains)
    if kind in ("npz", "zip"):
        return _npz_file(path, domains)
    if kind == "parquet":
        return _PartRows(read_parquet_part(path), domains)
    raise TableError(other_kind(path, _EXPECTED))


def _npz_file(path: Path, domains: Sequence[str] | None) -> RowsIn:
    with open_npz(path, TableError) as archive:
        keys = archive.keys
        if "prediction" in keys:
            raise TableError(
                f"{path} holds predictions, but only log-likelihoods are converted: copy the file, or load it and save it in Python"
            )
        if "proba" in keys:
            raise TableError(
                f"{path} holds probabilities, but only log-likelihoods are converted: ExpertTable.load({str(path)!r}).save(NEW) writes them"
            )
        if "loglik" not in keys:
            raise TableError(f"{path} must hold loglik, and holds {listing(sorted(keys))}")
        if unused := sorted(set(keys) - set(_KEYS)):
            warnings.warn(f"{path}: keys not used, and left out: {listing(unused)}", MixfastWarning, stacklevel=4)
        headers = {key: archive.header(key) for key in ("loglik", "condition", *VECTORS) if key in keys}
        stored = all(archive.stored_at(key) is not None for key in headers)
        names: dict[str, Any] = {key: archive.read(key) for key in (*_NAMES, *MADE) if key in keys}
    names["domains"] = names.get("domains", names.get("experts", domains))
    if _fortran(headers["loglik"]) or _fortran(headers.get("condition")):
        return _ArrayRows(path, _npz.read(path), domains)
    if stored and "condition" not in headers and all(map(_is_direct, headers.values())):
        return _PartRows(read_npz_part(path), domains)
    return _PackedRows(path, headers, names)


def _fortran(header: Header | None) -> bool:
    return header is not None and header.fortran and len(header.shape) > 1


def _is_direct(header: Header) -> bool:
    return header.dtype.isnative and not _fortran(header)
