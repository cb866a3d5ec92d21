"""Which differences between domains the runs have tried: directions in which mixtures differ by more than their rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix

# A spread below a millionth of the tokens is none, however many digits are written: no loss is measured so finely. Domains of
# a share of 0.001 % that vary by as much are above it; float32 and six decimals are below.
_LEAST_SPREAD = 1e-6
# Roundings to more decimals are below that anyway.
_DECIMALS = (2, 3, 4, 5)
# How far from a whole number a rounded share may be that is counted in units of its rounding: float32 is 6e-3 off at worst.
_WHOLE = 1e-2
# Rows that are looked at for their decimals, fewer where they are wide, and units that they may miss a sum of 1 by.
_ROWS, _CELLS, _OFF = 512, 4_000_000, 50
# How much more than expected of independent roundings.
_SLACK = 1.5
# Below this, the spread is the rounding of float64.
_FLOAT = 1e-12
# A domain has part in what is not determined where that has so much of its coefficient's square.
_PART = 1e-4


@dataclass(frozen=True, eq=False)
class Identifiable:
    """What mixtures (R, K) tell apart.

    Attributes
    ----------
    rank : int
        1 and the number of directions in which the mixtures differ by more than rounding.
    shares : (R, K) float64
        The mixtures without their spread in the other directions, in which laws would take rounding for an effect. Rows sum
        to 1; shares may be below 0, by no more than rounding.
    constant : dict of int to float
        Domains with one share in all runs, and that share.
    linked : tuple of int
        Further domains whose effects cannot be told apart: they vary only together.
    """

    rank: int
    shares: Matrix
    constant: dict[int, float]
    linked: tuple[int, ...]


def identifiable(ratios: Matrix) -> Identifiable:
    """Return what mixtures (R, K), whose rows sum to 1, tell apart."""
    runs, domains = ratios.shape
    centre = ratios.mean(axis=0)
    u, s, vt = np.linalg.svd(ratios - centre, full_matrices=False)
    spread = s / math.sqrt(runs)
    grain = rounding(ratios)
    # What roundings of g make of v.w: a row is divided by its sum, so they also act on all shares at once.
    acting = vt - (vt @ centre)[:, None]
    usual = _SLACK * grain / math.sqrt(12.0) * np.sqrt((acting**2).sum(axis=1))
    most = _SLACK * grain / 2.0 * np.abs(acting).sum(axis=1)
    # A single run may have a domain that all others lack: then the spread is small, but that run's departure is not.
    rounded = (spread <= usual) & (np.abs(u * s).max(axis=0) <= most)
    rank = 1 + int((~rounded & (spread > _LEAST_SPREAD)).sum())
    # Runs of a single mixture say nothing of any domain, and with as many directions as runs nothing was taken for rounding.
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
        null = _last(ratios[:, varying], lost)
        linked = varying[(null**2).sum(axis=0) > _PART]
        # Once more without the others, whose shares of 0 are to stay so.
        null = _last(ratios[:, linked], lost)
        shares[:, linked] -= shares[:, linked] @ null.T @ null
    shares[:, still] = centre[still]
    shares[:, varying] *= ((1.0 - centre[still].sum()) / shares[:, varying].sum(axis=1))[:, None]
    return Identifiable(rank, shares, constant, tuple(linked.tolist()))


def _last(x: Matrix, count: int) -> Matrix:
    """The right singular vectors (count, K) of the smallest singular values; by way of QR, for there may be very many rows."""
    return np.asarray(np.linalg.svd(np.linalg.qr(x, mode="r"))[2][-count:])


def rounding(ratios: Matrix) -> float:
    """Return the unit in which all shares were written, 0.01 to 1e-5; 0 where they have more decimals, or none in common.

    Rows that missed a sum of 1, and were divided by it, are known by their shares being whole multiples of nearly that unit.
    """
    runs, domains = ratios.shape
    rows = min(_ROWS, runs, max(8, _CELLS // (2 * _OFF * domains)))
    some = ratios[np.linspace(0, runs - 1, rows).astype(int)]
    for decimals in _DECIMALS:
        units = 10**decimals
        # By how many units the sum of K roundings, or of what a swarm allows, can miss.
        off = min(max(5, domains // 2 + 1), units // 200, _OFF)
        counts = some[:, None, :] * np.arange(units - off, units + off + 1)[None, :, None]
        if (np.abs(counts - np.rint(counts)) < _WHOLE).all(axis=2).any(axis=1).all():
            return 1.0 / units
    return 0.0
