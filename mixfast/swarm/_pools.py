"""Check what the runs of a Swarm read from: the tokens available of each domain, and the tokens that each run reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._names import align_names

# Tokens by domain, each a number or one number for each run; or an array (K,) or (R, K).
Tokens = Mapping[str, Any] | ArrayLike | None
# Tokens of a run: one number, or one for each run.
Budget = ArrayLike | None
# Most runs and domains shown in one message.
_SHOWN = 3
# Shares sum to 1 within this. A run that reads more tokens than the other number counts them, and not shares of a supply.
_SUMS_TO_1, _SUMS_OF_TOKENS = 1e-6, 1e3


def pools(
    tokens: Tokens, budget: Budget, ratios: Matrix, domains: tuple[str, ...], runs: tuple[str, ...]
) -> tuple[Matrix | None, NDArray[np.float64] | None]:
    """Return the tokens (R, K) available to each run and the tokens (R,) that it reads; None, None if neither is given."""
    if tokens is None or budget is None:
        refuse_one_alone(tokens, budget)
        return None, None
    available, read = _available(tokens, ratios, domains, runs), _read(budget, runs)
    if bool((np.abs(available.sum(axis=1) - 1.0) <= _SUMS_TO_1).all()) and bool((read > _SUMS_OF_TOKENS).all()):
        raise SwarmError(
            f"the numbers of {either('tokens', '--run-tokens')} sum to 1 in every run, so they are shares; give the tokens of each domain that "
            f"the runs could read, such as {either('Design.pools', 'the file of mixfast design --pools')}"
        )
    return available, read


def refuse_one_alone(tokens: object, budget: object) -> None:
    """Raise if only one of the two is given."""
    supply, read = either(("tokens", "budget"), ("--run-tokens", "--run-budget"))
    if tokens is None and budget is not None:
        raise SwarmError(
            f"{read} needs {supply}, the tokens of each domain that the runs could read: their epochs follow from both"
        )
    if budget is None and tokens is not None:
        raise SwarmError(
            f"{supply} needs {read}, the tokens that each run reads: the epochs of a domain follow from both"
        )


def _available(tokens: Any, ratios: Matrix, domains: tuple[str, ...], runs: tuple[str, ...]) -> Matrix:
    """Return the tokens (R, K) available to each run."""
    what = either("tokens", "--run-tokens")
    if isinstance(tokens, Mapping):
        names = tuple(tokens)
        order = align_names(names, domains, either("the keys of tokens", what), "the runs")
        tokens = np.stack(
            [_for_runs(tokens[names[at]], f"{what} of {shown(name)}", runs) for name, at in zip(domains, order, strict=True)], axis=1
        )  # fmt: skip
    found = _numbers(tokens, what)
    shape = (len(runs), len(domains))
    if found.shape not in ((shape[1],), shape):
        raise SwarmError(
            f"{what} must have shape ({shape[1]},), one number for each domain, or {shape}, one row for each run; got {found.shape}. "
            "A mapping of domain to tokens needs no order"
        )
    found = np.broadcast_to(found, shape).copy()
    if (wrong := ~(np.isfinite(found) & (found >= 0.0))).any():
        cells = _cells(wrong, found, domains, runs)
        raise SwarmError(f"{what} must be finite numbers of at least 0, got {cells}")
    if (empty := (found == 0.0) & (ratios > 0.0)).any():
        cells = _cells(empty, ratios, domains, runs)
        raise SwarmError(
            f"a run that reads a domain needs tokens of it, but {what} gives 0 where the share is above 0: {cells}; "
            "give the tokens that were available to the run"
        )
    return found


def _read(budget: ArrayLike, runs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the tokens (R,) that each run reads."""
    what = either("budget", "--run-budget")
    found = _for_runs(budget, what, runs)
    if (wrong := ~(np.isfinite(found) & (found > 0.0))).any():
        told = [f"run {shown(runs[row])}: {found[row]:g}" for row in np.flatnonzero(wrong).tolist()]
        given = listing(told, limit=_SHOWN) if np.ndim(budget) else f"{found[0]:g}"
        raise SwarmError(f"{what} must be a finite number of tokens above 0, got {given}")
    return found


def _for_runs(given: object, what: str, runs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return one number for each run, from one number or one for each run."""
    found = _numbers(given, what)
    if found.shape not in ((), (len(runs),)):
        raise SwarmError(f"{what} must be one number, or one for each of the {len(runs)} runs; got shape {found.shape}")
    return np.broadcast_to(found, (len(runs),)).copy()


def _numbers(given: object, what: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(given)
        if found.dtype.kind not in "iuf":
            raise TypeError(f"got {shown(given)}")
        return found.astype(np.float64)
    except (TypeError, ValueError) as problem:
        raise SwarmError(f"{what} must be numbers of tokens: {problem}") from None


def _cells(where: NDArray[np.bool_], table: Matrix, domains: Sequence[str], runs: Sequence[str]) -> str:
    """Return the marked cells for a message: the first of each run, or of the table if all runs have the same ones."""
    rows = np.flatnonzero(where.any(axis=1)).tolist()
    same = len(rows) == len(runs) > 1 and np.array_equal(table, np.broadcast_to(table[0], table.shape), equal_nan=True)
    told = [
        f"{'' if same else f'run {shown(runs[row])}: '}{domains[column]}={table[row, column]:g}"
        for row in (rows[:1] if same else rows)
        for column in (np.flatnonzero(where[row]).tolist() if same else [int(where[row].argmax())])
    ]
    return listing(told, limit=_SHOWN)


def rate(tokens: Matrix | None, budget: NDArray[np.float64] | None) -> Matrix | None:
    """Return the epochs (R, K) for each unit of share; infinite for a domain without tokens."""
    if tokens is None or budget is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        return budget[:, None] / tokens


def epochs(ratios: Matrix, tokens: Matrix | None, budget: NDArray[np.float64] | None) -> Matrix | None:
    """Return how often each run reads the tokens of each domain (R, K); 0 where the share is 0."""
    if tokens is None or budget is None:
        return None
    with np.errstate(over="ignore"):
        return np.divide(ratios * budget[:, None], tokens, out=np.zeros_like(ratios), where=ratios > 0.0)


def joined(
    one: tuple[Matrix | None, NDArray[np.float64] | None], other: tuple[Matrix | None, NDArray[np.float64] | None]
) -> tuple[Matrix | None, NDArray[np.float64] | None]:
    """Return the tokens and budgets of the runs of one swarm followed by those of another one."""
    if one[0] is None and other[0] is None:
        return None, None
    if one[0] is None or one[1] is None or other[0] is None or other[1] is None:
        which = "first" if one[0] is None else "other"
        raise SwarmError(
            f"the tokens and the budget of the {which} runs are not known, but those of the runs to join are; "
            f"give {either('tokens and budget', '--run-tokens and --run-budget')} for both, or for none"
        )
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
