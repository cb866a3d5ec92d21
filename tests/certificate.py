"""A full KKT check of a solution, independent of the solver that found it.

Everything is recomputed in float64 from the raw log-likelihoods by log-sum-exp (`mixfast.reference`); linear
programmes go to scipy. Nothing of the solver, of its probabilities or of its linear minimisation is used.

Sign convention of multipliers
------------------------------
The problem is ``min F(w)``, F = loss + kl * KL, subject to ``sum w = 1``, ``floor <= w <= cap`` and
``lower <= A w <= upper``. Every multiplier is >= 0 and is what F would fall by, per unit, if its limit were loosened
(a cap or upper bound raised, a floor or lower bound reduced), to first order. With g the gradient of F, at the
optimum::

    g_k + cap_k - floor_k + sum_b A_bk (upper_b - lower_b) = total        for every domain k

where `total` is one number, ``w >= 0`` counts as a floor of 0, and a multiplier is 0 unless its limit is touched.
Units: nats for each unit of share. For ``"worst"`` g is the gradient of the sum of group losses weighted by the group
weights.

`solution.multipliers` is a mapping, or an object with attributes: ``cap`` (K,), ``floor`` (K,), ``bound_lower`` (B,),
``bound_upper`` (B,); absent means zero. Group weights of ``"worst"`` are read from ``solution.group_weights`` (G,), an
array in the table's order or a dict by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize

from mixfast import reference


@dataclass(frozen=True)
class Certificate:
    """What the check found; `failures` is empty for a solution that is optimal to the tolerance."""

    value: float
    gap: float
    violation: float
    slackness: float | None
    group_weights: np.ndarray
    failures: tuple[str, ...] = field(default=())

    @property
    def valid(self) -> bool:
        return not self.failures


def check(
    table: Any,
    region: Any,
    solution: Any,
    *,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
    tol: float = 1e-7,
    feasible_tol: float = 1e-9,
    multipliers: bool = True,
) -> Certificate:
    """Check a solution and raise AssertionError naming every condition that fails.

    `tol` (nats) bounds the recomputed gap of a solution whose status is ``optimal``, the amount by which any
    solution's own gap may understate the recomputed one, the error of its value, and the complementary slackness.
    `region` None is the whole simplex. `multipliers=False` leaves the multipliers unread.
    """
    report = inspect(
        table,
        region,
        solution,
        kl=kl,
        objective=objective,
        tol=tol,
        feasible_tol=feasible_tol,
        multipliers=multipliers,
    )
    if report.failures:
        raise AssertionError("not a certified optimum:\n  " + "\n  ".join(report.failures))
    return report


def inspect(
    table: Any,
    region: Any,
    solution: Any,
    *,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
    tol: float = 1e-7,
    feasible_tol: float = 1e-9,
    multipliers: bool = True,
) -> Certificate:
    """The same as `check`, but failures are returned, not raised."""
    bad: list[str] = []
    limits = _Limits.of(region, tuple(table.domains))
    w = _weights(solution, tuple(table.domains))

    violation = limits.violation(w)
    if not violation <= feasible_tol:
        bad.append(f"infeasible: violation {violation:.3g} > {feasible_tol:.1g} ({limits.worst_offender(w)})")

    losses, gradients = reference.group_pass(table, w)
    pull = kl * reference.kl_divergence(w, limits.prior) if kl else 0.0
    worst = isinstance(objective, str)
    if worst:
        shares = _group_weights(solution, tuple(table.group_names))
        if shares is None:
            slope_kl = kl * reference.kl_gradient(w, limits.prior) if kl else 0.0
            shares = reference.worst_gap(losses, gradients + slope_kl, w, limits).group_weights
        elif abs(shares.sum() - 1.0) > 1e-6 or (shares < -1e-12).any():
            bad.append(f"group weights are not on the simplex: sum {shares.sum():.9g}, least {shares.min():.3g}")
        spread = float(losses.max() - shares @ losses)
    else:
        shares, spread = reference.group_weights(table, objective), 0.0
    value = float(losses.max() if worst else shares @ losses) + pull
    slope = shares @ gradients
    gap = spread + _gap(slope, w, limits, kl, _multiplier_bounds(solution, limits) if multipliers else None)

    status, claimed = str(solution.status), float(solution.gap)
    if not abs(float(solution.value) - value) <= tol * max(1.0, abs(value)):
        bad.append(f"value {float(solution.value):.12g} is not the recomputed {value:.12g}")
    if not gap >= -tol:
        bad.append(f"recomputed gap {gap:.3g} is negative: the point is outside the region or the bound is wrong")
    if status == "optimal" and not gap <= tol:
        bad.append(f"status is optimal but the recomputed gap is {gap:.3g} > {tol:.1g}")
    if not claimed >= gap - tol:
        bad.append(f"claimed gap {claimed:.3g} understates the recomputed {gap:.3g} by more than {tol:.1g}")
    if not claimed >= -tol:
        bad.append(f"claimed gap {claimed:.3g} is negative")

    slackness = None
    if multipliers and status == "optimal" and getattr(solution, "multipliers", None) is not None:
        full = slope + (kl * reference.kl_gradient(w, limits.prior) if kl else 0.0)
        slackness, told = _slackness(solution.multipliers, full, w, limits, tol)
        bad += told
    return Certificate(value, gap, violation, slackness, shares, tuple(bad))


# ------------------------------------------------------------------------------------------------------------ pieces


@dataclass(frozen=True)
class _Limits:
    """A region's arrays in the order of the table; what `mixfast.reference` reads of a region."""

    domains: tuple[str, ...]
    prior: np.ndarray
    cap: np.ndarray
    floor: np.ndarray
    bound_rows: np.ndarray
    bound_lower: np.ndarray
    bound_upper: np.ndarray

    @property
    def n_domains(self) -> int:
        return len(self.domains)

    @classmethod
    def of(cls, region: Any, domains: tuple[str, ...]) -> _Limits:
        k = len(domains)
        if region is None:
            none = np.zeros(0)
            return cls(domains, np.full(k, 1.0 / k), np.ones(k), np.zeros(k), np.zeros((0, k)), none, none)
        # By name and by hand: the region's own alignment is under test too.
        where = [list(region.domains).index(name) for name in domains]
        if len(region.domains) != k:
            raise AssertionError(f"region has {len(region.domains)} domains, the table {k}")
        return cls(
            domains,
            np.asarray(region.prior, dtype=np.float64)[where],
            np.minimum(np.asarray(region.cap, dtype=np.float64), 1.0)[where],
            np.asarray(region.floor, dtype=np.float64)[where],
            np.asarray(region.bound_rows, dtype=np.float64).reshape(-1, k)[:, where],
            np.asarray(region.bound_lower, dtype=np.float64),
            np.asarray(region.bound_upper, dtype=np.float64),
        )

    def _violations(self, w: np.ndarray) -> dict[str, float]:
        inside = self.bound_rows @ w
        return {
            "finite": 0.0 if np.isfinite(w).all() else np.inf,
            "sum": abs(math.fsum(w) - 1.0),
            "floor": float(np.max(np.maximum(self.floor, 0.0) - w)),
            "cap": float(np.max(w - self.cap)),
            "bound_lower": float(np.max(self.bound_lower - inside, initial=0.0)),
            "bound_upper": float(np.max(inside - self.bound_upper, initial=0.0)),
        }

    def violation(self, w: np.ndarray) -> float:
        return max(0.0, *self._violations(w).values())

    def worst_offender(self, w: np.ndarray) -> str:
        return max(self._violations(w).items(), key=lambda item: item[1])[0]


