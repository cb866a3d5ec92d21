"""Reasons to doubt a mixture because the target run reads its domains more or less often than the runs did."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.mixture import Mixture
from mixfast.region import Region

# Epochs are beyond those of the runs if they exceed the largest number by this fraction, and rates differ if they do by this one.
_BEYOND, _APART = 0.05, 0.25
# Factors that differ by less than this fraction are printed once, for all domains; and the most domains named with their epochs.
_SAME, _NAMED = 0.01, 5
# Domains with a smaller share, or read less often than this, do not count.
_SHARE, _ONCE = 1e-3, 0.1


def doubts_of_epochs(law: Any, region: Region, mixture: Mixture) -> list[str]:
    """Compare the epochs of the mixture in the target run with those of the runs, as far as both are known."""
    w, names = mixture.weights, mixture.domains
    rate = _rate(law, region)
    if rate is None:
        return []
    epochs, found = np.where(w > 0.0, w * rate, 0.0), []
    counted = (w > _SHARE) & (epochs > _ONCE)
    most = getattr(law, "most_epochs", None)
    if most is not None and (beyond := np.flatnonzero(counted & (epochs > (1.0 + _BEYOND) * most))).size:
        order = beyond[np.argsort(-epochs[beyond], kind="stable")]
        named = listing(
            (f"{names[k]} {epochs[k]:.3g} epochs (runs: at most {most[k]:.3g})" for k in order), limit=_NAMED
        )
        found.append(f"the target run reads domains more often than any run did, where the law extrapolates: {named}.")
    if (runs := getattr(law, "run_rates", None)) is not None and getattr(law, "uses_epochs", False):
        often, rarely = rate / runs[1], rate / runs[0]
        # A share that the target run hardly reads counts too if the runs read it often.
        read = (w > _SHARE) & (np.maximum(epochs, w * np.where(np.isfinite(runs[0]), runs[0], 0.0)) > _ONCE)
        apart = np.flatnonzero(read & ((often > 1.0 + _APART) | (rarely < 1.0 / (1.0 + _APART))))
        if apart.size:
            times = np.where(often > 1.0, often, rarely)
            order = apart[np.argsort(-np.abs(np.log(times[apart])), kind="stable")]
            named = listing(f"{names[k]} {times[k]:.3g} times as often" for k in order)
            if apart.size > 1 and np.ptp(times[apart]) <= _SAME * times[apart].max():
                named = f"{listing(names[k] for k in order)} {times[order[0]]:.3g} times as often"
            found.append(
                "the pools of the runs do not match the target run, so the law sees the same share at another number of epochs. The target "
                f"run reads {named}. Pools that match are planned by {either('design(..., proxy_budget=)', '`mixfast design --proxy-budget N`')}."
            )
    return found


def _rate(law: Any, region: Region) -> Vector | None:
    """Return the epochs of the target run for each unit of share (K,); None if its tokens are unknown."""
    if region.available is not None and region.target_tokens is not None:
        tokens = region.available.astype(np.float64)
        return np.where(tokens > 0.0, region.target_tokens / np.maximum(tokens, 1.0), 0.0)
    rate = getattr(law, "rate", None) if getattr(law, "uses_epochs", False) else None
    return None if rate is None else np.where(np.isfinite(rate), rate, 0.0)
