"""Minimise many re-weighted copies of one objective, all in the same sweeps of the rows, starting at the solution of the original.

A replicate's first Newton step uses its own gradient and the Hessian of all rows. If a single expert explains each row that step is
exact; otherwise its error is of order 1/n, next to a spread of 1/sqrt(n). Each further sweep gives the gradients at the new points, and a
BFGS update corrects each replicate's copy of the Hessian without a sweep. A replicate whose next step is short compared with the spread
takes that step and is done. Steps are accepted by the slope along them, as in `mixfast._engine.optimise.newton`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective, RowObjective
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.optimise import in_cache, working_set
from mixfast._engine.optimise.wide import is_wide
from mixfast._text.progress import now, tracked
from mixfast.solver._block_units import BlockUnits
from mixfast.solver._problem import Problem
from mixfast.tables import ShardedTable

Indices = NDArray[np.int64]
# The unit of each row; of a sharded table, what finds those of a block.
Units = Bins | BlockUnits

# A step shorter than this, in standard errors of the share that it changes most, is the last one: the error after it is several times smaller.
_CLOSE = 0.03
# Standard errors below this fraction of the largest one are replaced by this fraction of it as the unit of errors.
_LEAST = 0.01
# A replicate that has not converged after this many sweeps is solved separately.
_SWEEPS = 12
# At most this many domains without a share in the solution may get one in a replicate.
_NEW_DOMAINS = 64
# From this many rows on, one Newton step is close enough unless a check of the longest steps shows otherwise.
_MANY_ROWS = 10_000_000
# Error of these steps, in standard errors of a share, that is accepted: a third of the random error of the end of a 90 % interval from
# 200 resamples (0.15).
_ONE_STEP = 0.05
# An additional sweep checks this many replicates, those with the longest last step.
_CHECKED = 8
# Newton steps in the K-dimensional model with the exact KL term: their largest number; the length, relative to all of them together and to
# each share, below which a step is the last one; and the share below which a domain does not count for that.
_KL_STEPS, _KL_SHORT, _KL_STILL, _KL_NOTHING = 20, 0.01, 0.2, 1e-9
# Elements of the Hessians that are in memory at the same time.
_ELEMENTS = 1 << 21
# With more domains than this, models take longer than separate solves of few rows.
_MOST_DOMAINS = 192
# Rounds of a quadratic replicate, the domains that may enter in one, and the fraction of the tolerance from which on it counts as exact.
_ROUNDS, _ENTERING, _EXACT = 12, 8, 0.01
# Weight of a row that a replicate does not contain, if the replicate is solved separately: with 0, rows without probability would give 0 / 0.
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Replicates:
    """Optimal shares of the replicates (R, C), and the accuracy of the checked ones.

    `gap` is the largest Frank-Wolfe gap, nats. `error` is the largest change of a share by one more Newton step, in standard errors of
    that share.
    """

    shares: Matrix
    gap: float
    error: float


class _Model(NamedTuple):
    """Quadratic models of the replicates over the domains of the working set, with the exact KL term."""

    limits: Limits
    kl: Kl

    def steps(self, hessians: Matrix, which: Indices, gradient: Matrix, w: Matrix) -> Matrix:
        """Return Newton steps (M, K) from w within the limits, for the gradients of the rows at w and the Hessians with the indices `which`."""
        if self.kl.weight == 0.0:
            return self._within(hessians, which, gradient, w)
        x, own, left = w.copy(), hessians[which], np.arange(which.size)
        for _ in range(_KL_STEPS):
            at, start, curve = x[left], w[left], own[left]
            slope = gradient[left] + np.matmul(curve, (at - start)[:, :, None])[:, :, 0] + self.kl.slope(at)
            np.einsum("mkk->mk", curve)[...] += self.kl.weight / at
            x[left] = there = self.moved(at, self._within(curve, np.arange(left.size), slope, at))
            step = there - at
            far = np.abs(step).max(axis=1) > _KL_SHORT * np.abs(there - start).max(axis=1)
            # A small share may still grow or shrink by a large factor although its steps are short.
            moves = (step > _KL_STILL * there) | ((step < -_KL_STILL * there) & (there > _KL_NOTHING))
            left = left[far | moves.any(axis=1)]
            if not left.size:
                break
        return x - w

    def moved(self, w: Matrix, step: Matrix) -> Matrix:
        """Return w + step, clipped to the limits; shares that must stay positive shrink by a factor of 100 at most."""
        there = w + step
        if self.limits.groups is None:
            there = self.limits.clip(there)
        else:
            there = np.array([self.limits.clip(row) for row in there])
        return np.maximum(there, 0.01 * w) if self.limits.steep else there

    def _within(self, hessians: Matrix, which: Indices, gradient: Matrix, w: Matrix) -> Matrix:
        if self.limits.groups is not None:
            return np.array(
                [
                    self.limits.newton(hessians[i], g, x, self.limits.active(x))
                    for i, g, x in zip(which, gradient, w, strict=True)
                ]
            )
        low, high = self.limits.lowest(w), self.limits.high
        state = np.where(w <= low, -1, np.where(w >= high, 1, 0)).astype(np.int8, order="C")
        g, x, low, high = (np.ascontiguousarray(np.broadcast_to(given, w.shape)) for given in (gradient, w, low, high))
        return simplex.qp_many(hessians, which, g, x, low, high, state)


def solve(problem: Problem, w: Vector, unit: Units, counts: Counts) -> Replicates:
    """Minimise R objectives, in which the rows of unit u count counts[r, u] times, starting at the solution w (C,) of the original.

    `unit` (n,) are the units of the rows; of a sharded table, an object that finds those of a block.
    """
    base = problem.rows.weighted(problem.weights.share, problem.usable, wide=problem.wide)
    if not isinstance(base, RowObjective):
        return _each_alone(problem, w, unit, counts)
    everywhere = base.gradients(w[None], unit, counts)
    columns = _wanted(w, everywhere)
    if columns.size > _MOST_DOMAINS and is_wide(base.rows, w.size, problem.limits.steep):
        return _each_wide(problem, w, unit, counts)
    hessian = _hessian(base, w[columns], columns, sampled=isinstance(problem.table, ShardedTable))
    kl = Kl(problem.kl, problem.reach.prior)
    model = _Model(problem.limits.restrict(columns), kl.restrict(columns))
    if base.rows >= _MANY_ROWS:
        near = _by_one_step(problem, base, model, w, columns, everywhere[:, columns], hessian, unit, counts)
        if near is not None:
            return near
    shares = np.zeros((counts.shape[0], w.size))

    def gradients(who: Indices, points: Matrix) -> Matrix:
        return base.gradients(points, unit, counts if who.size == counts.shape[0] else counts[who], columns)

    slopes = everywhere[:, columns]
    hardest: list[tuple[float, int, Matrix]] = []
    size = max(_ELEMENTS // hessian.size, 2 * _CHECKED)
    for start in range(0, counts.shape[0], size):
        who = np.arange(start, min(start + size, counts.shape[0]))
        own = np.repeat(hessian[None], who.size, axis=0)
        points, distance = _descend(model, own, w[columns], slopes[who], who, gradients)
        far = np.flatnonzero(distance > _CLOSE)
        points[far] = _certified(problem, w, unit, counts[who[far]])[:, columns]
        shares[np.ix_(who, columns)] = points / points.sum(axis=1, keepdims=True)
        worst = np.argsort(-distance, kind="stable")[:_CHECKED]
        hardest += [(float(distance[i]), int(who[i]), own[i].copy()) for i in worst]
    hardest = sorted(hardest, key=lambda one: -one[0])[:_CHECKED]
    checked = np.array([r for _, r, _ in hardest])
    curves = np.array([h for *_, h in hardest])
    found = base.gradients(shares[checked], unit, counts[checked])
    return _measured(problem, model, columns, shares, checked, found, curves)


def _hessian(base: RowObjective, w: Vector, columns: Columns, *, sampled: bool) -> Matrix:
    """Return the Hessian (C, C) of the rows at w, from a part of them that is large enough: a sample that is kept, or some rows of a sweep."""
    enough = max(65536, 64 * columns.size)
    if base.rows >= _MANY_ROWS:
        # One step has to be exact.
        enough = max(enough, min(1 << 20, (1 << 24) // columns.size))
    if sampled:
        hessian = base.sample(enough).sums(w, columns, hessian=1)[2]
    else:
        step = max(1, base.rows // enough)
        hessian = base.sums(w, columns, hessian=1 << (step.bit_length() - 1))[2]
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    return hessian


def _measured(
    problem: Problem, model: _Model, columns: Columns, shares: Matrix, checked: Indices, found: Matrix, curves: Matrix
) -> Replicates:
    """Measure gap and error of the `checked` replicates, which the loop has only estimated: `found` are the gradients of their rows (M, C)."""
    ahead = model.steps(curves, np.arange(checked.size), found[:, columns], shares[checked][:, columns])
    error = float(_longest(ahead / _unit(shares[:, columns])).max())
    kl = Kl(problem.kl, problem.reach.prior)
    whole = found + np.array([kl.at(row)[1] for row in shares[checked]])
    gap = max(problem.limits.gap(g, row) for g, row in zip(whole, shares[checked], strict=True))
    return Replicates(shares, gap, error)


def _by_one_step(
    problem: Problem,
    base: RowObjective,
    model: _Model,
    w: Vector,
    columns: Columns,
    slopes: Matrix,
    hessian: Matrix,
    unit: Units,
    counts: Counts,
) -> Replicates | None:
    """Return the replicates after one Newton step each, if that is close enough where the steps were longest; None otherwise.

    With very many rows the first step is exact enough, so a sweep for the gradients of a few replicates takes the place of one for all.
    """
    shares, points = np.zeros((counts.shape[0], w.size)), np.repeat(w[None, columns], counts.shape[0], axis=0)
    size = max(_ELEMENTS // hessian.size, 1)
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        same = np.zeros(len(points[part]), dtype=np.int64)
        points[part] = model.moved(points[part], model.steps(hessian[None], same, slopes[part], points[part]))
    shares[:, columns] = points / points.sum(axis=1, keepdims=True)
    checked = np.argsort(-_longest((points - w[columns]) / _unit(points)), kind="stable")[:_CHECKED]
    found = base.gradients(shares[checked], unit, counts[checked])
    measured = _measured(
        problem, model, columns, shares, checked, found, np.repeat(hessian[None], checked.size, axis=0)
    )
    return measured if measured.error <= _ONE_STEP else None


def _descend(
    model: _Model,
    hessians: Matrix,
    w: Vector,
    slopes: Matrix,
    names: Indices,
    gradients: Callable[[Indices, Matrix], Matrix],
) -> tuple[Matrix, Vector]:
    """Return the points (M, K) after the last steps and the lengths (M,) of these steps; the Hessians (M, K, K) are updated in place.

    All replicates start at w, where they have the gradients `slopes`; `gradients(names, points)` computes gradients elsewhere.
    """
    points = np.repeat(w[None], names.size, axis=0)
    steps = model.steps(hessians, np.arange(names.size), slopes, points)
    length = np.ones(names.size)
    for sweep in range(_SWEEPS + 1):
        distance = _longest(steps / _unit(points + steps))
        left = np.flatnonzero(distance > _CLOSE)
        now("sweep {}, {} of {} resamples left", sweep + 1, left.size, names.size)
        if not left.size or sweep == _SWEEPS:
            break
        at, step = points[left], steps[left]
        trial = model.moved(at, length[left, None] * step)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            found = gradients(names[left], trial)
            before = np.einsum("mk,mk->m", slopes[left] + model.kl.slope(at), step)
            after = np.einsum("mk,mk->m", found + model.kl.slope(trial), step)
            shorter = np.where(np.isfinite(after), np.clip(before / (before - after), 0.1, 0.7), 0.25)
        # The step ends at most a little beyond the minimum along it.
        good = np.isfinite(found).all(axis=1) & (after <= -0.5 * before)
        length[left] = np.where(good, 1.0, length[left] * shorter)
        who, came, found = left[good], trial[good], found[good]
        if who.size:
            simplex.bfgs_many(hessians, who, came - points[who], found - slopes[who])
            points[who], slopes[who] = came, found
            steps[who] = model.steps(hessians, who, found, came)
    return model.moved(points, steps), distance


def _unit(shares: Matrix) -> Vector:
    """Return the unit in which errors of each share (K,) are measured: its standard error, at least a fraction of the largest one."""
    spread: Vector = shares.std(axis=0, ddof=1)
    return np.maximum(spread, max(_LEAST * float(spread.max()), 1e-12))


def _longest(steps: Matrix) -> Vector:
    out: Vector = np.abs(steps).max(axis=1, initial=0.0)
    return out


def _each_alone(problem: Problem, w: Vector, unit: Units, counts: Counts) -> Replicates:
    """Solve the replicates of a squared error from their Gram matrices; the rows are not needed."""
    limits, shares = problem.limits, np.zeros((counts.shape[0], w.size))
    steps, gap = np.zeros_like(shares), 0.0
    start = 0.99 * w + 0.01 * problem.first
    for r, own_counts in enumerate(tracked(counts, "solving resamples", len(counts), "resample")):
        counted = own_counts.astype(np.float64)
        own = problem.regularised(
            problem.rows.recounted(problem.weights.share, unit, counted, problem.usable, wide=problem.wide)
        )
        near = None if problem.kl > 0.0 else _by_rounds(own, limits, w, _EXACT * problem.tol)
        if near is not None:
            # It is the optimum itself but for rounding, so no further step measures its error.
            shares[r], least = near
            gap = max(gap, least)
            continue
        found = working_set.minimise(own, limits, start, tol=problem.tol)
        shares[r], gap = found.w, max(gap, found.gap)
        _, gradient, hessian = own.sums(found.w, hessian=1)
        if hessian is not None:
            hessian[np.diag_indices_from(hessian)] += own.separable(found.w, None)[1]
            steps[r] = limits.newton(hessian, gradient, found.w, limits.active(found.w))
    return Replicates(shares, gap, float(_longest(steps / _unit(shares)).max()))


def _by_rounds(own: Objective, limits: Limits, w: Vector, tol: float) -> tuple[Vector, float] | None:
    """Return the optimum of a quadratic objective, and its gap; None if the rounds do not reach the tolerance.

    Each round is exact over the domains that have a share, or would gain most by one. A replicate has few that the solution does not have.
    """
    x = w
    _, gradient, _ = own.sums(x)
    for _ in range(_ROUNDS):
        gain = np.where(x > 0.0, -np.inf, gradient @ x - gradient)
        columns = np.union1d(
            np.flatnonzero(x > 0.0), [k for k in np.argsort(-gain)[:_ENTERING] if gain[k] > 0.0]
        ).astype(np.int32)
        at, among = x[columns], limits.restrict(columns)
        _, slope, hessian = own.sums(at, columns, hessian=1)
        if hessian is None:
            return None
        x = np.zeros(w.size)
        x[columns] = among.clip(at + among.newton(hessian, slope, at, among.active(at)))
        x /= x.sum()
        _, gradient, _ = own.sums(x)
        gap = limits.gap(gradient, x)
        if gap <= tol:
            return x, gap
    return None


def _each_wide(problem: Problem, w: Vector, unit: Units, counts: Counts) -> Replicates:
    """Solve the replicates of a table with many domains and few rows separately, which is faster than models in all domains.

    The error is the distance of the checked shares to the shares of a solve with a hundredth of the tolerance.
    """
    shares, steps = np.zeros((counts.shape[0], w.size)), np.zeros((min(_CHECKED, counts.shape[0]), w.size))
    gap = 0.0
    for r, own_counts in enumerate(tracked(counts, "solving resamples", len(counts), "resample")):
        own = problem.regularised(_recounted(problem, unit, own_counts))
        found = working_set.minimise(own, problem.limits, problem.first, tol=problem.tol)
        shares[r], gap = found.w, max(gap, found.gap)
        if r < len(steps):
            closer = working_set.minimise(own, problem.limits, problem.first, tol=0.01 * problem.tol)
            steps[r] = closer.w - found.w
    return Replicates(shares, gap, float(_longest(steps / _unit(shares)).max()))


def _recounted(problem: Problem, unit: Units, counts: Counts) -> Objective:
    """Return the objective with the unit counts (U,) of a replicate; rows that it does not contain get a negligible weight."""
    counted = np.maximum(counts.astype(np.float64), _NOTHING)
    return problem.rows.recounted(problem.weights.share, unit, counted, problem.usable, wide=problem.wide)


def _certified(problem: Problem, w: Vector, unit: Units, counts: Counts) -> Matrix:
    """Return the optimal shares (M, C) of replicates, each solved to the tolerance as by `solve_many` with weights of its rows."""
    start = 0.99 * w + 0.01 * problem.first
    small = in_cache.taken(problem.objective, problem.limits, w.size)
    if small is not None and not isinstance(unit, BlockUnits) and len(counts):
        weight = counts[:, unit] * problem.row_weights()
        return in_cache.minimise_many(
            small, problem.limits, start, weight, tol=problem.tol, max_iter=problem.max_iter
        ).w
    out = np.zeros((len(counts), w.size))
    for r, own_counts in enumerate(counts):
        own = problem.regularised(_recounted(problem, unit, own_counts))
        out[r] = working_set.minimise(own, problem.limits, start, tol=problem.tol).w
    return out


def _wanted(w: Vector, gradients: Matrix) -> Columns:
    """Return the domains with a share, and those that the replicates, with gradients (R, C) at w, gain most by adding."""
    has = w > 0.0
    if np.count_nonzero(~has) > _NEW_DOMAINS:
        # How much a first small share would lower the loss of each replicate, compared with the domains that have one.
        gain = np.maximum((gradients @ w)[:, None] - gradients, 0.0).sum(axis=0)
        gain[has] = -1.0
        has[np.argpartition(-gain, _NEW_DOMAINS)[:_NEW_DOMAINS]] = True
    else:
        has[:] = True
    return np.flatnonzero(has).astype(np.int32)
