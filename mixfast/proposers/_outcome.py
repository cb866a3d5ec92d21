"""The result of a solve or a search, from which a `Proposal` is made, and its expected gain."""

from __future__ import annotations

from dataclasses import dataclass

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.optimise.trace import Step


@dataclass(frozen=True, eq=False)
class Outcome:
    """Shares of all domains, with status, value and proof.

    Attributes
    ----------
    w : (K,)
    status, value, method, gap, trace
        As in `Proposal`.
    weight : (J,)
        Weights of the metrics: as given, or for "worst" the weights that prove the minimum.
    limited : (J,)
        Multipliers of the metrics whose guard binds.
    gradient : (K,) or None
        Gradient of the objective with the KL term; None after a search.
    smooth : Exponentials or None
        The weighted sum over all domains, if that is what was solved.
    seen : (points (M, K), scores (M,)) or None
        The mixtures that a search evaluated.
    """

    w: Vector
    status: str
    value: float
    method: str
    gap: float | None
    trace: tuple[Step, ...]
    weight: Vector
    limited: Vector
    gradient: Vector | None = None
    smooth: Exponentials | None = None
    seen: tuple[Matrix, Vector] | None = None


@dataclass(frozen=True)
class Gain:
    """The expected gain of the mixture over the prior, in the unit of the objective; positive is better.

    Attributes
    ----------
    value : float
        Objective at the prior minus the objective at the mixture, without the KL term.
    sd : float or None
        Standard deviation of that difference for two new runs, if the errors of all metrics are fully correlated; None if the law has no
        standard deviations.
    metrics : dict of str to float
        The same difference for each metric, in the metric's unit; positive if the mixture is better.
    """

    value: float
    sd: float | None
    metrics: dict[str, float]
