"""Inner loops of sampling mixtures, compiled by Numba. Private: `_candidates` imports this module when it samples.

Shares are integers here, in units of 2^-52. Integers add without rounding, so a row keeps its sum
through any number of steps. Converted to float64, it sums to exactly 1 in every order of summation.
"""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.compiled import compiled

ONE = 1 << 52
_UNIT = 1.0 / ONE
_UNIFORM = 1.0 / (1 << 53)


@compiled()
def _random(state):  # type: ignore[no-untyped-def]
    """Next 64 random bits of xoshiro256++ (Blackman and Vigna 2021)."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    s = a + d
    out = ((s << np.uint64(23)) | (s >> np.uint64(41))) + a
    t = b << np.uint64(17)
    c ^= a
    d ^= b
    state[1] = b ^ c
    state[0] = a ^ d
    state[2] = c ^ t
    state[3] = (d << np.uint64(45)) | (d >> np.uint64(19))
    return out


@compiled()
def walk(low, high, start, partners, order, burn_in, sweeps, state, out):  # type: ignore[no-untyped-def]
    """Fill `out` with a Gibbs walk: each step redraws two shares uniformly, with their sum fixed and within the limits.

    One sweep redraws each domain of `order` once, together with one from `partners`, a table with a power of 2 entries.
    `low`, `high` and `start` are in units. The choice of the pair does not depend on the shares, so each step keeps the
    uniform distribution on the region.
    """
    now = start.copy()
    pick = np.uint64(partners.size - 1)
    for row in range(out.shape[0]):
        for _ in range(burn_in if row == 0 else sweeps):
            for place in range(order.size):
                bits = _random(state)
                i = order[place]
                # The low bits choose the partner and the upper 53 the share; with at most 2048 partners they do not overlap.
                j = partners[np.int64(bits & pick)]
                if i == j:
                    continue
                both = now[i] + now[j]
                least = max(low[i], both - high[j])
                width = min(high[i], both - low[j]) - least
                share = least + min(np.int64(np.float64(bits >> np.uint64(11)) * _UNIFORM * (width + 1)), width)
                now[i] = share
                now[j] = both - share
        for k in range(now.size):
            out[row, k] = now[k] * _UNIT


@compiled()
def settle(rows, low, high, give):  # type: ignore[no-untyped-def]
    """Replace each row by the nearest one within the limits in the metric ``sum (w - x)^2 / give``, summing to 1.

    Rows within the limits are only rounded to units; the largest entry with room absorbs the
    rounding. `low` and `high` are in units; `ONE` must lie between their sums.
    """
    width = rows.shape[1]
    least, most = low * _UNIT, high * _UNIT
    units = np.empty(width, np.int64)
    for r in range(rows.shape[0]):
        row = rows[r]
        total = 0.0
        inside = True
        for k in range(width):
            total += row[k]
            inside &= (row[k] >= least[k]) & (row[k] <= most[k])
        if not (inside and abs(total - 1.0) < 1e-9):
            _fill(row, least, most, give)
        missing = ONE
        for k in range(width):
            units[k] = min(max(np.int64(row[k] * ONE + 0.5), low[k]), high[k])
            missing -= units[k]
        while missing != 0:
            best = -1
            for k in range(width):
                room = high[k] - units[k] if missing > 0 else units[k] - low[k]
                if room > 0 and (best < 0 or units[k] > units[best]):
                    best = k
            if best < 0:
                break
            room = high[best] - units[best] if missing > 0 else units[best] - low[best]
            step = min(abs(missing), room)
            units[best] += step if missing > 0 else -step
            missing -= step if missing > 0 else -step
        for k in range(width):
            row[k] = units[k] * _UNIT


@compiled()
def _fill(row, low, high, give):  # type: ignore[no-untyped-def]
    """Shift `row` by a multiple of `give` and clip it to the limits, so that it sums to 1, by Newton steps within a bracket."""
    left, right = np.inf, -np.inf
    for k in range(row.size):
        left = min(left, (low[k] - row[k]) / give[k])
        right = max(right, (high[k] - row[k]) / give[k])
    shift = min(max(0.0, left), right)
    for _ in range(200):
        total = slope = 0.0
        for k in range(row.size):
            share = row[k] + shift * give[k]
            if share <= low[k]:
                total += low[k]
            elif share >= high[k]:
                total += high[k]
            else:
                total += share
                slope += give[k]
        if abs(total - 1.0) < 1e-15:
            break
        if total > 1.0:
            right = shift
        else:
            left = shift
        following = shift - (total - 1.0) / slope if slope > 0.0 else np.inf
        if not left < following < right:
            following = 0.5 * (left + right)
            if not left < following < right:
                break
        shift = following
    for k in range(row.size):
        row[k] = min(max(row[k] + shift * give[k], low[k]), high[k])
