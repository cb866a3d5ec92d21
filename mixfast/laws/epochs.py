"""The law in epochs: how often each domain is read decides each metric, with gains that saturate and harm from repetition."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_terms import gain, harm, late_harm
from mixfast.laws._coefficients import Coefficients, by_missing, covariances
from mixfast.laws._epoch_search import (
    REPEATED_RUNS,
    RIVALS,
    Shape,
    SharedColumns,
    by_epochs,
    choose,
    columns,
    deficits,
    fit_coefficients,
    harm_told,
    middle_columns,
    tamed,
)
from mixfast.laws._protocol import Facts, Note

__all__ = ["Epochs"]

# The largest exponent. Predictions far from the runs are huge, but they and their squares stay finite.
_HIGHEST = 300.0
# The floor lies at least this many standard deviations of the seeds below the best run.
_LEAST_NOISE = 3.0
# For p < 1 the slope at 0 epochs is infinite; slopes are those at this number of epochs, or above.
_LEAST_EPOCHS = 1e-9
# A domain without tokens has infinite epochs at any share. No run read it, so it has no effect; this number of epochs keeps that effect 0.
_MOST_EPOCHS = 1e100


class Epochs(Coefficients):
    """Fit ``f(E) = floor + sign exp(b0 - sum_k a_k F(E_k) + sum_k h_k H(E_k))`` to each metric, with a and h at least 0.

    E_k is the number of epochs of domain k: how often a run reads its tokens. ``F(E) = 1 - exp(-(rho E)^p)`` is a gain that saturates.
    H is harm from repetition. The sign is 1 for a metric to minimise, and then the floor lies below all runs; it is -1 for a metric to
    maximise, and then the floor is a ceiling above all runs. A domain has harm only if at least 5 runs read it more than once.

    Parameters
    ----------
    convex : bool, optional
        Default True: ``H(E) = softplus((E - c) / (c + 1))`` with ``c = exp(tau) - 1``, and sign f is convex in the mixture, so its best
        mixture can be found with a certificate. False: ``H(E) = softplus(log(1 + E) - tau)^2``, as in Marin's law, which is not convex.
    seed : int, optional
        Seed of the folds within the runs that choose the shapes.

    Attributes
    ----------
    floor, b0 : ndarray (J,); a, h : ndarray (J, K)
        The coefficients; tau is inf and h is 0 if no run reads any domain more than once.
    rho, p, tau : ndarray (J,)
        The shapes of each metric, shared by all domains.
    sign : ndarray (J,)
    noise : ndarray (J,)
        Standard deviation of the residuals.
    notes : tuple of str
        Unusual cases.
    """

    name = "epochs"
    uses_features = False
    uses_epochs = True
    _settings = ("convex", "seed")
    _arrays = (
        "floor",
        "b0",
        "a",
        "h",
        "rho",
        "p",
        "tau",
        "sign",
        "depth",
        "ridge",
        "least",
        "runs",
        "worst",
        "noise",
        "covariance",
        "rivals",
        "rival_count",
    )

    convex: bool
    seed: int
    floor: Vector
    b0: Vector
    a: Matrix
    h: Matrix
    rho: Vector
    p: Vector
    tau: Vector
    sign: Vector
    depth: Vector
    ridge: Vector
    least: Vector  # (J,), smallest distance of the floor from the best run
    runs: Vector
    worst: Vector  # (J,), value of the worst run
    noise: Vector
    covariance: NDArray[np.float64]  # (J, 1 + 2K, 1 + 2K), of b0, a and h
    # Laws (J, S, 7 + 2K) of other shapes that predict as well: rho, p, tau, depth, ridge, floor, b0, a and h; the first (J,) count.
    rivals: NDArray[np.float64]
    rival_count: Vector

    def __init__(self, *, convex: bool = True, seed: int = 0) -> None:
        self.convex, self.seed = bool(convex), int(seed)
        self._facts: Facts | None = None
        self._shapes: list[Shape] | None = None

    def informed(self, facts: Facts) -> Self:
        """Return the same law for metrics with these directions and this noise."""
        law = copy.copy(self)
        law._facts = facts
        return law

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: epochs (R, K) and metrics (R, J), NaN where a run has no value."""
        facts = self._facts or Facts.unknown(y.shape[1])
        least = np.where(np.isfinite(facts.noise), _LEAST_NOISE * facts.noise, 0.0)
        shapes = self._shapes if self._shapes is not None and len(self._shapes) == y.shape[1] else None
        return self._fit(x, y, np.array(facts.sign, dtype=np.float64), least, shapes, facts.mixture)

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """Return a copy fitted to some of the runs; the shapes, depth of the floor and ridge stay those of all runs."""
        own = list(columns)
        return self._fit(x, y, self.sign[own], self.least[own], self._shapes_of(own))

    def kept(self, columns: Sequence[int]) -> Self:
        """Return a law to fit to these metrics with other values of a few runs; the shapes, depth of the floor and ridge stay.

        They were chosen with values of diverged runs moved near a prediction, and by errors that count linearly if they are large.
        """
        law = copy.copy(self)
        law._shapes = self._shapes_of(columns)
        return law

    def _shapes_of(self, columns: Sequence[int]) -> list[Shape]:
        chosen = np.column_stack([self.rho, self.p, self.tau, self.depth, self.ridge])
        return [replace(_shape_of(chosen[j]), rivals=tuple(map(_shape_of, self._alike(j)[:, :5]))) for j in columns]

    def _alike(self, j: int) -> Matrix:
        """Return the rivals (S, 7 + 2K) of metric j."""
        return self.rivals[j, : int(self.rival_count[j])]

    def _fit(
        self,
        x: Matrix,
        y: Matrix,
        sign: Vector,
        least: Vector,
        shapes: list[Shape] | None,
        mixture: NDArray[np.int64] | None = None,
    ) -> Self:
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        metrics, domains = y.shape[1], x.shape[1]
        if not x.max(initial=0.0) < _MOST_EPOCHS:
            raise ValueError(
                f"a run reads {x.max():.3g} epochs of a domain: check that the tokens and the budgets of the runs have one unit"
            )
        law = copy.copy(self)
        law._facts, law._shapes, law.sign, law.least = None, None, sign, least
        for name in ("floor", "b0", "rho", "p", "tau", "depth", "ridge", "runs", "worst", "noise"):
            setattr(law, name, np.empty(metrics))
        law.a, law.h = np.zeros((metrics, domains)), np.zeros((metrics, domains))
        law.covariance = covariances(metrics, 1 + 2 * domains)
        law.covariance[:] = 0.0
        law.rivals, law.rival_count = np.zeros((metrics, RIVALS, 7 + 2 * domains)), np.zeros(metrics)
        alike = None if mixture is None or len(mixture) != len(x) else mixture
        told = each(lambda group: law._fit_group(x, y, *group, shapes, alike), list(by_missing(y)))
        law.notes = tuple(chain(_unrepeated(x), *told))
        return law

    def _fit_group(
        self,
        x: Matrix,
        y: Matrix,
        rows: NDArray[np.bool_],
        own: NDArray[np.intp],
        shapes: list[Shape] | None,
        mixture: NDArray[np.int64] | None,
    ) -> list[Note]:
        """Fit the metrics that exactly these runs have. Return notes on them."""
        seen, losses = x[rows], y[np.ix_(rows, own)] * self.sign[own]
        varied = np.ptp(losses, axis=0) > 1e-12 * np.abs(losses).max(axis=0)
        some = np.flatnonzero(varied).tolist()
        if some:
            middle = middle_columns(seen, convex=self.convex)
            near = each(lambda i: tamed(middle, losses[:, i]), some)
            losses[:, varied] = np.column_stack(near)
            if shapes is None:
                alike = by_epochs(seen) if mixture is None else mixture[rows]
                least = self.least[own[varied]]
                chosen = choose(seen, losses[:, varied], least, alike, convex=self.convex, seed=self.seed)
            else:
                chosen = [shapes[j] for j in own[varied]]
            shared = SharedColumns(seen, self.convex)
            each(
                lambda at: self._fit_metric(int(own[at[0]]), shared, losses[:, at[0]], at[1]),
                zip(some, chosen, strict=True),
            )
        notes = []
        for j, loss in zip(own[~varied].tolist(), losses[:, ~varied].T, strict=True):
            self._constant(j, float(loss[0]), len(loss))
            notes.append(Note(f"{{metric}} has the same value in all {len(loss)} runs; its law is constant", metric=j))
        return notes

    def _constant(self, j: int, loss: float, runs: int) -> None:
        """Describe a metric with one value: half of its size above the floor, and no effects."""
        half = 0.5 * abs(loss) or 1.0
        self.floor[j], self.b0[j] = self.sign[j] * (loss - half), np.log(half)
        self.rho[j], self.p[j], self.tau[j], self.depth[j], self.ridge[j] = 1.0, 1.0, np.inf, 0.5, 0.0
        self.runs[j], self.worst[j], self.noise[j] = runs, self.sign[j] * loss, 0.0

    def _solved(
        self, j: int, shared: SharedColumns, loss: Vector, shape: Shape
    ) -> tuple[Vector, float, Matrix, float, Vector, Vector]:
        """Return the deficits (R,), the floor, the columns (R, 2K), and the fitted intercept, coefficients and penalties (2K,)."""
        many, floor = deficits(loss, shape.depth, float(self.least[j]))
        seen = shared.of(shape)
        return many[0], float(self.sign[j] * floor[0]), seen.x, *fit_coefficients(seen, many[0], shape.ridge)

    def _fit_metric(self, j: int, shared: SharedColumns, loss: Vector, shape: Shape) -> None:
        deficit, floor, seen, b0, b, penalty = self._solved(j, shared, loss, shape)
        domains = shared.epochs.shape[1]
        self.rho[j], self.p[j], self.tau[j] = shape.rho, shape.p, shape.tau
        self.depth[j], self.ridge[j], self.runs[j] = shape.depth, shape.ridge, len(loss)
        self.floor[j], self.b0[j], self.a[j], self.h[j] = floor, b0, b[:domains], b[domains:]
        self.rival_count[j], self.worst[j] = len(shape.rivals), self.sign[j] * loss.max()
        for i, rival in enumerate(shape.rivals):
            _, below, _, start, slopes, _ = self._solved(j, shared, loss, rival)
            self.rivals[j, i, :7] = rival.rho, rival.p, rival.tau, rival.depth, rival.ridge, below, start
            self.rivals[j, i, 7:] = slopes
        free = b > 0.0
        value = np.exp(np.minimum(b0 + seen @ b, _HIGHEST))
        residual = deficit - value
        spare = max(len(loss) - 1 - int(free.sum()), 1)
        self.noise[j] = np.sqrt((residual**2).sum() / spare)
        if len(loss) > seen.shape[1]:
            # A coefficient at 0 is as uncertain as the others; its penalty limits it.
            free = np.ptp(seen, axis=0) > 0.0
        jacobian = np.column_stack([value, value[:, None] * seen[:, free]])
        gram = jacobian.T @ jacobian
        gram[1:, 1:] += len(loss) * float(np.mean(value**2)) * np.diag(penalty[free])
        gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / len(gram)
        at = np.concatenate([[True], free])
        self.covariance[j][np.ix_(at, at)] = np.linalg.inv(gram) * self.noise[j] ** 2

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at epochs (M, K)."""
        return self.floor + self.sign * self._excess(np.asarray(x, dtype=np.float64))

    def _excess(self, x: Matrix) -> Matrix:
        """Return the deficits (M, J) at epochs (M, K)."""
        out = np.empty((len(x), len(self.b0)))
        for j, b0 in enumerate(self.b0):
            out[:, j] = np.exp(np.minimum(b0 + self._columns(x, j) @ np.concatenate([self.a[j], self.h[j]]), _HIGHEST))
        return out

    def _columns(self, x: Matrix, j: int) -> Matrix:
        return columns(
            np.minimum(x, _MOST_EPOCHS), float(self.rho[j]), float(self.p[j]), float(self.tau[j]), convex=self.convex
        )

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the epochs; those at 0 epochs are taken at 1e-9, where they are finite."""
        x = np.asarray(x, dtype=np.float64)
        excess, near = self._excess(x), np.clip(x, _LEAST_EPOCHS, _MOST_EPOCHS)
        gradients = np.empty((len(x), len(self.b0), x.shape[1]))
        for j in range(len(self.b0)):
            slope = -self.a[j] * gain(near, self.rho[j], self.p[j])[1]
            if np.isfinite(self.tau[j]):
                slope = slope + self.h[j] * (harm if self.convex else late_harm)(near, self.tau[j])[1]
            gradients[:, j] = (self.sign[j] * excess[:, j])[:, None] * slope
        return self.floor + self.sign * excess, gradients

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        seen = self._columns(x, j)
        coefficients = np.concatenate([self.a[j], self.h[j]])
        value = self.sign[j] * np.exp(np.minimum(self.b0[j] + seen @ coefficients, _HIGHEST))
        own, rivals = self.covariance[j], self._alike(j)
        # The differences from laws of other shapes are directions of their own, because the coefficients cannot express them.
        # A prediction beyond the worst run counts as that run: a rival that predicts a huge loss does not make a tiny one as likely.
        highest = np.maximum((self.worst[j] - self.floor[j]) / value, 1.0)
        ratios = [(self._of_rival(x, j, rival) - self.floor[j]) / value for rival in rivals]
        apart = [value * (np.minimum(ratio, highest) - 1.0) for ratio in ratios]
        covariance = np.zeros((len(own) + len(rivals),) * 2)
        covariance[: len(own), : len(own)] = own
        covariance[range(len(own), len(covariance)), range(len(own), len(covariance))] = 1.0 / max(len(rivals), 1)
        return np.column_stack([value, value[:, None] * seen, *apart]), covariance

    def _of_rival(self, x: Matrix, j: int, rival: Vector) -> Vector:
        """Return metric j (M,) by a law of another shape."""
        rho, p, tau, _, _, floor, b0 = rival[:7].tolist()
        seen = columns(np.minimum(x, _MOST_EPOCHS), rho, p, tau, convex=self.convex)
        return np.asarray(floor + self.sign[j] * np.exp(np.minimum(b0 + seen @ rival[7:], _HIGHEST)))

    def _moved(self, x: Matrix, j: int, value: Vector, jacobian: Matrix, by: Matrix) -> Matrix:
        # Coefficients move together with the intercept, so none is cut off at 0: this would change the sum. The floor is never crossed.
        # The differences from other shapes are relative to the value too.
        excess, own = self.sign[j] * (value - self.floor[j]), jacobian.shape[1] - len(self._alike(j))
        steps = by[:, :own] @ np.column_stack([np.ones(len(x)), self._columns(x, j)]).T
        steps += by[:, own:] @ (self.sign[j] * jacobian[:, own:] / excess[:, None]).T
        return self.floor[j] + self.sign[j] * np.exp(np.minimum(np.log(excess) + steps, _HIGHEST))

    def _limit(self, j: int) -> float:
        return float(self.floor[j])

    @classmethod
    def from_state(cls, state: dict[str, object]) -> Self:
        """Rebuild the law from what `state` returned."""
        law = super().from_state(state)
        law._facts, law._shapes = None, None
        return law


def _shape_of(values: Vector) -> Shape:
    """Return the shape of these numbers: rho, p, tau, depth and ridge."""
    rho, p, tau, depth, ridge = values.tolist()
    return Shape(rho, p, tau, depth, ridge)


def _unrepeated(x: Matrix) -> list[Note]:
    """Write notes on the domains that no run, or too few runs, read more than once: the law cannot tell what repeating them costs."""
    once = np.flatnonzero(x.max(axis=0, initial=0.0) <= 1.0).tolist()
    few = np.setdiff1d(np.flatnonzero(~harm_told(x)), once).tolist()
    if len(once) == x.shape[1]:
        return [
            Note(
                "no run reads any domain more than once, so this law cannot tell what repetition costs: it has no harm (h = 0)"
            )
        ]
    never = "no run reads {once} more than once, so this law cannot tell the cost of repetition there"
    rarely = f"fewer than {REPEATED_RUNS} runs read {{few}} more than once, so this law cannot tell the cost of repetition there"
    return [
        *([Note(never, inputs={"once": once})] if once else []),
        *([Note(rarely, inputs={"few": few})] if few else []),
    ]
