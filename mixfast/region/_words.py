"""A region's limits in words, for the reports of answers."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import listing
from mixfast.region._region import Region

# A share this near to its cap stands at it.
_AT = 1e-6


def cap_in_words(region: Region, weights: Vector) -> str:
    """Return a cap that was given for all domains, or for all but a few, and which shares (K,) stand at it; empty without one."""
    cap = region.cap_for_all
    if cap is None:
        return ""
    same = np.abs(region.cap_given - cap) <= 1e-12
    who = "every domain" if same.all() else f"{int(same.sum())} of {same.size} domains"
    at = [region.domains[k] for k in np.flatnonzero(same & (weights >= cap - _AT))]
    return f"cap {100.0 * cap:.4g}% for {who}; at it: {listing(at)}"
