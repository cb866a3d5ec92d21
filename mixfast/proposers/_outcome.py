"""What a solve or a search found, from which a `Proposal` is made, and what that is expected to gain."""

from __future__ import annotations

from dataclasses import dataclass

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.optimise.trace import Step


@dataclass(frozen=True, eq=False)
class Outcome:
    """Shares over all domains, and what is known of them.

    Attributes
    ----------
    w : (K,)
    status, value, method, gap, trace
        As in `Proposal`.
    weight : (J,)
        Of the metrics: as asked, or what proves the minimum of the worst.
    limited : (J,)
        Multipliers of the metrics that are held back.
    gradient : (K,) or None
        Of the objective with the KL term; None after a search.
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
