"""A full KKT check of a solution, independent of the solver that found it.

Everything is recomputed in float64 from the raw log-likelihoods by log-sum-exp (`mixfast.reference`). Linear
programs are solved in rational numbers. The check uses no code of the solver, of its probabilities or of its linear
minimisation.

A share may violate a limit by `feasible_tol`; a group limit counts as met if moving that much share would meet it. For the gap, each limit that
the solution violates is moved to the solution, no further. The enlarged region contains the true one, so the bound is valid, and it contains the
solution, so no gap is negative. A tolerance on the limits instead would change the gap by the tolerance times the price of the limit. An expert
that alone explains a row can make this price any number of nats.

Sign convention of multipliers
------------------------------
The problem is ``min F(w)``, F = loss + kl * KL, subject to ``sum w = 1``, ``floor <= w <= cap`` and
``lower <= A w <= upper``. Every multiplier is >= 0. It is the decrease of F, per unit, to first order, if its limit were
loosened (a cap or upper bound raised, a floor or lower bound reduced). With g the gradient of F, at the
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
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import minimize

from mixfast import reference

EPS = float(np.finfo(np.float64).eps)
# If limits allow a domain only a share of the size of rounding errors, it counts as none: `Region.reachable` uses this threshold.
ROOM = 5e-14


@dataclass(frozen=True)
class Certificate:
    """Result of the check; `failures` is empty if the solution is optimal to the tolerance."""

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
    wear: float | str | Mapping[str, float | str] | None = None,
    tol: float = 1e-7,
    feasible_tol: float = 1e-9,
    multipliers: bool = True,
) -> Certificate:
    """Check a solution and raise AssertionError that names every failed condition.

    `tol` (nats) bounds the recomputed gap of a solution with status ``optimal``, by how much any
    solution's own gap may be below the recomputed one, the error of its value, and the complementary slackness.
    `region` None is the whole simplex. `multipliers=False` skips the multipliers.
    """
    report = inspect(
        table,
        region,
        solution,
        kl=kl,
        objective=objective,
        wear=wear,
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
    wear: float | str | Mapping[str, float | str] | None = None,
    tol: float = 1e-7,
    feasible_tol: float = 1e-9,
    multipliers: bool = True,
) -> Certificate:
    """Like `check`, but return the failures instead of raising."""
    bad: list[str] = []
    limits = _Limits.of(region, tuple(table.domains))
    w = _weights(solution, tuple(table.domains))

    violation = limits.violation(w)
    if not violation <= feasible_tol:
        bad.append(f"infeasible: violation {violation:.3g} > {feasible_tol:.1g} ({limits.worst_offender(w)})")

    worth, slopes = w, np.ones(w.size)
    if wear is not None:
        # The first epoch of a domain counts fully; r repeats after it count as wear * (1 - exp(-r / wear)) epochs, r epochs if wear is infinite.
        of = wear if isinstance(wear, Mapping) else dict.fromkeys(table.domains, wear)
        # Up to a threshold of "4 epochs" all count fully, and beyond it repeats fade within 0.01 epochs.
        given = [of[name] for name in table.domains]
        full = np.array([float(one.removesuffix("epochs")) if isinstance(one, str) else 1.0 for one in given])
        lasting = np.array([0.01 if isinstance(one, str) else one for one in given])
        epoch, endless = region.align(table.domains).available / region.target_tokens, np.isinf(lasting)
        lasting[endless] = 1.0
        repeats = np.where(endless, 0.0, np.maximum(w / np.where(epoch > 0, epoch, 1.0) - full, 0.0))
        worth = np.where(repeats > 0, epoch * full + epoch * lasting * -np.expm1(-repeats / lasting), w)
        slopes = np.exp(-repeats / lasting)
    losses, gradients = reference.group_pass(table, worth)
    gradients = gradients * slopes
    pull = kl * reference.kl_divergence(w, limits.prior) if kl else 0.0
    worst = isinstance(objective, str)
    if worst:
        shares = _group_weights(solution, tuple(table.group_names))
        if shares is None:
            slope_kl = kl * reference.kl_gradient(w, limits.prior) if kl else 0.0
            shares = reference.worst_gap(losses, gradients + slope_kl, w, limits).group_weights
        elif abs(shares.sum() - 1.0) > 4 * EPS * shares.size or (shares < 0.0).any():
            bad.append(f"group weights are not on the simplex: sum {shares.sum():.9g}, least {shares.min():.3g}")
        spread = float(losses.max() - shares @ losses)
    else:
        shares, spread = reference.group_weights(table, objective), 0.0
    # A group with weight 0 may have an infinite loss and slope.
    counts = shares > 0
    value = float(losses.max() if worst else shares[counts] @ losses[counts]) + pull
    slope = shares[counts] @ gradients[counts]
    # Under a divergence, a domain with prior 0 is excluded, whatever its loss.
    inside = replace(limits, cap=np.where(limits.prior > 0, limits.cap, 0.0)) if kl else limits
    slope = np.where(inside.cap > 0, slope, 0.0) if kl else slope
    gap = spread + _gap(slope, w, inside.around(w), kl, _multiplier_bounds(solution, limits) if multipliers else None)

    status, claimed = str(solution.status), float(solution.gap)
    if not abs(float(solution.value) - value) <= tol + _value_rounding(table, value) + 16 * EPS * kl:
        bad.append(f"value {float(solution.value):.12g} is not the recomputed {value:.12g}")
    # With a divergence, the bound is computed in float64; without one, it is exact.
    if not gap >= -1e-3 * tol - 16 * EPS * kl:
        bad.append(f"recomputed gap {gap:.3g} is negative: the point is outside the region or the bound is wrong")
    if status == "optimal" and not gap <= tol:
        bad.append(f"status is optimal but the recomputed gap is {gap:.3g} > {tol:.1g}")
    if not claimed >= gap - tol:
        bad.append(f"claimed gap {claimed:.3g} understates the recomputed {gap:.3g} by more than {tol:.1g}")
    if not claimed >= 0.0:
        bad.append(f"claimed gap {claimed:.3g} is negative")

    slackness = None
    if multipliers and status == "optimal" and getattr(solution, "multipliers", None) is not None:
        full = slope + (kl * reference.kl_gradient(w, limits.prior) if kl else 0.0)
        slackness, told = _slackness(solution.multipliers, full, w, limits, tol, _slope_rounding(table))
        bad += told
    return Certificate(value, gap, violation, slackness, shares, tuple(bad))


# ------------------------------------------------------------------------------------------------------------ pieces


@dataclass(frozen=True)
class _Limits:
    """A region's arrays in the order of the table, as `mixfast.reference` reads them."""

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
        # Aligned by name here, independently, because the region's own alignment is tested too.
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

    def around(self, w: np.ndarray) -> _Limits:
        """Return the smallest enlargement that contains w; the linear program also allows for rounding of the group sums."""
        inside = self.bound_rows @ w
        return replace(
            self,
            cap=np.maximum(self.cap, w),
            floor=np.minimum(self.floor, w),
            bound_lower=np.minimum(self.bound_lower, inside),
            bound_upper=np.maximum(self.bound_upper, inside),
        )

    def _violations(self, w: np.ndarray) -> dict[str, float]:
        return {
            "finite": 0.0 if np.isfinite(w).all() else np.inf,
            "sum": abs(math.fsum(w) - 1.0),
            "floor": float(np.max(np.maximum(self.floor, 0.0) - w)),
            "cap": float(np.max(w - self.cap)),
            "bound_lower": max(
                (_moved(-r, -b, w) for r, b in zip(self.bound_rows, self.bound_lower, strict=True)), default=0.0
            ),
            "bound_upper": max(
                (_moved(r, b, w) for r, b in zip(self.bound_rows, self.bound_upper, strict=True)), default=0.0
            ),
        }

    def violation(self, w: np.ndarray) -> float:
        return max(0.0, *self._violations(w).values())

    def worst_offender(self, w: np.ndarray) -> str:
        return max(self._violations(w).items(), key=lambda item: item[1])[0]


