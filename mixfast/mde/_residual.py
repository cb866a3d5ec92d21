"""Residual: a law that starts from a metric's own ensemble loss; an affine map removes its bias, another law fits the rest."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing, places, shown
from mixfast.errors import AlignmentError, MixfastError
from mixfast.laws import PENALTIES, Ridge
from mixfast.mde._features import Features


def match(metrics: Sequence[str], names: Sequence[str], *, level: str | None = None) -> dict[str, str]:
    """Find each metric's own feature by name.

    Parameters
    ----------
    metrics : sequence of str
        Such as "val_code_nats_per_byte".
    names : sequence of str
        Names of features, "group@level".
    level : str, optional
        Which level to use; that of the first name by default.

    Returns
    -------
    dict of metric to feature
        Metrics whose name contains no group name between separators are left out. If several fit, the longest is used.

    Raises
    ------
    AlignmentError
        Two groups fit a metric equally well.

    Examples
    --------
    >>> match(["eval/code/bpb", "arc"], ["code@token", "web@token"])
    {'eval/code/bpb': 'code@token'}
    """
    if not names:
        return {}
    level = names[0].rpartition("@")[2] if level is None else level
    groups = [name.rpartition("@")[0] for name in names if name.rpartition("@")[2] == level]
    if not groups:
        raise AlignmentError(f"no feature is of level {shown(level)}; the features are {listing(names)}")
    found = {}
    for metric in metrics:
        fits = [group for group in groups if re.search(rf"(?<![0-9A-Za-z]){re.escape(group)}(?![0-9A-Za-z])", metric)]
        longest = [group for group in fits if len(group) == max(map(len, fits))]
        if len(longest) > 1:
            raise AlignmentError(
                f"metric {shown(metric)} fits several groups: {listing(longest)}; choose one by own={{metric: feature}}"
            )
        if longest:
            found[metric] = f"{longest[0]}@{level}"
    return found


class Residual:
    """Predict ``y_j(w) = a_j + b_j L_j(w) + r_j(z)``, L_j being the metric's own ensemble loss; a law with features.

    The ensemble's loss ranks mixtures well but is biased; a and b remove the bias. b is at least 0. It is fitted together with a
    ridge on the shares, so that it does not absorb effects that the shares explain; the law fits these.
    The law alone predicts a metric that has no feature of its own.

    Parameters
    ----------
    law : Law
        The law r, fitted to the rest; its inputs are [shares | features] if it uses features, otherwise the shares.
    features : Features
        Its names and domains describe the columns after the shares; its rows give slopes.
    metrics : sequence of str
        In the order of the columns of y.
    own : mapping of metric to feature, optional
        By default the result of `match`.

    Raises
    ------
    AlignmentError
        `own` names unknown metrics or features, or no metric has a feature.

    Notes
    -----
    The standard deviation is that of the law of the rest; the error of a and b, two numbers from many runs, is neglected.

    References
    ----------
    Belenki et al. (arXiv 2502.15950): the ensemble's loss alone has a larger error than the mean of the runs, but a rank correlation of .91.
    """

    name = "residual"
    uses_features = True

    law: Any
    metrics: tuple[str, ...]
    offset: Vector
    scale: Vector

    def __init__(
        self, law: Any, features: Features, *, metrics: Sequence[str], own: Mapping[str, str] | None = None
    ) -> None:
        own = match(metrics, features.names) if own is None else dict(own)
        unknown = [metric for metric in own if metric not in metrics]
        unknown += [name for name in own.values() if name not in features.names]
        if unknown or not own:
            raise AlignmentError(
                f"own={{metric: feature}} names unknown metrics or features: {listing(unknown)}"
                if unknown
                else "no metric has a feature with its name; choose them by own={metric: feature}"
                + f". Metrics: {listing(metrics)}. Features: {listing(features.names)}"
            )
        self.law, self.metrics = law, tuple(metrics)
        self._features: Features | None = features
        self._shares, self._width = len(features.domains), len(features.domains) + len(features.names)
        place = places(features.names)
        # Column of x with the metric's own feature; -1 if it has none.
        self._column = np.array([self._shares + place[own[m]] if m in own else -1 for m in metrics], dtype=np.int64)
        self.offset, self.scale = np.zeros(len(self.metrics)), np.zeros(len(self.metrics))
        self._fitted = False

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Fit the affine maps, then the law to the rest; x is (R, K + F), y is (R, J) with NaN if a run lacks a metric."""
        x, y = self._inputs(x), np.asarray(y, dtype=np.float64)
        if y.shape != (x.shape[0], len(self.metrics)):
            raise ValueError(f"y has the shape {y.shape}, expected ({x.shape[0]}, {len(self.metrics)}): runs x metrics")
        out = copy.copy(self)
        out.offset, out.scale = np.zeros(len(self.metrics)), np.zeros(len(self.metrics))
        for j, column in enumerate(self._column):
            seen = np.isfinite(y[:, j])
            if column < 0 or not seen.any():
                continue
            own, target = x[seen, column], y[seen, j]
            out.scale[j] = max(0.0, _coefficient(x[seen, : self._shares], own, target))
            out.offset[j] = target.mean() - out.scale[j] * own.mean()
        out.law = copy.deepcopy(self.law)
        out.law = out.law.fit(self._inner(x), y - out._affine(x)) or out.law
        out._fitted = True
        return out

    def predict(self, x: Matrix) -> Matrix:
        """Metrics (M, J) at [shares | features] (M, K + F)."""
        x = self._ready(x)
        return self._affine(x) + np.asarray(self.law.predict(self._inner(x)), dtype=np.float64)

    def sd(self, x: Matrix) -> Matrix:
        """Predictive standard deviations (M, J) of the law of the rest."""
        x = self._ready(x)
        return np.asarray(self.law.sd(self._inner(x)), dtype=np.float64)

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Values (M, J) and gradients (M, J, K) with respect to the shares, through the own feature and through the law.

        Needs the features' table, and a law of the rest with slopes.
        """
        x = self._ready(x)
        if self._features is None:
            raise MixfastError("slopes need the features with their table: give features= to Residual.from_state")
        if not hasattr(self.law, "slopes"):
            raise MixfastError(f"slopes need a law of the rest that has slopes; {type(self.law).__name__} has none")
        values, gradients = self.law.slopes(self._inner(x))
        _, of_features = self._features.slopes(x[:, : self._shares])
        gradients = np.array(gradients, dtype=np.float64)
        for j, column in enumerate(self._column):
            if column >= 0:
                gradients[:, j] += self.scale[j] * of_features[:, column - self._shares]
        return self._affine(x) + values, gradients

    def state(self) -> dict[str, Any]:
        """Return the fitted law as numbers and strings; the class of the law of the rest and the features are given again to `from_state`."""
        self._check_fitted()
        return {
            "law": self.law.state(),
            "law_name": str(getattr(self.law, "name", type(self.law).__name__)),
            "metrics": list(self.metrics),
            "column": self._column,
            "shares": self._shares,
            "width": self._width,
            "offset": self.offset,
            "scale": self.scale,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, law: Any = None, features: Features | None = None) -> Self:
        """Build the fitted law from the result of `state`.

        Parameters
        ----------
        state : mapping
        law : class
            Class of the law of the rest; its ``from_state`` is called.
        features : Features, optional
            Only slopes need them.
        """
        if law is None:
            raise ValueError(
                f"give the class of the law of the rest, {shown(state['law_name'])}: Residual.from_state(state, law=...)"
            )
        out = object.__new__(cls)
        out.law, out.metrics = law.from_state(state["law"]), tuple(state["metrics"])
        out._column = np.asarray(state["column"], dtype=np.int64)
        out._shares, out._width = int(state["shares"]), int(state["width"])
        out.offset, out.scale = np.asarray(state["offset"]), np.asarray(state["scale"])
        out._features, out._fitted = features, True
        return out

    def _affine(self, x: Matrix) -> Matrix:
        # Metrics without a feature have scale 0 and offset 0, whatever column -1 is.
        return self.offset + self.scale * x[:, self._column]

    def _inner(self, x: Matrix) -> Matrix:
        return x if getattr(self.law, "uses_features", False) else np.ascontiguousarray(x[:, : self._shares])

    def _inputs(self, x: Matrix) -> Matrix:
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self._width:
            raise ValueError(
                f"inputs have the shape {x.shape}, expected (mixtures, {self._width}): {self._shares} shares, then "
                f"{self._width - self._shares} features, as Features.matrix(ratios) returns"
            )
        return x

    def _ready(self, x: Matrix) -> Matrix:
        self._check_fitted()
        return self._inputs(x)

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise MixfastError("this law is not fitted: use the law that fit(x, y) returns")


def _coefficient(shares: Matrix, own: Vector, target: Vector) -> float:
    """Return b of ``target = a + b own + ridge(shares)``, with the penalty that has the smallest leave-one-out error.

    The largest penalty makes it the regression on `own` alone, which can be best with few runs.
    """
    ridge = Ridge.of(shares)
    x, y = own - own.mean(), target - target.mean()
    size = float(x @ x)
    if size <= 0.0:
        return 0.0
    best, least = 0.0, np.inf
    for penalty in (*PENALTIES, 1e9):
        # The residuals of x and y after the ridge; generalised least squares of y on x use them.
        kept = ridge.kept(penalty)
        rest_x, rest_y = (v - ridge.u @ (kept * (ridge.u.T @ v)) for v in (x, y))
        inside = float(x @ rest_x)
        if inside <= 1e-9 * size:
            continue
        b = float(x @ rest_y) / inside
        # Leverage of the ridge, of the intercept, and of the residual of x.
        leverage = (ridge.u**2) @ kept + 1.0 / x.size + rest_x**2 / inside
        errors = (rest_y - b * rest_x) / np.maximum(1.0 - leverage, 1e-9)
        if float(errors @ errors) < least:
            best, least = b, float(errors @ errors)
    return best
