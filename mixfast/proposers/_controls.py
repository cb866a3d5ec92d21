"""Cheap baselines under the same law: what a proposal should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast.baselines import controls
from mixfast.laws import Target
from mixfast.mixture import Mixture
from mixfast.region import Region

# Mixtures this close in total variation are the same; limits violated by less are kept.
_SAME, _KEPT = 1e-9, 1e-9
# Gains that are not larger are rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Control:
    """A baseline of `mixfast.baselines`, and what the law predicts for it.

    Attributes
    ----------
    name : str
        "natural", "temperature 3.33", "uniform", "UniMax", or "nearest to uniform" for limits without token counts; equal ones are one,
        "uniform = UniMax".
    mixture : Mixture
    predicted : dict of str to float
        The predicted value of each metric.
    gain : float
        Objective at the control minus the objective at the proposal, without the KL term: positive if the proposal is better.
    violation : float
        Largest violation of a limit of the region, as a share; 0 if the control is allowed.
    is_prior : bool
        Whether the control is the prior of the region.
    """

    name: str
    mixture: Mixture
    predicted: dict[str, float]
    gain: float
    violation: float
    is_prior: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the control as plain numbers and strings, for JSON."""
        return {
            "name": self.name,
            "mixture": self.mixture.as_dict(),
            "predicted": self.predicted,
            "gain": self.gain,
            "violation": self.violation,
        }


def compare_controls(region: Region, law: Any, target: Target, value: float) -> tuple[Control, ...]:
    """Evaluate the baselines of a region, in the law's order of domains; `value` is the objective of the proposal without the KL term."""
    mixtures = controls(region)
    if not mixtures:
        return ()
    expected = np.asarray(law.predict(np.stack([each.weights for each in mixtures.values()])), dtype=np.float64)
    prior = Mixture(region.domains, region.prior)
    return tuple(
        Control(
            name,
            mixture,
            dict(zip(target.metrics, row.tolist(), strict=True)),
            float(score) - value,
            float(violated if (violated := region.violation(mixture.weights)) > _KEPT else 0.0),
            mixture.total_variation(prior) <= _SAME,
        )
        for (name, mixture), row, score in zip(mixtures.items(), expected, target.score(expected), strict=True)
    )


def in_digits(gain: float) -> str:
    """Return a gain for a sentence; differences of rounding are 0."""
    return f"{gain if abs(gain) > _ROUNDING else 0.0:.4g}"


def controls_in_words(found: tuple[Control, ...]) -> str:
    """Return the gains over the controls other than the prior, in one sentence; empty if there are none."""
    said = [
        f"{one.name}: {in_digits(one.gain)}{' (outside the limits)' if one.violation else ''}"
        for one in found
        if not one.is_prior
    ]
    return f"Expected gain over cheap controls: {'; '.join(said)}." if said else ""