def _moved(row: np.ndarray, upper: float, w: np.ndarray) -> float:
    """Return the share that must move, largest coefficients first, to the smallest coefficient or away, until ``row @ w <= upper``.

    Computed in rational numbers, because coefficients may differ by many orders of magnitude.
    """
    if not np.isfinite(upper):
        return 0.0
    coefficients, shares = [*map(Fraction, row.tolist())], [*map(Fraction, w.tolist())]
    left = sum((c * s for c, s in zip(coefficients, shares, strict=True) if c and s), Fraction(0)) - Fraction(upper)
    moved, least = Fraction(0), min(0, *coefficients)
    for c, s in sorted(zip(coefficients, shares, strict=True), reverse=True):
        if left <= 0 or c == least:
            break
        part = min(max(s, Fraction(0)), left / (c - least))
        moved, left = moved + part, left - part * (c - least)
    # If no move helps, return what is missing from the sum of all shares.
    return float(moved) if left <= 0 else float(min(moved + left / max(map(abs, coefficients)), 1))


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
    """Return the solution's multipliers of the group bounds, (lower, upper), to start the dual search."""
    multipliers = getattr(solution, "multipliers", None)
    if multipliers is None:
        return None
    b = limits.bound_lower.size
    return np.concatenate([_read(multipliers, "bound_lower", b), _read(multipliers, "bound_upper", b)])


