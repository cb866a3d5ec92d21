"""The problem to solve: rows, an objective over their groups, and a region, checked and aligned by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device as devices
from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.kl import Kl, Regularised
from mixfast._engine.objectives.pieces import Pieces
from mixfast._engine.objectives.rows import TableRows
from mixfast._engine.objectives.sharded_rows import ShardedRows
from mixfast._text.frozen import locked
from mixfast._text.names import listing, matching, misspelt
from mixfast._text.numbers import LARGEST
from mixfast.errors import AlignmentError, BackendError, TableError
from mixfast.region import Reach, Region, reach
from mixfast.solver._start import starting_point
from mixfast.solver._wear import Given, kept, wear_of
from mixfast.tables import ExpertTable, ShardedTable


class GroupWeights(NamedTuple):
    """Weight of each group: shares (G,) that sum to 1. With `worst` they are only the weights that the search starts from."""

    worst: bool
    share: Vector

    @classmethod
    def of(cls, objective: Mapping[str, float] | str | None, names: tuple[str, ...]) -> GroupWeights:
        """Read the argument `objective` of `solve`; raise unless it names groups of the table and gives one of them a positive weight."""
        if objective is None or objective == "worst":
            return _evenly(objective == "worst", len(names))
        if isinstance(objective, str):
            objective = dict.fromkeys(matching(names, objective) or [objective], 1.0)
        unknown = [name for name in objective if name not in names]
        if unknown:
            raise TableError(
                f"objective names an unknown group: {misspelt(unknown, names)}; the table has {listing(names)}"
            )
        weight = np.array([float(objective.get(name, 0.0)) for name in names])
        if not np.all(np.isfinite(weight)) or np.any(weight < 0.0) or weight.sum() <= 0.0:
            raise ValueError(f"objective weights must be finite, >= 0 and not all 0; got {dict(objective)}")
        return cls(False, weight / weight.sum())


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked problem. `region` has the table's order of domains; None is the whole simplex with a uniform prior."""

    rows: TableRows
    region: Region | None
    weights: GroupWeights
    kl: float
    tol: float
    max_iter: int
    start: Vector | None  # (K,)
    wide: bool | None = None  # probabilities in float64
    wear: Given = None  # as given; `rows` has it in the table's order of domains

    @classmethod
    def of(
        cls,
        table: ExpertTable | ShardedTable,
        region: Region | None = None,
        *,
        kl: float = 0.0,
        objective: Mapping[str, float] | str | None = None,
        tol: float = 1e-8,
        max_iter: int = 200,
        threads: int | None = None,
        start: Mapping[str, float] | NDArray[np.float64] | None = None,
        backend: str = "auto",
        wear: Given = None,
    ) -> Problem:
        """Check and align the arguments, and move the table to the device that computes."""
        if not isinstance(table, (ExpertTable, ShardedTable)):
            raise TypeError(
                f"solve takes an ExpertTable and got {type(table).__name__}: build one with ExpertTable.from_loglik(array) or .load(path)"
            )
        if not (math.isfinite(tol) and tol > 0.0):
            raise ValueError(f"tol is {tol}, expected a gap in nats > 0")
        if max_iter < 0:
            raise ValueError(f"max_iter is {max_iter}, expected a count >= 0")
        shares = None if start is None else _start_shares(start, table.domains)
        weights = GroupWeights.of(objective, table.group_names)
        where = _aligned(region, table)
        rows = rows_of(table, where, threads=threads, backend=backend, wear=wear)
        return cls(rows, where, weights, _checked_kl(kl), float(tol), int(max_iter), shares, wear=kept(wear))

    def within(self, region: Region | None, kl: float, start: Vector | None) -> Problem:
        """The same rows and objective over another region, with another KL weight and start (K,)."""
        return replace(self, region=_aligned(region, self.table), kl=_checked_kl(kl), start=start)

    def without_limits(self) -> Problem:
        """The same problem without caps, floors and group limits, with the same prior."""
        if self.region is None:
            return self
        return replace(self, region=Region(self.table.domains, prior=self.region.prior), start=None)

    def __getstate__(self) -> dict[str, Any]:
        """Return the given fields, without the cached ones, which are computed again."""
        return {given.name: getattr(self, given.name) for given in fields(self)}

    @property
    def table(self) -> ExpertTable:
        """The table, on the device that computes."""
        return self.rows.table

    @property
    def minimax(self) -> bool:
        """Whether the largest of several group losses is minimised."""
        return self.weights.worst and self.table.n_groups > 1

    @cached_property
    def reach(self) -> Reach:
        """The region, restricted to the domains that may have a share."""
        return _whole(self.table.domains, self.kl) if self.region is None else reach(self.region, self.kl)

    @cached_property
    def where(self) -> Region:
        """The region; the whole simplex if none was given."""
        return _simplex(self.table.domains) if self.region is None else self.region

    @property
    def usable(self) -> Columns | None:
        """Domains that may have a share; None for all."""
        return self.reach.usable

    @property
    def limits(self) -> Limits:
        """The region over the usable domains."""
        return self.reach.limits

    @cached_property
    def objective(self) -> Objective:
        """The weighted sum of the groups' losses, with the KL term, over the usable domains."""
        return self.regularised(self.rows.weighted(self.weights.share, self.usable, wide=self.wide))

    @property
    def groups(self) -> list[Objective]:
        """The loss of each group alone, without the KL term, over the usable domains."""
        return self.rows.groups(self.usable)

    @property
    def pieces(self) -> Pieces:
        """The losses of all groups, for the largest of which a mixture is sought."""
        return self.rows.pieces(self.usable)

    def kl_of(self, w: Vector) -> float:
        """The KL term of a mixture (K,)."""
        return 0.0 if self.kl == 0.0 else Kl(self.kl, self.where.prior).at(w)[0]

    def regularised(self, base: Objective) -> Objective:
        """The objective with the KL term of this problem."""
        return base if self.kl == 0.0 else Regularised(base, Kl(self.kl, self.reach.prior))

    @cached_property
    def first(self) -> Vector:
        """A point of the region in which every usable domain has a positive share."""
        low, high, _ = self.table.extremes
        # Of several parts the extremes become known in the first sweep; whether there was one must not change the answer.
        spread = math.inf if isinstance(self.rows, ShardedRows) else high - low
        return starting_point(self.reach, self.start, spread=spread)

    @cached_property
    def given(self) -> Vector | None:
        """The given start, projected onto the region; unlike `first`, it may have shares of 0. None if none was given."""
        return None if self.start is None else starting_point(self.reach, self.start, spread=0.0)

    def row_weights(self) -> Vector:
        """Weight c_i of each row (n,) in the objective, for a table in CPU memory."""
        weight, scale = self.rows.row_weights(self.weights.share)
        return np.full(self.table.n_rows, scale) if weight is None else weight

    def total_weight(self) -> float:
        """Sum of all row weights: the scale of the gradient."""
        return self.rows.total_weight(self.weights.share)


