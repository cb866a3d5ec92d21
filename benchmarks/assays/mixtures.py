"""The compared mixtures of K sources for one target: each takes what is known of the target's training and validation rows, and returns shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import mixfast
from mixfast import ExpertTable, Region
from mixfast.experts._temperature import fitted_temperature

Array = NDArray[np.float64]

KL = (0.003, 0.01, 0.03, 0.1, 0.3)
# A source is kept if the lower end of its 90 % bootstrap interval is above this share.
_KEPT = 1e-3


@dataclass(frozen=True)
class Rows:
    """Rows of the target: the probability of the second class under each of K sources, and the labels."""

    proba: Array  # (n, K)
    y: Array  # (n,) 0 or 1

    def table(self) -> ExpertTable:
        return ExpertTable.from_probabilities(self.proba, self.y.astype(int), domains=names(self.proba.shape[1]))

    def loss(self, w: Array) -> float:
        """Return the log-loss of the mixed probabilities."""
        return log_loss(self.y, self.proba @ w)


def log_loss(y: Array, proba: Array) -> float:
    """Return the mean log-loss, nats."""
    return float(-np.mean(np.log(np.where(y > 0.5, proba, 1.0 - proba))))


def names(count: int) -> list[str]:
    return [f"source_{k}" for k in range(count)]


def best_single(rows: Rows) -> Array:
    """Return the source with the lowest loss."""
    losses = [log_loss(rows.y, proba) for proba in rows.proba.T]
    return np.eye(len(losses))[int(np.argmin(losses))]


def paper_loop(rows: Rows) -> Array:
    """Return the mixture of the chemistry script of MixMin: 100 steps of exponentiated gradient."""
    return mixfast.solve(rows.table(), method="eg-paper-pcba", threads=1).mixture.weights


def exact(rows: Rows) -> Array:
    """Return the optimum."""
    return mixfast.solve(rows.table(), threads=1).mixture.weights


def with_kl(rows: Rows, validation: Rows) -> Array:
    """Return the optimum with a KL term to equal shares; its weight has the lowest loss on validation rows."""
    region = Region(names(rows.proba.shape[1]))
    found = [mixfast.solve(rows.table(), region, kl=kl, threads=1).mixture.weights for kl in KL]
    return min(found, key=validation.loss)


def without_doubtful(rows: Rows, seed: int) -> Array:
    """Return the optimum over the sources whose share is above 0 in nearly all bootstrap samples."""
    solution = mixfast.solve(rows.table(), threads=1)
    intervals = solution.bootstrap(seed=seed).intervals
    keep = np.array([low > _KEPT for low, _ in intervals.values()])
    if not keep.any():
        return best_single(rows)
    out = np.zeros(keep.size)
    out[keep] = exact(Rows(rows.proba[:, keep], rows.y))
    return out


def random_runs(sources: Array, runs: int, seed: int) -> Array:
    """Return random mixtures (runs, K) as RegMix's script samples them around the natural shares."""
    region = Region(names(sources.size), prior=dict(zip(names(sources.size), sources / sources.sum(), strict=True)))
    return mixfast.designs.design(region, runs, method="regmix", seed=seed).ratios


def regmix(mixtures: Array, losses: Array, natural: Array, seed: int) -> Array:
    """Return RegMix's mixture with the settings of the MixMin code: boosted trees on the runs, and the mean of the best 128 of 100 000 samples."""
    import lightgbm

    settings = {
        "objective": "regression", "learning_rate": 1e-2, "min_data_in_leaf": 1, "min_data_in_bin": 1, "seed": 42, "num_threads": 1,
        "verbosity": -1,
    }  # fmt: skip
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(losses))
    cut = 2 * len(losses) // 3
    data = lightgbm.Dataset(mixtures[order[:cut]], losses[order[:cut]])
    law = lightgbm.train(
        settings, data, 10, valid_sets=[data.create_valid(mixtures[order[cut:]], losses[order[cut:]])],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )  # fmt: skip
    samples = rng.dirichlet(natural, 100_000)
    best = np.argsort(law.predict(samples, num_threads=1), kind="stable")[:128]
    mean = samples[best].mean(axis=0)
    return mean / mean.sum()


def temperatures(rows: Rows) -> Array:
    """Return the temperature of each source with the lowest loss on these rows, as ``calibration="temperature"`` fits it."""
    place = rows.y.astype(np.intp)
    return np.array([fitted_temperature(np.column_stack([1.0 - proba, proba]), place) for proba in rows.proba.T])


def tempered(proba: Array, temperature: Array) -> Array:
    """Return probabilities (n, K) of the second class at the temperatures (K,)."""
    return 1.0 / (1.0 + np.exp(np.log1p(-proba) - np.log(proba)) ** (1.0 / temperature))


def shifts(rows: Rows) -> Array:
    """Return for each source the number added to its logits with the lowest loss: the mean probability is then the rate of positives."""
    low, high = np.full((2, rows.proba.shape[1]), [[-30.0], [30.0]])
    rate = rows.y.mean()
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = shifted(rows.proba, middle).mean(axis=0) > rate
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)


def shifted(proba: Array, shift: Array) -> Array:
    """Return probabilities (n, K) with the numbers (K,) added to their logits."""
    odds = np.exp(shift) * proba / (1.0 - proba)
    return odds / (1.0 + odds)