def _weights(solution: Any, domains: tuple[str, ...]) -> np.ndarray:
    mixture = solution.mixture
    where = [list(mixture.domains).index(name) for name in domains]
    return np.asarray(mixture.weights, dtype=np.float64)[where]


def _group_weights(solution: Any, names: tuple[str, ...]) -> np.ndarray | None:
    shares = getattr(solution, "group_weights", None)
    if shares is None:
        return None
    if isinstance(shares, Mapping):
        return np.array([float(shares.get(name, 0.0)) for name in names])
    return np.asarray(shares, dtype=np.float64)


def _read(multipliers: Any, name: str, size: int) -> np.ndarray:
    found = multipliers.get(name) if isinstance(multipliers, Mapping) else getattr(multipliers, name, None)
    if found is None:
        return np.zeros(size)
    array = np.asarray(found, dtype=np.float64)
    if array.shape != (size,):
        raise AssertionError(f"multipliers[{name!r}] has shape {array.shape}, expected ({size},)")
    return array


def _multiplier_bounds(solution: Any, limits: _Limits) -> np.ndarray | None:
    """The solution's multipliers of the group bounds, (lower, upper), as a start of the dual search."""
    multipliers = getattr(solution, "multipliers", None)
    if multipliers is None:
        return None
    b = limits.bound_lower.size
    return np.concatenate([_read(multipliers, "bound_lower", b), _read(multipliers, "bound_upper", b)])


