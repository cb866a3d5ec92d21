"""What a solve or a search found, from which a `Proposal` is made."""

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
