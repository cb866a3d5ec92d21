"""features(): the loss of an ensemble of experts at any mixture, as features for the laws of a swarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import domain_names, listing, positions, shown
from mixfast.errors import AlignmentError, MixfastError, TableError
from mixfast.mde._blocks import LevelOfBlocks, level_of_blocks
from mixfast.mde._rows import LevelRows, level_of, rows_of, sample
from mixfast.mixture import sum_to_one
from mixfast.ranks import led
from mixfast.tables import ExpertTable, ShardedTable

# Largest relative difference between a recomputed and a stored loss: other instruction sets round differently.
_SAME_LOSS = 1e-5


@dataclass(frozen=True, eq=False)
class Features:
    """Ensemble losses of R runs' mixtures on every validation group and level; `features` computes them.

    Attributes
    ----------
    values : (R, F) float64
        Losses, in nats per token.
    names : tuple of F str
        "group@level".
    domains : tuple of K str
        The order of shares in `ratios` and in the arguments of `at` and `slopes`.
    ratios : (R, K) float64
        The mixtures of the runs.
    errors : (R, F) float64
        Standard error of each value as an estimate of that of the whole table; 0 unless rows were sampled. All mixtures use the
        same rows, so differences between two mixtures have a much smaller error.

    Notes
    -----
    Each feature is convex in the mixture. The rows of the table stay attached for `at` and `slopes`; `state` and pickles
    do not contain them.
    """

    values: Matrix
    names: tuple[str, ...]
    domains: tuple[str, ...]
    ratios: Matrix
    errors: Matrix
    settings: Mapping[str, Any]
    _rows: tuple[LevelRows | LevelOfBlocks, ...] | None = None
    # Positions of the table's domains in `domains`, and of `domains` in the table.
    _order: tuple[int, ...] = ()
    _back: tuple[int, ...] = ()

    def at(self, ratios: ArrayLike) -> Matrix:
        """Compute the features of other mixtures.

        Parameters
        ----------
        ratios : (M, K) or (K,)
            Shares >= 0 in the order of `domains`; each row sums to 1.

        Returns
        -------
        (M, F) float64

        Raises
        ------
        ValueError
            Shares of the wrong shape, negative, not finite, or with a sum other than 1.
        MixfastError
            The features come from a stored state without rows: give the table to `from_state`.
        """
        rows, mixtures = self._ready(ratios)
        return np.hstack([part.losses(mixtures) for part in rows])

    def slopes(self, ratios: ArrayLike) -> tuple[Matrix, NDArray[np.float64]]:
        """Compute features and their gradients.

        Parameters
        ----------
        ratios : (M, K) or (K,)
            As in `at`.

        Returns
        -------
        values : (M, F) float64
        gradients : (M, F, K) float64
            With respect to the shares, ignoring that they sum to 1. Never above 0; -inf if the value overflows in float64.
            ``sum_k w_k g_k`` is minus the sum of the group's row weights (-1 at token level).
        """
        rows, mixtures = self._ready(ratios)
        parts = [part.slopes(mixtures) for part in rows]
        gradients = np.concatenate([gradient for _, gradient in parts], axis=1)
        return np.hstack([value for value, _ in parts]), gradients[:, :, list(self._back)]

    def matrix(self, ratios: ArrayLike | None = None) -> Matrix:
        """Return the inputs of a law with features: (M, K + F), shares first; by default those of the runs."""
        if ratios is None:
            return np.hstack([self.ratios, self.values])
        shares = np.atleast_2d(np.asarray(ratios, dtype=np.float64))
        return np.hstack([shares, self.at(shares)])

    def state(self) -> dict[str, Any]:
        """Return numbers and strings for `from_state`: everything except the rows of the table."""
        return {
            "kind": "mixfast.mde.Features",
            "names": list(self.names),
            "domains": list(self.domains),
            "values": self.values,
            "ratios": self.ratios,
            "errors": self.errors,
            **self.settings,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, table: ExpertTable | ShardedTable | None = None) -> Features:
        """Build features from the result of `state`.

        Parameters
        ----------
        state : mapping
        table : ExpertTable, optional
            The table that the features were computed from. Without it, `at` and `slopes` raise an error.

        Raises
        ------
        TableError
            The table gives other losses than the stored ones.
        """
        levels, rows, seed = list(state["levels"]), int(state["rows"]), int(state["seed"])
        stored = np.asarray(state["values"], dtype=np.float64)
        ratios = np.asarray(state["ratios"], dtype=np.float64)
        domains, names = tuple(state["domains"]), tuple(state["names"])
        settings = {"levels": levels, "rows": rows, "seed": seed}
        if table is None:
            return cls(stored, names, domains, ratios, np.asarray(state["errors"]), settings)
        out = features(table, ratios, domains=domains, levels=levels, rows=rows or None, seed=seed)
        if out.names != names:
            raise TableError(
                f"the table gives the features {listing(out.names)}, but the stored ones are {listing(names)}; give the table that the features were computed from"
            )
        apart = np.abs(out.values - stored).max(axis=0)
        if np.any(apart > _SAME_LOSS * (1.0 + np.abs(stored).max(axis=0))):
            worst = int(apart.argmax())
            raise TableError(
                f"the table gives other losses than the stored ones: {names[worst]} differs by {apart[worst]:.3g} nats. "
                "Give the table that the features were computed from"
            )
        return out

    def __deepcopy__(self, memo: Any) -> Features:
        return self  # nothing in it changes

    def __reduce__(self) -> tuple[Any, ...]:
        return Features.from_state, (self.state(),)

    def __repr__(self) -> str:
        sampled = f", {self.settings['rows']} rows sampled" if self.settings["rows"] else ""
        kept = "" if self._rows else "; without their table"
        return f"Features({self.values.shape[0]} runs x {len(self.names)}{sampled}: {listing(self.names)}{kept})"

    def _ready(self, ratios: ArrayLike) -> tuple[tuple[LevelRows | LevelOfBlocks, ...], Matrix]:
        if self._rows is None:
            raise MixfastError(
                "these features were stored without their table, so only the values at the runs are known; "
                "give the table: Features.from_state(state, table=table)"
            )
        return self._rows, np.ascontiguousarray(_shares(ratios, self.domains)[:, list(self._order)])


@led
def features(
    table: ExpertTable | ShardedTable,
    swarm: Any,
    *,
    domains: Sequence[str] | None = None,
    levels: Sequence[str] = ("token",),
    rows: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Features:
    """Compute the loss of each run's mixture under the ensemble of experts, for every group and level.

    ``L_g(w) = sum_{i in g} c_i * -log(sum_k w_k exp(loglik_ik))``; the level says what a row i is.

    Parameters
    ----------
    table : ExpertTable of kind "ce", or ShardedTable
        One expert for each domain of the swarm, aligned by name; each group of rows (validation set) gives one feature.
    swarm : Swarm, or (R, K) array
        An object with `ratios` (R, K) and `domains`; or the mixtures themselves, with the argument `domains`.
    domains : sequence of K str, optional
        Names of the columns if `swarm` is an array; the table's domains in their order by default.
    levels : sequence of str, default ("token",)
        - "token": constant weights; rows and row weights c of the table (the MDE loss).
        - "posterior": the weights follow the experts' posterior along each sequence; the same c. By the chain rule this is the loss
          of mixing whole sequences, and the exact loss of a mixture if the experts are exact.
        - "sequence": the same, but each sequence counts once: ``c = 1 / (sequences * tokens of the sequence)``, as in MixMin.
        - "block:<b>": as "posterior", but the weights are reset every b tokens. "block:1" equals "token".

        All levels except "token" need ``table.sequence``, or rows that are sequences with ``table.length``.
    rows : int, optional
        Use a sample of about this many rows (tokens), divided evenly among the groups, in whole sequences if the level has
        sequences; all rows by default. `Features.errors` has the standard errors.
    seed : int, default 0
        Seed of the sample.
    threads : int, optional
        As in `solve`.

    Returns
    -------
    Features

    Raises
    ------
    AlignmentError
        Table and swarm name different domains; `ExpertTable.select` removes experts of domains that no run used.
    TableError
        If the table lacks lengths, sequences or other data that a level needs.
    ValueError
        If the ratios are not mixtures, or a level is unknown.

    Notes
    -----
    One sweep of the rows for all runs: 2 n K R operations; with few runs, the memory bandwidth is the limit. Levels of
    sequences need one more sweep, which sums the tokens; after it there are fewer rows. A sharded table sums the tokens in every sweep and
    keeps none of its rows, except those of a sample. Deterministic for a given `seed`.

    References
    ----------
    Belenki et al., "Optimizing Pre-Training Data Mixtures with Mixtures of Data Expert Models" (arXiv 2502.15950),
    algorithm 1 and proposition 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from mixfast import ExpertTable, mde
    >>> table = ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7]]), domains=["web", "code"])
    >>> found = mde.features(table, [[0.5, 0.5], [1.0, 0.0]])
    >>> found.names, found.values.round(4).tolist()
    (('all@token',), [[0.7985], [0.9163]])
    """
    if isinstance(levels, str):
        levels = (levels,)
    if not levels or len(set(levels)) < len(levels):
        raise ValueError(f"levels is {shown(list(levels))}, expected one or more different levels")
    if not isinstance(table, (ExpertTable, ShardedTable)):
        raise TypeError(
            f"features takes an ExpertTable and got {type(table).__name__}: build one with ExpertTable.from_loglik"
        )
    if hasattr(swarm, "ratios"):
        if domains is not None:
            raise ValueError(
                "domains names the columns of mixtures given as an array; a swarm has its own names, so leave domains out"
            )
        domains, swarm = swarm.domains, swarm.ratios
    names = table.domains if domains is None else domain_names(domains, AlignmentError)
    if set(names) != set(table.domains):
        raise AlignmentError(
            f"{AlignmentError.between('the table', table.domains, 'the swarm', names)} "
            "To remove experts of domains that no run was trained on: table.select(swarm.domains)"
        )
    ratios = np.ascontiguousarray(_shares(swarm, names))
    order, back = (positions(a, b) for a, b in ((table.domains, names), (names, table.domains)))
    if threads is not None:
        thread_count(threads)
    parts = tuple(_level_rows(table, name, rows, seed, threads) for name in levels)
    labels = tuple(f"{group}@{name}" for name in levels for group in table.group_names)
    mixtures = np.ascontiguousarray(ratios[:, order])
    found = [part.losses(mixtures) for part in parts]
    values = np.hstack(found)
    errors = np.hstack([part.errors(mixtures, losses) for part, losses in zip(parts, found, strict=True)])
    for array in (values, errors, ratios):
        array.flags.writeable = False
    settings = {"levels": list(levels), "rows": rows or 0, "seed": seed}
    return Features(values, labels, names, ratios, errors, settings, parts, tuple(order), tuple(back))


def _level_rows(
    table: ExpertTable | ShardedTable, name: str, rows: int | None, seed: int, threads: int | None
) -> LevelRows | LevelOfBlocks:
    """Return the rows of a table at a level: all, or a sample."""
    if isinstance(table, ShardedTable):
        return level_of_blocks(table, name, rows, seed, threads)
    level = level_of(table, name)
    return rows_of(level, sample(level, rows, seed), thread_count(threads))


def _shares(ratios: ArrayLike, domains: Sequence[str]) -> Matrix:
    """Mixtures (M, K), checked; M runs."""
    stack = np.atleast_2d(np.array(ratios, dtype=np.float64))
    if stack.ndim != 2 or stack.shape[1] != len(domains) or not stack.shape[0]:
        raise ValueError(
            f"ratios have the shape {stack.shape}, expected (runs, {len(domains)}), one share for each of {listing(domains)}"
        )
    bad = np.flatnonzero(~np.isfinite(stack).all(axis=1) | (stack < 0.0).any(axis=1))
    if bad.size:
        raise ValueError(f"ratios must hold finite shares >= 0; they do not in runs {listing(bad.tolist())}")
    off = np.flatnonzero(~sum_to_one(stack.sum(axis=1)))
    if off.size:
        raise ValueError(
            f"the shares of a run must sum to 1; runs {listing(off.tolist())} sum to {listing(stack[off].sum(axis=1).tolist(), 3)}"
        )
    return stack
