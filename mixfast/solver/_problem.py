"""What is to be solved: a table, an objective over its groups, a region; aligned by name and made ready for the loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device as _device
from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective, RowObjective
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.objectives.rows import row_objective
from mixfast._engine.objectives.squared_error import SquaredError
from mixfast._engine.objectives.wear import Wear, Worn
from mixfast._text.names import listing
from mixfast.errors import AlignmentError, InfeasibleError, RegionError, TableError
from mixfast.region import Region, limits_over
from mixfast.tables import ExpertTable

# exp of differences up to this (nats) cannot underflow in float32.
_SAFE_RANGE = 80.0


@dataclass(frozen=True, eq=False)
class Problem:
    """A validated problem. `region` has the table's order of domains; None is the whole simplex with a uniform prior."""

    table: ExpertTable
    region: Region | None
    kl: float
    worst: bool
    group_weight: Vector  # (G,), sums to 1; for worst the starting weights
    tol: float
    max_iter: int
    threads: int
    start: Vector | None
    wide: bool | None = None
    # A torch device for work on a GPU, None for the CPU.
    device: Any = None
    # How repeated tokens wear out, over all domains; None where they do not.
    wear: Wear | None = None

    @classmethod
    def of(
        cls,
        table: ExpertTable,
        region: Region | None,
        kl: float,
        objective: Mapping[str, float] | str | None,
        tol: float,
        max_iter: int,
        threads: int,
        start: Mapping[str, float] | NDArray[np.float64] | None,
        backend: str = "auto",
        wear: float | None = None,
    ) -> Problem:
        """Check and align what the caller gave, and bring the table to where the work is to be done."""
        if not isinstance(table, ExpertTable):
            raise TypeError(
                f"solve takes an ExpertTable and got {type(table).__name__}: build one with ExpertTable.from_loglik(array) or .load(path)"
            )
        if region is not None and not isinstance(region, Region):
            raise TypeError(
                f"region is {type(region).__name__}, expected a Region: Region(domains, cap=...) or Region.from_tokens(...)"
            )
        if region is not None and region.domains != table.domains:
            region = region.align(table.domains)
        if not (math.isfinite(kl) and kl >= 0.0):
            raise ValueError(f"kl is {kl}, expected a finite number of nats >= 0")
        if not (math.isfinite(tol) and tol > 0.0):
            raise ValueError(f"tol is {tol}, expected a gap in nats > 0")
        if max_iter < 0:
            raise ValueError(f"max_iter is {max_iter}, expected a count >= 0")
        table, device = _placed(table, backend)
        shares = None if start is None else _start_shares(start, table.domains)
        worst, weight = _group_weights(objective, table.group_names)
        worn = None if wear is None else _wear(wear, table, region)
        return cls(
            table,
            region,
            float(kl),
            worst,
            weight,
            float(tol),
            int(max_iter),
            threads,
            shares,
            device=device,
            wear=worn,
        )

    def __getstate__(self) -> dict[str, Any]:
        """What was given, without what was worked out from it: views of the table's memory do not travel."""
        return {given.name: getattr(self, given.name) for given in fields(self)}

    def without_limits(self) -> Problem:
        """The same without caps, floors and group limits; the prior stays."""
        if self.region is None:
            return self
        return replace(self, region=Region(self.table.domains, prior=self.region.prior), start=None)

    @cached_property
    def where(self) -> Region:
        """The region; the whole simplex where none was given."""
        return Region.simplex(self.table.domains) if self.region is None else self.region

    @cached_property
    def prior(self) -> Vector:
        return np.full(self.table.n_domains, 1.0 / self.table.n_domains) if self.region is None else self.region.prior

    @cached_property
    def usable(self) -> Columns | None:
        """Domains that may have a share; None for all."""
        if self.region is None:
            return None
        reach = self.region.reachable
        if self.kl > 0.0:
            lost = reach & (self.prior <= 0.0)
            if lost.any():
                reach = self._without(lost).reachable
        return None if reach.all() else np.flatnonzero(reach).astype(np.int32)

    def _without(self, lost: NDArray[np.bool_]) -> Region:
        """The region with the domains of prior 0 at 0, where the KL term wants them."""
        names = [self.table.domains[k] for k in np.flatnonzero(lost)]
        held = [self.table.domains[k] for k in np.flatnonzero(lost & (self.where.floor > 0.0))]
        if held:
            raise InfeasibleError(
                f"with kl > 0 a domain of prior 0 cannot have a share, but {listing(held)} must have one: "
                "give it a prior, or remove its floor"
            )
        try:
            return self.where.replace(cap=np.where(lost, 0.0, self.where.cap))
        except InfeasibleError as error:
            raise InfeasibleError(
                f"with kl > 0 a domain of prior 0 cannot have a share, and without {listing(names)} the region is empty: {error}"
            ) from None

    @cached_property
    def limits(self) -> Limits:
        """The region over the usable domains."""
        if self.region is None:
            size = self.table.n_domains
            return Limits(np.zeros(size), np.ones(size), interior=self.kl > 0.0)
        return replace(limits_over(self.region).restrict(self.usable), interior=self.kl > 0.0)

    def spread(self, w: Vector) -> Vector:
        """Shares over all domains from those of the usable ones."""
        if self.usable is None:
            return w
        out = np.zeros(self.table.n_domains)
        out[self.usable] = w
        return out

    @cached_property
    def objective(self) -> Objective:
        """The weighted sum of the groups' losses, with the KL term, over the usable domains."""
        self._check_rows()
        weight, scale = self._row_weights()
        base: Objective
        if self.table.kind == "ce":
            base = self.cross_entropy(weight, scale, usable=self.usable, wide=self.wide)
        else:
            base = SquaredError.from_table(self.table, weight, scale, usable=self.usable)
        return self.regularised(base)

    def cross_entropy(
        self,
        weight: Any,
        scale: float,
        *,
        usable: Columns | None = None,
        wide: bool | None = None,
        window: slice | None = None,
    ) -> RowObjective:
        """The rows (of a window) with these weights, on the CPU or on the device of the problem; repeats wear out."""
        rows = row_objective(
            self.table,
            weight,
            scale,
            threads=self.threads,
            device=self.device,
            usable=usable,
            wide=wide,
            window=window,
        )
        return self.worn(rows, usable)

    def worn(self, rows: RowObjective, usable: Columns | None) -> RowObjective:
        return rows if self.wear is None else Worn(rows, self.wear.restrict(usable))

    def regularised(self, base: Objective) -> Objective:
        if self.kl == 0.0:
            return base
        return Regularised(base, self.kl, self.prior if self.usable is None else self.prior[self.usable])

    @cached_property
    def group_objectives(self) -> list[Objective]:
        """The loss of each group alone, without the KL term, in float64."""
        self._check_rows()
        out: list[Objective] = []
        for g in range(self.table.n_groups):
            window = slice(int(self.table.group_offsets[g]), int(self.table.group_offsets[g + 1]))
            uniform = self.table.uniform_weight
            weight = None if uniform is not None else self.table.weights_near(window)
            if weight is not None and weight.min() == weight.max():
                uniform, weight = float(weight[0]), None
            scale = uniform if weight is None else float(weight.mean())
            if self.table.kind == "ce":
                out.append(
                    self.cross_entropy(weight, float(scale or 1.0), usable=self.usable, wide=True, window=window)
                )
            else:
                out.append(
                    SquaredError.from_table(self.table, weight, float(scale or 1.0), usable=self.usable, window=window)
                )
        return out

    def _check_rows(self) -> None:
        """Refuse rows that no domain with a share can explain."""
        table, usable = self.table, self.usable
        # A float16 of -inf counts as -65536.
        if usable is None or table.kind != "ce" or table.extremes[0] > -65536.0:
            return
        if _device.is_tensor(table.loglik):
            rows = _device.dead_rows(table.loglik, usable)
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

    def _row_weights(self) -> tuple[Any, float]:
        """c_i of the combined objective: None and the common weight, or all of them (where the table is) and their mean."""
        table, weight = self.table, self.group_weight
        if table.uniform_weight is not None and weight.min() == weight.max():
            return None, table.uniform_weight * float(weight[0])
        if _device.is_tensor(table.values):
            rows = _device.group_weights(table.values, table.weights_near(), weight, table.group_offsets)
        else:
            rows = np.ascontiguousarray(table.row_weight * np.repeat(weight, np.diff(table.group_offsets)))
        if rows.min() == rows.max():
            return None, float(rows[0])
        return rows, float(rows.mean())

    @cached_property
    def first(self) -> Vector:
        """A point of the region (over usable domains) in which every domain that may have a share has one."""
        limits = self.limits
        if self.start is not None:
            w = self.start if self.usable is None else self.start[self.usable]
            if self.region is not None and not self.region.contains(self.start, 1e-9):
                w = self.region.project(self.start)
                w = w if self.usable is None else w[self.usable]
            elif abs(w.sum() - 1.0) > 1e-12:
                w = simplex.project(np.ascontiguousarray(w), limits.low, limits.high)
            low, high, _ = self.table.extremes
            if w.min() <= 0.0 and (self.kl > 0.0 or high - low > _SAFE_RANGE):
                # A row may have no mass without a domain that starts with nothing.
                w = 0.99 * w + 0.01 * replace(self, start=None).first
            return np.ascontiguousarray(w)
        room = limits.high - limits.low
        w = limits.low + room * ((1.0 - limits.low.sum()) / max(room.sum(), 1e-300))
        if limits.groups is None:
            return w
        # Of the region without the domains that may have no share, so that the sum is right over the others.
        closed = self.where.cap
        if self.usable is not None:
            closed = np.where(self.spread(np.ones(w.size)) > 0.0, closed, self.where.floor)
        full = self.where.replace(cap=closed).project(self.spread(w))
        w = full if self.usable is None else full[self.usable]
        missing = np.flatnonzero((w <= 0.0) & (limits.high > 0.0))
        if missing.size:
            vertices = np.zeros(w.size)
            for k in missing:
                cost = np.zeros(w.size)
                cost[k] = -1.0
                vertices += limits.linear_min(cost)
            w = 0.9 * w + 0.1 * vertices / missing.size
        return w

    def total_weight(self) -> float:
        """Sum of all row weights: the scale of the gradient."""
        weight, scale = self._row_weights()
        return float(weight.sum()) if weight is not None else scale * self.table.n_rows


