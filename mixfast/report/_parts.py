"""`Parts`: the objects that a page is made from, sorted by kind, at most one of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mixfast.errors import ProposalError
from mixfast.mixture import Mixture
from mixfast.region import Region
from mixfast.report._answer import Answer
from mixfast.solver import Solution
from mixfast.swarm import Swarm
from mixfast.tables import ExpertTable


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one page; None for those that were not given."""

    answer: Answer | None = None
    present: Mixture | None = None
    intervals: Any = None
    held_out: Any = None
    law: Any = None
    swarm: Swarm | None = None
    region: Region | None = None
    table: ExpertTable | None = None
    ledger: Any = None
    schedule: Any = None
    refusal: ProposalError | None = None

    @cached_property
    def values(self) -> dict[str, float]:
        """Losses of the mixture and of those it is compared with, empty if unknown; one sweep of a table's rows."""
        answer = self.answer
        return {} if answer is None else answer.compared(answer.references(self.present))

    @classmethod
    def of(cls, given: Iterable[object]) -> Parts:
        """Sort what was given; TypeError for an object that a page cannot show, ValueError for two of a kind."""
        found: dict[str, Any] = {}
        for one in given:
            if one is None:
                continue
            kind = _kind(one)
            if kind in found:
                raise ValueError(
                    f"a page has one {kind}, and two were given: {type(found[kind]).__name__} and {type(one).__name__}; "
                    "make a page of each"
                )
            found[kind] = one
        return cls._complete(found)

    @classmethod
    def _complete(cls, found: dict[str, Any]) -> Parts:
        """Add parts that others hold, such as the table of a solution, unless given themselves."""
        intervals, ledger = found.get("bootstrap"), found.get("ledger")
        source = found.get("solution or proposal")
        if source is None and intervals is not None:
            source = intervals.proposal if hasattr(intervals, "proposal") else intervals.solution
        mixture = found.get("mixture")
        main = source or mixture or (None if ledger is None else ledger.mixture)
        region = found.get("region")
        law = found.get("law")
        table = found.get("table")
        answer = None if main is None else Answer.of(main, region, (law, table))
        known = [mixture, None if ledger is None else ledger.mixture]
        present = next((one for one in known if answer is not None and one not in (None, answer.mixture)), None)
        if isinstance(source, Solution):
            table = source.table if table is None else table
        elif source is not None and law is None:
            law = source.law if _is_fit(source.law) else None
        return cls(
            answer,
            present,
            intervals,
            found.get("held-out report"),
            law,
            found.get("swarm"),
            region if answer is None or answer.region is None else answer.region,
            table,
            ledger,
            found.get("schedule"),
            found.get("refusal"),
        )


def _kind(one: object) -> str:
    from mixfast.proposers import Proposal, ShareIntervals
    from mixfast.reuse import Ledger
    from mixfast.sampler import MixtureSampler, MixtureSchedule
    from mixfast.solver import Bootstrap, HeldOut

    kinds: list[tuple[Any, str]] = [
        ((Solution, Proposal), "solution or proposal"),
        (Mixture, "mixture"),
        ((Bootstrap, ShareIntervals), "bootstrap"),
        (HeldOut, "held-out report"),
        (Swarm, "swarm"),
        (Region, "region"),
        (ExpertTable, "table"),
        (Ledger, "ledger"),
        ((MixtureSchedule, MixtureSampler), "schedule"),
        (ProposalError, "refusal"),
    ]
    for types, name in kinds:
        if isinstance(one, types):
            return name
    if _is_fit(one):
        return "law"
    known = "Solution, Proposal, Mixture, Bootstrap, ShareIntervals, HeldOut, Fit, Swarm, Region, ExpertTable, Ledger, MixtureSchedule or MixtureSampler"
    raise TypeError(f"a page is made of a {known}; got {type(one).__name__}")


def _is_fit(one: object) -> bool:
    from mixfast.laws import Fit

    return isinstance(one, Fit)
