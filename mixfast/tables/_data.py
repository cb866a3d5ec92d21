"""The data of a table of experts: its fields, checked and immutable, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device as _device
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing
from mixfast._text.notebook import html_table
from mixfast._text.numbers import size
from mixfast.tables._made import Made, joined
from mixfast.tables._mapped import MappedFile
from mixfast.tables._names import some, unit_of
from mixfast.tables._values import Extremes, is_mapped, read_only, refused_rows

Table = TypeVar("Table", bound="TableData")


@dataclass(init=False, repr=False, eq=False, slots=True, weakref_slot=True)
class TableData(Frozen):
    """The fields of an `ExpertTable`, which documents them, and the properties that follow from them."""

    kind: Literal["ce", "mse"]
    domains: tuple[str, ...]
    weight: NDArray[np.float64] | None
    length: NDArray[Any] | None
    bytes: NDArray[Any] | None
    group_names: tuple[str, ...]
    group_offsets: NDArray[np.int64]
    sequence: NDArray[Any] | None
    uniform_weight: float | None
    n_outputs: int
    # An array, or a torch tensor for a table on a device.
    _values: Any
    _target: NDArray[np.float64] | None
    # On the device where the values are.
    _row_weight: Any
    _grouped: bool
    # Of all values when the table was built; they remain bounds when rows are left out.
    _extremes: Extremes
    _made: Made | None
    # The file that the values are mapped from, as it was before they were checked; None for values in memory.
    _file: MappedFile | None

    @property
    def loglik(self) -> NDArray[Any]:
        """Log-likelihoods, (n, K); only if kind is "ce"."""
        return self._values if self.kind == "ce" else self._lacks("loglik", "prediction")

    @property
    def prediction(self) -> NDArray[Any]:
        """Predictions, (n, K), with a row for each output of each observation; only if kind is "mse"."""
        return self._values if self.kind == "mse" else self._lacks("prediction", "loglik")

    @property
    def target(self) -> NDArray[np.float64]:
        """Targets of `prediction`, (n,) float64; only if kind is "mse"."""
        return self._target if self._target is not None else self._lacks("target", "loglik")

    @property
    def values(self) -> NDArray[Any]:
        """`loglik` or `prediction`, whichever the table holds, (n, K)."""
        return self._values

    @property
    def extremes(self) -> Extremes:
        """Three bounds in nats: no value is below the first or above the second, and no row has its largest value below the third."""
        return self._extremes

    @property
    def row_weight(self) -> NDArray[np.float64]:
        """Weight c of each row in the sum of its group, (n,) float64; if all are equal, the array is made on each call."""
        if self._row_weight is not None:
            return _device.host(self._row_weight)
        return read_only(np.full(self.n_rows, self.uniform_weight))

    def weights_near(self, window: slice = slice(None)) -> Any:
        """Return the weights c of a range of r rows, as the objectives take them.

        The result is one number if all rows of the table have the same weight, else (r,) float64: an array, or a tensor if the
        table is on a device.
        """
        return self.uniform_weight if self._row_weight is None else self._row_weight[window]

    @property
    def group(self) -> NDArray[np.int32] | None:
        """Index of each row into `group_names`, (n,) int32, ascending; None if no groups were given."""
        if not self._grouped:
            return None
        return read_only(np.repeat(np.arange(self.n_groups, dtype=np.int32), np.diff(self.group_offsets)))

    @property
    def temperature(self) -> dict[str, float] | None:
        """Temperature that was fitted for each expert; None if probabilities are as the experts gave them."""
        made = self._made
        return (
            None if made is None or made.temperature is None else dict(zip(self.domains, made.temperature, strict=True))
        )

    @property
    def clipped(self) -> int:
        """Number of probabilities that were raised to `clip` when the table was built."""
        return 0 if self._made is None else self._made.clipped

    @property
    def n_rows(self) -> int:
        """Number of rows n; observations times outputs for kind "mse"."""
        return int(self._values.shape[0])

    @property
    def n_domains(self) -> int:
        """Number of domains K."""
        return int(self._values.shape[1])

    @property
    def n_groups(self) -> int:
        """Number of groups G, at least 1."""
        return len(self.group_names)

    @property
    def unit(self) -> str:
        """The unit of the table's loss, in words."""
        if self.kind == "mse":
            return "half squared units of the target"
        return unit_of(has_weight=self.weight is not None, has_length=self.length is not None)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return self._values.shape[0], self._values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage type of `values`."""
        return _device.dtype_of(self._values)

    @property
    def device(self) -> str:
        """Where `values` are: "cpu", or a CUDA device such as "cuda:0"."""
        return str(self._values.device) if _device.is_tensor(self._values) else "cpu"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays of the table, in memory or mapped from disk."""
        arrays = (self._values, self._target, self.weight, self.length, self.bytes, self.sequence, self._row_weight)
        # c may be the same array as the given weight: count it once.
        unique = {id(array): array.nbytes for array in arrays if array is not None}
        return sum(unique.values()) + self.group_offsets.nbytes

    def check_unchanged(self) -> None:
        """Raise `TableError` if the values are mapped from a file that was written to after they were checked.

        All sums over the rows of a mapped table are followed by this check, so no answer comes from rows that were not checked. It takes
        a few microseconds for a mapped table.
        """
        if self._file is not None and (change := self._file.change()):
            # Reading a file that was cut short may end the process.
            rows = "" if "short" in change else refused_rows(self._values, self.kind, self.n_outputs, self.domains)
            raise self._file.error(change, rows)

    @property
    def is_watched(self) -> bool:
        """Whether `check_unchanged` has a file to look at."""
        return self._file is not None

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        held = size(self._values.nbytes) + (", mapped" if is_mapped(self._values) else "")
        held += f" on {self.device}" if _device.is_tensor(self._values) else ""
        outputs = f" ({self.n_outputs} outputs)" if self.n_outputs > 1 else ""
        parts = [
            f"{self.kind}, {self.n_rows} row{'s' * (self.n_rows != 1)}{outputs} x {self.n_domains} "
            f"domain{'s' * (self.n_domains != 1)}, {self.dtype.name}, {held}",
            f"domains: {some(self.domains, quote=False)}",
        ]
        if self._grouped:
            parts.append(f"groups: {some(self.group_names, quote=False)}")
        given = [key for key in ("weight", "length", "bytes", "sequence") if getattr(self, key) is not None]
        if given:
            parts.append(f"with {', '.join(given)}")
        parts += [] if self._made is None else self._made.words()
        return f"ExpertTable({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """Show the groups of rows and the domains in a notebook."""
        rows = [
            (name, f"{count:,}")
            for name, count in zip(self.group_names, np.diff(self.group_offsets).tolist(), strict=True)
        ]
        lines = [f"{counted(self.n_domains, 'domain')}: {listing(self.domains, limit=20)}"]
        title = (
            f"ExpertTable: {self.n_rows:,} rows x {self.n_domains:,} domains, {self.dtype.name}, {size(self.nbytes)}"
        )
        return html_table(title, ["group", "rows"], rows, lines=lines, what="groups")

    def _lacks(self, name: str, other: str) -> NoReturn:
        raise AttributeError(f'a table of kind "{self.kind}" has no {name}; it has {other}')

    def _replace(self, **changes: Any) -> Self:
        return self._of_fields(self.__getstate__() | changes)

    @classmethod
    def _of_fields(cls, state: dict[str, Any]) -> Self:
        """Make a table of checked fields. Arrays from a pickle are writeable, so they are made read-only here."""
        table = object.__new__(cls)
        put = object.__setattr__
        state = {"_made": None, "_file": None} | state
        if state["_file"] is not None and not is_mapped(state["_values"]):  # a copy is in memory
            state["_file"] = None
        for name, value in state.items():
            if type(value) is np.ndarray and value.flags.writeable:
                value = read_only(value)
            put(table, name, value)
        return table

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"ExpertTable is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"ExpertTable is immutable: cannot delete {name}")

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _compared(self) -> dict[str, Any]:
        # The extremes are bounds, which may be loose after rows were left out; equal values may have been made in different ways.
        return {
            name: value for name, value in self.__getstate__().items() if name not in ("_extremes", "_made", "_file")
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return self._of_fields, (self.__getstate__(),)


def remembering(table: Table, sources: Mapping[str, TableData]) -> Table:
    """Return a table of the rows of several tables (by name, with the same domains in one order) that knows what they know of their making."""
    return table._replace(_made=joined({name: source._made for name, source in sources.items()}))
