"""bootstrap(): intervals of the shares, from a table or from its solution."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.ranks import led
from mixfast.region import Region
from mixfast.solver._problem import GroupWeights
from mixfast.solver._solution import Bootstrap, Solution, resampled
from mixfast.solver._solve import solve
from mixfast.solver._wear import same_wear
from mixfast.tables import ExpertTable, ShardedTable


@led
def bootstrap(
    table: ExpertTable | ShardedTable,
    region: Region | None = None,
    *,
    replicates: int = 200,
    level: float = 0.9,
    seed: int = 0,
    solution: Solution | None = None,
    **options: Any,
) -> Bootstrap:
    """Measure how much the optimal shares depend on which sequences happened to be in the table.

    Each replicate resamples the sequences of every group with replacement. It is solved by Newton steps that start at the solution; the
    gradients of all replicates come from the same sweeps of the rows. The steps end when they are short compared with the spread of
    the shares over the replicates; `Bootstrap.error` says how short they were.

    Parameters
    ----------
    table, region, options
        As in `solve`, except the objective "worst".
    replicates : int, default 200
    level : float, default 0.9
        Coverage of the intervals.
    seed : int, default 0
    solution : Solution, optional
        A solution of the same problem, which saves the solve; `Solution.bootstrap` does the same. Region and options may then be left
        out. If they are given, they must equal those of the solve.

    Returns
    -------
    Bootstrap

    Warns
    -----
    MixfastWarning
        A group has too few sequences to measure how far the shares move; the intervals are too narrow.

    Raises
    ------
    ValueError
        Fewer than 2 replicates, a level outside (0, 1), or the objective "worst"; a table, a region or an option that contradicts `solution`.

    Notes
    -----
    A row without a sequence id counts as a sequence. Cost: one sweep, and one to four more sweeps for all replicates
    together (4 n K R operations each, fewer once most replicates are done). With at least 1e7 rows one Newton step is usually close
    enough, and only 8 replicates are checked in a sweep. A sharded table gives the same units as its rows in memory would, if ids ascend.
    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
    """
    if solution is None:
        solution = solve(table, region, **options)
    else:
        _refuse_contradictions(solution, table, region, options)
    return resampled(solution, replicates=replicates, level=level, seed=seed)


def _refuse_contradictions(
    solution: Solution, table: ExpertTable | ShardedTable, region: Region | None, options: Mapping[str, Any]
) -> None:
    """Raise if the table, the region or an option that is given differs from that of the solve."""
    other = []
    if not _same_rows(table, solution.table):
        other.append(f"the table ({table.n_rows} rows of {table.n_domains} domains)")
    elif region is not None and not _same_limits(region.align(table.domains), solution.region):
        other.append("the region")
    if "objective" in options:
        asked = GroupWeights.of(options["objective"], table.group_names)
        shares = np.array(list(solution.group_weights.values()))
        if asked.worst != solution.worst or not (asked.worst or np.array_equal(asked.share, shares)):
            other.append(f"objective={shown(options['objective'])}")
    other += [
        f"{name}={shown(options[name])} (solved with {shown(getattr(solution, name))})"
        for name, same in (("kl", operator.eq), ("wear", same_wear))
        if name in options and not same(options[name], getattr(solution, name))
    ]
    if other:
        raise ValueError(
            f"solution belongs to another problem: {listing(other)} differs from what was solved; leave these out, or leave solution out"
        )


def _same_rows(table: ExpertTable | ShardedTable, solved: ExpertTable | ShardedTable) -> bool:
    """Whether two tables hold the same rows.

    A table that was moved to a device for the solve is compared by its shape only, tables of several parts by the names of these.
    """
    if (table.domains, table.n_rows) != (solved.domains, solved.n_rows):
        return False
    if isinstance(table, ShardedTable) or isinstance(solved, ShardedTable):
        return getattr(table, "parts", None) == getattr(solved, "parts", None)
    near = all(isinstance(one.values, np.ndarray) for one in (table, solved))
    return table is solved or not near or np.array_equal(table.values, solved.values)


def _same_limits(region: Region, solved: Region | None) -> bool:
    solved = Region.simplex(region.domains) if solved is None else solved
    names = ("floor", "cap", "prior", "bound_rows", "bound_lower", "bound_upper")
    return all(np.array_equal(getattr(region, name), getattr(solved, name)) for name in names)
