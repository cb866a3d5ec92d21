"""What speaks against training on a solved mixture as it is, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixfast._text.audience import either, setting

# Of `_solution.py`, which imports this file.
Solution = Any
Bootstrap = Any

# A domain read more often than this is repeated enough for `wear` to matter.
_REPEATED = 2.0
# A table of more rows than this is rather one of tokens than one of sequences.
_TOKENS = 1000


def solve_doubts(solution: Solution, intervals: Bootstrap | None = None) -> Iterator[str]:
    """Yield what the answer does not know: how close it is, how often it repeats, and what its intervals leave out."""
    if solution.status != "optimal":
        yield (
            f"the gap {solution.gap:.1e} did not reach the tolerance: the mixture is usable where that much loss does not matter "
            f"({either('tol', '--tol of mixfast solve')} says so); a float64 table has less rounding than a float32 one"
        )
    if solution.region is None or solution.region.available is None:
        yield (
            "no token supply was given: how often this repeats a domain is unknown, and no expert can see what that costs. "
            f"{either('Region.from_tokens(tokens, budget)', '--tokens counts.yaml --budget 1T')} keeps every domain within what exists"
        )
    if solution.kl > 0.0 and (solution.region is None or not solution.region.has_prior):
        yield f"{setting('kl', solution.kl)} pulls towards equal shares, for no prior was given: {either('Region(domains, prior=...)', '--prior FILE or --tokens FILE')}"
    if solution.wear is None and max((solution.epochs or {}).values(), default=0.0) > _REPEATED:
        yield (
            f"repeated tokens count as much as new ones here: {either('wear=15.4', '--wear')} counts them for less, and needs no hard limit "
            f"({either('max_epochs=32, wear=15.4', '--max-epochs 32 --wear')})"
        )
    table = solution.table
    if intervals is not None and table.sequence is None and table.length is None and table.n_rows > _TOKENS:
        yield (
            "rows were resampled as if independent: if they are tokens, give the table `sequence` ids, or the intervals are too narrow"
        )