def _gap(slope: np.ndarray, w: np.ndarray, limits: _Limits, kl: float, dual_start: np.ndarray | None) -> float:
    """Return the smaller of two valid bounds of F(w) - F*: one linearises all of F, the other only the loss.

    With a divergence, the second is tighter, and it is finite if a share has underflowed to zero. A slope may be
    -inf if the limits allow a domain no share; its cap is then reduced to what they allow.
    """
    if limits.bound_lower.size:
        least = limits.cap.copy()
        for k in np.flatnonzero((w == 0) & (limits.cap > 0)):
            room = float(-_linear_minimum(-np.eye(w.size)[k], w, limits))
            least[k] = room if room > ROOM else 0.0
        limits = replace(limits, cap=np.minimum(limits.cap, least))
        slope = np.where(limits.cap > 0, slope, 0.0)
    full = slope + (kl * reference.kl_gradient(w, limits.prior) if kl else 0.0)
    full = np.where(limits.cap > 0, full, 0.0)
    gap = np.inf
    if np.isfinite(full).all():
        gap = float(_product(full, w) - _linear_minimum(full, w, limits))
    if not kl:
        return gap
    used = w != 0
    here = float(slope[used] @ w[used]) + kl * reference.kl_divergence(w, limits.prior)
    return min(gap, here - _kl_minimum(slope, limits, kl, dual_start))


def _product(a: np.ndarray, b: np.ndarray) -> Fraction:
    return sum((Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True) if x and y), Fraction(0))


