"""The power laws of AutoScale and of BiMix: sums with one power of each domain's share."""

from __future__ import annotations

from typing import Self

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import shown
from mixfast.laws._power_law import PowerLaw
from mixfast.laws._power_search import Point, Search
from mixfast.laws._protocol import State

__all__ = ["AutoScale", "BiMix"]

# The largest logarithm of a term; no real metric is this large.
_HIGHEST = 300.0
# Logarithms of alpha and gamma stay between minus this and this.
_FAR = 30.0
# Exponents to try for a domain with a term of zero, from nearly constant to nearly a step.
_TRIED = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
# Trials for single terms of AutoScale: (alpha, gamma) from nearly exponential to nearly a step at 0; passes over the domains;
# (steps, tolerance) of each trial; the relative gain a trial needs to be kept; (steps, tolerance) of the final descent.
_ANEW, _PASSES, _TRIAL, _WON, _SETTLE = ((1.0, 2.0), (0.1, 0.5), (0.005, 0.05)), 3, (60, 1e-4), 1e-4, (500, 1e-8)
# With more domains, these trials would take seconds.
_FEW_DOMAINS = 8
# A term is restored if the cosine between it and the residuals exceeds this.
_LEAST_COSINE = 1e-6
# Grid of shapes to try for single terms: alpha and gamma of AutoScale, exponents of BiMix.
_ALPHAS, _GAMMAS = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 1.0, 1.5, 3.0), (1e-3, 0.01, 0.05, 0.15, 0.4, 1.0, 3.0, 10.0)
_EXPONENTS = (0.0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0)
# (alpha, gamma) of an AutoScale term that is almost zero, and the scales of starts with only such terms; folds use the first scale.
_NO_TERM, _SCALES = (1.5, 10.0), (1.0, 0.1, 0.01, 5.0)


