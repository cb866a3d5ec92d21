"""The certified optimum of convex metrics: their weighted sum, the worst of them, or the sum under limits on some."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.objectives.exponentials import Convex, Exponentials
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.objectives.pieces import WeightedMetrics
from mixfast._engine.optimise.dual import solve_exact
from mixfast._engine.optimise.minimax import Limited, minimise_largest, minimise_limited
from mixfast._engine.optimise.trace import Minimum
from mixfast.errors import NotConvergedWarning
from mixfast.laws import Target
from mixfast.proposers._outcome import Outcome
from mixfast.proposers._refusals import refuse_runaway, unattainable
from mixfast.proposers._task import Task
from mixfast.region import Region

_MAX_ITER = 200
# A guard is violated if it is exceeded by more than `_BROKEN`, or by ten times the tolerance if that is more. Metrics whose weight in the
# proof is below `_IN_THE_WAY` are not named as conflicting.
_BROKEN, _IN_THE_WAY = 1e-8, 1e-6


def exactly(task: Task, form: Convex) -> Outcome:
    """Solve for the certified optimum of convex metrics.

    Raises
    ------
    InfeasibleError
        No mixture keeps every metric within its tolerance.
    ProposalError
        The law's predictions are infinite or astronomic.

    Warns
    -----
    NotConvergedWarning
        The gap is above the tolerance.
    """
    target, kl = task.target, task.kl
    weight, limited = target.weight, np.zeros(target.weight.size)
    smooth: Exponentials | None = None
    broken = 0.0
    if task.most is not None:
        pieces = _pieces(task, form)
        answer = _limited(task, pieces, task.most)
        found, limited, broken = answer.found, answer.multipliers, answer.broken
        if target.worst:
            weight = answer.weight @ pieces.weight
            value = float(pieces.at(found.w, curved=False).values.max()) + kl.at(found.w)[0]
        else:
            value = form.combined(weight).restrict(task.reach.usable).sums(found.w)[0] + kl.at(found.w)[0]
    elif target.worst:
        # The weights of the metrics that prove the smallest possible maximum.
        pieces = _pieces(task, form)
        found, proof = largest(task, pieces, kl=kl)
        weight, value = proof @ pieces.weight, found.value
    else:
        smooth = form.combined(weight)
        found = solve_exact(smooth, task.reach, kl=task.weight, start=task.start, tol=task.tol, max_iter=_MAX_ITER)
        value = found.value
    if not math.isfinite(found.gap) or not math.isfinite(value):
        refuse_runaway(task)
    return Outcome(
        w=task.reach.spread(found.w),
        status=_status(task, found, broken),
        value=value,
        method="exact",
        gap=found.gap,
        trace=tuple(found.trace),
        weight=weight,
        limited=limited,
        gradient=_everywhere(task, form, found, weight + limited),
        smooth=smooth,
    )


def solve_form(form: Convex, region: Region, target: Target, *, kl: float, tol: float) -> Outcome:
    """Solve for the optimum of convex metrics that belong to no fitted law; parameters, errors and warnings as in `propose`."""
    return exactly(Task(None, region, target, kl, 0.0, 0, tol, (), None), form)


def _status(task: Task, found: Minimum, broken: float) -> str:
    if found.gap <= task.tol * max(1.0, abs(found.value)) and broken <= kept_to(task):
        return "optimal"
    status = "user_limit" if found.steps >= _MAX_ITER else "optimal_inaccurate"
    if broken > kept_to(task):
        warnings.warn(
            f"the proposal ended ({status}) at a mixture that violates a guard by {broken:.3g}, and it is not known whether a mixture of the "
            "region keeps all: allow a little more",
            NotConvergedWarning,
            stacklevel=5,
        )
        return status
    warnings.warn(
        f"the proposal ended ({status}) with a gap of {found.gap:.3g}, above the tolerance of {task.tol:.3g}: "
        "the mixture is the best point found and the law's value there is within the gap of the optimum",
        NotConvergedWarning,
        stacklevel=5,
    )
    return status


def _everywhere(task: Task, form: Convex, found: Minimum, weight: Vector) -> Vector:
    """Gradient over all domains; -inf for domains that may have no share and would have an infinite gradient."""
    usable = task.reach.usable
    if usable is None:
        return found.gradient
    gradient = np.full(task.region.n_domains, -math.inf)
    if task.weight == 0.0:
        smooth = form.combined(weight)
        steep = False if smooth.epochs is None else smooth.epochs.steep
        gradient = np.where(steep, -math.inf, smooth.sums(task.reach.spread(found.w))[1])
    gradient[usable] = found.gradient
    return gradient


def _pieces(task: Task, form: Convex) -> WeightedMetrics:
    """Return the functions whose maximum is minimised, over the usable domains: one weighted sum, or one function for each metric of "worst"."""
    target, inside = task.target, form.restrict(task.reach.usable)
    if not target.worst:
        return WeightedMetrics(inside, target.weight[None, :], np.zeros(1))
    pieces = WeightedMetrics.each(inside, target.used)
    if target.factor is None or target.origin is None:
        return pieces
    return WeightedMetrics(inside, pieces.weight * target.factor, -(target.factor * target.origin)[target.used])


def largest(task: Task, pieces: WeightedMetrics, *, kl: Kl) -> tuple[Minimum, Vector]:
    """Minimise the largest of these functions; also return the multipliers (P,) that prove the minimum."""
    limits = replace(task.reach.limits, interior=kl.weight > 0.0).above_zero(pieces.form.steep)
    return minimise_largest(pieces, limits, kl, task.inner(), tol=task.tol, max_iter=_MAX_ITER)


def kept_to(task: Task) -> float:
    """Return the violation of a guard that counts as rounding, in units of `Task.scales`."""
    return max(10.0 * task.tol, _BROKEN)


def _limited(task: Task, pieces: WeightedMetrics, most: Vector) -> Limited:
    """Minimise the largest function with no metric above `most` (J,)."""
    scales = task.scales
    answer = minimise_limited(
        WeightedMetrics(pieces.form.scaled(1.0 / scales), pieces.weight * scales, pieces.offset),
        most / scales,
        task.reach.limits,
        kl=task.kl,
        start=task.inner(),
        tol=task.tol,
        max_iter=_MAX_ITER,
        unit=task.unit,
        doubted=lambda: refuse_conflict(task, pieces.form, most),
    )
    if answer.broken > kept_to(task):
        refuse_conflict(task, pieces.form, most)
    return answer._replace(multipliers=answer.multipliers / scales)


def refuse_conflict(task: Task, form: Convex, most: Vector) -> None:
    """Raise `InfeasibleError` if it can be proved that no mixture keeps every guard: some weighted sum of the excesses is above 0 everywhere.

    Parameters
    ----------
    task : Task
    form : Convex
        Over the usable domains.
    most : (J,)
    """
    limited, none = np.flatnonzero(np.isfinite(most)), Kl(0.0, task.reach.prior)
    size = task.sizes[limited]
    scaled, rows = form.scaled(1.0 / task.sizes), np.eye(most.size)[limited]
    nearest, weight = largest(task, WeightedMetrics(scaled, rows, -most[limited] / size), kl=none)
    if nearest.value - nearest.gap <= 0.0 or nearest.value <= kept_to(task):
        return
    # Metrics whose weight in the proof is tiny are not in the way.
    proof = {int(limited[i]): float(weight[i]) for i in np.argsort(-weight, kind="stable") if weight[i] > _IN_THE_WAY}
    alone = {}
    for j in proof:
        found, _ = largest(task, WeightedMetrics(scaled, np.eye(most.size)[[j]], np.zeros(1)), kl=none)
        alone[j] = (found.value - found.gap) * task.sizes[j]
    raise unattainable(task, proof, alone, form.metrics(nearest.w) - most, nearest.value * size.max())