def _linear_minimum(slope: np.ndarray, w: np.ndarray, limits: _Limits) -> Fraction:
    """Return ``min <slope, s>`` over the limits, enlarged to contain w, in rational numbers: no rounding, no tolerance.

    The sum is that of w, 1 up to rounding. The method is the dual simplex with Bland's rule, from the greedy vertex of the box. One more
    variable for each group bound, the group's sum, makes it an equation.
    """
    k, rows = w.size, limits.bound_rows
    system = [[Fraction(1)] * k + [Fraction(0)] * len(rows)]
    low, high = [[*map(Fraction, side.tolist())] for side in (limits.floor, limits.cap)]
    total = sum(map(Fraction, w.tolist()))
    for b, row in enumerate(rows):
        system.append([*map(Fraction, row.tolist()), *(Fraction(-int(b == c)) for c in range(len(rows)))])
        here = _product(row, w)
        low.append(min(Fraction(limits.bound_lower[b]), here) if np.isfinite(limits.bound_lower[b]) else None)
        high.append(max(Fraction(limits.bound_upper[b]), here) if np.isfinite(limits.bound_upper[b]) else None)
    right = [total] + [Fraction(0)] * len(rows)
    price = [*map(Fraction, slope.tolist())] + [Fraction(0)] * len(rows)

    values, left = low[:k], total - sum(low[:k])
    last, order = 0, sorted(range(k), key=lambda j: (price[j], j))
    for last in order:
        if high[last] - low[last] >= left:
            break
        values[last], left = high[last], left - (high[last] - low[last])
    values += [Fraction(0)] * len(rows)
    basis = [last, *range(k, k + len(rows))]
    while True:
        square = [[line[j] for j in basis] for line in system]
        outside = [
            (r, sum(line[j] * values[j] for j in range(k + len(rows)) if j not in basis))
            for r, line in zip(right, system, strict=True)
        ]
        for j, value in zip(basis, _solved(square, [r - x for r, x in outside]), strict=True):
            values[j] = value
        broken = [
            (j, i)
            for i, j in enumerate(basis)
            if (low[j] is not None and values[j] < low[j]) or (high[j] is not None and values[j] > high[j])
        ]
        if not broken:
            return sum((price[j] * values[j] for j in range(k)), Fraction(0))
        leaves, place = min(broken)
        rises = low[leaves] is not None and values[leaves] < low[leaves]
        across = [*map(list, zip(*square, strict=True))]
        dual = _solved(across, [price[j] for j in basis])
        combination = _solved(across, [Fraction(int(i == place)) for i in range(len(basis))])
        found = None
        for j in range(k + len(rows)):
            if j in basis or low[j] == high[j]:
                continue
            pivot = sum(c * line[j] for c, line in zip(combination, system, strict=True))
            helps = -pivot if rises else pivot
            if (helps > 0) if values[j] == low[j] else (helps < 0):
                reduced = price[j] - sum(d * line[j] for d, line in zip(dual, system, strict=True))
                ratio = abs(reduced / pivot)
                if found is None or ratio < found[0]:
                    found = ratio, j
        if found is None:
            raise AssertionError("the limits contradict each other at the solution itself: an error of the certificate")
        values[leaves] = low[leaves] if rises else high[leaves]
        basis[place] = found[1]


