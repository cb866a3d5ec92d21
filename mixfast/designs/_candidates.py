"""Candidate mixtures: sample within caps and floors without rejection."""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.optional import needed
from mixfast.errors import BackendError, InfeasibleError, RegionError

if TYPE_CHECKING:
    from mixfast.region import Region

Units = NDArray[np.int64]

# The share 1 in integer units, see `_candidate_loops`.
_ONE = 1 << 52

# Tolerance of a region for the sums of its caps and floors.
_ROUNDING = 1e-9

# Sweeps between two rows of a walk. A sweep redraws every share twice on average, and each time the share keeps about half of its
# correlation, so 1/64 of it is left after three sweeps.
_SWEEPS = 3
_BURN_IN = 40

# Entries of the table of partners: enough to choose the smallest range about in proportion to its size; at most 2048, see `walk`.
_PARTNERS = 2048


def uniform(low: ArrayLike, high: ArrayLike, count: int, *, seed: int = 0) -> Matrix:
    """Sample mixtures (count, K) uniformly from ``{low <= w <= high, sum w = 1}``, for floors and caps (K,).

    A Gibbs walk from the middle of the limits: every step redraws two shares. Its distribution is uniform after a
    burn-in of 40 sweeps. Neighbouring rows are three sweeps apart and nearly independent. The cost is O(K) for each row,
    however tight the limits are.

    Shares are multiples of 2^-52. Each row sums to exactly 1 in every order of summation, and satisfies the limits exactly.
    Limits less than 2^-52 apart, or whose sum is 1 only up to rounding, are satisfied up to rounding.

    Raises
    ------
    InfeasibleError
        If no mixture lies within the limits.
    """
    least, most = _units(low, high)
    lowest, highest = sum(least.tolist()), min(sum(most.tolist()), 1 << 62)
    reach = np.minimum(most, _ONE - (lowest - least)) - np.maximum(least, _ONE - (highest - most))
    free = np.flatnonzero(reach > 0)
    start = _middle(least, most)
    out = np.empty((count, least.size))
    if count == 0 or free.size < 2:
        out[:] = start / _ONE
        return out
    # Partners are chosen in proportion to their ranges: with equal chances, shares with wide ranges would change too rarely.
    size = max(_PARTNERS, 1 << int(free.size - 1).bit_length())
    widths = reach[free].astype(np.float64)
    chance = 0.5 * widths / widths.sum() + 0.5 / free.size
    ends = np.rint(np.cumsum(chance) * size).astype(np.int64)
    partners = np.repeat(free, np.diff(ends, prepend=0))
    state = np.random.SeedSequence(seed).generate_state(4, np.uint64)
    _loops().walk(least, most, start, partners, free, _BURN_IN, _SWEEPS, state, out)
    return out


def around(centre: ArrayLike, strength: float, low: ArrayLike, high: ArrayLike, count: int, *, seed: int = 0) -> Matrix:
    """Sample independent mixtures (count, K) from ``{low <= w <= high, sum w = 1}`` around a centre (K,).

    Samples are Dirichlet(strength * centre). A strength of 1 is RegMix's simulation; smaller strengths give sparser mixtures, larger ones
    mixtures nearer to the centre (standard deviation of a share c: ``sqrt(c (1 - c) / (strength + 1))``).

    The distribution is not the Dirichlet distribution conditioned on the limits, which would need rejection. Samples outside the limits
    are moved to the nearest mixture inside, in the metric ``sum (w - x)^2 / centre``: what a cap takes away
    goes to the others in proportion to their shares of the centre. They then lie on the boundary, as optima do if caps are tight.
    Sums and limits are exact as in `uniform`.
    """
    least, most = _units(low, high)
    shares = np.asarray(centre, dtype=np.float64)
    if shares.shape != least.shape or not np.all(np.isfinite(shares)) or np.any(shares < 0.0) or not shares.any():
        raise RegionError(f"centre must hold {least.size} finite shares >= 0, not all 0, got {shares.tolist()}")
    if not 0.0 < strength < np.inf:
        raise RegionError(f"strength is {strength}, expected a finite number above 0")
    shares = shares / shares.sum()
    drawn = shares > 0.0
    out = np.zeros((count, least.size))
    out[:, drawn] = np.random.default_rng(seed).dirichlet(strength * shares[drawn], count)
    # Domains that are absent from the centre get only what the others cannot take.
    outside = ~drawn
    if sum(most[drawn].tolist()) + sum(least[outside].tolist()) >= _ONE:
        most[outside] = least[outside]
    _loops().settle(out, least, most, np.where(drawn, shares, np.finfo(float).eps))
    return out


