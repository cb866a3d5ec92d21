"""Reasons to doubt a solved mixture, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixfast._text.audience import either, setting
from mixfast._text.names import listing
from mixfast.solver._wear import counts_fully
from mixfast.tables import given

# These classes are in `_solution.py`, which imports this file.
Solution = Any
Bootstrap = Any

# A domain that is read more often than this repeats enough for `wear` to matter.
_REPEATED = 2.0
# A table with more rows than this probably has tokens as rows, not sequences.
_TOKENS = 1000


def solve_doubts(solution: Solution, intervals: Bootstrap | None = None) -> Iterator[str]:
    """Yield reasons to doubt the answer: a gap above the tolerance, unknown repetition, and intervals that are too narrow."""
    if solution.status != "optimal":
        yield (
            f"the gap {solution.gap:.1e} is above the tolerance: the mixture is usable if a loss of that size does not matter "
            f"({either('tol', '--tol of mixfast solve')} sets the tolerance); a float64 table has smaller rounding errors than a float32 table"
        )
    if solution.region is None or solution.region.available is None:
        yield _unknown_repetition(solution.table)
    if solution.kl > 0.0 and (solution.region is None or not solution.region.has_prior):
        yield f"{setting('kl', solution.kl)} pulls towards equal shares, because no prior was given: {either('Region(domains, prior=...)', '--prior FILE or --tokens FILE')}"
    repeated = [name for name, epochs in (solution.epochs or {}).items() if epochs > _REPEATED]
    if solution.wear is None and repeated:
        yield (
            f"repeated tokens count as much as new ones here: {either('wear=15.4', '--wear')} gives them less weight and makes a hard limit unnecessary "
            f"({either('max_epochs=32, wear=15.4', '--max-epochs 32 --wear')})"
        )
    if isinstance(wear := solution.wear, dict) and (endless := [name for name in repeated if counts_fully(wear[name])]):
        yield (
            f"repeats of {listing(endless)} count as much as new tokens, because {either('wear', '--wear')} is infinite there, and the mixture reads "
            f"{'it' if len(endless) == 1 else 'them'} more than {_REPEATED:g} times: {either('max_epochs', '--max-epochs')} limits that"
        )
    table = solution.table
    if (
        intervals is not None
        and not _has_predictions(table)
        and not {"sequence", "length"} & set(given(table))
        and table.n_rows > _TOKENS
    ):
        yield (
            "rows were resampled as if they were independent: if they are tokens, give the table `sequence` ids, otherwise the intervals are too narrow"
        )


def _has_predictions(table: Any) -> bool:
    return bool(getattr(table, "kind", "ce") == "mse")


def _unknown_repetition(table: Any) -> str:
    """Say that repetition is unknown. Data of regressors are rows; those of other tables are tokens or labelled rows, which the table does not say."""
    if _has_predictions(table):
        option = either("Region.from_tokens(rows, budget)", "--tokens rows.yaml --budget 50000")
        return (
            "the rows of each domain were not given: how often this mixture repeats a domain is unknown, and experts cannot measure what repetition "
            f"costs. With numbers of rows in place of tokens, {option} keeps every domain within its supply"
        )
    option = either("Region.from_tokens(tokens, budget)", "--tokens counts.yaml --budget 1T")
    rows = "" if {"sequence", "length", "bytes"} & set(given(table)) else " (for labelled rows, count rows)"
    return (
        "no token counts were given: how often this mixture repeats a domain is unknown, and experts cannot measure what repetition costs. "
        f"{option} keeps every domain within its supply{rows}"
    )
