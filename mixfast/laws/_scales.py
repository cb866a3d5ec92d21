"""Scales: what a metric is divided by, so that metrics of different units and sizes count alike in an objective."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either, setting
from mixfast._text.names import listing, one_of
from mixfast.laws._protocol import Predictor

SCALES = ("spread", "noise", "reference")
# What each scale divides by, in words.
_DIVIDES = {
    "spread": "its standard deviation over the runs",
    "noise": "its seed standard deviation",
    "reference": "its predicted value at the reference mixture",
}


def check_scale(scale: str | None) -> None:
    """Refuse a scale that does not exist."""
    if scale is not None and scale not in SCALES:
        raise ValueError(f"scale is {one_of(scale, SCALES)}")


def sizes(scale: str, law: Predictor, at: Vector | None) -> Vector:
    """Return what the scale divides each metric by (J,), NaN where that is unknown or 0.

    Parameters
    ----------
    scale : {"spread", "noise", "reference"}
    law : fitted law
    at : (J,) or None
        Metrics that the law predicts at the reference mixture, which "reference" needs.
    """
    if scale == "reference":
        if at is None:
            raise ValueError(f"{setting('scale', scale)} needs a reference mixture")
        found = np.abs(np.asarray(at, dtype=np.float64))
    else:
        known = getattr(law, scale, {})
        found = np.array([float(known.get(name, math.nan)) for name in law.metrics])
    return np.where(np.isfinite(found) & (found > 0.0), found, math.nan)


def factors(scale: str, law: Predictor, used: list[int], at: Vector | None) -> Vector:
    """Return one factor (J,) for each of the metrics `used`, in proportion to 1 / its size and at most 1; 0 for other metrics.

    Raises
    ------
    ValueError
        If a size is unknown or 0; the message names the metrics.
    """
    size = sizes(scale, law, at)
    if unknown := [law.metrics[j] for j in used if math.isnan(size[j])]:
        known = [law.metrics[j] for j in np.flatnonzero(~np.isnan(size))]
        how = (
            "repeat a mixture with another seed in the runs and fit again, choose another scale, or leave these metrics out of the objective"
            if scale == "noise"
            else "choose another scale, or leave these metrics out of the objective"
        )
        some = f" (known: {listing(known)})" if known else ""
        raise ValueError(
            f"{setting('scale', scale)} divides each metric by {_DIVIDES[scale]}, which is unknown or 0 for {listing(unknown)}{some}: {how}"
        )
    out = np.zeros(len(law.metrics))
    own = size[used]
    out[used] = own.min() / own  # 1 / own would overflow for deviations of 1e-310
    return out


def standardised(law: Predictor) -> Vector:
    """Return weights (J,) that sum to 1, in proportion to 1 / standard deviation over the runs; metrics without one count 0."""
    used = np.flatnonzero(~np.isnan(sizes("spread", law, None))).tolist()
    if not used:
        what = either("objective 'standardised'", "--objective standardised")
        raise ValueError(
            f"{what} divides each metric by its standard deviation over the runs, but this law has no such standard "
            "deviations above 0: fit the law again, or give weights"
        )
    weight = factors("spread", law, used, None)
    return weight / math.fsum(weight)
