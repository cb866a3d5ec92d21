"""Losses of many candidate mixtures on a table, without solving."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine import backend as _backend
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.mixture import Mixture
from mixfast.solver._problem import Problem
from mixfast.tables import ExpertTable


def losses(
    table: ExpertTable,
    mixtures: ArrayLike | Mixture,
    *,
    objective: Mapping[str, float] | str | None = None,
    threads: int | None = None,
) -> Vector:
    """Compute the loss of each of many candidate mixtures.

    ``L(w_m) = sum_g omega_g L_g(w_m)``, as `solve` minimises it, for m = 1 .. M.

    Parameters
    ----------
    table : ExpertTable
        n rows, K domains.
    mixtures : (M, K) or (K,)
        Shares >= 0, in the order of the table's domains; a `Mixture` of the same domains counts as one row.
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
    2 n K M operations in one sweep of the rows; nothing of size n x M is stored. Rows on which a mixture has no mass that float64 can
    hold are computed by log-sum-exp.

    References
    ----------
    Belenki et al., "Optimizing Pre-Training Data Mixtures with Mixtures of Data Expert Models" (arXiv 2502.15950), algorithm 1.
    """
    stack = _stacked(table, mixtures)
    problem = Problem.of(table, None, 0.0, objective, 1e-8, 1, _backend.thread_count(threads), None)
    if problem.worst:
        return np.max([group.losses(stack) for group in problem.group_objectives], axis=0)
    return problem.objective.losses(stack)


def group_losses(table: ExpertTable, mixtures: ArrayLike | Mixture, *, threads: int | None = None) -> Matrix:
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
    stack = _stacked(table, mixtures)
    problem = Problem.of(table, None, 0.0, None, 1e-8, 1, _backend.thread_count(threads), None)
    return np.array([group.losses(stack) for group in problem.group_objectives])


def _stacked(table: ExpertTable, mixtures: ArrayLike | Mixture) -> Matrix:
    """The mixtures as rows (M, K), checked."""
    if isinstance(mixtures, Mixture):
        mixtures = mixtures.align(table.domains).weights
    stack = np.atleast_2d(np.asarray(mixtures, dtype=np.float64))
    if stack.ndim != 2 or stack.shape[1] != table.n_domains:
        raise ValueError(
            f"mixtures have the shape {stack.shape}, expected (M, {table.n_domains}): one share for each domain"
        )
    if not np.all(np.isfinite(stack)) or np.any(stack < 0.0):
        raise ValueError("mixtures must hold finite shares >= 0")
    return stack
