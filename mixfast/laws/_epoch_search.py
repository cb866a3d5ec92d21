"""Choose the shapes, the floor and the ridge of the law in epochs by cross-validation within the runs, and fit its coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_terms import gain_alone, harm, late_harm
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.swarm import FEWEST, NORMAL, mixture_of

# The grid of shapes. rho is in units of 1 / (median of the epochs above 0), so that the unit of the tokens does not matter.
_RHO = np.geomspace(0.003, 10.0, 9)
_P = np.array([0.4, 0.6, 0.8, 1.0])
_TAUS = 6
# Harm begins at these fractions of the way from 1 epoch to the largest number of epochs of any run, on the scale of log(1 + epochs).
_BEGINS = np.linspace(0.0, 0.9, _TAUS)
# Penalties of the squared coefficients, relative to the mean squared error of the logarithms; from large to small, as they are solved.
_RIDGES = 10.0 ** -np.arange(6.0)
# A domain has harm if at least this many runs read it more than once; designs ask for as many.
REPEATED_RUNS = 5
# The floor lies this many times (median - best run) below the best run.
_DEPTHS = 0.025 * 2.0 ** np.arange(9.0)
# The ridge and the depth with which all shapes are compared, and how many of the best shapes are compared with the other ridges and depths.
_FIRST, _DEPTH, _BEST = np.array([1e-1, 1e-3]), 0.5, 8
_INNER, _FEWER, _MANY = 5, 3, 200
_NEAR = 4.0
# Errors within this many over the square root of the runs of the least are as good: two standard errors of a mean of squared residuals.
# Of the trials that are as good, at most this many more are fitted; their spread is a part of the error bars.
_ALIKE, RIVALS = 2.0 * 2.0**0.5, 4
# Errors that differ by less than this fraction are equal up to rounding.
_EQUAL = 1e-9
# A run looks diverged if it is this many robust standard deviations from the median and from a prediction, as in `_doubts`. Then it
# counts like a run that lies the second number of standard deviations from the prediction. With fewer runs, none does.
_FAR, _NEAR_GUESS = 10.0, 3.0
# It must also be this many times farther from the median than every run that does not look diverged.
_APART = 3.0
# Residuals beyond this many robust standard deviations count linearly.
_HUBER = 0.5


def loops() -> Any:
    """Return the compiled loops, or raise an error that says how to install Numba."""
    with needed("the law in epochs", "Numba", "mixfast[laws]", BackendError):
        from mixfast.laws import _epoch_loops
    return _epoch_loops


@dataclass(frozen=True, eq=False)
class Shape:
    """What is chosen for one metric before its coefficients are fitted, and other choices whose errors are as good."""

    rho: float
    p: float
    tau: float
    depth: float
    ridge: float
    rivals: tuple[Shape, ...] = ()


@dataclass(frozen=True, eq=False)
class Grid:
    """Every shape at the epochs (R, K) of the runs: gains (S, R, K) with rho and p (S,), harms (T, R, H) with tau (T,).

    Gains have a minus sign, and all columns a mean of 0.
    """

    rho: Vector
    p: Vector
    gains: NDArray[np.float64]
    tau: Vector
    harms: NDArray[np.float64]

    @classmethod
    def of(cls, epochs: Matrix, *, convex: bool) -> Grid:
        """Evaluate the grid of shapes. Without a domain whose harm the runs can tell there is no harm, and H is 0."""
        scale = typical(epochs)
        rho, p = (each_.ravel() for each_ in np.meshgrid(_RHO / scale, _P, indexing="ij"))
        gains = np.array([_centred(-gain_alone(epochs, float(a), float(b))) for a, b in zip(rho, p, strict=True)])
        most, seen = float(epochs.max(initial=0.0)), harm_told(epochs)
        if not seen.any():
            return cls(rho, p, gains, np.array([np.inf]), np.zeros((1, len(epochs), 0)))
        tau = np.log(2.0) + _BEGINS * (np.log1p(most) - np.log(2.0))
        return cls(rho, p, gains, tau, np.array([_centred(_harms(epochs, each_, convex) * seen) for each_ in tau]))


def _centred(x: Matrix) -> Matrix:
    return x - x.mean(axis=0)


def typical(epochs: Matrix) -> float:
    """Return the median of the epochs above 0; 1 if there are none."""
    seen = epochs[epochs > 0.0]
    return float(np.median(seen)) if seen.size else 1.0


def harm_told(epochs: Matrix) -> NDArray[np.bool_]:
    """Whether enough runs (R, K) read a domain more than once, (K,). Harm that only a few runs show would be extrapolated from noise."""
    seen: NDArray[np.bool_] = (epochs > 1.0).sum(axis=0) >= REPEATED_RUNS
    return seen


def _harms(epochs: Matrix, tau: float, convex: bool) -> Matrix:
    return (harm if convex else late_harm)(epochs, tau)[0]


def columns(epochs: Matrix, rho: float, p: float, tau: float, *, convex: bool) -> Matrix:
    """Return the columns (R, 2K) of one shape: gains with a minus sign, then harms; harms are 0 if tau is infinite."""
    bad = np.zeros_like(epochs) if np.isinf(tau) else _harms(epochs, tau, convex)
    return np.hstack([-gain_alone(epochs, rho, p), bad])


def fitted_columns(epochs: Matrix, rho: float, p: float, tau: float, *, convex: bool) -> Matrix:
    """Return `columns` of the runs that a law is fitted to, without harms that these runs cannot tell."""
    return columns(epochs, rho, p, tau, convex=convex) * np.concatenate([np.ones(epochs.shape[1]), harm_told(epochs)])


def unit_of(loss: Vector) -> float:
    """Return the unit of the depth of the floor: from the median to the best run, or half the range if these nearly agree."""
    span = float(np.ptp(loss))
    unit = float(np.median(loss) - loss.min())
    return unit if unit > 0.05 * span else 0.5 * span


def by_epochs(epochs: Matrix) -> NDArray[np.int64]:
    """Return a number (R,) for each run; runs with the same epochs, apart from rounding, have the same one."""
    most = epochs.max(axis=0, initial=0.0)
    return mixture_of(epochs / np.where(most > 0.0, most, 1.0))


def inner_folds(epochs: Matrix, mixture: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Divide the runs (R,) into folds; runs with the same mixture (a number for each run) are in one fold.

    The folds do not depend on the order of the domains. That of the runs matters only if the epochs of several mixtures are permutations
    of each other.
    """
    _, first, which = np.unique(mixture, return_index=True, return_inverse=True)
    # Sorted epochs do not depend on the order of the domains. Of a mixture with several, the least count; of equal mixtures, the first.
    ordered = np.sort(epochs / (epochs.max(initial=0.0) or 1.0), axis=1).round(9)
    for row in np.lexsort(ordered.T)[::-1].tolist():
        first[which[row]] = row
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.lexsort((np.arange(len(first)), *ordered[first].T))] = np.arange(len(first))
    order = np.random.default_rng(seed).permutation(len(first))
    return np.asarray(order[rank[which]] % folds, dtype=np.int64)


