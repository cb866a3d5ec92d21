"""solve_many(): many small problems in one call, each with its own certificate."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.threads import each
from mixfast._engine.optimise import in_cache
from mixfast._engine.optimise.trace import Minimum
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing
from mixfast._text.numbers import LARGEST
from mixfast.errors import AlignmentError, MixfastError, NotConvergedWarning, TableError
from mixfast.region import Region
from mixfast.solver._minimise import Found, backend_name, minimise_problem
from mixfast.solver._problem import Problem
from mixfast.solver._solution import ROUNDED, Solution, level_of
from mixfast.tables import ExpertTable

# Values of a table that one compiled call handles in all its problems: some milliseconds of work, after which Ctrl-C ends a thread.
_ELEMENTS = 1 << 20
# Part of the start of re-weighted problems that is the middle of the region, so that every domain has a share.
_MIDDLE = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class Solutions(Frozen):
    """Mixtures of B problems with their certificates. ``solutions[b]`` is the `Solution` of problem b, and ``len(solutions)`` is B.

    Attributes
    ----------
    domains : tuple of K str
    shares : (B, K) float64
        Optimal shares of each problem, in the order of the domains.
    values, gaps : (B,) float64
        Objective at the shares and its Frank-Wolfe gap, as in `Solution`.
    statuses : tuple of B str
        As in `Solution`.
    seconds : float
        Wall time of all solves.
    """

    domains: tuple[str, ...]
    shares: Matrix = field(repr=False)
    values: Vector = field(repr=False)
    gaps: Vector = field(repr=False)
    statuses: tuple[str, ...] = field(repr=False)
    seconds: float
    _problem: Callable[[int], Problem] = field(repr=False)
    _found: Callable[[int], Found] = field(repr=False)

    def __len__(self) -> int:
        return len(self.statuses)

    def __getitem__(self, problem: SupportsIndex) -> Solution:
        """Return the solution of one problem, whose mixture sums to exactly 1."""
        b = range(len(self))[operator.index(problem)]
        return Solution.of(self._problem(b), self._found(b), warn=False)

    def __iter__(self) -> Iterator[Solution]:
        return (self[b] for b in range(len(self)))

    def __repr__(self) -> str:
        optimal = self.statuses.count("optimal")
        return f"Solutions({counted(len(self), 'problem')} of {counted(len(self.domains), 'domain')}, {optimal} optimal; largest gap {self.gaps.max(initial=0.0):.1e})"


def solve_many(
    tables: ExpertTable | Sequence[ExpertTable],
    region: Region | None = None,
    *,
    weights: ArrayLike | None = None,
    threads: int | None = None,
    **options: Any,
) -> Solutions:
    """Solve many problems in one call: many tables, or one table with many weights of its rows.

    Parameters
    ----------
    tables : ExpertTable, or sequence of B ExpertTable
        One table, with `weights`; or tables of the same domains in the same order, without.
    region : Region, optional
        As in `solve`, for all problems.
    weights : (B, n), optional
        In problem b, row i counts ``weights[b, i]`` times as much as in the table: ``c_i`` becomes ``weights[b, i] c_i``. Numbers >= 0, not all
        0 in a group of rows. Counts of rows give resampled tables, and zeros leave rows out. For log-likelihoods only.
    threads : int, optional
        CPU threads, each with one problem at a time; by default as in `solve`. The answers do not depend on the number.
    options
        Further arguments of `solve`, except `method` and `backend`.

    Returns
    -------
    Solutions
        In the given order, each with its own certificate.

    Raises
    ------
    TypeError
        A table that is none, or an argument that `solve` lacks or that is for large tables.
    ValueError
        Weights of the wrong shape, negative or not finite, or all 0 in a group; no tables; or what `solve` raises for its arguments.
    TableError
        Weights for a table of predictions.
    AlignmentError
        A table that has other domains than the first.
    MixfastError
        What `solve` would raise for one of the problems. Errors of one table or its weights name the problem, counted from 0.

    Warns
    -----
    NotConvergedWarning
        Once, if a gap is above the tolerance; the message names the problems.

    Notes
    -----
    With `weights`, a table whose probabilities take at most 4 MB, caps and floors and no `kl`, the exponentials are taken once, every search starts near
    the optimum of the table's own weights, and a thread runs whole searches without Python. All other problems are solved one by one, as `solve` does on one thread.
    After Ctrl-C the call ends at once; problems that are being solved in other threads are finished in the background and dropped.

    Examples
    --------
    >>> import numpy as np
    >>> from mixfast import ExpertTable, solver
    >>> table = ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7], [0.3, 0.6]]), domains=["web", "code"])
    >>> found = solver.solve_many(table, weights=[[1, 1, 1], [2, 1, 0]])
    >>> found.shares.round(4).tolist(), found.statuses
    ([[0.4475, 0.5525], [0.8857, 0.1143]], ('optimal', 'optimal'))
    >>> round(found[1].mixture["web"], 4)
    0.8857
    """
    began = perf_counter()
    for name in ("method", "backend"):
        if name in options:
            raise TypeError(
                f"solve_many takes no {name}: it is for small tables in CPU memory; call solve for each problem"
            )
    if weights is None:
        given = _listed(tables)
        return _separately(given.__getitem__, len(given), region, options, threads, began)
    if not isinstance(tables, ExpertTable):
        raise TypeError(f"weights are those of the rows of one ExpertTable, got {type(tables).__name__} of tables")
    factors = _checked(weights, tables)
    table_of = partial(_reweighted, tables, factors)
    base = Problem.of(tables, region, threads=1, **options)
    batch = None if base.minimax else _together(base, factors, threads)
    if batch is None:
        return _separately(table_of, len(factors), region, options, threads, began)
    outside = batch.gap + ROUNDED * level_of(batch.gradient, batch.w)
    allowed = base.tol * np.maximum(1.0, factors @ base.row_weights())
    ended = np.where(batch.steps >= base.max_iter, "user_limit", "optimal_inaccurate")
    statuses = np.where(outside <= allowed, "optimal", ended).tolist()
    shares = batch.w if base.usable is None else np.array([base.reach.spread(row) for row in batch.w])
    problem = partial(_problem_of, table_of, region, options, threads)
    found = partial(_found_in, batch, base.weights.share, backend_name(base))
    return _answer(base.table.domains, shares, batch.value, outside, statuses, began, problem, found)


def _together(base: Problem, factors: Matrix, threads: int | None) -> in_cache.Many | None:
    """Solve the problems with re-weighted rows in compiled calls of many problems; None if the compiled loop does not suit."""
    small = in_cache.taken(base.objective, base.limits, base.first.size)
    if small is None:
        return None
    start, per_row = base.first, base.row_weights()
    if base.start is None:
        start = (1.0 - _MIDDLE) * minimise_problem(base).minimum.w + _MIDDLE * start
    size = max(_ELEMENTS // base.table.values.size, 1)

    def part(first: int) -> in_cache.Many:
        weight = factors[first : first + size] * per_row
        return in_cache.minimise_many(small, base.limits, start, weight, tol=base.tol, max_iter=base.max_iter)

    parts = each(part, range(0, len(factors), size), threads=threads)
    return in_cache.Many(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _separately(
    table_of: Callable[[int], ExpertTable],
    count: int,
    region: Region | None,
    options: dict[str, Any],
    threads: int | None,
    began: float,
) -> Solutions:
    """Solve the problem of each table as `solve` does, on one thread each."""
    alone = partial(_problem_of, table_of, region, options, 1)

    def work(b: int) -> tuple[Found, Vector, float, float, str]:
        try:
            one = alone(b)
            found = minimise_problem(one)
            solution = Solution.of(one, found, warn=False)
        except MixfastError as error:
            raise type(error)(f"problem {b}: {error}") from error
        # The Hessian and the packed rows of each problem would take far more memory than its answer.
        found = found._replace(minimum=replace(found.minimum, hessian=None))
        return found, solution.mixture.weights, solution.value, solution.gap, solution.status

    finds, shares, values, gaps, statuses = zip(*each(work, range(count), threads=threads), strict=True)
    problem = partial(_problem_of, table_of, region, options, threads)
    return _answer(
        table_of(0).domains,
        np.array(shares),
        np.array(values),
        np.array(gaps),
        list(statuses),
        began,
        problem,
        finds.__getitem__,
    )


def _listed(tables: ExpertTable | Sequence[ExpertTable]) -> list[ExpertTable]:
    """Return the tables of the problems, which must have the domains of the first."""
    given = [tables] if isinstance(tables, ExpertTable) else list(tables)
    if not given:
        raise ValueError("tables is empty: give at least one table")
    for b, table in enumerate(given):
        if not isinstance(table, ExpertTable):
            raise TypeError(f"problem {b}: tables are ExpertTables, got {type(table).__name__}")
        if table.domains != given[0].domains:
            raise AlignmentError(
                f"problem {b}: its table has the domains {listing(table.domains)}, expected those of the first table in the same order, "
                f"{listing(given[0].domains)}: call table.select(tables[0].domains)"
            )
    return given


# Functions of a module, so that answers can be pickled.


def _problem_of(
    table_of: Callable[[int], ExpertTable], region: Region | None, options: dict[str, Any], threads: int | None, b: int
) -> Problem:
    return Problem.of(table_of(b), region, threads=threads, **options)


def _reweighted(table: ExpertTable, factors: Matrix, b: int) -> ExpertTable:
    return table.reweighted(factors[b])


def _found_in(batch: in_cache.Many, group_weight: Vector, backend: str, b: int) -> Found:
    value, gap, steps = float(batch.value[b]), float(batch.gap[b]), int(batch.steps[b])
    return Found(Minimum(batch.w[b], value, batch.gradient[b], gap, [], None, steps), group_weight, 0.0, backend)


def _answer(
    domains: tuple[str, ...],
    shares: Matrix,
    values: Vector,
    gaps: Vector,
    statuses: list[str],
    began: float,
    problem: Callable[[int], Problem],
    found: Callable[[int], Found],
) -> Solutions:
    """Build the answer, with read-only arrays, and warn of problems that are not solved to the tolerance."""
    left = [b for b, status in enumerate(statuses) if status != "optimal"]
    if left:
        warnings.warn(
            f"{len(left)} of {len(statuses)} solves ended with a gap above the tolerance, up to {gaps[left].max():.3g}: problems {listing(left)}",
            NotConvergedWarning,
            stacklevel=4,
        )
    for array in (shares, values, gaps):
        array.setflags(write=False)
    return Solutions(domains, shares, values, gaps, tuple(statuses), perf_counter() - began, problem, found)


def _checked(weights: ArrayLike, table: ExpertTable) -> NDArray[np.float64]:
    """Return the weights (B, n); raise unless each problem has a row that counts in every group."""
    factors = np.array(weights, dtype=np.float64, order="C")  # a copy: answers compute their tables from it later
    factors.setflags(write=False)
    n = table.n_rows
    if table.kind != "ce":
        raise TableError(
            "weights are for tables of log-likelihoods: for predictions, give solve_many a table for each problem"
        )
    if factors.ndim != 2 or factors.shape[1] != n or not len(factors):
        raise ValueError(
            f"weights have the shape {factors.shape}, expected (B, {n}): a number for each problem and row"
        )
    # In pieces that stay in the cache: temporaries as large as the weights would take more than twice as long.
    for first in range(0, len(factors), step := max(_ELEMENTS // (8 * n), 1)):
        _check_problems(factors[first : first + step], table, first)
    return factors


def _check_problems(factors: Matrix, table: ExpertTable, first: int) -> None:
    """Raise unless the weights (b, n) of the problems from number `first` are in range, with a row that counts in every group."""
    if not (factors.min() >= 0.0 and factors.max() <= LARGEST):
        b, i = np.argwhere(~((factors >= 0.0) & (factors <= LARGEST)))[0].tolist()
        raise ValueError(
            f"problem {first + b}: the weight of row {i} is {factors[b, i]}, expected a number from 0 to {LARGEST:g}"
        )
    counted_ = np.add.reduceat(factors * table.row_weight, table.group_offsets[:-1], axis=1)
    if not (counted_ > 0.0).all():
        b, g = np.argwhere(~(counted_ > 0.0))[0].tolist()
        raise ValueError(
            f"problem {first + b}: all rows of group {table.group_names[g]} have weight 0, so its loss is not defined"
        )
