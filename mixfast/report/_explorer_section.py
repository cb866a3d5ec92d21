"""The section of a report on which mixtures are tried, under the law that the report is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.mixture import Mixture
from mixfast.proposers import LeastChange, Proposal
from mixfast.report._explorer import law_explorer
from mixfast.report._html import Why

if TYPE_CHECKING:
    from mixfast.laws import Fit
    from mixfast.report._parts import Parts

# Paper holds the report alone: its tables show the mixture that the report is about.
STYLE = "@media print { #explore { display: none; } }\n"


def explorer(parts: Parts, wanted: bool, command: Sequence[str] | None) -> str | Why:
    """Return the explorer of the law, which starts from the report's mixture; `command` is that of `explore`."""
    if not wanted:
        return Why(f"It was switched off by {either('explorer=False', '--no-explorer')}.")
    if parts.law is None:
        return Why(
            f"There is no law. {either('Pass mixfast.fit(swarm) or laws.Fit.load(path).', 'Give RATIOS METRICS, or --law law.json.')}"
        )
    return _of_law(parts, parts.law, command)


def _of_law(parts: Parts, law: Fit, command: Sequence[str] | None) -> str | Why:
    answer = parts.answer
    unknown = [] if answer is None else [name for name in answer.mixture.domains if name not in law.domains]
    if unknown:
        return Why(f"The mixture has domains that the law does not know: {listing(unknown)}.")
    region = parts.region if parts.region is not None and set(parts.region.domains) == set(law.domains) else None
    swarm = parts.swarm if parts.swarm is not None and set(parts.swarm.domains) == set(law.domains) else None
    # The least change that reaches goals is the optimum of nothing else.
    source = None if answer is None else answer.source
    optimum = source if isinstance(source, Proposal) and not isinstance(source, LeastChange) else None
    mixtures: dict[str, Mixture] = {}
    if answer is not None:
        mixtures = {} if optimum is not None else {"the report's mixture": answer.mixture}
        mixtures |= {
            name: Mixture(shares)
            for name, shares in answer.references(parts.present).items()
            if name not in ("prior", "uniform", "uniform prior") and set(shares) <= set(law.domains)
        }
    compared = [name for name in mixtures if name in ("the report's mixture", "present mixture")]
    compared += [] if optimum is None else ["optimum"]
    try:
        made = law_explorer(law, region, mixtures, optimum=optimum, swarm=swarm, command=command, compared=compared)
    except ValueError as problem:
        return Why(f"The page cannot evaluate the laws: {problem}.")
    return made.body