def _gap(slope: np.ndarray, w: np.ndarray, limits: _Limits, kl: float, dual_start: np.ndarray | None) -> float:
    """The smaller of two valid bounds of F(w) - F*: all of F linearised, or the loss alone.

    The second is the sharper one under a divergence, and finite where a share has underflowed to zero.
    """
    full = slope + (kl * reference.kl_gradient(w, limits.prior) if kl else 0.0)
    if limits.bound_lower.size and np.abs(full[np.isfinite(full)]).max(initial=0.0) > 1e6:
        # A domain held at 0 by a bound may have a slope of any size, which a linear programme chokes on.
        closed = replace(limits, cap=np.minimum(limits.cap, _largest_shares(limits)))
        gap = reference.frank_wolfe_gap(full, w, closed)  # type: ignore[arg-type]
    else:
        gap = reference.frank_wolfe_gap(full, w, limits)  # type: ignore[arg-type]
    if not kl:
        return gap
    used = w != 0
    here = float(slope[used] @ w[used]) + kl * reference.kl_divergence(w, limits.prior)
    return min(gap, here - _kl_minimum(slope, limits, kl, dual_start))


def _kl_minimum(slope: np.ndarray, limits: _Limits, kl: float, dual_start: np.ndarray | None) -> float:
    """A lower bound of ``min_{s in region} <slope, s> + kl KL(s || prior)``, exact without group bounds.

    Group bounds are priced by multipliers; any non-negative ones give a valid bound, the best are searched for.
    """
    if not np.isfinite(slope).all():
        return -np.inf
    limits = replace(limits, cap=np.where(limits.prior > 0, limits.cap, 0.0))
    limits = replace(limits, cap=np.minimum(limits.cap, _largest_shares(limits)))
    lower, upper = np.isfinite(limits.bound_lower), np.isfinite(limits.bound_upper)
    if not (lower.any() or upper.any()):
        return _kl_minimum_box(slope, limits, kl)[0]
    rows = np.vstack([-limits.bound_rows[lower], limits.bound_rows[upper]])
    level = np.concatenate([-limits.bound_lower[lower], limits.bound_upper[upper]])

    def negative_dual(y: np.ndarray) -> tuple[float, np.ndarray]:
        y = np.maximum(y, 0.0)
        value, s = _kl_minimum_box(slope + y @ rows, limits, kl)
        return -(value - y @ level), -(rows @ s - level)

    start = np.zeros(level.size)
    if dual_start is not None:
        b = limits.bound_lower.size
        start = np.concatenate([dual_start[:b][lower], dual_start[b:][upper]])
    best = -negative_dual(start)[0]
    found = minimize(negative_dual, start, jac=True, bounds=[(0, None)] * level.size, method="L-BFGS-B")
    return max(best, -negative_dual(found.x)[0])


def _largest_shares(limits: _Limits) -> np.ndarray:
    """0 for domains that group bounds hold at 0: the multiplier to do it against a divergence is infinite."""
    out = np.ones(limits.n_domains)
    a, b = reference._limits(limits)  # type: ignore[arg-type]
    members = np.flatnonzero((limits.cap > 0) & (limits.floor <= 0) & (a != 0).any(axis=0)) if b.size else []
    for k in members:
        cost = np.zeros(limits.n_domains)
        cost[k] = -1.0
        found = linprog(
            cost,
            A_ub=a,
            b_ub=b,
            A_eq=np.ones((1, cost.size)),
            b_eq=[1.0],
            bounds=np.column_stack([limits.floor, limits.cap]),
        )
        out[k] = 0.0 if found.status == 0 and found.fun > -1e-12 else 1.0
    return out


