"""Choose the shapes, the floor and the ridge of the law in epochs by cross-validation within the runs, and fit its coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each, thread_count
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_terms import gain_alone, harm, late_harm
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.swarm import same_mixture

# The grid of shapes. rho is in units of 1 / (median of the epochs above 0), so that the unit of the tokens does not matter.
_RHO = np.geomspace(0.003, 10.0, 9)
_P = np.array([0.4, 0.6, 0.8, 1.0])
_TAUS = 6
# Harm begins at these fractions of the way from 1 epoch to the largest number of epochs of any run, on the scale of log(1 + epochs).
_BEGINS = np.linspace(0.0, 0.9, _TAUS)
# Penalties of the squared coefficients, relative to the mean squared error of the logarithms; from large to small, as they are solved.
_RIDGES = 10.0 ** -np.arange(7.0)
# The floor lies this many times (median - best run) below the best run.
_DEPTHS = 0.025 * 2.0 ** np.arange(9.0)
# The ridge and the depth with which all shapes are compared, and how many of the best shapes are compared with the other ridges and depths.
_FIRST, _DEPTH, _BEST = np.array([1e-1, 1e-3]), 0.5, 8
_INNER, _FEWER, _MANY = 5, 3, 200
_NEAR = 4.0
# Steps and tolerance of the solver while shapes are compared, and at the end.
_ROUGH, _FULL = (30, 1e-4), (20000, 1e-20)
_NORMAL = 1.4826
# A run looks diverged if it is this many robust standard deviations from the median and from a prediction, as in `_doubts`. Then it
# counts like a run that lies the second number of standard deviations from the prediction. With fewer runs, none does.
_FAR, _NEAR_GUESS, _FEWEST = 10.0, 3.0, 8
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
    """What is chosen for one metric before its coefficients are fitted."""

    rho: float
    p: float
    tau: float
    depth: float
    ridge: float


@dataclass(frozen=True, eq=False)
class Grid:
    """Every shape at the epochs (R, K) of the runs: gains (S, R, K) with their rho and p (S,), harms (T, R, H) with their tau (T,)."""

    rho: Vector
    p: Vector
    gains: NDArray[np.float64]
    tau: Vector
    harms: NDArray[np.float64]

    @classmethod
    def of(cls, epochs: Matrix, *, convex: bool) -> Grid:
        """Evaluate the grid of shapes. Without a run above 1 epoch there is no harm, and H is 0."""
        scale = typical(epochs)
        rho, p = (each_.ravel() for each_ in np.meshgrid(_RHO / scale, _P, indexing="ij"))
        gains = np.array([gain_alone(epochs, float(a), float(b)) for a, b in zip(rho, p, strict=True)])
        most = float(epochs.max(initial=0.0))
        if not most > 1.0:
            return cls(rho, p, gains, np.array([np.inf]), np.zeros((1, len(epochs), 0)))
        tau = np.log(2.0) + _BEGINS * (np.log1p(most) - np.log(2.0))
        kind = harm if convex else late_harm
        return cls(rho, p, gains, tau, np.array([kind(epochs, each_)[0] for each_ in tau]))


def typical(epochs: Matrix) -> float:
    """Return the median of the epochs above 0; 1 if there are none."""
    seen = epochs[epochs > 0.0]
    return float(np.median(seen)) if seen.size else 1.0


def columns(epochs: Matrix, rho: float, p: float, tau: float, *, convex: bool) -> Matrix:
    """Return the columns (R, 2K) of one shape: gains with a minus sign, then harms; harms are 0 if tau is infinite."""
    bad = np.zeros_like(epochs) if np.isinf(tau) else (harm if convex else late_harm)(epochs, tau)[0]
    return np.hstack([-gain_alone(epochs, rho, p), bad])


def unit_of(loss: Vector) -> float:
    """Return the unit of the depth of the floor: from the median to the best run, or half the range if these nearly agree."""
    span = float(np.ptp(loss))
    unit = float(np.median(loss) - loss.min())
    return unit if unit > 0.05 * span else 0.5 * span


def inner_folds(epochs: Matrix, folds: int, seed: int) -> NDArray[np.int64]:
    """Divide the runs (R,) into folds; runs with the same epochs, apart from rounding, are in one fold."""
    most = epochs.max(axis=0)
    groups = same_mixture(epochs / np.where(most > 0.0, most, 1.0))
    # Numbered by their epochs, so that the order of the runs does not matter.
    _, place = np.unique(epochs[[rows[0] for rows in groups]], axis=0, return_inverse=True)
    which = np.empty(len(epochs), dtype=np.int64)
    for at, rows in zip(place.ravel().tolist(), groups, strict=True):
        which[rows] = at
    order = np.random.default_rng(seed).permutation(int(which.max()) + 1)
    return np.asarray(order[which] % folds, dtype=np.int64)


def choose(epochs: Matrix, losses: Matrix, least: Vector, *, convex: bool, seed: int) -> list[Shape]:
    """Choose the shape of each metric from its values (R, J), smaller is better; the floor lies at least ``least`` (J,) below the runs."""
    fold = inner_folds(epochs, _INNER if len(epochs) < _MANY else _FEWER, seed)
    folds = int(fold.max()) + 1
    grid = Grid.of(epochs, convex=convex)
    metrics = losses.shape[1]
    if folds < 2:
        scale = typical(epochs)
        middle = Shape(1.0 / scale, 1.0, float(grid.tau[len(grid.tau) // 2]), _DEPTH, 1e-1)
        return [middle] * metrics
    blocks = [part for part in np.array_split(np.arange(metrics), min(thread_count(None), metrics)) if len(part)]
    found = each(lambda part: _choose(grid, fold, folds, losses[:, part], least[part]), blocks)
    return [shape for block in found for shape in block]


def deficits(loss: Vector, depth: Vector | float, least: float) -> tuple[Matrix, Vector]:
    """Return deficits (D, R) above floors of these depths (D,), and the floors."""
    below = np.maximum(np.atleast_1d(depth) * unit_of(loss), least)
    floor = loss.min() - below
    return loss[None] - floor[:, None], floor


def tamed(epochs: Matrix, loss: Vector, *, convex: bool) -> Vector:
    """Return the values (R,) with those of runs that look diverged moved near the prediction of the other runs.

    Such a value is far from the median, and also far from what a law of a middle shape predicts.
    """
    middle, usual = float(np.median(loss)), _scale(loss)
    far = np.abs(loss - middle) > _FAR * usual
    if not far.any() or len(loss) < _FEWEST:
        return loss
    bounded = np.clip(loss, middle - _FAR * usual, middle + _FAR * usual)
    most = float(np.log1p(epochs.max()))
    x = columns(epochs, 0.3 / typical(epochs), 0.8, 0.5 * most, convex=convex)
    deficit, floor = deficits(bounded, _DEPTH, 0.0)
    b0, b, _ = fit_coefficients(x, deficit[0], _FIRST[0])
    guess = floor[0] + np.exp(np.minimum(b0 + x @ b, np.log(2.0 * np.ptp(bounded))))
    missed = loss - guess
    limit = _NORMAL * float(np.median(np.abs(missed)))
    moved = far & (np.abs(missed) > _FAR * limit)
    if moved.all() or not moved.any():
        return loss
    # A long tail of values is no divergence.
    off = np.abs(loss - middle)
    moved &= off > _APART * off[~moved].max()
    return np.where(moved, guess + np.clip(missed, -_NEAR_GUESS * limit, _NEAR_GUESS * limit), loss)


def _choose(grid: Grid, fold: NDArray[np.int64], folds: int, losses: Matrix, least: Vector) -> list[Shape]:
    kernel = loops()
    runs, metrics = losses.shape
    first = np.vstack([deficits(losses[:, j], _DEPTH, least[j])[0] for j in range(metrics)])
    target = np.log(first)
    delta = np.array([_HUBER * _NORMAL * _scale(loss) for loss in losses.T])
    found = np.empty((metrics, len(grid.rho), len(grid.tau)))
    kernel.search(grid.gains, grid.harms, fold, folds, first, target, delta, _FIRST, *_ROUGH, found)
    out = []
    for j in range(metrics):
        many, _ = deficits(losses[:, j], _DEPTHS, least[j])
        trials: list[tuple[float, Shape]] = []
        for flat in np.argsort(found[j], axis=None, kind="stable")[:_BEST].tolist():
            s, t = np.unravel_index(flat, found[j].shape)
            x = np.empty((runs, grid.gains.shape[2] + grid.harms.shape[2]))
            kernel.columns_of(grid.gains[s], grid.harms[t], x)
            error = np.empty((len(_DEPTHS), len(_RIDGES)))
            start = np.zeros((len(_DEPTHS), folds, x.shape[1]))
            kernel.score(
                x,
                grid.gains.shape[2],
                fold,
                folds,
                many,
                np.log(many),
                np.full(len(_DEPTHS), delta[j]),
                _RIDGES,
                *_ROUGH,
                start,
                error,
            )
            for d, l in np.ndindex(error.shape):
                shape = Shape(
                    float(grid.rho[s]), float(grid.p[s]), float(grid.tau[t]), float(_DEPTHS[d]), float(_RIDGES[l])
                )
                trials.append((float(error[d, l]), shape))
        out.append(_simplest(trials, runs))
    return out


def _simplest(trials: list[tuple[float, Shape]], runs: int) -> Shape:
    """Return the trial with the largest ridge, of those with nearly the least error; of these, the one with the least error."""
    near = min(error for error, _ in trials) * (1.0 + _NEAR / runs)
    return min((trial for trial in trials if trial[0] <= near), key=lambda trial: (-trial[1].ridge, trial[0]))[1]


def _scale(values: Vector) -> float:
    """Return the robust standard deviation of values; the plain one if more than half of them agree."""
    found = float(np.median(np.abs(values - np.median(values))))
    return found if found > 0.0 else float(values.std())


def fit_coefficients(x: Matrix, deficit: Vector, ridge: float) -> tuple[float, Vector, Vector]:
    """Fit the logarithms of deficits (R,) to columns (R, 2K). Return the intercept, the coefficients (2K,) >= 0, and their penalties."""
    b, penalty = np.zeros(x.shape[1]), np.empty(x.shape[1])
    b0 = loops().fitted(np.ascontiguousarray(x), x.shape[1] // 2, np.log(deficit), ridge, *_FULL, b, penalty)
    # A constant column has no effect; its coefficient is a rounding error.
    b[np.ptp(x, axis=0) <= 1e-12 * np.abs(x).max(axis=0)] = 0.0
    return float(b0), b, penalty
