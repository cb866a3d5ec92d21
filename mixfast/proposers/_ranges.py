"""How far each proposed share can move while the objective stays within eps.

After an exact solve of a weighted sum with a KL term and few domains, each end is an exact solve with a linear price on the share. After other
exact solves, rays to the ends of the quadratic model are searched. After a search, the ranges are those of the mixtures it evaluated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise import flat
from mixfast._engine.optimise.dual import solve_exact
from mixfast.proposers._task import Task
from mixfast.region import limits_over

Ranges = dict[str, tuple[float, float]]

# With a KL term and up to `_SOLVED` domains, each end of a range is found by solving: until the objective has risen by the fraction
# `_REACHED` of eps, in at most `_SOLVES` solves to the fraction `_EXACT` of eps.
_SOLVED, _REACHED, _SOLVES, _EXACT = 128, 0.999, 30, 1e-5
# The next price aims at a rise of `_AIM` times eps once the rise is above `_SEEN` times eps; before that, prices grow by `_GROWTH`.
_AIM, _SEEN, _GROWTH = 0.9995, 1e-3, 8.0


def ranges_seen(
    points: Matrix, near: NDArray[np.bool_], w: Vector, names: tuple[str, ...], wanted: list[str]
) -> Ranges:
    """Return the smallest and largest share of each domain among w (K,) and the points (M, K) of a search that are `near` (M,)."""
    kept = np.concatenate([points[near], w[None, :]])
    low, high = kept.min(axis=0), kept.max(axis=0)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names) if name in wanted}


def ranges_solved(
    task: Task, smooth: Exponentials, w: Vector, value: float, *, eps: float, wanted: list[str]
) -> Ranges:
    """Compute the ranges around an exact solution w (K,) with this value of the objective."""
    if task.weight > 0.0 and not task.region.bounds and len(wanted) <= _SOLVED:
        return _priced(task, smooth, w, value, eps=eps, wanted=wanted)
    return _along_rays(task, smooth, w, eps=eps, wanted=wanted)


def _priced(task: Task, smooth: Exponentials, w: Vector, value: float, *, eps: float, wanted: list[str]) -> Ranges:
    """Find both ends with a linear price on the share: the higher the price, the further the share moves and the more the objective rises."""
    out = {}
    may = task.reach.spread(np.ones(task.reach.prior.size)) > 0.0
    for name in wanted:
        k = task.region.domains.index(name)
        here = float(w[k])
        # Only usable domains get a price; the others have no share.
        ends = [_end(task, smooth, w, value, k=k, sign=sign, eps=eps) if may[k] else here for sign in (1.0, -1.0)]
        out[name] = (min(ends[0], here), max(ends[1], here))
    return out


def _end(task: Task, smooth: Exponentials, w: Vector, value: float, *, k: int, sign: float, eps: float) -> float:
    """Return the share of domain k at which the objective has risen by nearly eps; `sign` is 1 for the lower end.

    A mixture within eps has a share beyond this by at most (eps - rise + gap) / price, as the priced optimum proves: below a thousandth of the way.
    """
    best = float(w[k])
    before: tuple[float, float] | None = None
    start, low, high = w, 0.0, math.inf
    price = math.sqrt(eps * task.weight / max(best, 1e-12))
    for _ in range(_SOLVES):
        linear = smooth.linear.copy()
        linear[k] += sign * price
        found = solve_exact(smooth.tilted(linear), task.reach, kl=task.weight, start=start, tol=_EXACT * eps)
        there = task.reach.spread(found.w)
        share = float(there[k])
        rise = found.value - sign * price * share - value
        if rise <= eps:
            start, low = there, price
            settled = abs(share - best) <= 1e-9 and price > 1e6 * eps
            best = min(best, share) if sign > 0.0 else max(best, share)
            if rise >= _REACHED * eps or settled:
                break
        else:
            high = price
        # For small prices the rise grows with the square of the price; from two prices, its power is known.
        power = 2.0
        if before is not None and rise > _SEEN * eps and before[1] > _SEEN * eps and before[0] != price:
            power = math.log(rise / before[1]) / math.log(price / before[0])
        guess = _GROWTH * price
        if rise > _SEEN * eps:
            # A share that is nearly at its limit hardly moves, and the power tends to 0.
            guess = price * (_AIM * eps / rise) ** (1.0 / max(power, 0.5))
        before = price, rise
        if not low < guess < high:
            guess = 0.5 * (low + high) if math.isfinite(high) else _GROWTH * price
        price = guess
    return best


def _along_rays(task: Task, smooth: Exponentials, w: Vector, *, eps: float, wanted: list[str]) -> Ranges:
    base: Objective = smooth.restrict(task.reach.usable)
    objective = Regularised(base, task.kl) if task.weight > 0.0 else base
    moving = task.reach.places(wanted)
    limits = limits_over(task.region).restrict(task.reach.usable)
    found = flat.ranges(objective, limits, task.reach.restrict(w), eps=eps, moving=list(moving.values()))
    return {**dict.fromkeys(wanted, (0.0, 0.0)), **dict(zip(moving, found, strict=True))}
