"""Token counts in files: under a key of Olmix or regmixer, in the cells of a swarm of marin, or as the whole document, flat or nested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixfast._text.names import listing, shown
from mixfast._text.numbers import POWERS, count
from mixfast.errors import MixtureError
from mixfast.readers._form import Pairs, no_form, only_value
from mixfast.readers.results._contents import ResultsError
from mixfast.readers.results._marin import records

# Keys under which Olmix (priors) and regmixer (the files of its option for repetition) have the tokens of each domain.
_COUNTS = ("token_counts", "available_tokens")
# The key of the natural shares in Olmix, which need not be proportional to the counts.
_SIZES = "relative_sizes"
_CELLS = "cells"
# Whole numbers are token counts if their sum is at least this, or if one has a suffix such as B. Smaller ones may be relative weights.
_LEAST = 1_000_000
_SMALL = 1_000
# What may stand beside the tokens of a domain, and names of sums.
_PROPERTIES = frozenset(
    ["tokens", "num_tokens", "n_tokens", "token_count", "docs", "documents", "num_docs", "bytes", "epochs", "weight"]
)
_TOTALS = frozenset(["total", "totals", "sum", "all", "overall", "total_tokens"])


def counted(document: Any, sure: bool) -> Pairs | None:
    """Find the token counts of Olmix, regmixer or marin."""
    found = [mapping for key in _COUNTS if (mapping := only_value(document, key, Mapping))]
    if found:
        return list(leaves(found[0]))
    cells = document.get(_CELLS) if isinstance(document, Mapping) else None
    if isinstance(cells, list) and cells and all(isinstance(cell, Mapping) and _COUNTS[1] in cell for cell in cells):
        return [(str(cell.get("cell", cell.get("domain"))), cell[_COUNTS[1]]) for cell in cells]
    return no_form(sure, f"a mapping '{_COUNTS[0]}' or '{_COUNTS[1]}' of domain to tokens")


def natural(document: Any, sure: bool) -> Pairs | None:
    """Find the shares that follow from token counts; ``relative_sizes`` beside them take precedence."""
    found = counted(document, sure)
    sizes = only_value(document, _SIZES, Mapping) if found else None
    return list(leaves(sizes)) if sizes else found


def nested_counts(document: Any) -> Pairs | None:
    """Return the leaves of a document of nothing but token counts with at least two levels, else None."""
    if not isinstance(document, Mapping) or not any(isinstance(each, Mapping) for each in document.values()):
        return None
    if any(key in document for key in _COUNTS):
        return None
    found = list(leaves(document))
    if not are_counts([value for _, value in found]):
        return None
    if properties := [name for name, _ in found if name.rpartition(":")[2].lower() in _PROPERTIES and ":" in name]:
        raise MixtureError(
            f"nested counts must have names of domains, got {listing(properties, limit=3)}: write lines of domain: count, the tokens alone"
        )
    refuse_totals(found)
    return found


def refuse_totals(pairs: Sequence[tuple[str, Any]]) -> None:
    """Raise if a name occurs twice, or a count has the name of a total and is the sum of the counts beside it.

    Raises
    ------
    MixtureError
    """
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise MixtureError(f"these domains are named more than once: {listing(twice)}")
    for name, value in pairs:
        above, colon, last = name.rpartition(":")
        if last.lower() not in _TOTALS:
            continue
        beside = [other for one, other in pairs if one != name and one.startswith(above + colon)]
        try:
            same = len(beside) > 1 and count(str(value)) == sum(count(str(other)) for other in beside)
        except ValueError:
            continue
        if same:
            raise MixtureError(f"{shown(name)} is the sum of the other counts, not a domain; leave it out")


def counts_of_parquet(path: Path) -> Any:
    """Return the cells of ``buckets.parquet`` of marin's swarms, as `counted` finds them."""
    try:
        rows = records(path)
    except ResultsError as problem:
        raise MixtureError(str(problem)) from problem
    if len(rows) != 1 or _CELLS not in rows[0]:
        raise MixtureError(
            f"{path} is a parquet file without token counts: expected buckets.parquet of a swarm of marin, which has one row with {_CELLS!r}"
        )
    return rows[0]


def leaves(mapping: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings, named by their paths joined by colons, as Olmix names them."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}:")
        else:
            yield f"{above}{name}", value


def are_counts(values: Sequence[Any]) -> bool:
    """Return whether all values are numbers of tokens, and cannot be relative weights."""
    try:
        numbers = [count(str(value)) for value in values]
    except ValueError:
        return False
    total = sum(numbers)
    # A version or a seed beside counts, or a number of billions without its suffix.
    if total >= _LEAST and any(0 < number < _SMALL for number in numbers):
        return False
    return total >= _LEAST or any(str(value).strip()[-1:].upper() in POWERS for value in values)