class AutoScale(PowerLaw):
    """Fit ``f(w) = level + scale * sum_k (tokens * (alpha_k + w_k))^-gamma_k`` to each metric, by least squares.

    alpha_k is the value of all other data for domain k, to which the domain's own share is added. The scale makes the law independent of
    the metric's unit: with scale 1, a term can hardly be far from 1, so a perplexity could not be described.

    Parameters
    ----------
    tokens : float, optional
        Length of the runs, in any unit. Default 1: alpha and shares are in units of one run. Olmix gives the number of tokens instead,
        which keeps the terms small: on RegMix's runs (1e9 tokens) the law is then far worse.
    scale : float, optional
        Scale of the terms, in the metric's unit. Default None: it is fitted. 1 is Olmix's form.

    Attributes
    ----------
    level, scale : ndarray (J,); alpha, gamma : ndarray (J, K)
    objective : ndarray (J,)
        Sum of squared residuals.
    notes : tuple of str
        Unusual cases: too few runs, no convergence.

    Notes
    -----
    Convex in w. The bounds are Olmix's: ``alpha, gamma > 0``, level from 0 to the smallest value. The least-squares problem has local
    minima. There are eight starts: Olmix's, a flatter one, two with exponents that match the metric's mean, and four scales without terms,
    from which a grid of shapes finds each term in turn. A damped Gauss-Newton method within the bounds descends from each. From the best
    six, single terms are replaced by better shapes of the grid. No such search is certain to find the global minimum.
    Deterministic: the same runs give the same bits in every process.

    References
    ----------
    Kang et al. 2024, "AutoScale", arXiv:2407.20177; the form is Olmix's (arXiv:2602.12237).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet(np.ones(2), 30)
    >>> y = 1.0 + (0.2 + x[:, :1]) ** -0.5 + (0.5 + x[:, 1:]) ** -0.2
    >>> bool(np.abs(AutoScale().fit(x, y).predict(x) - y).max() < 1e-4)
    True
    """

    name = "autoscale"
    _settings = ("tokens", "fixed_scale")
    _kind = 0
    uses_features = False

    def __init__(self, *, tokens: float = 1.0, scale: float | None = None) -> None:
        if not 0.0 < tokens < np.inf:
            raise ValueError(f"tokens is {shown(tokens)}; expected the length of the runs, a positive number")
        if scale is not None and not 0.0 < scale < np.inf:
            raise ValueError(
                f"scale is {shown(scale)}; expected a positive number in the metric's unit, or None to use the metric's own scale"
            )
        self.tokens: float = float(tokens)
        self.fixed_scale: float | None = scale

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned."""
        # Files of versions before the scale was added have scale 1.
        if "unit" not in state:
            theta = np.asarray(state["theta"])
            state = {
                **state,
                "fixed_scale": 1.0,
                "unit": np.ones(len(theta)),
                "theta": np.insert(theta, 1, 1.0, axis=1),
            }
            state["covariance"] = np.insert(np.insert(np.asarray(state["covariance"]), 1, 0.0, axis=1), 1, 0.0, axis=2)
        law = cls(tokens=state["tokens"], scale=state["fixed_scale"])
        for name in cls._arrays:
            setattr(law, name, np.asarray(state[name]))
        law.notes = tuple(state["notes"])
        return law

    @property
    def level(self) -> Vector:
        """The constant of each metric, (J,)."""
        return self.unit * self.theta[:, 0]

    @property
    def scale(self) -> Vector:
        """The scale of the terms of each metric, (J,)."""
        return self.unit * self.theta[:, 1]

    @property
    def alpha(self) -> Matrix:
        """The value of all other data for each domain, as a share of tokens, (J, K)."""
        return self.theta[:, 2 : 1 + self.theta.shape[1] // 2]

    @property
    def gamma(self) -> Matrix:
        """The exponents, (J, K)."""
        return self.theta[:, 1 + self.theta.shape[1] // 2 :]

    def _unit(self, y: Vector) -> float:
        if self.fixed_scale is not None:
            return self.fixed_scale
        spread, level = float(y.std()), float(np.abs(y).max())
        # A constant metric has no spread; use its magnitude.
        return spread if spread > 1e-12 * level else level or 1.0

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        level = 0.1 * float(y.min())
        each = max((float(y.mean()) - level) / domains, 1e-9)
        starts = [(1.0 / domains, 0.5), (1.0 / domains, 0.1)]
        # Olmix's start may be too far from the metric's mean to reach it. A small alpha is needed for a metric that already improves with
        # the first per cent of a domain.
        for alpha in (1.0 / domains, 1e-3):
            base = self.tokens * (alpha + 1.0 / domains)
            exponent = -np.log(each) / np.log(base) if base != 1.0 else 0.0
            starts.append((alpha, float(exponent) if exponent > 0.0 else 0.02))
        return [
            np.concatenate([[level, 1.0], np.full(domains, alpha), np.full(domains, gamma)]) for alpha, gamma in starts
        ]

    def _box(self, domains: int, y: Vector) -> tuple[Vector, Vector]:
        low, high = np.full(2 * domains + 2, -_FAR), np.full(2 * domains + 2, _FAR)
        low[0], high[0] = 0.0, y.min()
        if self.fixed_scale is not None:
            low[1] = high[1] = 0.0
        return low, high

    def _moved_by(self, theta: Vector) -> Vector:
        return np.concatenate([theta[:1], np.log(theta[1:])])

    def _theta_of(self, u: Vector) -> Vector:
        return np.concatenate([u[:1], np.exp(u[1:])])

    def _in_unit(self, theta: Vector, ratio: float) -> Vector:
        return np.concatenate([ratio * theta[:2], theta[2:]])

    def _anew(self, best: Point, search: Search) -> Point:
        domains, found = len(best.u) // 2 - 1, best
        if domains > _FEW_DOMAINS:
            return best
        for _ in range(_PASSES):
            before = found.loss
            for k in range(domains):
                for trial in _ANEW:
                    u = found.u.copy()
                    u[2 + k], u[2 + domains + k] = np.log(trial)
                    point = search.down(u, *_TRIAL)
                    if point.loss < (1.0 - _WON) * found.loss:
                        found = point
            if not found.loss < (1.0 - 10.0 * _WON) * before:
                break
        return best if found is best else search.down(found.u, *_SETTLE)

    def _shapes(self) -> tuple[Vector, Vector]:
        return np.log(_ALPHAS), np.log(_GAMMAS)

    def _flat(self, domains: int, y: Vector) -> list[Vector]:
        alpha, gamma = np.full(domains, _NO_TERM[0]), np.full(domains, _NO_TERM[1])
        scales = _SCALES if self.fixed_scale is None else _SCALES[:1]
        return [self._moved_by(np.concatenate([[0.5 * float(y.min()), scale], alpha, gamma])) for scale in scales]

    def _parts(self, theta: Vector, x: Matrix) -> tuple[Vector, Matrix, Matrix]:
        domains = x.shape[1]
        gamma, base = theta[2 + domains :], theta[2 : 2 + domains] + x
        return gamma, base, theta[1] * np.exp(np.minimum(-gamma * np.log(self.tokens * base), _HIGHEST))

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        return theta[0] + self._parts(theta, x)[2].sum(axis=1)

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        gamma, base, power = self._parts(theta, x)
        by_scale = power.sum(axis=1) / theta[1]
        return np.column_stack([np.ones(len(x)), by_scale, -gamma / base * power, -np.log(self.tokens * base) * power])

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        gamma, base, power = self._parts(theta, x)
        return -gamma / base * power


class BiMix(PowerLaw):
    """Fit ``f(w) = sum_k factor_k * clip(w_k, floor, 1)^-alpha_k`` to each metric, by least squares.

    Parameters
    ----------
    floor : float, optional
        Smallest share; smaller shares are raised to it, because the law is infinite at 0. Default 1e-12, as published. Use a larger floor
        if some runs omit domains: with 1e-12, such a run forces the exponent towards 0.

    Attributes
    ----------
    factor, alpha : ndarray (J, K)
    objective : ndarray (J,)
        Sum of squared residuals.
    notes : tuple of str
        Unusual cases: too few runs, no convergence.

    Notes
    -----
    Convex in w above the floor. Both numbers are at least 0. There are four starts: Olmix's exponent 1, two flatter ones, and terms found
    in turn by a grid of exponents. A damped Gauss-Newton method within the bounds descends from each. Deterministic: the same runs give
    the same bits in every process.

    References
    ----------
    Ge et al. 2024, "BiMix", arXiv:2405.14908, for a fixed length of training; the form is Olmix's (arXiv:2602.12237).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet(np.ones(2), 30)
    >>> y = 1.5 * x[:, :1] ** -0.1 + 0.5 * x[:, 1:] ** -0.3
    >>> BiMix().fit(x, y).alpha.round(4).tolist()
    [[0.1, 0.3]]
    """

    name = "bimix"
    _settings = ("floor",)
    _kind = 1
    uses_features = False

    def __init__(self, *, floor: float = 1e-12) -> None:
        if not 0.0 < floor < 1.0:
            raise ValueError(f"floor is {shown(floor)}; expected a share above 0 and below 1")
        self.floor: float = float(floor)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned."""
        return super().from_state({"unit": np.ones(len(state["theta"])), **state})

    @property
    def factor(self) -> Matrix:
        """The factors, (J, K)."""
        return self.unit[:, None] * self.theta[:, : self.theta.shape[1] // 2]

    @property
    def alpha(self) -> Matrix:
        """The exponents, (J, K)."""
        return self.theta[:, self.theta.shape[1] // 2 :]

    def _unit(self, y: Vector) -> float:
        return float(y.mean()) or 1.0

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        factor = np.full(domains, float(y.mean()) / domains)
        return [np.concatenate([factor, np.full(domains, alpha)]) for alpha in (1.0, 0.1, 0.01)]

    def _box(self, domains: int, y: Vector) -> tuple[Vector, Vector]:
        return np.zeros(2 * domains), np.full(2 * domains, np.inf)

    def _in_unit(self, theta: Vector, ratio: float) -> Vector:
        half = len(theta) // 2
        return np.concatenate([ratio * theta[:half], theta[half:]])

    def _seen(self, x: Matrix) -> Matrix:
        return -np.log(np.clip(x, self.floor, 1.0))

    def _limit(self, j: int) -> float:
        # A sum of powers with positive factors: where it is very large, one of them is, and its logarithm is linear in log factor and alpha.
        return 0.0

    def _shapes(self) -> tuple[Vector, Vector]:
        return np.array(_EXPONENTS), np.zeros(1)

    def _flat(self, domains: int, y: Vector) -> list[Vector]:
        return [np.concatenate([np.zeros(domains), np.full(domains, 0.1)])]

    def _again(self, u: Vector, seen: Matrix, y: Vector) -> Vector | None:
        domains = seen.shape[1]
        factor, alpha = u[:domains], u[domains:]
        residual = np.exp(np.minimum(alpha * seen, _HIGHEST)) @ factor - y
        least = _LEAST_COSINE * float(np.linalg.norm(residual))
        out, changed = u.copy(), False
        # If the factor is 0, the descent cannot tell that another exponent would help.
        for k in np.flatnonzero((factor == 0.0) | (alpha == 0.0)).tolist():
            power = np.exp(np.minimum(_TRIED[:, None] * seen[:, k], _HIGHEST))
            gain = power @ residual / np.linalg.norm(power, axis=1)
            if gain.min() < -least:
                changed = True
                if factor[k] == 0.0:
                    out[k], out[domains + k] = 1e-9, _TRIED[gain.argmin()]
                else:
                    out[domains + k] = 1e-6
        return out if changed else None

    def _parts(self, theta: Vector, x: Matrix) -> tuple[Vector, Matrix, Matrix, Matrix]:
        domains = x.shape[1]
        share = np.clip(x, self.floor, 1.0)
        log = np.log(share)
        return theta[:domains], share, log, np.exp(np.minimum(-theta[domains:] * log, _HIGHEST))

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        factor, _, _, power = self._parts(theta, x)
        return power @ factor

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        factor, _, log, power = self._parts(theta, x)
        return np.column_stack([power, -log * factor * power])

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        factor, share, _, power = self._parts(theta, x)
        inside = (x > self.floor) & (x <= 1.0)
        return np.where(inside, -factor * theta[x.shape[1] :] / share * power, 0.0)