def _placed(table: ExpertTable, backend: str) -> tuple[ExpertTable, Any]:
    """The table where a backend wants it, and the device to work on (None for the CPU).

    "auto" leaves the table where it is. A table that the memory of the GPU does not hold stays in that of the host.
    """
    if backend in ("cpu", "reference"):
        return table.to("cpu"), None
    if _device.is_tensor(table.values):
        return table, table.values.device
    if backend != "cuda":
        return table, None
    device = _device.cuda_device()
    if table.kind != "ce" or table.nbytes <= _device.room(device):
        table = table.to(device)
    return table, device


def _wear(repeats: float, table: ExpertTable, region: Region | None) -> Wear:
    if not (math.isfinite(repeats) and repeats > 0.0):
        raise ValueError(f"wear is {repeats}, expected a number of repeats above 0")
    if table.kind != "ce":
        raise ValueError(
            "wear is for tables of log-likelihoods: predictions of a share that is worth less have no meaning"
        )
    if region is None or region.available is None or region.target_tokens is None:
        raise RegionError(
            "wear needs to know how often a mixture repeats each domain: give a region with token counts (Region.from_tokens)"
        )
    return Wear(region.available / region.target_tokens, float(repeats))


def _start_shares(start: Mapping[str, float] | NDArray[np.float64], domains: tuple[str, ...]) -> Vector:
    if isinstance(start, Mapping):
        if set(start) != set(domains):
            raise AlignmentError.between("start", sorted(start), "the table", list(domains))
        return np.array([float(start[name]) for name in domains])
    shares = np.array(start, dtype=np.float64)
    if shares.shape != (len(domains),) or not np.all(np.isfinite(shares)) or np.any(shares < 0.0):
        raise ValueError(f"start has shape {shares.shape}, expected {len(domains)} finite shares >= 0, or a Mixture")
    return shares


def _group_weights(objective: Mapping[str, float] | str | None, names: tuple[str, ...]) -> tuple[bool, Vector]:
    groups = len(names)
    if objective is None:
        return False, np.full(groups, 1.0 / groups)
    if isinstance(objective, str):
        if objective != "worst":
            raise ValueError(f'objective is {objective!r}, expected None, "worst" or a dict of group weights')
        return True, np.full(groups, 1.0 / groups)
    unknown = [name for name in objective if name not in names]
    if unknown:
        raise TableError(f"objective names groups {unknown} that the table does not have; it has {list(names)}")
    weight = np.array([float(objective.get(name, 0.0)) for name in names])
    if not np.all(np.isfinite(weight)) or np.any(weight < 0.0) or weight.sum() <= 0.0:
        raise ValueError(f"objective weights must be finite, >= 0 and not all 0; got {dict(objective)}")
    return False, weight / weight.sum()
