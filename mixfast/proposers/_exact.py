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
from mixfast._engine.optimise.minimax import minimise_largest, minimise_limited
from mixfast._engine.optimise.trace import Minimum
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError, NotConvergedWarning
from mixfast.laws import Target
from mixfast.proposers._outcome import Outcome
from mixfast.proposers._refusals import refuse_runaway
from mixfast.proposers._task import Task
from mixfast.region import Region

_MAX_ITER = 200
# A limit is violated if it is exceeded by more than `_BROKEN`, or by ten times the tolerance if that is more. Metrics whose weight in the
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
    if target.worst:
        if task.most is not None:
            raise ValueError(
                "objective='worst' and tolerance cannot be combined: give a weighted objective, and a tolerance for the metrics to protect"
            )
        # The weights of the metrics that prove the smallest possible maximum.
        found, weight = _largest(task, form, target.used, kl=kl)
        value = found.value
    elif task.most is not None:
        found, limited = _limited(task, form, task.most)
        value = form.combined(weight).restrict(task.reach.usable).sums(found.w)[0] + kl.at(found.w)[0]
    else:
        smooth = form.combined(weight)
        found = solve_exact(smooth, task.reach, kl=task.weight, start=task.start, tol=task.tol, max_iter=_MAX_ITER)
        value = found.value
    if not math.isfinite(found.gap) or not math.isfinite(value):
        refuse_runaway(task)
    return Outcome(
        w=task.reach.spread(found.w),
        status=_status(task, found),
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
    return exactly(Task(None, region, target, kl, 0.0, 0, tol, (), None, None), form)


def _status(task: Task, found: Minimum) -> str:
    if found.gap <= task.tol * max(1.0, abs(found.value)):
        return "optimal"
    status = "user_limit" if found.steps >= _MAX_ITER else "optimal_inaccurate"
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
        gradient = form.combined(weight).sums(task.reach.spread(found.w))[1]
    gradient[usable] = found.gradient
    return gradient


def _largest(task: Task, form: Convex, used: list[int], *, kl: Kl) -> tuple[Minimum, Vector]:
    """Minimise the largest of these metrics; also return the weights (J,) of the metrics that prove the minimum."""
    pieces = WeightedMetrics.each(form.restrict(task.reach.usable), used)
    limits = replace(task.reach.limits, interior=kl.weight > 0.0).above_zero(pieces.form.steep)
    found, proof = minimise_largest(pieces, limits, kl, task.inner(), tol=task.tol, max_iter=_MAX_ITER)
    return found, proof @ pieces.weight


def _limited(task: Task, form: Convex, most: Vector) -> tuple[Minimum, Vector]:
    """Minimise the weighted sum with no metric above `most` (J,); also return the multipliers (J,) of these limits."""
    target = task.target
    found, multipliers, broken = minimise_limited(
        form.restrict(task.reach.usable),
        target.weight,
        most,
        task.reach.limits,
        kl=task.kl,
        start=task.inner(),
        tol=task.tol,
        max_iter=_MAX_ITER,
    )
    if broken > max(10.0 * task.tol, _BROKEN):
        # By how much must some metric exceed its limit?
        limited = np.isfinite(most)
        shifted = form.shifted(-np.where(limited, most, 0.0))
        used = np.flatnonzero(limited).tolist()
        least, weight = _largest(task, shifted, used, kl=Kl(0.0, task.reach.prior))
        if least.value > max(10.0 * task.tol, _BROKEN):
            names = [target.metrics[j] for j in np.argsort(-weight, kind="stable") if weight[j] > _IN_THE_WAY]
            raise InfeasibleError(
                f"no mixture of the region keeps every metric within its tolerance: {listing(names)} conflict, and one of them must "
                f"exceed its tolerance by {least.value:.3g}; allow more tolerance or a wider region"
            )
    return found, multipliers
