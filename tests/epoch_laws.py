"""Laws in epochs with given coefficients, and the conic solver that their proposals are compared with."""

from __future__ import annotations

import numpy as np

from mixfast import Swarm
from mixfast._engine.objectives.epoch_terms import gain, harm, late_harm


class Epochs:
    """A fit of one law in epochs to all metrics, without a fit: the coefficients are given."""

    name = "epochs"
    uses_epochs = True

    def __init__(self, *, a, h=None, rate=1.0, rho=1.0, p=1.0, tau=1.0, b0=0.0, floor=0.0, sign=1.0, convex=True):
        self.a = np.atleast_2d(np.asarray(a, dtype=float))
        metrics, domains = self.a.shape
        self.h = np.zeros_like(self.a) if h is None else np.atleast_2d(np.asarray(h, dtype=float))
        self.rate = np.broadcast_to(np.asarray(rate, dtype=float), (domains,)).copy()
        for name, value in {"rho": rho, "p": p, "tau": tau, "b0": b0, "floor": floor, "sign": sign}.items():
            setattr(self, name, np.broadcast_to(np.asarray(value, dtype=float), (metrics,)).copy())
        self.convex = convex
        self.domains = tuple(f"d{k}" for k in range(domains))
        self.metrics = tuple(f"m{j}" for j in range(metrics))
        self.direction = {
            name: "min" if sign > 0.0 else "max" for name, sign in zip(self.metrics, self.sign, strict=True)
        }

    @classmethod
    def random(cls, rng, metrics, domains, **given):
        """Draw coefficients: domains that help no metric, metrics without harm, and metrics to maximise among them."""
        a = rng.gamma(1.0, 0.5, (metrics, domains)) * (rng.random((metrics, domains)) > 0.3)
        a[:, rng.random(domains) < 0.15] = 0.0
        tau = np.where(rng.random(metrics) < 0.2, np.inf, rng.uniform(0.5, 4.0, metrics))
        h = rng.gamma(1.0, 0.1, (metrics, domains)) * (rng.random((metrics, domains)) < 0.5)
        drawn = {
            "a": a,
            "h": np.where(np.isfinite(tau)[:, None], h, 0.0),
            "tau": tau,
            "rate": np.exp(rng.normal(1.0, 1.5, domains)),
            "rho": np.exp(rng.normal(-1.0, 1.2, metrics)),
            "p": rng.choice([0.25, 0.5, 0.75, 0.9, 1.0], metrics),
            "b0": rng.normal(0.0, 0.5, metrics),
            "floor": rng.uniform(0.0, 1.0, metrics),
            "sign": np.where(rng.random(metrics) < 0.3, -1.0, 1.0),
        }
        return cls(**{**drawn, **given})

    def law_of(self, metric):
        return self, self.metrics.index(metric)

    def _exponents(self, w):
        epochs = np.asarray(w) * self.rate
        value, slope = np.tile(self.b0, (len(w), 1)), np.zeros((len(w), *self.a.shape))
        wear = harm if self.convex else late_harm
        for j in range(self.b0.size):
            terms = gain(epochs, self.rho[j], self.p[j])
            value[:, j] -= terms[0] @ self.a[j]
            used = self.a[j] > 0.0
            slope[:, j, used] = -terms[1][:, used] * (self.a[j] * self.rate)[used]
            if self.h[j].any():
                terms = wear(epochs, self.tau[j])
                value[:, j] += terms[0] @ self.h[j]
                slope[:, j] += terms[1] * self.h[j] * self.rate
        return value, slope

    def predict(self, w):
        return self.floor + self.sign * np.exp(self._exponents(w)[0])

    def slopes(self, w):
        value, slope = self._exponents(w)
        e = self.sign * np.exp(value)
        return self.floor + e, e[:, :, None] * slope


def runs(*, rate=4.0, budget=None, count=60, seed=0, domains="abcd"):
    """Return a swarm of a planted law whose domains wear out at different numbers of epochs; `rate` epochs for each unit of share."""
    rng = np.random.default_rng(seed)
    names = list(domains)
    rates = np.broadcast_to(np.asarray(rate, dtype=float), (len(names),)) * np.linspace(0.5, 2.0, len(names))
    truth = Epochs(a=np.linspace(0.2, 0.8, 2 * len(names)).reshape(2, -1), rate=rates, rho=0.4, p=0.8, floor=0.5)
    w = rng.dirichlet(np.full(len(names), 0.7), count)
    values = truth.predict(w) + 0.002 * rng.standard_normal((count, 2))
    budgets = 1e9 if budget is None else budget
    tokens = dict(zip(names, 1e9 / rates, strict=True))
    return Swarm(w, values, domains=names, metric_names=["x_loss", "y_loss"], tokens=tokens, budget=budgets)


def solve_cvxpy(cp, law, region, weight, *, kl=0.0, worst=False, most=None, more=None):
    """Minimise the weighted sum (or the largest) of the signed metrics by a conic solver; `most` are their limits, `more` returns more of the objective. Return the problem."""
    # The solver's shares may exceed a cap of 0 by its tolerance, which matters where a slope is infinite.
    may = np.flatnonzero(region.cap > 0.0)
    w = np.eye(len(law.domains))[:, may] @ cp.Variable(may.size, nonneg=True)
    metrics = [law.sign[j] * law.floor[j] + cp.exp(_exponent(cp, law, w, j)) for j in range(len(law.metrics))]
    limits = [cp.sum(w) == 1.0, w <= region.cap, w >= region.floor]
    for row, low, high in zip(region.bound_rows, region.bound_lower, region.bound_upper, strict=True):
        limits += [row @ w >= low] if np.isfinite(low) else []
        limits += [row @ w <= high] if np.isfinite(high) else []
    limits += [
        f <= limit
        for f, limit in zip(metrics, most if most is not None else [], strict=most is not None)
        if np.isfinite(limit)
    ]
    cost = sum(share * f for share, f in zip(weight, metrics, strict=True) if share > 0.0)
    if worst:
        cost = cp.maximum(*metrics) if len(metrics) > 1 else metrics[0]
    if more is not None:
        cost = cost + more(w)
    if kl > 0.0:
        cost = cost + kl * cp.sum(cp.rel_entr(w, region.prior))
    problem = cp.Problem(cp.Minimize(cost), limits)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-8, tol_gap_rel=1e-8, tol_feas=1e-8)
    return problem


def _exponent(cp, law, w, j):
    out = law.b0[j]
    if (used := np.flatnonzero(law.a[j])).size:
        scaled = cp.multiply(law.rho[j] * law.rate[used], w[used])
        powers = scaled if law.p[j] == 1.0 else cp.power(scaled, law.p[j])
        out = out - law.a[j, used].sum() + law.a[j, used] @ cp.exp(-powers)
    if (used := np.flatnonzero(law.h[j])).size:
        width = np.exp(law.tau[j])
        out = out + law.h[j, used] @ cp.logistic((cp.multiply(law.rate[used], w[used]) - (width - 1.0)) / width)
    return out
