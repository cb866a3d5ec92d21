"""parquet: log-likelihoods as one column for each domain, or as one column ``loglik`` of lists of a fixed size.

With lists, the names of the domains are a JSON list in the metadata of the schema, under ``domains``. Columns ``weight``, ``length``,
``group``, ``sequence`` and ``bytes`` are what they are in npz; ``temperature`` and ``clipped`` are JSON numbers in the metadata. Rows are read by whole row groups.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import thread_count
from mixfast._text.names import listing, shown
from mixfast._text.optional import needed
from mixfast.errors import TableError
from mixfast.tables._made import MADE, Made, popped
from mixfast.tables._names import checked_names
from mixfast.tables._parts import VECTORS, Part, Stamp, Stored

_TYPES = {"halffloat": np.float16, "float": np.float32, "double": np.float64}


def read_parquet_part(path: Path) -> Part:
    """Return the header of a parquet part."""
    stamp = Stamp.of(os.stat(path))
    with _opened(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    names: tuple[str, ...] | None
    if "loglik" in schema.names:
        dtype, width = _list_type(path, schema.field("loglik").type)
        names = _names(path, schema.metadata)
    else:
        columns = [name for name in schema.names if name not in VECTORS]
        dtypes = {name: str(schema.field(name).type) for name in columns}
        if not columns or len(set(dtypes.values())) > 1 or not set(dtypes.values()) <= set(_TYPES):
            raise TableError(
                f"{path} must have a column loglik of lists of a fixed size, or one column for each domain, all float16, float32 or "
                f"float64; it has {listing(f'{name} ({kind})' for name, kind in dtypes.items())}"
            )
        dtype, width, names = np.dtype(_TYPES[dtypes[columns[0]]]), len(columns), tuple(columns)
    rows = metadata.num_rows
    if not rows or not width:
        raise TableError(f"{path} has {rows} rows and {width} domains, expected at least one of each")
    if names is not None:
        names = checked_names(names, "domains")
        if len(names) != width:
            raise TableError(f"{path} names {len(names)} domains, but its lists have {width} values")
    arrays = {"loglik": Stored(dtype, (rows, width), -1)}
    for key in VECTORS:
        if key in schema.names:
            arrays[key] = Stored(_vector_type(path, key, schema.field(key).type), (rows,), -1)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    ends = tuple(np.cumsum(sizes, dtype=np.int64).tolist())
    return Part(path, rows, dtype, stamp, arrays, names, made=_made(path, schema.metadata, width), row_groups=ends)


class OpenParquet:
    """The rows of a parquet part. The row groups that were read last are kept."""

    def __init__(self, part: Part) -> None:
        self.part = part
        part.check()
        self._starts = np.concatenate(([0], part.row_groups))
        self._kept: dict[str, tuple[int, int, NDArray[Any]]] = {}

    def values(self, first: int, last: int) -> NDArray[Any]:
        """Return the log-likelihoods of a range of rows."""
        return self.read("loglik", first, last)

    def read(self, key: str, first: int, last: int) -> NDArray[Any]:
        """Return a range of rows of an array."""
        start, end, found = self._kept.get(key, (0, 0, np.zeros(0)))
        if not start <= first < last <= end:
            low = int(np.searchsorted(self._starts, first, side="right")) - 1
            high = int(np.searchsorted(self._starts, last))
            start, end = int(self._starts[low]), int(self._starts[high])
            # The old rows are freed before the new ones are read.
            del found
            self._kept.pop(key, None)
            found = self._read(key, range(low, high))
            self._kept[key] = start, end, found
        return found[first - start : last - start]

    def read_into(self, out: NDArray[Any], key: str, first: int) -> None:
        """Read rows of an array, from `first` on, until `out` is full."""
        out[:] = self.read(key, first, first + len(out))

    def prefetch(self, first: int, last: int) -> None:
        """Do nothing: a row group is read as a whole."""

    def close(self) -> None:
        """Free the rows that are kept."""
        self._kept.clear()

    def _read(self, key: str, groups: range) -> NDArray[Any]:
        part = self.part
        with _opened(part.path) as file:
            listed = key != "loglik" or "loglik" in file.schema_arrow.names
            columns = [key] if listed else list(part.domains or ())
            table = file.read_row_groups(list(groups), columns=columns, use_threads=thread_count(None) > 1)
        part.check()
        if not listed:
            out = np.empty((table.num_rows, len(columns)), dtype=part.dtype)
            for k, name in enumerate(columns):
                out[:, k] = self._plain(table.column(name).combine_chunks(), name, groups)
            return out
        column = table.unify_dictionaries().column(key).combine_chunks()
        if key == "loglik":
            self._refuse_null(column, key, groups)
            return self._plain(column.flatten(), key, groups).reshape(table.num_rows, -1)
        if key == "group":
            return self._groups(column, groups)
        return self._plain(column, key, groups)

    def _groups(self, column: Any, groups: range) -> NDArray[Any]:
        import pyarrow

        self._refuse_null(column, "group", groups)
        if pyarrow.types.is_dictionary(column.type):
            names = np.array(column.dictionary.to_pylist(), dtype=str)
            return names[column.indices.to_numpy(zero_copy_only=False)]
        found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return found.astype(str) if found.dtype == object else found

    def _plain(self, column: Any, key: str, groups: range) -> NDArray[Any]:
        self._refuse_null(column, key, groups)
        found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return found

    def _refuse_null(self, column: Any, key: str, groups: range) -> None:
        if not column.null_count:
            return
        place = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        start, end = int(self._starts[groups.start]), int(self._starts[groups.stop])
        row = start + place * (end - start) // len(column)
        raise TableError(
            f"{self.part.path}, row {row}: {key} is null, expected a value in every row: drop the row or fill it"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a parquet file; errors of pyarrow become errors of the table."""
    with needed(f"{path}: reading a parquet file", "pyarrow", "mixfast[io]", TableError):
        import pyarrow
        import pyarrow.parquet
    try:
        with path.open("rb") as handle, pyarrow.parquet.ParquetFile(handle) as file:
            yield file
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        words = " ".join(str(problem).split())
        raise TableError(f"{path} is truncated or damaged, or no parquet file: {shown(words)}") from None


