"""The exact proposal for the largest of several convex functions: the worst metric, and metrics that must not get worse.

``min_w max_p phi_p(w) + kl * KL(w || prior)`` with ``phi_p = offset_p + sum_j weight_pj f_j``, by sequential quadratic programming as in
`mixfast._engine.optimise.minimax`. Its multipliers lambda prove it: the Frank-Wolfe gap of ``sum_p lambda_p phi_p`` bounds the minimax value from below.
Limits ``f_j(w) <= most_j`` are pieces as well, ``F + rho * (f_j - most_j)``: an exact penalty, F's own minimum once rho is above the sum of
their multipliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.exponentials import Convex
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise.trace import Minimum, Step

# Rise of the maximum that a step may bring for rounding, and the share of the model's fall that it must bring.
_ROUNDING, _ARMIJO = 1e-14, 1e-4
_HALVINGS = 40
# The penalty with which limits begin, in units of the objective, and the largest.
_PENALTY, _LARGEST = 10.0, 1e7


@dataclass(frozen=True, eq=False)
class Pieces:
    """P functions ``offset_p + sum_j weight_pj f_j`` of the usable domains."""

    form: Convex
    weight: Matrix  # (P, J), >= 0
    offset: Vector  # (P,)

    def at(self, w: Vector) -> tuple[Vector, Matrix, Vector]:
        """Values (P,), gradients (P, K), and the exponentials (J,) that make the Hessians."""
        form = self.form
        e = form.on * np.exp(form.a @ w)
        metrics = form.constant + form.linear @ w + e
        return self.offset + self.weight @ metrics, self.weight @ (form.a * e[:, None] + form.linear), e

    def hessian(self, multipliers: Vector, e: Vector) -> Matrix:
        form = self.form
        return (form.a.T * ((multipliers @ self.weight) * e)) @ form.a


def minimise_pieces(
    pieces: Pieces, limits: Limits, kl: float, prior: Vector, w: Vector, *, tol: float, max_iter: int
) -> tuple[Minimum, Vector]:
    """The minimum over the usable domains, and the multipliers (P,) of the pieces that prove it."""
    from mixfast._engine.geometry import qp

    began = perf_counter()
    trace: list[Step] = []

    def pull(w: Vector) -> tuple[float, Vector]:
        return Regularised.term(kl, prior, w) if kl > 0.0 else (0.0, np.zeros(w.size))

    values, gradients, e = pieces.at(w)
    weight = (values == values.max()) / np.count_nonzero(values == values.max())
    best: Minimum | None = None
    proof = weight
    steps = 0
    while True:
        cost, slope = pull(w)
        lagrangian = weight @ gradients + slope
        worst = float(values.max()) + cost
        gap = max(float(values.max() - weight @ values), 0.0) + limits.gap(lagrangian, w)
        trace.append(Step(values.size, w.size, worst, gap, perf_counter() - began))
        if best is None or gap < best.gap:
            best, proof = Minimum(w, worst, lagrangian, gap, trace, None, steps), weight
        best.steps = steps
        if gap <= tol or steps >= max_iter:
            return best, proof
        curvature = pieces.hessian(weight, e)
        if kl > 0.0:
            curvature[np.diag_indices_from(curvature)] += kl / np.maximum(w, 1e-300)
        with np.errstate(invalid="ignore", divide="ignore"):
            direction, weight_new = qp.minimax(
                curvature, values, gradients + slope, w, limits.lowest(w), limits.high, *(limits.groups or ())
            )
        if not np.isfinite(weight_new).all():  # no piece was found to hold the maximum
            weight_new = weight
        model = float((values + (gradients + slope) @ direction).max()) - float(values.max())
        length, moved = 1.0, False
        for _ in range(_HALVINGS):
            w_new = limits.clip(w + length * direction)
            at_new = pieces.at(w_new)
            change = float(at_new[0].max()) + pull(w_new)[0] - worst
            if np.isfinite(change) and change <= _ARMIJO * length * model + _ROUNDING * max(1.0, abs(worst)):
                moved = True
                break
            length *= 0.5
        steps += 1
        if moved:
            w, (values, gradients, e) = w_new, at_new
        elif np.array_equal(weight, weight_new):
            return best, proof
        weight = weight_new


def minimise_worst(
    form: Convex, used: list[int], limits: Limits, kl: float, prior: Vector, w: Vector, *, tol: float, max_iter: int
) -> tuple[Minimum, Vector]:
    """The least of the largest metric, and the weights (J,) of the metrics that prove it."""
    rows = np.eye(form.on.size)[used]
    found, proof = minimise_pieces(
        Pieces(form, rows, np.zeros(len(used))), limits, kl, prior, w, tol=tol, max_iter=max_iter
    )
    return found, proof @ rows


def minimise_limited(
    form: Convex,
    weight: Vector,
    most: Vector,
    limits: Limits,
    kl: float,
    prior: Vector,
    w: Vector,
    *,
    tol: float,
    max_iter: int,
) -> tuple[Minimum, Vector, float]:
    """The least of the weighted sum under ``f_j <= most_j``; the limits' multipliers (J,) and the largest violation left.

    `most` (J,) is infinite where there is no limit. The violation is of the order of the gap, unless no mixture meets all limits.
    """
    limited = np.flatnonzero(np.isfinite(most))
    penalty = _PENALTY
    while True:
        rows = np.concatenate([weight[None, :], weight + penalty * np.eye(weight.size)[limited]])
        offset = np.concatenate([np.zeros(1), -penalty * most[limited]])
        found, proof = minimise_pieces(Pieces(form, rows, offset), limits, kl, prior, w, tol=tol, max_iter=max_iter)
        e = form.on * np.exp(form.a @ found.w)
        metrics = form.constant + form.linear @ found.w + e
        violation = float((metrics - most)[limited].max(initial=0.0))
        multipliers = np.zeros(weight.size)
        multipliers[limited] = penalty * proof[1:]
        # With the plain objective among what proves the minimum, the penalty is large enough.
        if (proof[0] > 1e-9 and violation <= max(10.0 * tol, 1e-9)) or penalty >= _LARGEST:
            return found, multipliers, violation
        penalty *= 10.0
        w = found.w
