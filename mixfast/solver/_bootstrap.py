"""bootstrap(): intervals for the shares, from a table or from its solution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.region import Region
from mixfast.solver._problem import GroupWeights
from mixfast.solver._solution import Bootstrap, Solution, resampled
from mixfast.solver._solve import solve
from mixfast.tables import ExpertTable


def bootstrap(
    table: ExpertTable,
    region: Region | None = None,
    *,
    replicates: int = 200,
    level: float = 0.9,
    seed: int = 0,
    solution: Solution | None = None,
    **options: Any,
) -> Bootstrap:
    """Measure how much the optimal shares depend on which sequences happened to be in the table.

    Each replicate draws the sequences of every group anew, with replacement, and is solved from the solution by Newton steps over the
    region; the gradients of all replicates come from the same sweeps of the rows. Steps end where they are short beside the spread of
    the shares; `Bootstrap.error` says how short.

    Parameters
    ----------
    table, region, options
        As in `solve`, but not the objective "worst".
    replicates : int, default 200
    level : float, default 0.9
        Coverage of the intervals.
    seed : int, default 0
    solution : Solution, optional
        The solve of the same problem, if at hand: `Solution.bootstrap` is the same. Region and options may then be left out; those
        that are given must be those of the solve.

    Returns
    -------
    Bootstrap

    Warns
    -----
    MixfastWarning
        A group has too few sequences to tell how far the shares move; the intervals are too narrow.

    Raises
    ------
    ValueError
        Fewer than 2 replicates, a level outside (0, 1), or the objective "worst"; a table, a region or an option that contradicts `solution`.

    Notes
    -----
    Rows without sequence ids count as sequences of their own. Cost: one sweep, and one to four for all replicates
    together (4 n K R operations each, less where most are done).
    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
    """
    if solution is None:
        solution = solve(table, region, **options)
    else:
        _refuse_contradictions(solution, table, region, options)
    return resampled(solution, replicates=replicates, level=level, seed=seed)


def _refuse_contradictions(
    solution: Solution, table: ExpertTable, region: Region | None, options: Mapping[str, Any]
) -> None:
    """Raise unless table, region and options, as far as they are given, are those of the solve."""
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
        for name in ("kl", "wear")
        if name in options and options[name] != getattr(solution, name)
    ]
    if other:
        raise ValueError(
            f"solution is of another problem: {listing(other)} differs from what was solved; leave these out, or leave solution out"
        )


def _same_rows(table: ExpertTable, solved: ExpertTable) -> bool:
    """Whether two tables hold the same rows; one that was brought to a device for the solve is taken for the same by its shape."""
    if (table.domains, table.n_rows) != (solved.domains, solved.n_rows):
        return False
    near = all(isinstance(one.values, np.ndarray) for one in (table, solved))
    return table is solved or not near or np.array_equal(table.values, solved.values)


def _same_limits(region: Region, solved: Region | None) -> bool:
    solved = Region.simplex(region.domains) if solved is None else solved
    names = ("floor", "cap", "prior", "bound_rows", "bound_lower", "bound_upper")
    return all(np.array_equal(getattr(region, name), getattr(solved, name)) for name in names)
