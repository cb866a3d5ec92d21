"""Write rows to npz, npy or parquet in pieces, so that no more than one piece is in memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import replacing
from mixfast._text.optional import needed
from mixfast.errors import TableError
from mixfast.tables._made import Made
from mixfast.tables.formats._npz import member_info

# Columns of a parquet file that are no domains.
_RESERVED = {"loglik", "weight", "length", "bytes", "group", "sequence"}


class RowsOut(NamedTuple):
    """Rows of a table of log-likelihoods that are written to one file; they are read piece by piece.

    Attributes
    ----------
    n_rows : int
    domains : tuple of K str
    dtypes : mapping of str to dtype
        Type of each column of the file: ``loglik`` first, then any of ``weight``, ``length``, ``bytes``, ``group``, ``sequence``.
    pieces : sequence
        Names of consecutive pieces of the rows, of any type.
    read : callable
        ``read(key, piece)`` returns the rows of a piece in a column: (rows, K) for ``loglik``, (rows,) for the others.
    group_names : tuple of str
        Names of the codes of ``group``, each with at least one row.
    made : Made or None
        How the values were made.
    check : callable
        Called when all rows are written, before the file appears; raises if the rows were not what they should be.
    """

    n_rows: int
    domains: tuple[str, ...]
    dtypes: Mapping[str, np.dtype[Any]]
    pieces: Sequence[Any]
    read: Callable[[str, Any], NDArray[Any]]
    group_names: tuple[str, ...] = ()
    made: Made | None = None
    check: Callable[[], None] = lambda: None

    def piece(self, key: str, piece: Any) -> NDArray[Any]:
        """Return the rows of a piece in a column, C-contiguous, in its type."""
        return np.ascontiguousarray(self.read(key, piece), dtype=self.dtypes[key])

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a column."""
        return (self.n_rows, len(self.domains)) if key == "loglik" else (self.n_rows,)


def write_rows(path: Path, rows: RowsOut) -> None:
    """Write rows to a file, in the format of its ending; the file appears whole or not at all."""
    write = {".npz": _write_npz, ".npy": _write_npy, ".parquet": _write_parquet}[path.suffix.lower()]
    with replacing(path) as handle:
        write(handle, rows, str(path))
        rows.check()


def _write_npz(handle: IO[bytes], rows: RowsOut, where: str) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        for key in rows.dtypes:
            with archive.open(member_info(handle, f"{key}.npy"), "w", force_zip64=True) as member:
                _write_array(member, rows, key)
        names = {"domains": rows.domains} | ({"group_names": rows.group_names} if "group" in rows.dtypes else {})
        last = {key: np.array(values, dtype=str) for key, values in names.items()}
        for key, array in (last | ({} if rows.made is None else rows.made.arrays())).items():
            with archive.open(member_info(handle, f"{key}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_npy(handle: IO[bytes], rows: RowsOut, where: str) -> None:
    if lost := [key for key in rows.dtypes if key != "loglik"]:
        raise TableError(
            f"{where}: npy holds log-likelihoods only and would lose {', '.join(lost)}; use npz or parquet"
        )
    _write_array(handle, rows, "loglik")


def _write_array(handle: IO[bytes], rows: RowsOut, key: str) -> None:
    """Write a column as an npy array."""
    descr = np.lib.format.dtype_to_descr(rows.dtypes[key])
    header = {"descr": descr, "fortran_order": False, "shape": rows.shape(key)}
    np.lib.format.write_array_header_1_0(handle, header)
    for piece in rows.pieces:
        handle.write(rows.piece(key, piece).data.cast("B"))


def _write_parquet(handle: IO[bytes], rows: RowsOut, where: str) -> None:
    """Write a column for each domain, and names of the groups in place of their codes.

    Domains with names like those of the other columns are written as one list for each row.
    """
    with needed(f"{where}: writing a parquet file", "pyarrow", "mixfast[io]", TableError):
        import pyarrow
        import pyarrow.parquet

    listed = bool(_RESERVED.intersection(rows.domains))
    said = {} if rows.made is None else {key: array.tolist() for key, array in rows.made.arrays().items()}
    metadata = {key: json.dumps(value) for key, value in (({"domains": rows.domains} if listed else {}) | said).items()}

    def columns(key: str, array: NDArray[Any]) -> dict[str, Any]:
        if key == "loglik" and not listed:
            return {name: pyarrow.array(array[:, k]) for k, name in enumerate(rows.domains)}
        if key == "loglik":
            return {key: pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(array.reshape(-1)), len(rows.domains))}
        if key == "group":
            names = pyarrow.array(rows.group_names, pyarrow.string())
            return {key: pyarrow.DictionaryArray.from_arrays(pyarrow.array(array), names)}
        return {key: pyarrow.array(array)}

    def group_of(piece: Any) -> Any:
        found: dict[str, Any] = {}
        for key in rows.dtypes:
            found |= columns(key, rows.piece(key, piece))
        return pyarrow.table(found).replace_schema_metadata(metadata or None)

    tables = map(group_of, rows.pieces)
    first = next(tables)
    # Log-likelihoods hardly compress, and only uncompressed values are read at the speed of the disk.
    with pyarrow.parquet.ParquetWriter(handle, first.schema, compression="none", use_dictionary=["group"]) as writer:
        for table in chain([first], tables):
            writer.write_table(table, row_group_size=table.num_rows)
