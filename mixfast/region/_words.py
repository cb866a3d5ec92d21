"""Write the limits of a region in words, for reports."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import listing
from mixfast.region._region import Region

# A share this close to its cap counts as at the cap.
_AT = 1e-6


def cap_in_words(region: Region, weights: Vector) -> str:
    """Return the cap that was given for all or most domains, and the domains with shares (K,) at it; empty if there is none."""
    cap = region.cap_for_all
    if cap is None:
        return ""
    same = np.abs(region.cap_given - cap) <= 1e-12
    who = "every domain" if same.all() else f"{int(same.sum())} of {same.size} domains"
    at = [region.domains[k] for k in np.flatnonzero(same & (weights >= cap - _AT))]
    return f"cap {100.0 * cap:.4g}% for {who}; at it: {listing(at)}"
