"""Find the differences between domains that the runs have tried: directions in which mixtures differ by more than rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix

# Spreads below a millionth of the tokens are treated as zero, for any number of digits: no loss is measured so precisely. A domain with a
# share of 0.001 % that varies by as much is above this; roundings of float32 and of six decimals are below.
_LEAST_SPREAD = 1e-6
# Decimals to which shares may be rounded; roundings to more decimals are below the least spread.
_DECIMALS = (2, 3, 4, 5)
# A rounded share in units of its rounding may differ this much from a whole number: float32 differs by at most 6e-3.
_WHOLE = 1e-2
# Rows examined for decimals (fewer if there are many domains), and how many units the sum of a row may differ from 1.
_ROWS, _CELLS, _OFF = 512, 4_000_000, 50
# The spread of rounding may exceed that of independent roundings by this factor.
_SLACK = 1.5
# Below this, the spread is the rounding of float64.
_FLOAT = 1e-12
# A domain belongs to the undetermined directions if these hold this part of the square of its coefficient.
_PART = 1e-4


@dataclass(frozen=True, eq=False)
class Identifiable:
    """What mixtures (R, K) determine.

    Attributes
    ----------
    rank : int
        1 plus the number of directions in which the mixtures differ by more than rounding.
    shares : (R, K) float64
        The mixtures without their spread in the other directions, in which laws would mistake rounding for an effect. Rows sum
        to 1; shares may be below 0 by a rounding.
    constant : dict of int to float
        Domains with the same share in all runs, and that share.
    linked : tuple of int
        Further domains that vary only together, so that their effects cannot be separated.
    """

    rank: int
    shares: Matrix
    constant: dict[int, float]
    linked: tuple[int, ...]


def identifiable(ratios: Matrix) -> Identifiable:
    """Return what mixtures (R, K) with rows that sum to 1 determine."""
    runs, domains = ratios.shape
    ratios = _without_dust(ratios)
    centre = ratios.mean(axis=0)
    u, s, vt = np.linalg.svd(ratios - centre, full_matrices=False)
    spread = s / math.sqrt(runs)
    grain = rounding(ratios)
    # The effect of roundings on v.w: each row is divided by its sum, so a rounding acts on all shares at once.
    acting = vt - (vt @ centre)[:, None]
    usual = _SLACK * grain / math.sqrt(12.0) * np.sqrt((acting**2).sum(axis=1))
    most = _SLACK * grain / 2.0 * np.abs(acting).sum(axis=1)
    # If a single run has a domain that all others lack, the spread is small, but the deviation of that run is not.
    rounded = (spread <= usual) & (np.abs(u * s).max(axis=0) <= most)
    rank = 1 + int((~rounded & (spread > _LEAST_SPREAD)).sum())
    # Runs with a single mixture say nothing about any domain; with as many directions as runs, none was taken for rounding.
    if rank in (1, domains, runs):
        return Identifiable(rank, ratios, {}, ())
    still = ratios.std(axis=0) <= max(_LEAST_SPREAD, _SLACK * grain / math.sqrt(12.0))
    still &= np.abs(ratios - centre).max(axis=0) <= max(_LEAST_SPREAD, _SLACK * grain / 2.0)
    constant = {int(k): float(centre[k]) for k in np.flatnonzero(still)}
    varying = np.flatnonzero(~still)
    # Constant domains add nothing to the rank: all shares sum to 1.
    lost = len(varying) - rank
    if lost <= 0 and np.ptp(ratios[:, still], axis=0).max(initial=0.0) <= _FLOAT:
        return Identifiable(rank, ratios, constant, ())
    shares = ratios.copy()
    linked = varying[:0]
    if lost > 0:
        # The part of a domain that no determined direction holds belongs to the lost directions.
        held = _first(ratios[:, varying], len(varying) - lost)
        linked = varying[1.0 - (held**2).sum(axis=0) > _PART]
        # Repeat without the other domains, so that their shares of 0 stay 0.
        held = _first(ratios[:, linked], len(linked) - lost)
        shares[:, linked] = shares[:, linked] @ held.T @ held
    shares[:, still] = centre[still]
    shares[:, varying] *= ((1.0 - centre[still].sum()) / shares[:, varying].sum(axis=1))[:, None]
    return Identifiable(rank, shares, constant, tuple(linked.tolist()))


def _without_dust(ratios: Matrix) -> Matrix:
    """Return the mixtures with domains made constant if all their shares are below rounding: squares of 1e-300 underflow."""
    dust = ratios.max(axis=0) <= _FLOAT
    if not ratios[:, dust].any():
        return ratios
    return np.where(dust, ratios.mean(axis=0), ratios)


def _first(x: Matrix, count: int) -> Matrix:
    """Return the right singular vectors (count, K) of the largest singular values; by QR, because there may be very many rows."""
    return np.asarray(np.linalg.svd(np.linalg.qr(x, mode="r"), full_matrices=False)[2][:count])


def rounding(ratios: Matrix) -> float:
    """Return the unit in which all shares were written, 0.01 to 1e-5; 0 if they have more decimals, or no common unit.

    Rows that did not sum to 1 and were divided by their sum are recognised: their shares are multiples of nearly that unit.
    """
    runs, domains = ratios.shape
    rows = min(_ROWS, runs, max(8, _CELLS // (2 * _OFF * domains)))
    some = ratios[np.linspace(0, runs - 1, rows).astype(int)]
    for decimals in _DECIMALS:
        units = 10**decimals
        # How many units the sum of K roundings, or the tolerance of a swarm, can differ from 1.
        off = min(max(5, domains // 2 + 1), units // 200, _OFF)
        around = np.arange(units - off, units + off + 1)[:, None]
        # Row by row: all at once would take gigabytes for tens of thousands of domains.
        if all((np.abs((counts := row * around) - np.rint(counts)) < _WHOLE).all(axis=1).any() for row in some):
            return 1.0 / units
    return 0.0