def sample(
    region: Region, count: int, *, centre: ArrayLike | None = None, strength: float = 1.0, seed: int = 0
) -> Matrix:
    """Sample mixtures (count, K) of a region: `around` a centre, or `uniform` without one.

    Rows that violate a limit on a group are projected, with one call of `Region.project` each
    (microseconds a row). Such rows lie on the boundary. Caps and floors hold
    exactly; group limits and the sums of projected rows hold up to a few roundings.
    """
    if centre is None:
        out = uniform(region.floor, region.cap, count, seed=seed)
    else:
        out = around(centre, strength, region.floor, region.cap, count, seed=seed)
    if region.bounds:
        activity = out @ region.bound_rows.T
        outside = np.flatnonzero(((activity < region.bound_lower) | (activity > region.bound_upper)).any(axis=1))
        for row in outside:
            out[row] = region.project(out[row])
    return out


def _units(low: ArrayLike, high: ArrayLike) -> tuple[Units, Units]:
    """Return limits in units of 2^-52, rounded inwards.

    Raises
    ------
    RegionError, InfeasibleError
        If the arrays are malformed, or no mixture lies within the limits.
    """
    floor, cap = np.asarray(low, dtype=np.float64), np.minimum(np.asarray(high, dtype=np.float64), 1.0)
    if floor.ndim != 1 or floor.shape != cap.shape or floor.size == 0:
        raise RegionError(
            f"low and high must be two arrays of one length, got the shapes {floor.shape} and {cap.shape}"
        )
    if not (np.all(floor >= 0.0) and np.all(floor <= cap)):
        wrong = np.flatnonzero(~((floor >= 0.0) & (floor <= cap)))
        raise InfeasibleError(
            f"low and high must satisfy 0 <= low <= high; they do not at the positions {wrong.tolist()}"
        )
    lowest, highest = math.fsum(floor), math.fsum(cap)
    if lowest > 1.0 + _ROUNDING or highest < 1.0 - _ROUNDING:
        raise InfeasibleError(
            f"low sums to {lowest:.15g} and high to {highest:.15g}, expected sums of at most 1 and at least 1"
        )
    least, most = np.ceil(floor * _ONE).astype(np.int64), np.floor(cap * _ONE).astype(np.int64)
    # A limit between two units, or sums that miss 1 by rounding: change the largest entry.
    most = np.maximum(least, most)
    least[least.argmax()] -= max(0, sum(least.tolist()) - _ONE)
    most[most.argmax()] += max(0, _ONE - sum(most.tolist()))
    return least, most


def _middle(low: Units, high: Units) -> Units:
    """Return the point at the same relative position between all limits that sums to 1, in units."""
    room = high - low
    spare = _ONE - sum(low.tolist())
    out = low + np.minimum(np.floor(room * (spare / max(sum(room.tolist()), 1))).astype(np.int64), room)
    missing = _ONE - sum(out.tolist())
    for k in np.argsort(-room, kind="stable"):
        step = min(max(missing, int(low[k] - out[k])), int(high[k] - out[k]))
        out[k] += step
        missing -= step
    return out


def _loops() -> ModuleType:
    """Import the compiled loops; raise `BackendError` if Numba is missing."""
    with needed("sampling within limits", "Numba", "mixfast[laws]", BackendError):
        from mixfast.designs import _candidate_loops
    return _candidate_loops
