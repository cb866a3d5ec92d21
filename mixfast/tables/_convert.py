"""Write tables in another form: one file or a folder of parts, another format or type, several tables as one; piece by piece.

The rows of the input are read in ranges. The memory does not grow with the number of rows, unless the ids of sequences are in no order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.folders import replacing_folder
from mixfast._text.names import counted, places
from mixfast._text.progress import advance, working
from mixfast.errors import AlignmentError, TableError
from mixfast.tables._group_pass import Groups, read_groups
from mixfast.tables._made import Made, joined, ordered
from mixfast.tables._names import default_names, order_of, unit_of
from mixfast.tables._rounding import Rounding
from mixfast.tables._rows_in import Input, RowsIn, read_input
from mixfast.tables._sequence_pass import Sequences, read_sequences
from mixfast.tables._values import checked_block
from mixfast.tables._vectors_in import checked_vector, common_vectors
from mixfast.tables.formats._folder import part_name
from mixfast.tables.formats._manifest import Manifest, PartEntry, manifest_of
from mixfast.tables.formats._rows_out import RowsOut, write_rows

FORMATS = ("npz", "npy", "parquet")
# Elements of a piece: 8 MB in float16, large against the cost of a call.
_PIECE = 1 << 22
# Pieces have a multiple of this many rows, as the blocks of a folder do.
_MULTIPLE = 512
# Bytes of log-likelihoods of a part, if no number of parts is given.
_PART_BYTES = 1e9


class Piece(NamedTuple):
    """Rows ``first`` to ``last`` of an input file; with a `group`, only those of this group. `n_rows` counts the chosen rows."""

    file: int
    first: int
    last: int
    n_rows: int
    group: int | None = None


class Converted(NamedTuple):
    """What a conversion wrote.

    Attributes
    ----------
    n_rows : int
    domains : tuple of K str
    dtype : dtype
    groups : dict of str to int
        Rows of each group; empty if there are no groups.
    parts : int
        Number of parts; 0 for a single file.
    n_bytes : int
        Bytes of the files.
    largest_change : float
        Largest change of a log-likelihood by a smaller type, in nats.
    loss_change : float
        Bound on the change of the loss of every mixture, in its unit, without the values that became -inf.
    infinite : int
        Number of values that became -inf.
    renumbered : bool
        Whether sequences of several files had the same ids, so that they have new ones.
    unit : str
        Unit of the table's loss, in words.
    """

    n_rows: int
    domains: tuple[str, ...]
    dtype: np.dtype[Any]
    groups: dict[str, int]
    parts: int
    n_bytes: int
    largest_change: float
    loss_change: float
    infinite: int
    renumbered: bool
    unit: str


def convert(
    inputs: Sequence[Input],
    out: str | os.PathLike[str],
    *,
    parts: int | None = None,
    format: str | None = None,
    dtype: Any = None,
    to_minus_inf: bool = False,
    group_names: Sequence[str] | None = None,
) -> Converted:
    """Write all rows of some tables to a file, or to a folder of parts.

    Parameters
    ----------
    inputs : sequence of Input
        Tables with the same set of domains; the output has the order of the first.
    out : path
        A file if it ends in .npz, .npy or .parquet, else a folder.
    parts : int, optional
        Number of parts of a folder; by default those of the inputs, or parts of about 1 GB for a single file.
    format : {"npz", "npy", "parquet"}, optional
        Of the parts; npz by default.
    dtype : dtype, optional
        By default the smallest type that holds the values of all inputs.
    to_minus_inf : bool, default False
        Whether log-likelihoods below the range of `dtype` become -inf; by default they are refused.
    group_names : sequence of str, optional
        Make the rows of each input a group with this name, in place of the groups in the files.

    Raises
    ------
    TableError
        If a value is refused by `ExpertTable.from_loglik`, or cannot be held by `dtype`; if some inputs have a column and others not; or if
        the sequences allow fewer parts.
    AlignmentError
        If the inputs have different sets of domains.
    OSError
        If a file cannot be read or written. Nothing is left of the output then.
    """
    out = Path(out)
    work = _Conversion(inputs, dtype, to_minus_inf, group_names)
    files = sum(len(one.files) for one in inputs)
    single = out.suffix.lower() in (".npz", ".npy", ".parquet")
    if (out.suffix.lower() if single else format) in (".npy", "npy"):
        work.refuse_npy(out, named=single)
    try:
        with working(f"writing {out}", work.n_rows, "row"):
            if single:
                size = work.write(out, work.by_group(), work.groups.names, made=work.made).stat().st_size
                return work.summary(0, size)
            ending = f".{format or 'npz'}"
            if parts is None and files > 1:
                plan = work.same_parts()
            else:
                usual = round(work.n_rows * len(work.domains) * work.dtype.itemsize / _PART_BYTES)
                plan = work.equal_parts(parts or min(max(usual, 1), work.n_rows))
            with replacing_folder(out) as folder:
                manifest = work.write_folder(folder, plan, ending)
            return work.summary(len(plan), sum(entry.bytes for entry in manifest.parts))
    finally:
        work.close()


class _Conversion:
    """Input tables as one: their files, common domains, type, vectors, groups and sequences."""

    def __init__(
        self, inputs: Sequence[Input], dtype: Any, to_minus_inf: bool, group_names: Sequence[str] | None
    ) -> None:
        self.domains = inputs[0].domains
        for one in inputs:
            if set(one.domains) != set(self.domains):
                raise AlignmentError.between(str(one.path), one.domains, str(inputs[0].path), self.domains)
        self.files = [file for one in inputs for file in one.files]
        self._orders = [order_of(file.domains, self.domains) for file in self.files]
        self.n_rows = sum(file.n_rows for file in self.files)
        self.dtype = np.dtype(dtype) if dtype is not None else np.result_type(*(f.dtypes["loglik"] for f in self.files))
        self._vectors = common_vectors(self.files, grouped=group_names is not None)
        self.made = joined({str(one.path): ordered(one.made, order_of(one.domains, self.domains)) for one in inputs})
        self.groups: Groups = read_groups(inputs, self._ranges, group_names)
        self.sequences: Sequences | None = None
        if any("sequence" in file.dtypes for file in self.files):
            self.sequences = read_sequences(self.files, self._ranges)
        self._rounding = Rounding(max(len(self.groups.names), 1), self.dtype, to_minus_inf)

    def refuse_npy(self, out: Path, *, named: bool) -> None:
        """Refuse to write npy, which holds log-likelihoods only, if more would be lost; ``named`` if the names of the domains would be too."""
        lost = [*self._vectors, *(["group"] if self.groups.names else []), *(["sequence"] if self.sequences else [])]
        lost += list(self.made.arrays()) if named and self.made is not None else []
        lost += ["domains"] if named and self.domains != default_names(len(self.domains)) else []
        if lost:
            raise TableError(
                f"{out}: npy holds log-likelihoods only and would lose {', '.join(lost)}; write npz or parquet"
            )

    def close(self) -> None:
        """Close the input files."""
        for file in self.files:
            file.close()

    def _ranges(self, file: RowsIn, first: int = 0, last: int | None = None) -> list[tuple[int, int]]:
        """Return the pieces in which rows of a file are read."""
        step = max(_PIECE // len(self.domains) // _MULTIPLE, 1) * _MULTIPLE
        end = file.n_rows if last is None else last
        # Pieces begin at multiples of the step, so that those of the groups are found again.
        edges = [first, *range(first // step * step + step, end, step), end]
        return list(pairwise(edges))

    def by_group(self) -> list[Piece]:
        """Return all rows, sorted by group, as a table in memory has them."""
        pieces = self.same_parts()
        every = [piece for part in pieces for piece in part]
        if self.groups.is_sorted:
            return every
        out = []
        for group in range(len(self.groups.names)):
            for piece in every:
                count = self.groups.count(piece.file, piece.first, group)
                if count:
                    out.append(piece._replace(n_rows=count, group=None if count == piece.n_rows else group))
        return out

    def same_parts(self) -> list[list[Piece]]:
        """Return the rows of each input file."""
        return [
            [Piece(number, first, last, last - first) for first, last in self._ranges(file)]
            for number, file in enumerate(self.files)
        ]

    def equal_parts(self, count: int) -> list[list[Piece]]:
        """Return the rows in order, in parts with about equally many; no part ends inside a sequence."""
        if count > self.n_rows:
            raise TableError(f"{count} parts need at least as many rows, and there are {counted(self.n_rows, 'row')}")
        starts = np.concatenate(([0], np.cumsum([file.n_rows for file in self.files]))).tolist()
        cuts = [0]
        for part in range(1, count):
            ideal = self.n_rows * part // count
            number = int(np.searchsorted(starts, ideal, side="right")) - 1
            cut = ideal
            if self.sequences is not None:
                cut = starts[number] + self.sequences.cut_near(number, ideal - starts[number])
            cuts.append(cut)
        cuts.append(self.n_rows)
        if len(set(cuts)) < len(cuts):
            least = max(b - a for a, b in pairwise(cuts))
            raise TableError(
                f"the rows cannot be divided into {count} parts, because a part must hold whole sequences, and one holds up to {least:,} of the "
                f"{self.n_rows:,} rows: give fewer parts, or sort the rows by sequence"
            )
        plan = []
        for low, high in pairwise(cuts):
            part_pieces = []
            for number, file in enumerate(self.files):
                first, last = max(low - starts[number], 0), min(high - starts[number], file.n_rows)
                if first < last:
                    part_pieces += [Piece(number, a, b, b - a) for a, b in self._ranges(file, first, last)]
            plan.append(part_pieces)
        return plan

    def write_folder(self, folder: Path, plan: Sequence[Sequence[Piece]], ending: str) -> Manifest:
        """Write parts and table.json to a folder."""
        entries = []
        for place, pieces in enumerate(plan):
            path = folder / part_name(place, ending)
            self.write(path, pieces, self.groups.present(pieces, self._codes))
            entries.append(PartEntry.of(path, sum(piece.n_rows for piece in pieces)))
        manifest = manifest_of(self.domains, self.dtype, self.groups.names or ("all",), entries, self.made)
        manifest.write(folder)
        return manifest

    def write(self, path: Path, pieces: Sequence[Piece], names: Sequence[str], *, made: Made | None = None) -> Path:
        """Write rows to a file; ``names`` are the groups that they have. Only a file that is the whole table says how it was made."""
        dtypes: dict[str, np.dtype[Any]] = {"loglik": self.dtype, **self._vectors}
        if self.groups.names:
            dtypes["group"] = np.dtype(np.int32)
        if self.sequences is not None:
            dtypes["sequence"] = self.sequences.dtype
        codes = places(names)
        local = np.array([codes.get(name, -1) for name in self.groups.names], dtype=np.int32)

        def read(key: str, piece: Piece) -> NDArray[Any]:
            found = self._read(key, piece)
            return local[found] if key == "group" else found

        def check() -> None:
            for number in sorted({piece.file for piece in pieces}):
                self.files[number].check()
                self.files[number].close()

        n_rows = sum(piece.n_rows for piece in pieces)
        write_rows(path, RowsOut(n_rows, self.domains, dtypes, pieces, read, tuple(names), made, check))
        return path

    def _codes(self, piece: Piece) -> NDArray[np.int32]:
        return self.groups.codes(self.files[piece.file], piece.file, piece.first, piece.last)

    def _read(self, key: str, piece: Piece) -> NDArray[Any]:
        """Return the rows of a piece in a column of the output."""
        codes = None
        if self.groups.names and (key in ("group", "loglik") or piece.group is not None):
            codes = self._codes(piece)
        chosen = slice(None) if piece.group is None or codes is None else codes == piece.group
        if key == "loglik":
            values = self._values(piece, codes, chosen)
            advance(piece.n_rows)
            return values
        if key == "group":
            found: NDArray[Any] = np.zeros(0) if codes is None else codes
        elif key == "sequence" and self.sequences is not None:
            found = self.sequences.ids(self.files[piece.file], piece.file, piece.first, piece.last)
        else:
            found = checked_vector(self.files[piece.file], key, piece.first, piece.last)
        return found[chosen]

    def _values(self, piece: Piece, codes: NDArray[np.int32] | None, chosen: Any) -> NDArray[Any]:
        """Return checked log-likelihoods in the type of the output."""
        file = self.files[piece.file]
        values = file.read("loglik", piece.first, piece.last)

        def refuse(row: int, text: str) -> TableError:
            return TableError(f"{file.path}, row {piece.first + row}: {text}")

        checked_block(values, None, file.domains, refuse)
        order = self._orders[piece.file]
        if order is not None:
            values = values.take(order, axis=1)
        weights = None
        if not np.can_cast(values.dtype, self.dtype):
            weights = self._row_weights(piece, chosen)
        rows = np.arange(len(values))[chosen]
        return self._rounding.cast(
            values[chosen],
            None if codes is None else codes[chosen],
            weights,
            lambda row, text: refuse(int(rows[row]), text),
            self.domains,
        )

    def _row_weights(self, piece: Piece, chosen: Any) -> NDArray[np.float64] | None:
        """Return weights over lengths of rows; None if they have neither."""
        weights: Any = 1.0
        if "weight" in self._vectors:
            weights = checked_vector(self.files[piece.file], "weight", piece.first, piece.last)[chosen].astype(
                np.float64
            )
        if "length" in self._vectors:
            weights = weights / checked_vector(self.files[piece.file], "length", piece.first, piece.last)[
                chosen
            ].astype(np.float64)
        return None if np.ndim(weights) == 0 else weights

    def summary(self, parts: int, n_bytes: int) -> Converted:
        """Return what was written."""
        rows = self.groups.rows if self.groups.names else np.array([self.n_rows], dtype=np.int64)
        divisors = np.ones(len(rows)) if "weight" in self._vectors else rows.astype(np.float64)
        return Converted(
            self.n_rows,
            self.domains,
            self.dtype,
            dict(zip(self.groups.names, rows.tolist(), strict=False)),
            parts,
            n_bytes,
            self._rounding.largest,
            self._rounding.loss_change(divisors),
            self._rounding.infinite,
            self.sequences is not None and self.sequences.renumbered,
            unit_of(has_weight="weight" in self._vectors, has_length="length" in self._vectors),
        )


def read_inputs(paths: Sequence[str | os.PathLike[str]], *, task: Any = None, conditional: bool = False) -> list[Input]:
    """Read the headers of tables in any form."""
    return [read_input(path, task=task, conditional=conditional) for path in paths]
