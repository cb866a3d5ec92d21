"""`Parts`: the objects that a page is made from, sorted by kind, at most one of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mixfast.errors import ProposalError
from mixfast.laws import Fit, in_run_of
from mixfast.mixture import Mixture
from mixfast.proposers import Proposal, ShareIntervals
from mixfast.region import Region
from mixfast.report._answer import Answer
from mixfast.reuse import Ledger
from mixfast.sampler import MixtureSampler, MixtureSchedule
from mixfast.solver import Bootstrap, HeldOut, Solution
from mixfast.swarm import Swarm
from mixfast.tables import ExpertTable, ShardedTable

_KINDS: dict[str, tuple[type, ...]] = {
    "solution or proposal": (Solution, Proposal),
    "mixture": (Mixture,),
    "bootstrap": (Bootstrap, ShareIntervals),
    "held-out report": (HeldOut,),
    "law": (Fit,),
    "swarm": (Swarm,),
    "region": (Region,),
    "table": (ExpertTable, ShardedTable),
    "ledger": (Ledger,),
    "schedule": (MixtureSchedule, MixtureSampler),
    "refusal": (ProposalError,),
}


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one page; None for parts that were not given."""

    answer: Answer | None = None
    present: Mixture | None = None
    intervals: Bootstrap | ShareIntervals | None = None
    held_out: HeldOut | None = None
    law: Fit | None = None
    swarm: Swarm | None = None
    region: Region | None = None
    table: ExpertTable | ShardedTable | None = None
    ledger: Ledger | None = None
    schedule: MixtureSchedule | MixtureSampler | None = None
    refusal: ProposalError | None = None

    @cached_property
    def values(self) -> dict[str, float]:
        """Losses of the mixture and of those it is compared with, empty if unknown; costs one sweep over the rows of a table."""
        answer = self.answer
        return {} if answer is None else answer.compared(answer.references(self.present))

    @classmethod
    def of(cls, given: Iterable[object]) -> Parts:
        """Sort objects by kind; raise TypeError for one that a page cannot show, and ValueError for two of one kind."""
        found: dict[str, Any] = {}
        for one in (each for each in given if each is not None):
            kind = _kind(one)
            if kind in found:
                raise ValueError(
                    f"two were given: {type(found[kind]).__name__} and {type(one).__name__}; a page takes at most one {kind}: make a page "
                    "for each"
                )
            found[kind] = one
        return cls._complete(found)

    @classmethod
    def _complete(cls, found: dict[str, Any]) -> Parts:
        """Add parts that other parts contain, such as the table of a solution, unless they were given."""
        intervals, ledger, mixture, region = map(found.get, ("bootstrap", "ledger", "mixture", "region"))
        law, table, source = map(found.get, ("law", "table", "solution or proposal"))
        if source is None and intervals is not None:
            source = intervals.proposal if isinstance(intervals, ShareIntervals) else intervals.solution
        # Laws in epochs are shown for the run that the page is about.
        run = source.region if isinstance(source, Proposal) else region
        if law is not None and run is not None and set(run.domains) == set(law.domains):
            law = in_run_of(law, run)
        main = source or mixture or (None if ledger is None else ledger.mixture)
        answer = None if main is None else Answer.of(main, region, (law, table))
        known = [mixture, None if ledger is None else ledger.mixture]
        present = next((one for one in known if answer is not None and one not in (None, answer.mixture)), None)
        if isinstance(source, Solution):
            table = source.table if table is None else table
        elif source is not None and law is None:
            law = source.law if isinstance(source.law, Fit) else None
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
    for name, types in _KINDS.items():
        if isinstance(one, types):
            return name
    *others, last = (each.__name__ for types in _KINDS.values() for each in types if each is not ProposalError)
    raise TypeError(f"got {type(one).__name__}; a page is made of a {', '.join(others)} or {last}")
