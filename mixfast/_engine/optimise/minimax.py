"""The mixture whose worst group loss is least: min_w max_g L_g(w) + KL, by sequential quadratic programming.

Each step minimises t + 1/2 d'Hd under L_g + <g_g, d> <= t and the region's limits, H being the Hessian of the Lagrangian. The multipliers
lambda of the groups certify it: sum_g lambda_g L_g is convex, so its value at w less its Frank-Wolfe gap is below the minimax value.
"""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise.newton import _ROUGH
from mixfast._engine.optimise.trace import Minimum, Step
from mixfast._engine.optimise.working_set import _SAMPLE_ROWS
from mixfast.solver._problem import Problem


def minimise_worst(problem: Problem) -> tuple[Minimum, Vector]:
    """The minimum and the groups' weights (G,) that prove it."""
    began = perf_counter()
    trace: list[Step] = []
    groups = problem.group_objectives
    w, weight = problem.first, problem.group_weight
    if any(group.rows >= 4 * _SAMPLE_ROWS for group in groups):
        samples = [group.sample(_SAMPLE_ROWS) if group.rows >= 4 * _SAMPLE_ROWS else group for group in groups]
        out, weight = _descend(problem, samples, w, weight, 1e-5, 50, trace, began)
        w = out.w
    return _descend(problem, groups, w, weight, problem.tol, problem.max_iter, trace, began)


def _descend(
    problem: Problem,
    groups: list[Objective],
    w: Vector,
    weight: Vector,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> tuple[Minimum, Vector]:
    from mixfast._engine.geometry import qp

    limits = problem.limits
    rows = sum(group.rows for group in groups)
    losses, gradients, hessians = _all(groups, w)
    best: Minimum | None = None
    proof = weight
    steps = 0
    while True:
        prior = _kl(problem, w)
        lagrangian = weight @ gradients + prior[1]
        worst = float(losses.max()) + prior[0]
        gap = max(float(losses.max() - weight @ losses), 0.0) + limits.gap(lagrangian, w)
        trace.append(Step(rows, w.size, worst, gap, perf_counter() - began))
        if best is None or gap < best.gap:
            best, proof = Minimum(w, worst, lagrangian, gap, trace, None, steps), weight
        best.steps = steps
        if gap <= tol or steps >= max_iter:
            return best, proof
        curvature = np.tensordot(weight, hessians, axes=1)
        if problem.kl > 0.0:
            curvature[np.diag_indices_from(curvature)] += problem.kl / np.maximum(w, 1e-300)
        # Far from the optimum no share may shrink more than tenfold in a step: a row may depend on it.
        low = np.maximum(limits.lowest(w), 0.1 * w) if gap > _ROUGH else limits.lowest(w)
        direction, weight_new = qp.minimax(
            curvature,
            losses,
            gradients + prior[1],
            w,
            low,
            limits.high,
            *(limits.groups or ()),
        )
        model = float((losses + (gradients + prior[1]) @ direction).max()) - float(losses.max())
        length = 1.0
        moved = False
        for _ in range(40):
            w_new = limits.clip(w + length * direction)
            losses_new, gradients_new, hessians_new = _all(groups, w_new)
            change = float(losses_new.max()) + _kl(problem, w_new)[0] - worst
            usable = math.isfinite(change) and np.isfinite(gradients_new).all() and np.isfinite(hessians_new).all()
            if usable and change <= 1e-4 * length * model + 1e-14 * abs(worst):
                moved = True
                break
            length *= 0.5
        weight = weight_new
        steps += 1
        if moved:
            w, losses, gradients, hessians = w_new, losses_new, gradients_new, hessians_new
        elif np.array_equal(weight, proof):
            return best, proof


def _all(groups: list[Objective], w: Vector) -> tuple[Vector, Vector, Vector]:
    parts = [group.sums(w, hessian=True) for group in groups]
    return np.array([p[0] for p in parts]), np.array([p[1] for p in parts]), np.array([p[2] for p in parts])


def _kl(problem: Problem, w: Vector) -> tuple[float, Vector]:
    """Value and gradient of the KL term alone."""
    if problem.kl == 0.0:
        return 0.0, np.zeros(w.size)
    prior = problem.prior if problem.usable is None else problem.prior[problem.usable]
    return Regularised.term(problem.kl, prior, w)