# These are cached because building them takes a large part of the time of a small solve.
@lru_cache(maxsize=8)
def _evenly(worst: bool, groups: int) -> GroupWeights:
    """The same weight for each group."""
    return GroupWeights(worst, locked(np.full(groups, 1.0 / groups)))


@lru_cache(maxsize=8)
def _simplex(domains: tuple[str, ...]) -> Region:
    """The region of all mixtures."""
    return Region.simplex(domains)


@lru_cache(maxsize=8)
def _whole(domains: tuple[str, ...], kl: float) -> Reach:
    """The same, as a solver works on it."""
    return reach(_simplex(domains), kl)


def rows_of(
    table: ExpertTable | ShardedTable,
    region: Region | None = None,
    *,
    threads: int | None = None,
    backend: str = "auto",
    wear: Given = None,
) -> TableRows:
    """The rows of a table on the device of a backend, with `wear` for repeated tokens."""
    if isinstance(table, ShardedTable):
        _refuse_backend(backend)
        worn = None if wear is None else wear_of(wear, table, region)
        if threads is not None:
            thread_count(threads)
        return ShardedRows(table, threads=threads, wear=worn, cuda=backend == "cuda")
    table, device = _placed(table, backend)
    worn = None if wear is None else wear_of(wear, table, region)
    return TableRows(table, threads=thread_count(threads), device=device, wear=worn)


def _checked_kl(kl: float) -> float:
    if not 0.0 <= kl <= LARGEST:
        raise ValueError(f"kl is {kl}, expected a finite number of nats >= 0, at most {LARGEST:g}")
    return float(kl)


def _aligned(region: Region | None, table: ExpertTable | ShardedTable) -> Region | None:
    if region is None:
        return None
    if not isinstance(region, Region):
        raise TypeError(
            f"region is {type(region).__name__}, expected a Region: Region(domains, cap=...) or Region.from_tokens(...)"
        )
    return region if region.domains == table.domains else region.align(table.domains)


def _placed(table: ExpertTable, backend: str) -> tuple[ExpertTable, Any]:
    """Return the table on the device of a backend, and the device that computes (None for the CPU).

    "auto" does not move the table. A table that does not fit into the memory of the GPU stays on the host.
    """
    if backend in ("cpu", "reference"):
        return table.to("cpu"), None
    if devices.is_tensor(table.values):
        return table, table.values.device
    if backend != "cuda":
        return table, None
    device = devices.cuda_device()
    if table.kind != "ce" or table.nbytes <= devices.capacity(device):
        table = table.to(device)
    return table, device


def _refuse_backend(backend: str) -> None:
    """Refuse backends that a table of several parts does not have."""
    if backend == "reference":
        raise BackendError('backend="reference" needs all rows in memory: load one file, not a folder of parts')
    if backend == "cuda":
        devices.cuda_device()


def _start_shares(start: Mapping[str, float] | NDArray[np.float64], domains: tuple[str, ...]) -> Vector:
    if isinstance(start, Mapping):
        if set(start) != set(domains):
            raise AlignmentError.between("start", sorted(start), "the table", list(domains))
        return np.array([float(start[name]) for name in domains])
    shares = np.array(start, dtype=np.float64)
    if shares.shape != (len(domains),) or not np.all(np.isfinite(shares)) or np.any(shares < 0.0):
        raise ValueError(f"start has shape {shares.shape}, expected {len(domains)} finite shares >= 0, or a Mixture")
    return shares
