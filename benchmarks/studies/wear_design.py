"""When a design can tell the wear of a domain from its value: python -m benchmarks.studies wear_design.

A metric is `b - sum_k a_k v(E_k; R_k)` plus noise: v counts new and repeated epochs E as Muennighoff et al. do (arXiv:2305.16264), with a true R of
15.4 repeats. For random domains, budgets, limits on epochs and numbers of runs of ``design``, the Fisher information of (b, a, 1/R) gives the t
statistic of each domain's wear, without any sampling. A spread is the standard deviation of the logarithm of a domain's epochs over the runs that read it more than
once. The printed table is the reason for the rule in `mixfast/designs/_repetition.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast import Region
from mixfast.designs import design
from mixfast.errors import InfeasibleError

Array = NDArray[np.float64]

WEAR = 1.0 / 15.4
BUDGET = 10**9
# Standard deviation of a domain's effect over the runs, in units of the noise.
EFFECTS = (3.0, 10.0)
SPREADS = (0.4, 0.5, 0.6, 0.7)
REPEATED_RUNS = 5


def value(epochs: Array, wear: float = WEAR) -> tuple[Array, Array]:
    """Return what epochs are worth, in epochs of new tokens, and its derivative in the wear 1/R."""
    repeats = np.maximum(epochs - 1.0, 0.0)
    left = np.exp(-repeats * wear)
    return np.minimum(epochs, 1.0) + (1.0 - left) / wear, repeats * left / wear - (1.0 - left) / wear**2


def told(epochs: Array, effect: float) -> Array:
    """Return the t statistic of each domain's wear (K,) from runs with these epochs (R, K); nan for domains that are never repeated."""
    worth, slope = value(epochs)
    scale = worth.std(axis=0)
    height = np.divide(effect, scale, out=np.zeros_like(scale), where=scale > 0.0)
    repeated = (epochs > 1.0).any(axis=0)
    jacobian = np.concatenate([np.ones((len(epochs), 1)), worth, (height * slope)[:, repeated]], axis=1)
    if len(epochs) <= jacobian.shape[1]:
        return np.full(repeated.size, np.nan)
    size = np.linalg.norm(jacobian, axis=0)
    size = np.where(size > 0.0, size, 1.0)
    covariance = np.linalg.pinv((jacobian / size).T @ (jacobian / size), rcond=1e-10)
    error = np.sqrt(np.diag(covariance)) / size
    out = np.full(repeated.size, np.nan)
    out[repeated] = WEAR / error[1 + repeated.size :]
    return out


def world(rng: np.random.Generator) -> Array | None:
    """Return the epochs (R, K) of a random design; None if its tokens do not suffice."""
    domains, runs = int(rng.choice([4, 8, 16])), int(rng.choice([16, 32, 64, 128]))
    natural = rng.dirichlet(np.full(domains, 0.7)) + 0.002
    tokens = {f"d{k}": max(1, int(BUDGET * share)) for k, share in enumerate(natural / natural.sum())}
    target = int(BUDGET * 10 ** rng.uniform(-0.5, 1.0))
    try:
        region = Region.from_tokens(tokens, target, max_epochs=float(rng.choice([2, 4, 8, 16, 32, np.inf])))
    except InfeasibleError:
        return None
    ratios = design(region, runs, seed=int(rng.integers(2**31))).ratios
    return np.asarray(ratios * (target / np.array(list(tokens.values()))))


def run(worlds: int = 200, seed: int = 0) -> None:
    """Print how often the wear is told, above and below each spread."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(worlds):
        epochs = world(rng)
        if epochs is None:
            continue
        count = (epochs > 1.0).sum(axis=0)
        spread = [np.log(own[own > 1.0]).std() if (own > 1.0).any() else 0.0 for own in epochs.T]
        found = [told(epochs, effect) for effect in EFFECTS]
        rows += [row for row in zip(count, spread, *found, strict=True) if np.isfinite(row[2])]
    table = np.array(rows, dtype=float)
    print(f"{len(table)} domains that some run repeats; true wear 15.4 repeats")
    print("effect/noise  spread >=  told (t >= 2): above  below   median t: above  below")
    for place, effect in enumerate(EFFECTS):
        for spread in SPREADS:
            above = (table[:, 0] >= REPEATED_RUNS) & (table[:, 1] >= spread)
            t = table[:, 2 + place]
            shares = [100.0 * (t[part] >= 2.0).mean() for part in (above, ~above)]
            medians = [float(np.median(t[part])) for part in (above, ~above)]
            print(
                f"{effect:12g}  {spread:9g}  {shares[0]:20.0f}%  {shares[1]:4.0f}%  {medians[0]:16.2f}  {medians[1]:5.2f}"
            )