def choose(
    epochs: Matrix, losses: Matrix, least: Vector, mixture: NDArray[np.int64], *, convex: bool, seed: int
) -> list[Shape]:
    """Choose the shape of each metric from its values (R, J), smaller is better; the floor lies at least ``least`` (J,) below the runs.

    Runs with the same number of ``mixture`` (R,) are left out together.
    """
    fold = inner_folds(epochs, mixture, _INNER if len(epochs) < _MANY else _FEWER, seed)
    folds, metrics = int(fold.max()) + 1, losses.shape[1]
    if folds < 2:
        grid = Grid.of(epochs, convex=convex)
        scale = typical(epochs)
        middle = Shape(1.0 / scale, 1.0, float(grid.tau[len(grid.tau) // 2]), _DEPTH, 1e-1)
        return [middle] * metrics
    order = np.argsort(fold, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(fold))])
    trial = Trials(Grid.of(epochs[order], convex=convex), bounds, np.ascontiguousarray(losses[order].T), least)
    best = trial.best_shapes()
    return [trial.simplest(one) for one in trial.errors_of(best)]


def deficits(loss: Vector, depth: Vector | float, least: float) -> tuple[Matrix, Vector]:
    """Return deficits (D, R) above floors of these depths (D,), and the floors."""
    below = np.maximum(np.atleast_1d(depth) * unit_of(loss), least)
    floor = loss.min() - below
    return loss[None] - floor[:, None], floor


def middle_columns(epochs: Matrix, *, convex: bool) -> Columns:
    """Return the columns (R, 2K) of a shape that is never far off."""
    most = float(np.log1p(epochs.max()))
    return Columns.of(fitted_columns(epochs, 0.3 / typical(epochs), 0.8, 0.5 * most, convex=convex))


def tamed(seen: Columns, loss: Vector) -> Vector:
    """Return the values (R,) with those of runs that look diverged moved near the prediction of the other runs, by `middle_columns`.

    Such a value is far from the median, and also far from what a law of a middle shape predicts.
    """
    middle, usual = float(np.median(loss)), _scale(loss)
    far = np.abs(loss - middle) > _FAR * usual
    if not far.any() or len(loss) < FEWEST:
        return loss
    bounded = np.clip(loss, middle - _FAR * usual, middle + _FAR * usual)
    deficit, floor = deficits(bounded, _DEPTH, 0.0)
    b0, b, _ = fit_coefficients(seen, deficit[0], _FIRST[0])
    guess = floor[0] + np.exp(np.minimum(b0 + seen.x @ b, np.log(2.0 * np.ptp(bounded))))
    missed = loss - guess
    limit = NORMAL * float(np.median(np.abs(missed)))
    moved = far & (np.abs(missed) > _FAR * limit)
    if moved.all() or not moved.any():
        return loss
    # A long tail of values is no divergence.
    off = np.abs(loss - middle)
    moved &= off > _APART * off[~moved].max()
    return np.where(moved, guess + np.clip(missed, -_NEAR_GUESS * limit, _NEAR_GUESS * limit), loss)


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of columns (R, P) and of their products with others, in each fold of the runs: ``bounds[f] : bounds[f + 1]``."""

    bounds: NDArray[np.int64]

    def of(self, x: Matrix) -> Matrix:
        """Return sums (F, P)."""
        return np.add.reduceat(x, self.bounds[:-1], axis=0)

    def products(self, x: Matrix, z: Matrix) -> NDArray[np.float64]:
        """Return sums of products (F, P, Q) with z (R, Q)."""
        ends = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return np.stack([x[begin:end].T @ z[begin:end] for begin, end in ends])


@dataclass(frozen=True, eq=False)
class Trials:
    """The comparison of shapes, for losses (J, R) of runs that are ordered by fold: fold f is the runs ``bounds[f] : bounds[f + 1]``."""

    grid: Grid
    bounds: NDArray[np.int64]
    losses: Matrix
    least: Vector

    @property
    def delta(self) -> Vector:
        """The residual (J,) beyond which Huber's loss is linear."""
        return np.array([_HUBER * NORMAL * _scale(loss) for loss in self.losses])

    @property
    def wide(self) -> bool:
        """Whether there are more columns than runs. Then moments would cost more than they save."""
        return self.grid.gains.shape[2] + self.grid.harms.shape[2] > self.losses.shape[1]

    def best_shapes(self) -> list[list[tuple[int, int]]]:
        """Return for each metric the best shapes, as positions in the grid, with the first ridges and depth."""
        kernel, grid, moments = loops(), self.grid, Moments(self.bounds)
        deficit = np.vstack(
            [deficits(loss, _DEPTH, least)[0] for loss, least in zip(self.losses, self.least, strict=True)]
        )
        logs, delta, domains, folds = np.log(deficit), self.delta, grid.gains.shape[2], len(self.bounds) - 1
        turned = np.ascontiguousarray(logs.T)
        level = moments.of(turned)
        # All gains share the moments of the harms.
        own = [] if self.wide else [_with_itself(moments, harms, turned) for harms in grid.harms]
        found = np.full((len(deficit), len(grid.rho), len(grid.tau)), np.inf)

        def errors(s: int) -> None:
            # A shape is left as soon as its error exceeds that of the best ones so far; this changes no choice.
            limit = np.sort(found.reshape(len(found), -1), axis=1)[:, _BEST - 1] * (1.0 + 2.0 * _EQUAL)
            gains = grid.gains[s]
            first, second, cross = ([], [], []) if self.wide else _with_itself(moments, gains, turned)
            out = np.empty((len(deficit), len(_FIRST)))
            size = domains + grid.harms.shape[2]
            passive = np.ones((len(deficit), folds, len(_FIRST), 0 if self.wide else size), dtype=np.bool_)
            for t, harms in enumerate(grid.harms):
                across = np.ascontiguousarray(np.hstack([gains, harms]).T)
                if self.wide:
                    kernel.held_out_wide(across, domains, self.bounds, logs, deficit, delta, limit, _FIRST, out)
                else:
                    both = moments.products(gains, harms)
                    sums = np.concatenate([first, own[t][0]], axis=1)
                    squares = np.block([[second, both], [both.transpose(0, 2, 1), own[t][1]]])
                    with_logs = np.concatenate([cross, own[t][2]], axis=2)
                    kernel.held_out(
                        across,
                        domains,
                        self.bounds,
                        sums,
                        squares,
                        level,
                        with_logs,
                        deficit,
                        delta,
                        limit,
                        _FIRST,
                        passive,
                        out,
                    )
                found[:, s, t] = out.min(axis=1)

        # From the middle of the grid, where the best shapes are more often.
        each(errors, np.argsort(np.abs(np.arange(len(grid.rho)) - 0.5 * len(grid.rho)), kind="stable").tolist())
        return [[divmod(at, len(grid.tau)) for at in _smallest(one.ravel(), _BEST)] for one in found]

    def errors_of(self, best: list[list[tuple[int, int]]]) -> list[list[tuple[float, Shape]]]:
        """Return the errors of each metric's best shapes with all depths and ridges. Metrics that share a shape are solved together."""
        owners: dict[tuple[int, int], list[int]] = {}
        for j, shapes in enumerate(best):
            for at in shapes:
                owners.setdefault(at, []).append(j)
        many = [deficits(loss, _DEPTHS, least)[0] for loss, least in zip(self.losses, self.least, strict=True)]
        least = np.full(len(best), np.inf)

        def errors(at: tuple[int, int]) -> NDArray[np.float64]:
            own = owners[at]
            x = np.hstack([self.grid.gains[at[0]], self.grid.harms[at[1]]])
            # A trial is left as soon as its error is too large.
            delta, limit = (np.repeat(one, len(_DEPTHS)) for one in (self.delta[own], self._as_good(least[own])))
            found = held_out(
                x, self.grid.gains.shape[2], self.bounds, np.vstack([many[j] for j in own]), delta, limit, _RIDGES
            )
            found = found.reshape(len(own), len(_DEPTHS), len(_RIDGES))
            least[own] = np.minimum(least[own], found.min(axis=(1, 2)))
            return found

        found = dict(zip(owners, each(errors, owners), strict=True))
        return [
            [
                (float(found[s, t][owners[s, t].index(j), d, l]), self._shape(s, t, d, l))
                for s, t in shapes
                for d, l in np.ndindex(len(_DEPTHS), len(_RIDGES))
            ]
            for j, shapes in enumerate(best)
        ]

    def _as_good(self, error: Any) -> Any:
        """Return what an error may be at most to be as good as the least."""
        return error * (1.0 + _ALIKE / np.sqrt(self.losses.shape[1]))

    def _shape(self, s: int, t: int, depth: int, ridge: int) -> Shape:
        grid = self.grid
        rho, p, tau = float(grid.rho[s]), float(grid.p[s]), float(grid.tau[t])
        return Shape(rho, p, tau, float(_DEPTHS[depth]), float(_RIDGES[ridge]))

    def simplest(self, trials: list[tuple[float, Shape]]) -> Shape:
        """Return the trial with the largest ridge, of those with nearly the least error; of these, the one with the least error."""
        least = min(error for error, _ in trials)
        near = least * (1.0 + _NEAR / self.losses.shape[1])
        ridge = max(shape.ridge for error, shape in trials if error <= near)
        rest = [(error, shape) for error, shape in trials if shape.ridge == ridge]
        best = rest[_smallest(np.array([error for error, _ in rest]), 1)[0]][1]
        return replace(best, rivals=self._rivals(trials, best, self._as_good(least)))

    def _rivals(self, trials: list[tuple[float, Shape]], best: Shape, limit: float) -> tuple[Shape, ...]:
        """Return a few trials of other shapes or depths with errors up to the limit, evenly among them."""
        errors = np.array([error for error, _ in trials])
        alike = [trials[at][1] for at in _smallest(errors, int((errors <= limit).sum()))]
        # One ridge of each: with others, the predictions would be nearly the same.
        others: dict[tuple[float, ...], Shape] = {}
        for one in alike:
            others.setdefault((one.rho, one.p, one.tau, one.depth), one)
        others.pop((best.rho, best.p, best.tau, best.depth), None)
        several = list(others.values())
        places = np.linspace(0, len(several) - 1, min(RIVALS, len(several))).round().astype(np.int64)
        return tuple(several[at] for at in places.tolist())


def held_out(
    x: Matrix, domains: int, bounds: NDArray[np.int64], deficit: Matrix, delta: Vector, limit: Vector, ridges: Vector
) -> Matrix:
    """Return held-out errors (V, L): mean Huber loss of V deficits (V, R) for L ridges, for the centred columns x (R, P) of one shape.

    An error above ``limit`` (V,) may lack some folds.
    """
    kernel, logs, out = loops(), np.log(deficit), np.empty((len(deficit), len(ridges)))
    across = np.ascontiguousarray(x.T)
    if x.shape[1] > len(x):
        kernel.held_out_wide(across, domains, bounds, logs, deficit, delta, limit, ridges, out)
        return out
    moments, turned = Moments(bounds), np.ascontiguousarray(logs.T)
    passive = np.ones((1, len(bounds) - 1, len(ridges), x.shape[1]), dtype=np.bool_)
    first, second, cross = _with_itself(moments, x, turned)
    kernel.held_out(
        across, domains, bounds, first, second, moments.of(turned), cross, deficit, delta, limit, ridges, passive, out
    )
    return out


def _with_itself(moments: Moments, x: Matrix, logs: Matrix) -> tuple[NDArray[np.float64], ...]:
    """Return sums (F, P), products (F, P, P), and products with the logarithms (R, V), which are (F, V, P)."""
    return moments.of(x), moments.products(x, x), moments.products(logs, x)


def _smallest(errors: Vector, count: int) -> list[int]:
    """Return the positions of the smallest errors, in order; of errors that are equal up to rounding, the first positions."""
    order = np.argsort(errors, kind="stable")
    level = np.concatenate([[0], np.cumsum(np.diff(errors[order]) > _EQUAL * errors[order][1:])])
    return order[np.lexsort((order, level))][:count].tolist()


def _scale(values: Vector) -> float:
    """Return the median absolute deviation of values; their standard deviation if more than half of them agree."""
    found = float(np.median(np.abs(values - np.median(values))))
    return found if found > 0.0 else float(values.std())


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns (R, 2K) of one shape, with what all metrics share of their regressions."""

    x: Matrix
    mean: Vector  # (2K,)
    rows: Matrix  # (R, 2K), without their mean
    gram: Matrix  # (2K, 2K); empty if there are more columns than runs
    constant: NDArray[np.bool_]  # (2K,)

    @classmethod
    def of(cls, x: Matrix) -> Columns:
        """Prepare columns (R, 2K)."""
        mean = x.mean(axis=0)
        rows = x - mean
        gram = rows.T @ rows / len(x) if x.shape[1] <= len(x) else np.empty((0, 0))
        return cls(x, mean, rows, gram, np.ptp(x, axis=0) <= 1e-12 * np.abs(x).max(axis=0))


class SharedColumns:
    """The columns of every shape that is asked for, at the epochs (R, K) of the runs; metrics with the same shape share them."""

    def __init__(self, epochs: Matrix, convex: bool) -> None:
        self.epochs, self.convex = epochs, convex
        self._known: dict[tuple[float, float, float], Columns] = {}

    def of(self, shape: Shape) -> Columns:
        """Return the columns of a shape."""
        key = shape.rho, shape.p, shape.tau
        if key not in self._known:
            self._known[key] = Columns.of(fitted_columns(self.epochs, *key, convex=self.convex))
        return self._known[key]


def fit_coefficients(seen: Columns, deficit: Vector, ridge: float) -> tuple[float, Vector, Vector]:
    """Fit the logarithms of deficits (R,) to columns (R, 2K). Return the intercept, the coefficients (2K,) >= 0, and their penalties."""
    kernel, (runs, size), logs, rows = loops(), seen.x.shape, np.log(deficit), seen.rows
    height = logs.mean()
    logs = logs - height
    b, penalty = np.empty(size), np.empty(size)
    if size > runs:
        kernel.penalties((rows**2).mean(axis=0), size // 2, ridge, penalty)
        scale = np.divide(1.0, np.sqrt(runs * penalty), out=np.zeros(size), where=penalty > 0.0)
        kernel.newton(np.ascontiguousarray((rows * scale).T), logs, np.zeros(runs), b, np.empty((runs, runs)))
        b *= scale
    else:
        moment, unit, scale = logs @ rows / runs, np.empty((size, size)), np.empty(size)
        kernel.scaled(seen.gram, size // 2, ridge, penalty, scale, unit)
        work = np.empty(size), np.empty(size), np.empty(size, dtype=np.int64), np.empty((size, size))
        kernel.exchange(unit, unit, False, moment * scale, np.ones(size, dtype=np.bool_), b, *work)
        b *= scale
        # Removes the rounding errors of the factorisation, in a few sweeps.
        kernel.descend(seen.gram, penalty, moment, b, work[0])
    # A constant column has no effect; its coefficient is a rounding error.
    b[seen.constant] = 0.0
    return float(height - seen.mean @ b), b, penalty
