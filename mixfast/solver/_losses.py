"""Losses of given mixtures on a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import Sum
from mixfast._engine.objectives.rows import TableRows
from mixfast.mixture import Mixture
from mixfast.ranks import led
from mixfast.solver._problem import GroupWeights, rows_of
from mixfast.tables import Block, ExpertTable, ShardedTable, windows


@led
def losses(
    table: ExpertTable | ShardedTable,
    mixtures: ArrayLike | Mixture,
    *,
    objective: Mapping[str, float] | str | None = None,
    threads: int | None = None,
) -> Vector:
    """Compute the loss of each of many candidate mixtures.

    ``L(w_m) = sum_g omega_g L_g(w_m)``, as `solve` minimises it, for m = 1 .. M.

    Parameters
    ----------
    table : ExpertTable or ShardedTable
        n rows, K domains.
    mixtures : (M, K) or (K,)
        Shares >= 0, in the order of the table's domains; or one `Mixture` of the same domains.
    objective, threads
        As in `solve`; "worst" gives the largest group loss.

    Returns
    -------
    (M,) float64
        Nats (squared units of the target for predictions).

    Raises
    ------
    ValueError
        Shares of the wrong shape, negative or not finite.

    Notes
    -----
    Cost: 2 n K M operations in one sweep of the rows; nothing of size n x M is stored. Rows to which a mixture gives a probability that
    underflows in float64 are computed by log-sum-exp. `Solution.losses` computes the same and reuses the rows of the solve.

    References
    ----------
    Belenki et al., "Optimizing Pre-Training Data Mixtures with Mixtures of Data Expert Models" (arXiv 2502.15950), algorithm 1.
    """
    weights = GroupWeights.of(objective, table.group_names)
    shares = checked(mixtures, table.domains)
    return rows_of(table, threads=threads).losses(shares, None if weights.worst else weights.share)


def group_losses(
    table: ExpertTable | ShardedTable, mixtures: ArrayLike | Mixture, *, threads: int | None = None
) -> Matrix:
    """Compute the loss of each of many candidate mixtures on each group of rows.

    Parameters
    ----------
    table, mixtures, threads
        As in `losses`.

    Returns
    -------
    (G, M) float64
        ``L_g(w_m)``, in the order of the table's groups.

    Raises
    ------
    ValueError
        Shares of the wrong shape, negative or not finite.
    """
    shares = checked(mixtures, table.domains)
    return rows_of(table, threads=threads).group_losses(shares)


def lone_losses(table: ExpertTable | ShardedTable, *, threads: int | None = None) -> tuple[Matrix, Vector]:
    """Compute the losses of each single expert (G, K) and of equal shares (G,) on each group; one sweep of a sharded table."""
    k, equal = table.n_domains, np.full((1, table.n_domains), 1.0 / table.n_domains)
    if isinstance(table, ShardedTable):
        found = table.reduce(_lone_losses, thread_count(threads), size=table.n_groups * (k + 1))
        found = found.reshape(table.n_groups, k + 1)
        return np.ascontiguousarray(found[:, :k]), np.ascontiguousarray(found[:, k])
    return expert_losses(table, threads=threads), group_losses(table, equal, threads=threads)[:, 0]


def expert_losses(table: ExpertTable | ShardedTable, *, threads: int | None = None) -> Matrix:
    """Compute the loss (G, K) of each single expert on each group of rows, by sums of columns."""
    if table.kind != "ce":
        return group_losses(table, np.eye(table.n_domains), threads=threads)
    return rows_of(table, threads=threads).expert_losses()


def _lone_losses(block: Block, threads: int) -> Vector:
    """Return the losses of each expert and of equal shares on the rows of each group in a block, (G (K + 1),)."""
    table, columns = block.table, block.columns
    single = expert_losses(table)
    single = single if columns is None else single[:, columns]
    out = np.zeros((table.n_groups, single.shape[1] + 1))
    out[:, :-1] = single
    rows = TableRows.of(table, threads=threads)
    equal = np.full((1, single.shape[1]), 1.0 / single.shape[1])
    for group, window in windows(block):
        weight, scale = rows.window_weights(window)
        if scale > 0.0:
            out[group, -1] = rows.cross_entropy(Sum(weight, scale, columns, True, window)).losses(equal)[0]
    return out.reshape(-1)


def checked(mixtures: ArrayLike | Mixture, domains: tuple[str, ...]) -> Matrix:
    """Return candidate mixtures as shares (M, K) in the order of the domains."""
    if isinstance(mixtures, Mixture):
        mixtures = mixtures.align(domains).weights
    stack = np.atleast_2d(np.asarray(mixtures, dtype=np.float64))
    if stack.ndim != 2 or stack.shape[1] != len(domains):
        raise ValueError(
            f"mixtures have the shape {stack.shape}, expected (M, {len(domains)}): one share for each domain"
        )
    if not np.all(np.isfinite(stack)) or np.any(stack < 0.0):
        raise ValueError("mixtures must hold finite shares >= 0")
    return stack
