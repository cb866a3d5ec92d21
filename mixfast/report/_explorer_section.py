"""The section of a report on which mixtures are tried, under the law or the table that the report is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.laws import Fit
from mixfast.mixture import Mixture
from mixfast.proposers import LeastChange, Proposal
from mixfast.report._explorer import law_explorer, table_explorer
from mixfast.report._html import Why
from mixfast.solver import Solution

if TYPE_CHECKING:
    from mixfast.report._answer import Answer
    from mixfast.report._parts import Parts

# Paper holds the report alone: its tables show the mixture that the report is about.
STYLE = "@media print { #explore { display: none; } }\n"

_OWN = "the report's mixture"
# The explorer has these from the region.
_KNOWN = ("prior", "uniform", "uniform prior")


def explorer(parts: Parts, wanted: bool, command: Sequence[str] | None) -> str | Why:
    """Return the explorer, which starts from the report's mixture; `command` is that of `explore`."""
    if not wanted:
        return Why(f"It was switched off by {either('explorer=False', '--no-explorer')}.")
    answer = parts.answer
    source = None if answer is None else answer.source
    model = parts.table if isinstance(source, Solution) or parts.law is None else parts.law
    if model is None:
        return Why(
            "There is no law and no table. "
            + either(
                "Pass mixfast.fit(swarm), laws.Fit.load(path) or a table.",
                "Give a TABLE, RATIOS METRICS, or --law law.json.",
            )
        )
    if isinstance(source, Solution) and source.wear is not None:
        return Why("The mixture was solved for with wear, and the page does not evaluate effective shares.")
    domains = model.domains
    known = set(domains)
    unknown = [] if answer is None else [name for name in answer.mixture.domains if name not in known]
    if unknown:
        what = "law" if isinstance(model, Fit) else "table"
        return Why(f"The mixture has domains that the {what} does not know: {listing(unknown)}.")
    region = parts.region if parts.region is not None and set(parts.region.domains) == set(domains) else None
    # The least change that reaches goals is the optimum of nothing else.
    optimum = source if isinstance(source, (Proposal, Solution)) and not isinstance(source, LeastChange) else None
    mixtures = {} if answer is None else _mixtures(answer, parts.present, domains, own=optimum is None)
    compared = [name for name in mixtures if name in (_OWN, "present mixture")]
    compared += [] if optimum is None else ["optimum"]
    try:
        if isinstance(model, Fit):
            swarm = parts.swarm if parts.swarm is not None and set(parts.swarm.domains) == set(domains) else None
            return law_explorer(
                model, region, mixtures, optimum=optimum, swarm=swarm, command=command, compared=compared
            ).body
        return table_explorer(
            model, region, mixtures, optimum=optimum, objective=_objective(source), command=command, compared=compared
        ).body
    except ValueError as problem:
        return Why(f"It cannot be made: {problem}.")


def _mixtures(answer: Answer, present: Mixture | None, domains: tuple[str, ...], *, own: bool) -> dict[str, Mixture]:
    """Return the mixtures of the report that the explorer has not from elsewhere, by name."""
    others = {
        name: Mixture(shares)
        for name, shares in answer.references(present).items()
        if name not in _KNOWN and set(shares) <= set(domains)
    }
    return ({_OWN: answer.mixture} if own else {}) | others


def _objective(source: object) -> dict[str, float] | str | None:
    """Return what a solve has minimised; the mean of all groups for anything else."""
    if not isinstance(source, Solution):
        return None
    return "worst" if source.worst else source.group_weights