def _kl_minimum_box(slope: np.ndarray, limits: _Limits, kl: float) -> tuple[float, np.ndarray]:
    """The exact minimum over caps and floors: ``s_k = clip(q_k exp(-(slope_k - nu) / kl))``, nu by bisection.

    The value returned is the dual function at nu, hence a lower bound at any precision of nu.
    """
    with np.errstate(divide="ignore"):
        log_prior = np.log(limits.prior)
    usable = np.isfinite(log_prior)
    # Shares at the price nu, in logs: exp() may overflow, the clip to the cap repairs it.
    base = log_prior - slope / kl

    def shares(nu: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.clip(np.where(usable, np.exp(base + nu), 0.0), limits.floor, limits.cap)

    low, high = -800.0 - base[usable].max(), 800.0 - base[usable].min()
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if shares(middle).sum() < 1.0 else (low, middle)
    s = shares(high)
    used = s > 0
    value = float(slope[used] @ s[used]) + kl * float(np.sum(s[used] * (np.log(s[used]) - log_prior[used])))
    # Lagrangian of sum s = 1 at this nu: stationarity of s log(s/q) has the extra + 1.
    return value - kl * (high + 1.0) * (float(s.sum()) - 1.0), s


def _slackness(
    multipliers: Any, slope: np.ndarray, w: np.ndarray, limits: _Limits, tol: float
) -> tuple[float, list[str]]:
    """Signs, complementary slackness and stationarity; the largest of the slackness products and what failed.

    A domain with a share of nearly zero may have a residual that is large while its contribution ``w_k r_k`` to the gap
    is not, so residuals are weighed by the share; unweighted, only a negative one is a fault (it should grow).
    """
    k, b = limits.n_domains, limits.bound_lower.size
    cap, floor = _read(multipliers, "cap", k), _read(multipliers, "floor", k)
    lower, upper = _read(multipliers, "bound_lower", b), _read(multipliers, "bound_upper", b)
    bad = [
        f"multiplier {name} is negative: {array.min():.3g}"
        for name, array in (("cap", cap), ("floor", floor), ("bound_lower", lower), ("bound_upper", upper))
        if array.size and array.min() < -tol
    ]
    inside = limits.bound_rows @ w

    def product(price: np.ndarray, slack: np.ndarray) -> float:
        # A price on a limit that is not there (infinite slack) is a fault; no price, no product.
        priced = price != 0
        return float(np.max(np.abs(price[priced] * slack[priced]), initial=0.0))

    products = {
        "cap": product(cap, limits.cap - w),
        "floor": product(floor, w - limits.floor),
        "bound_lower": product(lower, inside - limits.bound_lower),
        "bound_upper": product(upper, limits.bound_upper - inside),
    }
    bad += [
        f"complementary slackness of {name}: {size:.3g} > {tol:.1g}" for name, size in products.items() if size > tol
    ]

    finite = np.isfinite(slope)
    reduced = slope + cap - floor + (upper - lower) @ limits.bound_rows
    used = finite & (w > 0)
    total = float(reduced[used] @ w[used])
    residual = reduced - total
    weighed = float(np.max(np.abs(w[used] * residual[used]), initial=0.0))
    if not weighed <= tol:
        worst = int(np.argmax(np.where(used, np.abs(w * np.where(finite, residual, 0.0)), 0.0)))
        bad.append(f"stationarity: share * residual is {weighed:.3g} at {limits.domains[worst]!r}, tol {tol:.1g}")
    # What the log-sum-exp of a row may be off by, relative: an expert that is far better than the mixture on some row
    # has a slope of many digits.
    excess = np.where(finite, residual + 1e-11 * np.abs(np.where(finite, slope, 0.0)), 0.0)
    if not excess.min(initial=0.0) >= -tol:
        worst = int(np.argmin(excess))
        bad.append(f"stationarity: residual {residual[worst]:.3g} at {limits.domains[worst]!r} says it should grow")
    return max(weighed, *products.values()), bad
