"""What a mixture is expected to gain over the prior."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """What the law expects the mixture to gain over the prior, in the unit of the objective; positive is better.

    Attributes
    ----------
    value : float
        Objective at the prior less that at the mixture, without the KL term.
    sd : float or None
        Standard deviation of that difference for two new runs, as if all metrics erred together; None where the law has none.
    metrics : dict of str to float
        The same for each metric, in the metric's unit, positive where the mixture is better.
    """

    value: float
    sd: float | None
    metrics: dict[str, float]