def _solved(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """Return the solution of a small regular system, by elimination."""
    rows = [[*line, r] for line, r in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        swap = next(j for j in range(i, len(rows)) if rows[j][i])
        rows[i], rows[swap] = rows[swap], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(len(rows)):
            if j != i and (factor := rows[j][i]):
                rows[j] = [x - factor * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def _kl_minimum(slope: np.ndarray, limits: _Limits, kl: float, dual_start: np.ndarray | None) -> float:
    """Return a lower bound of ``min_{s in region} <slope, s> + kl KL(s || prior)``, exact without group bounds.

    Group bounds are priced by multipliers. Any non-negative multipliers give a valid bound; the best are searched. The rounding error
    of a bound is subtracted.
    """
    if not np.isfinite(slope).all():
        return -np.inf
    lower, upper = np.isfinite(limits.bound_lower), np.isfinite(limits.bound_upper)
    if not (lower.any() or upper.any()):
        return _kl_minimum_box(slope, limits, kl)[0]
    rows = np.vstack([-limits.bound_rows[lower], limits.bound_rows[upper]])
    level = np.concatenate([-limits.bound_lower[lower], limits.bound_upper[upper]])

    def negative_dual(y: np.ndarray) -> tuple[float, np.ndarray]:
        y = np.maximum(y, 0.0)
        value, s = _kl_minimum_box(slope + y @ rows, limits, kl)
        rounding = 4 * EPS * (abs(value) + y @ (np.abs(level) + np.abs(rows) @ limits.cap))
        return -(value - y @ level - rounding), -(rows @ s - level)

    start = np.zeros(level.size)
    if dual_start is not None:
        b = limits.bound_lower.size
        start = np.concatenate([dual_start[:b][lower], dual_start[b:][upper]])
    best = -negative_dual(start)[0]
    found = minimize(negative_dual, start, jac=True, bounds=[(0, None)] * level.size, method="L-BFGS-B")
    return max(best, -negative_dual(found.x)[0])


def _kl_minimum_box(slope: np.ndarray, limits: _Limits, kl: float) -> tuple[float, np.ndarray]:
    """Return the exact minimum over caps and floors: ``s_k = clip(q_k exp(-(slope_k - nu) / kl))``, nu by bisection.

    The returned value is the dual function at nu, so it is a lower bound for any accuracy of nu.
    """
    with np.errstate(divide="ignore"):
        log_prior = np.log(limits.prior)
    usable = np.isfinite(log_prior)
    # Shares at the price nu, as logarithms: exp() may overflow, and clipping to the cap corrects it.
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


def _value_rounding(table: Any, value: float) -> float:
    """Return the rounding error of a value: from the logarithms of its rows, and in float32 first from four roundings of each p.w.

    Tables of up to 2^17 elements use float64, whatever their type.
    """
    values = None if table.kind == "mse" else np.asarray(table.loglik)
    if values is None or values.dtype == np.float64 or values.size <= 1 << 17:
        return 16 * EPS * abs(value)
    return 16 * EPS * abs(value) + 2.0**-22 * float(np.sum(table.row_weight))


def _slope_rounding(table: Any) -> float:
    """Return the relative rounding error of a slope, from the exponents l - log p.w that it sums, here and in the solver."""
    if table.kind == "mse":
        return 4 * EPS
    values = np.asarray(table.loglik)
    return 4 * EPS * max(1.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))


def _slackness(
    multipliers: Any, slope: np.ndarray, w: np.ndarray, limits: _Limits, tol: float, rounding: float
) -> tuple[float, list[str]]:
    """Check signs, complementary slackness and stationarity. Return the largest slackness product and the failures.

    A domain with a share of nearly zero may have a large residual although its contribution ``w_k r_k`` to the gap is
    small. Therefore residuals are weighted by the share; unweighted, only a negative one is a failure (the share should grow). The rounding
    errors of the slope (relative) and of the multipliers are subtracted from both.
    """
    k, b = limits.n_domains, limits.bound_lower.size
    cap, floor = _read(multipliers, "cap", k), _read(multipliers, "floor", k)
    lower, upper = _read(multipliers, "bound_lower", b), _read(multipliers, "bound_upper", b)
    bad = [
        f"multiplier {name} is negative: {array.min():.3g}"
        for name, array in (("cap", cap), ("floor", floor), ("bound_lower", lower), ("bound_upper", upper))
        if array.size and array.min() < 0.0
    ]
    inside = limits.bound_rows @ w

    def product(price: np.ndarray, slack: np.ndarray) -> float:
        # A price on a limit that does not exist (infinite slack) is a failure; without a price there is no product. A limit that is violated
        # by less than `feasible_tol` counts as active.
        priced = price != 0
        return float(np.max(price[priced] * np.maximum(slack[priced], 0.0), initial=0.0))

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
    known = np.where(finite, slope, 0.0)
    reduced = known + cap - floor + (upper - lower) @ limits.bound_rows
    used = finite & (w > 0)
    total = float(reduced[used] @ w[used])
    residual = np.where(finite, reduced - total, 0.0)
    noise = rounding * np.abs(known)
    noise += 2 * EPS * (np.abs(known) + cap + floor + (upper + lower) @ np.abs(limits.bound_rows))
    noise += float(noise[used] @ w[used])
    weighed = np.where(used, w * np.maximum(np.abs(residual) - noise, 0.0), 0.0)
    worst = int(np.argmax(weighed))
    if not weighed[worst] <= tol:
        bad.append(
            f"stationarity: share * residual is {weighed[worst]:.3g} at {limits.domains[worst]!r}, tol {tol:.1g}"
        )
    worst = int(np.argmin(residual + noise))
    if not residual[worst] + noise[worst] >= -tol:
        bad.append(f"stationarity: residual {residual[worst]:.3g} at {limits.domains[worst]!r} says it should grow")
    return max(float(weighed.max()), *products.values()), bad
