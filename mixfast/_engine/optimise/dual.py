"""The exact proposal: ``sum_j omega_j exp(a_j.w) + b.w + kl * KL(w || prior)`` over a region, with as many unknowns as metrics.

With a KL term and limits on single domains only, the optimal shares for given slopes are known in closed form,
``w_k = clip(c * prior_k * exp(-g_k / kl))`` with one number c for all domains. The remaining unknowns are the values z_j of the J exponents:
``z = log omega + A w(A' e^z + b)``, solved by Newton's method on the concave dual. There are J unknowns for any number of domains:
1. climb (`csrc/laws/dual.c`), until z is close to the exponents at the optimal shares for the slopes ``A' e^z + b``: each step is Newton's, halved
   until the dual rises by a fraction of the predicted rise;
2. certify: compute the Frank-Wolfe gap at these shares. It may end the search; otherwise climb at least one step more.

All other cases (no KL term, exponents that are not linear, limits on groups of domains, a dual that does not converge) use the general loop. In either case,
the Frank-Wolfe gap at the final shares is the certificate.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), which states the problem and uses a general conic solver.
"""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import laws
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Kl, Regularised
from mixfast._engine.optimise.trace import Minimum, Trace
from mixfast._engine.optimise.working_set import minimise
from mixfast.region import Reach

# Maximum steps of the dual Newton method, and maximum halvings of a step.
_STEPS, _HALVINGS = 60, 30
# A sufficient rise of the dual, as a fraction of the predicted rise, and the relative rounding error of its value.
_ARMIJO, _ROUNDING = 1e-4, 1e-13
# When the exponents are known to within this, computing the certificate is worth a sweep.
_CLOSE = 1e-4
# Maximum number of restarts because the unit of the gap turned out smaller than at the start.
_UNITS = 4
# With more metrics than this, and more than domains, the dual costs more than the primal.
_MANY_METRICS = 400
_TINY = 1e-300


def solve_exact(
    objective: Exponentials, reach: Reach, *, kl: float, start: Vector | None, tol: float, max_iter: int = 200
) -> Minimum:
    """Minimise to a Frank-Wolfe gap of `tol`, in the units of the metrics, over the usable domains.

    `start` (K,) is a mixture of the region, None for the prior. If the objective is above 1, the gap is relative to it.
    """
    here = reach.region.prior if start is None else start
    unit = max(1.0, abs(float(objective.losses(here[None, :])[0])))
    for _ in range(_UNITS):
        found = _solve(objective, reach, kl, start, tol * unit, max_iter)
        actual = max(1.0, abs(found.value))
        if found.gap <= tol * actual or found.gap > tol * unit:
            break
        unit, start = actual, reach.spread(found.w)
    return found


def _solve(
    objective: Exponentials, reach: Reach, kl: float, start: Vector | None, tol: float, max_iter: int
) -> Minimum:
    region, limits, inside = reach.region, reach.limits, objective.restrict(reach.usable)
    term = Kl(kl, reach.prior)
    metrics, domains = inside.a.shape
    if inside.epochs is not None:
        limits = limits.above_zero(inside.epochs.steep)
    dual = kl > 0.0 and inside.epochs is None and not region.bounds and metrics <= max(_MANY_METRICS, domains)
    best: Minimum | None = None
    # Start with Newton's method in the smaller of the two spaces.
    if dual and domains >= metrics:
        near = start
        if near is None:
            near = (
                region.prior
                if ((term.prior <= limits.high) & (term.prior >= limits.low)).all()
                else region.project(region.prior)
            )
        best = _Dual(inside, term, limits).maximise(reach.restrict(near), tol)
        if best.gap <= tol:
            return best
    near = reach.restrict(reach.inner_point(region.prior if start is None else start))
    if best is not None:
        near = 0.99 * best.w + 0.01 * near
    loss: Objective = Regularised(inside, term) if kl > 0.0 else inside
    found = minimise(loss, limits, np.ascontiguousarray(near), tol=tol, max_iter=max_iter)
    if found.gap > tol and dual and best is None:
        best = _Dual(inside, term, limits).maximise(found.w, tol)
    return found if best is None or found.gap <= best.gap else best


class _Dual:
    """The dual over the C usable domains: J unknowns, the exponents z."""

    def __init__(self, objective: Exponentials, kl: Kl, limits: Limits) -> None:
        self.objective, self.kl, self.limits = objective, kl, limits
        self.log_prior = np.log(kl.prior)

    def maximise(self, start: Vector, tol: float) -> Minimum:
        """Newton's method from the exponents of shares `start` (C,). Return the best shares found with their gap, whatever it is."""
        trace = Trace()
        best = Minimum(start, math.inf, self.objective.linear, math.inf, trace.steps)
        z, level, steps, least = self.objective.log_weight + self.objective.a @ start, math.inf, 0, 0
        with np.errstate(over="ignore", invalid="ignore"):
            while steps + least <= _STEPS:
                # 1.
                w, log = np.empty_like(start), np.empty_like(start)
                climbed = self._climb(z, level, w, log, least, _STEPS - steps)
                if climbed is None:
                    return best
                taken, level = climbed
                steps, least = steps + taken, 1
                # 2.
                value, gradient, gap = self._certify(w, log)
                trace.add(z.size, w.size, value, gap)
                if gap < best.gap:
                    best = Minimum(w, value, gradient, gap, trace.steps, None, steps)
                if gap <= tol:
                    return best
        return best

    def _climb(
        self, z: Vector, level: float, w: Vector, log: Vector, least: int, most: int
    ) -> tuple[int, float] | None:
        """Climb from exponents z (J,), in place; fill shares and logarithms (C,). Return the steps and the level, None if there is no way up."""
        form, limits = self.objective, self.limits
        return laws.ascend(
            form.a, form.log_weight, form.linear, self.log_prior, limits.low, limits.high, self.kl.weight, z, level, w, log,
            least, most, _HALVINGS, _ARMIJO, _ROUNDING, _CLOSE,
        )  # fmt: skip

    def _certify(self, w: Vector, log: Vector) -> tuple[float, Vector, float]:
        """Return value, gradient and Frank-Wolfe gap of the objective at shares w (C,); `log` are the logarithms of shares that underflow.

        The infinite slope at 0 matters only to shares below that, where the possible gain is smaller than float64 can represent.
        """
        kl = self.kl.weight
        value, gradient, _ = self.objective.sums(w)
        log = np.where(w > 0.0, np.log(np.maximum(w, _TINY)), log) - self.log_prior
        gradient = gradient + kl * (log + 1.0)
        return value + kl * float(w @ log), gradient, self.limits.gap(gradient, w)
