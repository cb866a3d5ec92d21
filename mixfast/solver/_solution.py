"""Answers of the solver: the mixture with its certificate, and the intervals of its shares."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.prices import Multipliers
from mixfast._engine.optimise.replicates import central_interval
from mixfast._engine.optimise.trace import Step
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen, locked
from mixfast._text.names import listing, misspelt
from mixfast._text.notebook import html_table
from mixfast._text.numbers import LARGEST, percent
from mixfast.errors import AlignmentError, BackendError, MixfastWarning, NotConvergedWarning
from mixfast.mixture import Mixture, over
from mixfast.ranks import led
from mixfast.region import Region, ShadowPrice, domain_columns, shadow_prices
from mixfast.solver._losses import checked
from mixfast.solver._minimise import Found, minimise_problem
from mixfast.solver._multipliers import multipliers
from mixfast.solver._problem import Problem, rows_of
from mixfast.solver._summary import solve_summary, span
from mixfast.solver._wear import kept
from mixfast.tables import ExpertTable, ShardedTable

# Ranges need the Hessian over all domains and two searches for each domain: with more domains than this, reports leave them out by default.
MOST_RANGED = 500
# A mixture that is further outside the region than this share is not called optimal: see `Region.violation`.
FEASIBLE = 1e-9
# Rounding error of a loss or a slope, as a fraction of it.
ROUNDED = 4.0 * float(np.finfo(np.float64).eps)
# Multipliers below this are rounding errors of gradients, which are about 1; so are those below this many gaps.
_PRICE_ROUNDING, _GAPS = 1e-7, 10.0


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Frozen):
    """A mixture with its certificate.

    Attributes
    ----------
    mixture : Mixture
        The proposed shares, in the order of the table's domains.
    status : str
        "optimal": the gap is certified to be at most the tolerance, and the mixture is within 1e-9 of the region (`Region.violation`).
        "optimal_inaccurate": rounding stopped progress above the tolerance, or a group limit is not met.
        "user_limit": `max_iter`, or the fixed number of steps of "eg-paper", ended the solve.
    value : float
        Objective at the mixture, including the KL term, nats (squared units of the target for "mse").
    gap : float
        Frank-Wolfe gap over the region: the objective's minimum is at least ``value - gap``.
    loss : float
        The objective without the KL term; with `wear`, the loss of the effective shares.
    trace : tuple of Step
        Rows evaluated, size of the working set of domains, value, gap and seconds of each step.
    seconds : float
        Wall time of the solve.
    backend : str
        The device that computed, for example "cpu (avx512, 2 threads)".
    """

    mixture: Mixture
    status: str
    value: float
    gap: float
    loss: float
    trace: tuple[Step, ...] = field(repr=False)
    seconds: float
    backend: str
    _problem: Problem = field(repr=False)
    _found: Found = field(repr=False)

    @classmethod
    def of(cls, problem: Problem, found: Found, *, warn: bool = True) -> Solution:
        """Build the solution over all domains from a minimum over the usable ones; warn if its gap is above the tolerance."""
        minimum = found.minimum
        status = "optimal"
        w = problem.reach.spread(minimum.w)
        outside = 0.0 if problem.limits.groups is None else problem.where.violation(w)
        if outside > FEASIBLE:
            status = "optimal_inaccurate"
            if warn:
                warnings.warn(
                    f"the mixture misses a group limit: a share of {outside:.3g} would have to move to meet it. The coefficients of the limits "
                    "may span too many orders of magnitude. The gap is computed for limits that are relaxed until this mixture meets them",
                    NotConvergedWarning,
                    stacklevel=4,
                )
        # Rounding of the slopes and of the losses of groups; negligible unless they are huge.
        level = float(level_of(minimum.gradient, minimum.w)) + (abs(minimum.value) if problem.minimax else 0.0)
        if problem.table.kind != "ce":
            level += max(
                one.magnitude(minimum.w) for one in (problem.groups if problem.minimax else [problem.objective])
            )
        gap = minimum.gap + ROUNDED * level
        if not (gap <= problem.tol or gap <= problem.tol * problem.total_weight()):
            status = "user_limit" if minimum.steps >= problem.max_iter else "optimal_inaccurate"
            if warn:
                warnings.warn(
                    f"the solve ended ({status}) with a gap of {gap:.3g} {_unit(problem.table)}, above the tolerance of {problem.tol:.3g}: "
                    "the mixture is the best point found and its loss is within the gap of the optimum",
                    NotConvergedWarning,
                    stacklevel=4,
                )
        return cls(
            mixture=over(problem.table.domains, w),
            status=status,
            value=minimum.value,
            gap=gap,
            loss=minimum.value - problem.kl_of(w),
            trace=tuple(minimum.trace),
            seconds=found.seconds,
            backend=found.backend,
            _problem=problem,
            _found=found,
        )

    def __repr__(self) -> str:
        unit = self.table.unit
        return f"Solution({self.status}; value {self.value:.6g} {unit}, gap {self.gap:.1e}; {self.mixture.largest()})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the largest shares and the certificate in a notebook."""
        epochs = self.epochs
        order = sorted(self.mixture, key=lambda name: -self.mixture[name])
        rows = [
            (name, percent(self.mixture[name]), *([] if epochs is None else [f"{epochs[name]:.2f}"])) for name in order
        ]
        proof = f"{self.status}: no allowed mixture is better by more than {self.gap:.1e} (value {self.value:.6g} {self.table.unit})"
        header = ["domain", "share", *([] if epochs is None else ["epochs"])]
        return html_table("Solution", header, rows, lines=[proof], what="domains")

    def to_pandas(self) -> Any:
        """Return one row for each domain as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            Labels: the domains. Columns: "share"; with a region "prior" (if it has one), "floor", "cap" and "price" (nats saved for each unit of
            share by which the binding cap or floor gives way, 0 for others); with token counts "epochs".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        return data_frame(
            domain_columns(self.mixture, self.region, self.shadow_prices), self.mixture.domains, "domain", BackendError
        )

    def summary(self) -> str:
        """Return the shares, the limits that bind, and the certificate as text, as `mixfast solve` prints them."""
        return solve_summary(self)

    @property
    def table(self) -> ExpertTable:
        """The table, on the device that computed."""
        return self._problem.table

    @property
    def region(self) -> Region | None:
        """The region, in the order of the table's domains; None if none was given."""
        return self._problem.region

    @property
    def kl(self) -> float:
        """Weight of the KL term, nats."""
        return self._problem.kl

    @property
    def tol(self) -> float:
        """The gap that was asked for, nats."""
        return self._problem.tol

    @property
    def wear(self) -> float | str | dict[str, float | str] | None:
        """Repeats after which a token counts for 1/e of a new one, or thresholds such as "4 epochs", as given: for all domains or by domain; None if repeats count as new tokens."""
        return kept(self._problem.wear)

    @property
    def worst(self) -> bool:
        """Whether the largest group loss was minimised."""
        return self._problem.weights.worst

    @property
    def group_weights(self) -> dict[str, float]:
        """Weight of each group in the objective, summing to 1; for "worst" the multipliers that prove the minimax value."""
        return dict(zip(self.table.group_names, self._found.group_weight.tolist(), strict=True))

    def settle(self) -> None:
        """Compute what reading and printing the answer needs, while the other ranks still serve."""
        _ = self.group_losses, self.shadow_prices, self.unconstrained

    @cached_property
    def group_losses(self) -> dict[str, float]:
        """Loss of each group of rows at the mixture, without the KL term; one sweep of the rows if there are several groups, none for tables of several parts."""
        names = self.table.group_names
        if len(names) == 1:
            return {names[0]: self.loss}
        w = self._found.minimum.w[None, :]
        found = self._problem.rows.group_losses(w, self._problem.usable)[:, 0]
        return dict(zip(names, found.tolist(), strict=True))

    @property
    def epochs(self) -> dict[str, float] | None:
        """Epochs of each domain in a run of the region's budget; None if the region has no token counts."""
        return None if self.region is None else self.region.epochs(self.mixture)

    @cached_property
    def multipliers(self) -> Multipliers:
        """Multipliers of the region's limits. Costs one sweep of the rows if domains are excluded or the solve was in float32."""
        return multipliers(self._problem, self._found)

    @cached_property
    def shadow_prices(self) -> tuple[ShadowPrice, ...]:
        """The limits that bind and how much loss relaxing them would save, the largest first."""
        if self.region is None:
            return ()
        least = max(_PRICE_ROUNDING, _GAPS * self.gap)
        return shadow_prices(self.region, self.mixture.weights, self.multipliers, least=least, unit=_unit(self.table))

    @cached_property
    @led
    def unconstrained(self) -> Solution:
        """The optimum of the same objective without limits; the difference in value is what the limits cost."""
        if self.region is None:
            return self
        problem = self._problem.without_limits()
        return Solution.of(problem, minimise_problem(problem))

    @led
    def losses(self, mixtures: ArrayLike | Mixture, *, table: ExpertTable | ShardedTable | None = None) -> Vector:
        """Compute the losses (M,) of other mixtures under the objective of this solve, without the KL term.

        Parameters
        ----------
        mixtures
            As in `mixfast.solver.losses`.
        table : ExpertTable, optional
            Other rows of the same domains and groups, such as a held-out part; by default the rows of the solve.

        Raises
        ------
        ValueError
            Shares of the wrong shape, negative or not finite; or a table with other domains or groups.
        """
        rows = self._problem.rows
        if table is not None:
            if (table.domains, table.group_names) != (self.table.domains, self.table.group_names):
                raise ValueError(
                    f"the table has the domains {listing(table.domains)} and groups {listing(table.group_names)}, expected those of the "
                    f"solve: {listing(self.table.domains)} and {listing(self.table.group_names)}"
                )
            rows = rows_of(table, self.region, threads=rows.given_threads, wear=self.wear)
        return rows.losses(checked(mixtures, self.table.domains), None if self.worst else self._problem.weights.share)

    @led
    def ranges(self, eps: float = 1e-3, domains: list[str] | None = None) -> dict[str, tuple[float, float]]:
        """Find how far each share can move while the objective stays within `eps` nats of this one.

        Parameters
        ----------
        eps : float
            Nats (the unit of `value`), > 0.
        domains : list of str, optional
            The domains whose ranges are computed; all by default.

        Returns
        -------
        dict of str to (float, float)
            Smallest and largest share over ``{w in region: L(w) <= value + eps}``. Mixtures within eps reach both ends, so the true range is at
            least as wide. Duality proves that its ends are at most 1e-4 further out, except in folders of very many rows (see Notes).

        Warns
        -----
        MixfastWarning
            If that was not proved for some domains; the warning names them.

        Raises
        ------
        ValueError
            eps out of range, or the objective "worst".
        AlignmentError
            A domain that the table does not have.

        Notes
        -----
        Each end is a convex problem: the largest (smallest) share over mixtures within eps. It is solved by sequential quadratic programming,
        from the optimum, with usually two or three sweeps of the rows. At the last point, the Lagrangian of the problem bounds the true end.
        For very many rows in files, the ends are those of a sample of the rows corrected at the optimum. One sweep of all rows moves ends beyond
        eps back to it, and there is no bound of the true ends.
        """
        from mixfast._engine.optimise import flat

        if not 0.0 < eps <= LARGEST:
            raise ValueError(f"eps is {eps}, expected nats above 0, at most {LARGEST:g}")
        problem = self._problem
        if self.worst:
            raise ValueError(
                'ranges needs a weighted objective, and "worst" is the largest of several losses: solve with '
                "objective=solution.group_weights, which this mixture minimises too, and call ranges of the result"
            )
        names = self.table.domains
        wanted = list(names) if domains is None else list(domains)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise AlignmentError(
                f"no domain {misspelt(unknown, names)} in the table, whose domains are {listing(names)}"
            )
        moving = problem.reach.places(wanted)
        w = problem.reach.restrict(self.mixture.weights)
        found = flat.ranges(problem.objective, problem.limits, w, eps=eps, moving=list(moving.values()))
        ranges = dict(zip(moving, found, strict=True))
        if doubt := flat.doubt(ranges):
            warnings.warn(doubt, MixfastWarning, stacklevel=3)
        return {**dict.fromkeys(wanted, (0.0, 0.0)), **{name: (one.low, one.high) for name, one in ranges.items()}}

    @led
    def bootstrap(self, *, replicates: int = 200, level: float = 0.9, seed: int = 0) -> Bootstrap:
        """Measure how much the optimal shares depend on which sequences happened to be in the table.

        See `mixfast.solver.bootstrap` for the parameters, the errors and the cost.
        """
        return resampled(self, replicates=replicates, level=level, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """Return the solution as numbers, strings, lists and dicts, for JSON."""
        return {
            "mixture": self.mixture.as_dict(),
            "status": self.status,
            "value": self.value,
            "gap": self.gap,
            "loss": self.loss,
            "group_losses": self.group_losses,
            "group_weights": self.group_weights,
            "epochs": self.epochs,
            "wear": self.wear,
            "shadow_prices": [vars(price) for price in self.shadow_prices],
            "seconds": self.seconds,
            "backend": self.backend,
        }


def level_of(gradient: Vector, w: Vector) -> Any:
    """Return ``sum_k |gradient_k| w_k`` along the last axis, of which the rounding error of a gap is a fraction.

    The slope of a domain without a share may be infinite.
    """
    if w.ndim == 1 and math.isfinite(level := float(np.abs(gradient).dot(w))):
        return level
    return np.einsum("...k,...k->...", np.where(w > 0.0, np.abs(gradient), 0.0), w)


def _unit(table: ExpertTable | ShardedTable) -> str:
    """Return the unit of gaps and prices for a sentence."""
    return "nats" if table.kind == "ce" else "of the objective"


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Frozen):
    """Optimal shares of resampled tables, and the intervals they give.

    Attributes
    ----------
    solution : Solution
        The solution that the replicates started from.
    shares : (R, K) float64
        Optimal shares of each replicate.
    level : float
        Coverage of `intervals`.
    gap : float
        Largest Frank-Wolfe gap of a replicate in its own objective, nats; measured at the 8 replicates with the longest last step.
    error : float
        Largest distance of a share from the optimum of its replicate, in standard errors of that share, estimated by one more Newton
        step from these 8. Standard errors below 1 % of the largest one are replaced by that 1 %.
    units : int
        Number of resampled units: sequences, or blocks of neighbouring sequences if there are more than 4096.
    doubt : str
        Why the intervals are too narrow, if a group has too few sequences; empty otherwise.
    seconds : float
    merged : bool
        Whether units are blocks of neighbouring sequences.
    """

    solution: Solution
    shares: Matrix = field(repr=False)
    level: float
    gap: float
    error: float
    units: int
    doubt: str
    seconds: float
    merged: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", locked(self.shares))

    def __repr__(self) -> str:
        return (
            f"Bootstrap({len(self.shares)} replicates of {self.units:,} units, level {self.level:g}; {self.solution!r})"
        )

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the largest shares with their intervals in a notebook."""
        mixture, intervals = self.solution.mixture, self.intervals
        order = sorted(mixture, key=lambda name: -mixture[name])
        rows = [(name, percent(mixture[name]), span(intervals[name])) for name in order]
        lines = [
            f"{100 * self.level:g}% intervals over {len(self.shares)} resamples",
            *([self.doubt] if self.doubt else []),
        ]
        return html_table("Bootstrap", ["domain", "share", "interval"], rows, lines=lines, what="domains")

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the domains as labels and the columns "share", "low", "high" and "standard_error".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        ends = list(self.intervals.values())
        columns = {
            "share": self.solution.mixture.weights.copy(),
            "low": [low for low, _ in ends],
            "high": [high for _, high in ends],
            "standard_error": list(self.standard_errors.values()),
        }
        return data_frame(columns, self.solution.mixture.domains, "domain", BackendError)

    def summary(self) -> str:
        """Return the solution with the intervals of its shares."""
        return solve_summary(self.solution, intervals=self)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Percentile interval (low, high) of each share."""
        low, high = central_interval(self.shares, self.level)
        return {name: (float(a), float(b)) for name, a, b in zip(self.solution.mixture.domains, low, high, strict=True)}

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard deviation of each share over the replicates."""
        return dict(zip(self.solution.mixture.domains, self.shares.std(axis=0, ddof=1).tolist(), strict=True))


def resampled(solution: Solution, *, replicates: int, level: float, seed: int) -> Bootstrap:
    """Compute what `Solution.bootstrap` returns; a warning points at the caller of the function that is decorated by `led`."""
    from mixfast.solver._resample import resample

    began = perf_counter()
    if replicates < 2 or not 0.0 < level < 1.0:
        raise ValueError(
            f"bootstrap needs at least 2 replicates and a level between 0 and 1; got {replicates} and {level}"
        )
    if solution.worst:
        raise ValueError(
            'bootstrap needs a weighted objective: solve with objective=solution.group_weights in place of "worst"'
        )
    found = resample(solution._problem, solution.mixture.weights, replicates=replicates, seed=seed)
    if found.doubt:
        warnings.warn(found.doubt, MixfastWarning, stacklevel=4)
    return Bootstrap(
        solution=solution,
        shares=found.shares,
        level=level,
        gap=found.gap,
        error=found.error,
        units=found.units,
        doubt=found.doubt,
        seconds=perf_counter() - began,
        merged=found.merged,
    )