def _list_type(path: Path, kind: Any) -> tuple[np.dtype[Any], int]:
    import pyarrow

    if not pyarrow.types.is_fixed_size_list(kind) or str(kind.value_type) not in _TYPES:
        raise TableError(
            f"{path}: loglik has the type {kind}, expected lists of a fixed size of float16, float32 or float64 "
            "(pyarrow.FixedSizeListArray)"
        )
    return np.dtype(_TYPES[str(kind.value_type)]), kind.list_size


def _vector_type(path: Path, key: str, kind: Any) -> np.dtype[Any]:
    import pyarrow

    types = pyarrow.types
    if key == "group":
        if types.is_integer(kind):
            return np.dtype(kind.to_pandas_dtype())
        if types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
            return np.dtype(str)
        raise TableError(f"{path}: group has the type {kind}, expected integers or names")
    if types.is_integer(kind) or (types.is_floating(kind) and key in ("weight", "length")):
        return np.dtype(kind.to_pandas_dtype())
    expected = "integers or floating-point numbers" if key in ("weight", "length") else "integers"
    raise TableError(f"{path}: {key} has the type {kind}, expected {expected}")


def _made(path: Path, metadata: Any, n_domains: int) -> Made | None:
    """Return how the values were made, from numbers in the metadata."""
    said = {}
    for key in MADE:
        if (given := (metadata or {}).get(key.encode())) is not None:
            try:
                said[key] = np.array(json.loads(given))
            except ValueError:
                raise TableError(
                    f"{path}: {key} in the metadata of its schema is {shown(given)}, expected numbers in JSON"
                ) from None
    return popped(said, n_domains, f"{path}: ")


def _names(path: Path, metadata: Any) -> tuple[str, ...] | None:
    given = (metadata or {}).get(b"domains")
    if given is None:
        return None
    try:
        names = json.loads(given)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TableError(
            f"{path}: domains in the metadata of its schema is {shown(given)}, expected a JSON list of names"
        )
    return tuple(names)
