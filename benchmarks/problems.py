"""Named problems: seeded synthetic tables of log-likelihoods, and the real tables next to the checkout.

The synthetic rows are draws from a mixture of unit Gaussians in a few dimensions: the experts are the components, so
log-likelihoods are true log-densities, experts are strongly correlated once there are more of them than dimensions, and
the optimum is sparse (a third of the components have a share in the truth, Dirichlet distributed, the others none). One
expert in eight is a near-duplicate of another, a thousandth away, which makes the optimum nearly a face. Few dimensions
make hard problems: with six instead of two, EM ends the smallest of them in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from benchmarks.facts import DATA
from mixfast import reference

TABLES = DATA / "tables"


@dataclass(frozen=True, eq=False)
class Problem:
    """A table and its row weights, as contenders read them. `weight` (n,) sums to 1, `scale` is the true sum."""

    name: str
    loglik: np.ndarray
    length: np.ndarray | None = None
    sequence: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.loglik.shape[0], self.loglik.shape[1]

    @cached_property
    def row_weight(self) -> np.ndarray:
        """``1 / (n length)``: the weights that `ExpertTable.from_loglik` computes from the same arrays."""
        n = self.loglik.shape[0]
        return np.full(n, 1.0 / n) if self.length is None else 1.0 / (n * self.length.astype(np.float64))

    @cached_property
    def scale(self) -> float:
        return float(self.row_weight.sum())

    @cached_property
    def weight(self) -> np.ndarray:
        """Row weights that sum to 1: peers get a well-scaled problem; their gaps are multiplied by `scale`."""
        return self.row_weight / self.scale

    @cached_property
    def prob(self) -> np.ndarray:
        """Ready probabilities in float64, each row divided by its largest: what peers start from, never timed."""
        top = self.loglik.max(axis=1, keepdims=True).astype(np.float64)
        out = self.loglik - top
        return np.exp(out, out=out)

    @cached_property
    def prob32(self) -> np.ndarray:
        return self.prob.astype(np.float32)

    def gap(self, weights: np.ndarray) -> float:
        """Frank-Wolfe gap over the simplex, nats, recomputed in float64 by the reference from the raw log-likelihoods."""
        w = np.maximum(np.asarray(weights, dtype=np.float64), 0.0)
        if not np.isfinite(w).all() or w.sum() <= 0:
            return np.inf
        w = w / w.sum()
        slope = reference.gradient(self.loglik, self.row_weight, w)
        return float(w[w > 0] @ slope[w > 0] - slope.min())

    @cached_property
    def offset(self) -> np.ndarray:
        return self.loglik.max(axis=1).astype(np.float64)


def gaussians(
    name: str, n: int, k: int, *, seed: int, latent: int = 2, spread: float = 1.0, support: float = 1 / 3
) -> Problem:
    """Draws of a sparse mixture of k correlated experts, (n, k) float32."""
    rng = np.random.default_rng(seed)
    mean = spread * rng.standard_normal((k, latent))
    copies = k // 8
    if copies:
        mean[rng.permutation(k)[:copies]] = mean[:copies] + 1e-3 * rng.standard_normal((copies, latent))
    return _draw(name, rng, mean, n, max(2, round(support * k)))


def clusters(name: str, n: int, k: int, *, seed: int, latent: int = 8, quality: int = 25, support: int = 60) -> Problem:
    """Topics times quality buckets: k experts in k / quality clusters, few of them in the truth."""
    rng = np.random.default_rng(seed)
    topic = rng.standard_normal((k // quality, latent))
    mean = np.repeat(topic, quality, axis=0)[:k]
    mean = mean + 0.4 * rng.standard_normal(mean.shape)
    return _draw(name, rng, mean, n, support)


def classifiers(name: str, n: int, k: int, *, seed: int, latent: int = 12, support: int = 8) -> Problem:
    """Log-probabilities that k classifiers give to binary labels, (n, k) float64, as `ExpertTable.from_classifiers` makes them; a few of them agree with the labels."""
    rng = np.random.default_rng(seed)
    features, rules = rng.normal(size=(n, latent)), rng.normal(size=(latent, k))
    truth = 0.8 * features @ rules[:, :support] @ rng.dirichlet(np.ones(support)) - 2.0
    sign = np.where(rng.random(n) < 1.0 / (1.0 + np.exp(-truth)), 1.0, -1.0)
    score = 0.8 * features @ rules + rng.normal(size=(n, k)) + 0.5 * rng.normal(size=k) - 2.0
    return Problem(name, -np.log1p(np.exp(-sign[:, None] * score)))


def few_rows(name: str, n: int, k: int, *, seed: int) -> Problem:
    """Far more experts than rows, (n, k) float64, all equally good: the optimum under a cap has no pattern."""
    return Problem(name, -np.random.default_rng(seed).exponential(3.0, size=(n, k)))


def _draw(name: str, rng: np.random.Generator, mean: np.ndarray, n: int, support: int) -> Problem:
    k, latent = mean.shape
    chosen = rng.permutation(k)[:support]
    share = rng.dirichlet(np.ones(support))
    x = mean[chosen[rng.choice(support, size=n, p=share)]] + rng.standard_normal((n, latent))
    x, mean = x.astype(np.float32), mean.astype(np.float32)
    loglik = x @ mean.T
    loglik -= 0.5 * np.einsum("kd,kd->k", mean, mean)
    loglik -= (0.5 * np.einsum("nd,nd->n", x, x) + 0.5 * latent * np.log(2 * np.pi)).astype(np.float32)[:, None]
    return Problem(name, loglik)


def real(name: str, level: str, target: str) -> Problem:
    """A real table of tiny byte-level experts on text that none of them was trained on, at token or sequence level."""
    with np.load(TABLES / level / f"target_{target}.npz") as file:
        if level == "sequence":
            return Problem(name, file["loglik"], length=file["length"])
        return Problem(name, file["loglik"], sequence=file["sequence"])


SYNTHETIC = {
    "1e5x8": partial(gaussians, n=100_000, k=8, seed=1),
    "1e5x32": partial(gaussians, n=100_000, k=32, seed=2, latent=3),
    "1e6x16": partial(gaussians, n=1_000_000, k=16, seed=3),
    "1e6x64": partial(gaussians, n=1_000_000, k=64, seed=4, latent=3),
    "2e5x256": partial(gaussians, n=200_000, k=256, seed=5, latent=3),
}
REAL = {
    f"{target}-{level}": partial(real, level=level, target=target)
    for level in ("token", "sequence")
    for target in ("foldoc", "faq_perl", "fortunes")
}
OTHER = {
    "many": partial(clusters, n=100_000, k=5000, seed=6),
    "many-quick": partial(clusters, n=10_000, k=1000, seed=6),
    "assays": partial(classifiers, n=8000, k=600, seed=10),
    "10x2000": partial(few_rows, n=10, k=2000, seed=7),
    "200x2000": partial(few_rows, n=200, k=2000, seed=8),
    "10x5000": partial(few_rows, n=10, k=5000, seed=9),
    **{f"small-{seed}": partial(gaussians, n=1000, k=8, seed=100 + seed) for seed in range(20)},
}
BUILDERS: dict[str, Callable[..., Problem]] = {**SYNTHETIC, **REAL, **OTHER}


@lru_cache(maxsize=1)
def build(name: str) -> Problem:
    """Return the problem of that name; the last one is cached, because all contenders of a problem run one after the other."""
    return BUILDERS[name](name)


def missing(name: str) -> str | None:
    """Why a problem cannot be built here, or None."""
    if name in REAL and not TABLES.is_dir():
        return "the folder ../shared/data/tables with the real tables is not there"
    return None
