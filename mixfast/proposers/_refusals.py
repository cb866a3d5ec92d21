"""Refuse laws with infinite or astronomic predictions before a mixture is proposed from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError, ProposalError
from mixfast.proposers._task import Task

# Larger predictions are refused: no loss is this large. The log-linear law is cut off at 1e130.
ASTRONOMIC = 1e100


def refuse_endless(task: Task, expected: Matrix, numbers: list[float]) -> None:
    """Raise `ProposalError` unless the metrics (2, J) at the mixture and at the prior, and all numbers of the result, are finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        for where, values in zip(("at the mixture found", "at the prior"), expected, strict=True):
            if names := _astronomic(task, values):
                raise _runaway(names, where)
        numbers = [*numbers, *task.target.score(expected).tolist()]
    if not np.isfinite(numbers).all():
        raise _runaway([task.target.metrics[j] for j in task.target.used], "around the mixture found")


def refuse_runaway(task: Task) -> None:
    """Raise `ProposalError` if a proposal failed because of the law's predictions and not because of the arguments."""
    if task.law is None:
        return
    points = [task.region.prior, task.reach.region.project(task.region.prior)]
    points += [task.reach.region.linear_min(-row) for row in np.eye(task.region.n_domains)]
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(task.law.predict(np.array(points)), dtype=np.float64)
    if names := _astronomic(task, values):
        raise _runaway(names, "within the region")


def _astronomic(task: Task, values: Matrix) -> list[str]:
    """Return the metrics with predictions that are not finite or astronomically large."""
    fine = (np.abs(np.atleast_2d(values)) < ASTRONOMIC).all(axis=0)
    return [task.target.metrics[j] for j in np.flatnonzero(~fine)]


def _runaway(names: list[str], where: str) -> ProposalError:
    other = either(", or a log-linear one with penalty='cv'", "")
    return ProposalError(
        f"no mixture is proposed: the law of {listing(names)} predicts infinite or astronomic numbers {where}. Its coefficients diverged, "
        "which happens if there are few runs for the domains, or if domains hardly vary or vary together: limit their shares, leave such "
        f"metrics out of the objective and of the fit, or fit another law{other}"
    )


def unattainable(
    task: Task, proof: Mapping[int, float], alone: Mapping[int, float], excess: Vector, least: float
) -> InfeasibleError:
    """Return the refusal of guards that no mixture keeps.

    Parameters
    ----------
    task : Task
    proof : mapping of metric to weight
        The metrics that conflict, largest weight first.
    alone : mapping of metric to float
        Lower bounds of these signed metrics over the region.
    excess : (J,)
        By how much each signed metric exceeds its limit at the mixture that comes nearest.
    least : float
        The largest of these excesses that cannot be avoided; for tolerances in the unit of the metrics.
    """
    guards = {guard.index: guard for guard in task.guards}
    chosen = [guards[j] for j in proof]
    names = [guard.metric for guard in chosen]
    shares = {guard.metric: proof[guard.index] for guard in chosen}
    kinds = {guard.kind for guard in task.guards}
    if kinds == {"tolerance"}:
        return InfeasibleError(
            f"no mixture of the region keeps every metric within its tolerance: {listing(names)} conflict, and one of them must "
            f"exceed its tolerance by {least:.3g}; allow more tolerance or a wider region",
            proof=shares,
        )
    what = "reaches every goal" if "goal" in kinds else "keeps every guard"
    best = {guard.index: guard.sign * alone[guard.index] for guard in chosen}
    hopeless = [guard for guard in chosen if alone[guard.index] > guard.sign * guard.limit]
    if hopeless:
        named = listing(
            f"{guard.metric} cannot be better than {best[guard.index]:.6g}, and must be {guard.words}"
            for guard in hopeless
        )
        return InfeasibleError(
            f"no mixture of the region {what}: under the law, {named}; ask for less or allow a wider region",
            proof=shares,
        )
    alone_words = listing(f"{guard.metric} {best[guard.index]:.6g} ({guard.words})" for guard in chosen)
    missed = listing(f"{guard.metric} by {max(float(excess[guard.index]), 0.0):.3g}" for guard in chosen)
    return InfeasibleError(
        f"no mixture of the region {what}: {listing(names)} conflict. Alone, each can be reached (best values: {alone_words}); "
        f"the mixture that comes nearest to all misses {missed}; ask for less or allow a wider region",
        proof=shares,
    )
