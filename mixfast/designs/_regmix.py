"""RegMix's sampler, reproduced bit by bit: Dirichlet samples around a tempered prior, filtered, with small shares set to 0 and rounded."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import setting
from mixfast._text.names import shown
from mixfast._text.progress import long_work
from mixfast.errors import InfeasibleError, RegionError
from mixfast.region import Region

# Each candidate is one of this many samples; their strengths are evenly spaced on a log scale.
STRENGTHS = 15

# Rows are the same mixture if the sum of their absolute differences is at most this.
_SAME = 1e-5

# Candidates sampled at a time, a few megabytes.
_BLOCK = 1024

# Shares may violate a limit of the region by this much, from rounding.
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class RegMix:
    """Settings of RegMix's sampler; the defaults are those of its code.

    Attributes
    ----------
    temper : float
        Exponent of the prior, above 0 and at most 1; 1 leaves the prior as it is. Default 0.5.
    strength : (float, float)
        Smallest and largest strength of the Dirichlet distribution. Default 0.1 and 5: from single domains to near the prior.
    usage : float
        Samples with a share above ``usage`` times its prior share are rejected. Default 15.
    minimum : float
        Smaller shares become 0, others are rounded to multiples of it. Default 2e-4; the published runs used 1e-3.
    multiplier : int
        Candidates sampled for each run. Default 100.
    """

    temper: float = 0.5
    strength: tuple[float, float] = (0.1, 5.0)
    usage: float = 15.0
    minimum: float = 2e-4
    multiplier: int = 100

    def __post_init__(self) -> None:
        low, high = self.strength
        for what, value, fine, expected in (
            ("temper (temperature)", self.temper, 0.0 < self.temper <= 1.0, "above 0 and at most 1"),
            ("strength", self.strength, 0.0 < low <= high < np.inf, "two numbers above 0, the smaller first"),
            ("usage", self.usage, self.usage > 0.0, "a number above 0"),
            ("minimum", self.minimum, 0.0 < self.minimum < 1.0, "a share above 0 and below 1"),
            ("multiplier", self.multiplier, self.multiplier >= 1, "a whole number of at least 1"),
        ):
            if not fine:
                raise RegionError(f"the {what} of RegMix's sampler is {shown(value)}, expected {expected}")


@long_work("sampling mixtures")
def regmix(region: Region, runs: int, settings: RegMix, *, seed: int) -> Matrix:
    """Sample mixtures (runs, K) as RegMix does; rows sum to 1 only to within a few multiples of the minimum.

    Without limits, the result is that of the original code, bit by bit, with the same seed for both of its generators. Caps
    reject samples; caps, floors and group limits of the region reject candidates at the end.

    Raises
    ------
    InfeasibleError
        If too few different candidates satisfy the limits.
    """
    # The two generators of the original code; NumPy and Python guarantee that their streams do not change.
    numbers, choices = np.random.RandomState(seed), random.Random(seed)
    open_ = np.flatnonzero(region.prior > 0.0)
    prior = region.prior[open_]
    limit = np.minimum(np.minimum(settings.usage * prior, 1.0), region.cap[open_])
    tempered = prior**settings.temper if settings.temper < 1.0 else prior
    tempered = tempered / tempered.sum()
    low, high = np.log10(settings.strength).tolist()
    # With a single strength the original code makes one sample, without a choice.
    strengths = np.logspace(low, high, STRENGTHS if low < high else 1)
    total = runs * settings.multiplier
    kept = []
    for start in range(0, total, _BLOCK):
        count = min(_BLOCK, total - start)
        # Gamma numbers in the order, and with the summation, of that many single Dirichlet samples.
        shape = np.broadcast_to(strengths[:, None] * tempered, (count, len(strengths), open_.size))
        drawn = numbers.standard_gamma(shape)
        pick = [choices.choice(range(STRENGTHS)) if low < high else 0 for _ in range(count)]
        rows = drawn[np.arange(count), pick]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = rows * (1.0 / rows.cumsum(axis=1)[:, -1:])
        rows = rows[(rows <= limit).all(axis=1)]
        rows = np.where(rows < settings.minimum, 0.0, rows)
        rows = rows / rows.sum(axis=1, keepdims=True)
        rows = np.round(rows / settings.minimum) * settings.minimum
        kept.append(rows)
    out = np.zeros((sum(map(len, kept)), region.n_domains))
    out[:, open_] = np.concatenate(kept)
    out = _distinct(out[within(region, out)])
    if len(out) < runs:
        raise InfeasibleError(
            f"RegMix's sampler found {len(out)} different mixtures within the limits, expected {runs}, out of {total} "
            f"candidates; raise the multiplier, loosen the limits, or use {setting('method', 'cover')}, which rejects nothing"
        )
    return out[choices.sample(range(len(out)), runs)]


def within(region: Region, rows: Matrix) -> NDArray[np.bool_]:
    """Return which rows (M, K), divided by their sums, lie in the region; caps of 1 and floors of 0 are no limits."""
    sums = rows.sum(axis=1, keepdims=True)
    shares = rows / np.where(sums > 0.0, sums, 1.0)
    fine = (sums[:, 0] > 0.0) & (shares <= region.cap + _SLACK).all(axis=1)
    fine &= (shares >= region.floor - _SLACK).all(axis=1)
    # The undivided shares must satisfy the caps, too: they are trained on.
    fine &= ((rows <= region.cap + _SLACK) | (region.cap >= 1.0)).all(axis=1)
    if region.bounds:
        activity = shares @ region.bound_rows.T
        fine &= (activity >= region.bound_lower - _SLACK).all(axis=1)
        fine &= (activity <= region.bound_upper + _SLACK).all(axis=1)
    return np.asarray(fine)


def _distinct(rows: Matrix) -> Matrix:
    """Sort rows, and keep each that differs from the previous row kept."""
    rows = rows[np.lexsort(rows.T)]
    kept: list[int] = []
    for index in range(len(rows)):
        if not kept or np.abs(rows[index] - rows[kept[-1]]).sum() > _SAME:
            kept.append(index)
    return rows[kept]
