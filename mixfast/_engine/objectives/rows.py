"""A table prepared for sweeps: packed once and shared by all objectives over it."""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device as devices
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.backend.rows import fingerprint
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import Objective, RowObjective, Sum
from mixfast._engine.objectives.pieces import GroupLosses, Pieces
from mixfast._engine.objectives.rows_cpu import CrossEntropy
from mixfast._engine.objectives.squared_error import SquaredError
from mixfast._engine.objectives.wear import Wear
from mixfast._engine.objectives.worn import Worn
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError
from mixfast.tables import ExpertTable

# Number of cached objectives: within the limits of a region, without them, and of each group.
_KEPT = 3
# Tables with at most this many values keep their objectives from one solve to the next, the last few of such tables only: exponentials of so
# small a table take longer than the solve. They take at most 4 MB in float64, like those that `in_cache.py` takes.
_SMALL, _SMALL_TABLES = 1 << 19, 4
# A table that contains probability 0 has a smaller log-likelihood than this: in float16, -inf counts as -65536.
_LOWEST = -65536.0
# Rows that are summed in one block.
_SUMMED = 4096


class TableRows:
    """The rows of a table on the device that processes them, and the objectives that are sums over them.

    A solve, the solve without limits, ranges, bootstrap replicates and losses of other mixtures all get their objectives here.

    Parameters
    ----------
    table : ExpertTable
    threads : int
        Number of CPU threads.
    device : torch.device or None
        Device that does the computation; None for the CPU.
    wear : Wear or None
        How repeated tokens wear out, over all domains.
    """

    table: ExpertTable
    threads: int
    device: Any
    wear: Wear | None

    def __init__(self, table: ExpertTable, *, threads: int, device: Any = None, wear: Wear | None = None) -> None:
        self.table, self.threads, self.device, self.wear = table, threads, device, wear
        plain = device is None and wear is None and isinstance(table, ExpertTable)  # not a table of several parts
        small = plain and not table.is_watched and table.values.size <= _SMALL
        self._known = _known_of(table) if small else None
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict() if self._known is None else self._known.objectives

    @classmethod
    def of(cls, table: ExpertTable, *, threads: int, wear: Wear | None = None) -> TableRows:
        """Make the rows of a table, processed on the device that holds it."""
        near = table.values.device if devices.is_tensor(table.values) else None
        return cls(table, threads=threads, device=near, wear=wear)

    def __reduce__(self) -> Any:
        # Views of the table's memory are not pickled but created again.
        return _again, (self.table, self.threads, self.device, self.wear)

    @property
    def given_threads(self) -> int | None:
        """The number of threads, for other tables."""
        return self.threads

    def weighted(self, group_weight: Vector, usable: Columns | None, *, wide: bool | None = None) -> Objective:
        """Return the weighted sum of the groups' losses over the usable domains (None: all); probabilities in float64 if `wide`.

        Raises
        ------
        InfeasibleError
            If no usable domain can explain some row.
        """

        def make() -> Objective:
            return self._objective(Sum(*self.row_weights(group_weight), usable, wide))

        return self._keep(("sum", group_weight.tobytes(), _key(usable), wide), make, usable)

    def groups(self, usable: Columns | None) -> list[Objective]:
        """Return the loss of each group alone, in float64."""

        def make() -> list[Objective]:
            out = []
            for first, last in pairwise(self.table.group_offsets.tolist()):
                weight, scale = self.window_weights(window := slice(first, last))
                out.append(self._objective(Sum(weight, scale, usable, True, window)))
            return out

        return self._keep(("groups", _key(usable)), make, usable)

    def pieces(self, usable: Columns | None) -> Pieces:
        """Return the losses of all groups as the functions whose largest is minimised."""
        return GroupLosses(self.groups(usable))

    def group_losses(self, mixtures: Matrix, usable: Columns | None = None) -> Matrix:
        """Return the losses (G, M) of mixtures (M, C) of the usable domains on each group."""
        return np.array([group.losses(mixtures) for group in self.groups(usable)])

    def expert_losses(self) -> Matrix:
        """Return the losses (G, K) of each single expert on each group, by sums of columns."""
        return expert_losses(self.table.to("cpu"))

    def losses(self, mixtures: Matrix, group_weight: Vector | None, usable: Columns | None = None) -> Vector:
        """Return weighted losses (M,) of mixtures (M, C) of the usable domains; the largest group loss if `group_weight` is None."""
        if group_weight is None:
            return self.group_losses(mixtures, usable).max(axis=0)
        return self.weighted(group_weight, usable).losses(mixtures)

    def recounted(
        self, group_weight: Vector, bins: Any, counts: Vector, usable: Columns | None, *, wide: bool | None
    ) -> Objective:
        """Return the weighted sum in which the rows of bin b count ``counts[b]`` times; `bins` (n,) are the bins of the rows."""
        given, scale = self.row_weights(group_weight)
        weight: Any = counts[bins]
        if devices.is_tensor(self.table.values):
            weight = devices.weights(weight, self.device)
        weight = weight * (scale if given is None else given)
        return self._objective(Sum(weight, float(weight.mean()), usable, wide))

    def row_weights(self, group_weight: Vector) -> tuple[Any, float]:
        """Return c_i of the weighted sum: None and the common weight, or all weights (on the table's device) and their mean."""
        table = self.table
        even = group_weight.size == 1 or group_weight.min() == group_weight.max()
        if table.uniform_weight is not None and even:
            return None, table.uniform_weight * float(group_weight[0])
        if devices.is_tensor(table.values):
            rows = devices.group_weights(table.values, table.weights_near(), group_weight, table.group_offsets)
        elif group_weight.size == 1 and group_weight[0] == 1.0:
            rows = table.row_weight
        else:
            rows = np.ascontiguousarray(table.row_weight * np.repeat(group_weight, np.diff(table.group_offsets)))
        if rows.min() == rows.max():
            return None, float(rows[0])
        return rows, float(rows.mean())

    def total_weight(self, group_weight: Vector) -> float:
        """Return the sum of all row weights, which is the scale of the gradient."""
        return Sum(*self.row_weights(group_weight)).total(self.table.n_rows)

    def window_weights(self, window: slice) -> tuple[Any, float]:
        """Return c_i of a slice of rows with the table's own weights, in the form of `row_weights`."""
        if self.table.uniform_weight is not None:
            return None, float(self.table.uniform_weight)
        weight = self.table.weights_near(window)
        if weight.min() == weight.max():
            return None, float(weight[0])
        return weight, float(weight.mean())

    def cross_entropy(self, which: Sum) -> RowObjective:
        """Return the cross-entropy of rows on their device, with wear if repeated tokens wear out."""
        rows: RowObjective
        if self.device is None:
            rows = CrossEntropy(self.table, which, threads=self.threads)
        else:
            from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy

            rows = DeviceCrossEntropy(self.table, which, device=self.device)
        return rows if self.wear is None else Worn(rows, self.wear.restrict(which.usable))

    def gradient_everywhere(self, w: Vector, group_weight: Vector) -> Vector:
        """Return the gradient (K,) of the weighted sum over all domains of the table, including excluded ones, at w (K,), in float64."""
        weight, scale = self.row_weights(group_weight)
        if self.table.kind == "mse":
            return SquaredError.from_table(self.table, Sum(weight, scale)).sums(w)[1]
        value, gradient, _ = self.cross_entropy(Sum(weight, scale, wide=True)).sums(w)
        if math.isfinite(value):
            return gradient
        # In some row, an excluded expert is so much better than the others that exp overflows.
        table = self.table.to("cpu")
        c = np.full(table.n_rows, scale) if weight is None else devices.host(weight)
        if self.wear is None:
            return log_sum_exp.gradient(table.loglik, c, w)
        share, slope, _ = self.wear.worth(w)
        return log_sum_exp.gradient(table.loglik, c, share) * slope

    def _objective(self, which: Sum) -> Objective:
        return SquaredError.from_table(self.table, which) if self.table.kind == "mse" else self.cross_entropy(which)

    def _keep(self, key: tuple[Any, ...], make: Callable[[], Any], usable: Columns | None) -> Any:
        # Solves in several threads may share the cache, so an entry may disappear at any time.
        key = self.threads, *key
        found = self._kept.pop(key, None)
        if found is None:
            self._check(usable)
            found = make()
            if self._known is not None and not self._known.unchanged():
                # The caller has changed the array since: this objective is not for other solves.
                self._known, self._kept = None, OrderedDict()
        self._kept[key] = found
        while len(self._kept) > _KEPT:
            _drop_oldest(self._kept)
        return found

    def _check(self, usable: Columns | None) -> None:
        """Refuse rows that no usable domain can explain."""
        table = self.table
        if usable is None or table.kind != "ce" or table.extremes[0] > _LOWEST:
            return
        if devices.is_tensor(table.loglik):
            rows = devices.dead_rows(table.loglik, usable)
        else:
            step = max(1, (1 << 20) // usable.size)
            lost = [
                start + np.flatnonzero(np.isneginf(table.loglik[start : start + step, usable].max(axis=1)))
                for start in range(0, table.n_rows, step)
            ]
            rows = np.concatenate(lost)
        if rows.size:
            raise InfeasibleError(
                f"{rows.size} rows have probability 0 under every domain that may have a share: rows {listing(rows.tolist())}; "
                "allow a domain that explains them, or leave these rows out"
            )


def expert_losses(table: ExpertTable) -> Matrix:
    """Return the loss (G, K) of each single expert on each group of a table of log-likelihoods in CPU memory, by sums of columns."""
    out = np.zeros((table.n_groups, table.n_domains))
    for group, (begin, end) in enumerate(pairwise(table.group_offsets.tolist())):
        for start in range(begin, end, _SUMMED):
            rows = slice(start, min(start + _SUMMED, end))
            if table.uniform_weight == 0.0:
                continue
            if table.uniform_weight is not None:
                out[group] -= table.uniform_weight * table.loglik[rows].sum(axis=0, dtype=np.float64)
                continue
            weight = table.weights_near(rows)
            counted = weight > 0.0  # an expert may give a row of weight 0 the probability 0
            out[group] -= weight[counted] @ table.loglik[rows][counted].astype(np.float64)
    table.check_unchanged()
    return out


class _Kept(NamedTuple):
    """What is kept of a small table: its objectives, which do not refer to it, so that it may be freed."""

    table: weakref.ref[ExpertTable]
    # The memory of the arrays that objectives are made from, which may be that of the caller.
    contents: list[NDArray[np.uint8]]
    prints: list[bytes]  # fingerprints of these
    objectives: OrderedDict[tuple[Any, ...], Any]

    @classmethod
    def of(cls, table: ExpertTable) -> _Kept:
        """Return an entry for a table, without objectives."""
        given = [table.values, table.weights_near(), table.target if table.kind == "mse" else None]
        contents = [array.reshape(-1).view(np.uint8) for array in given if isinstance(array, np.ndarray)]
        freed = weakref.ref(table, partial(_forget, id(table)))
        return cls(freed, contents, [fingerprint(one) for one in contents], OrderedDict())

    def unchanged(self) -> bool:
        """Whether the table still has the numbers that its objectives are made from."""
        return self.prints == [fingerprint(one) for one in self.contents]


# Of the last small tables, by their identities.
_small_tables: OrderedDict[int, _Kept] = OrderedDict()


def _known_of(table: ExpertTable) -> _Kept:
    """Return what is kept of a small table, with no objectives if its numbers have changed."""
    known = _small_tables.pop(id(table), None)
    if known is None or known.table() is not table or not known.unchanged():
        known = _Kept.of(table)
    _small_tables[id(table)] = known
    while len(_small_tables) > _SMALL_TABLES:
        _drop_oldest(_small_tables)
    return known


def _forget(identity: int, freed: weakref.ref[ExpertTable]) -> None:
    """Drop the objectives of a table that was freed, unless another table has its identity by now."""
    known = _small_tables.get(identity)
    if known is not None and known.table is freed:
        _small_tables.pop(identity, None)


def _drop_oldest(cache: OrderedDict[Any, Any]) -> None:
    """Drop the oldest entry, unless another thread has emptied the cache."""
    with suppress(KeyError):
        cache.popitem(last=False)


def _key(columns: Columns | None) -> bytes | None:
    return None if columns is None else columns.tobytes()


def _again(table: ExpertTable, threads: int, device: Any, wear: Wear | None) -> TableRows:
    return TableRows(table, threads=threads, device=device, wear=wear)
