"""The argument `wear` of `solve`: one number of repeats, or one threshold in epochs, for all domains or for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from mixfast._engine.objectives.wear import SHARP, Wear, threshold
from mixfast._text.audience import either
from mixfast._text.names import listing, misspelt, shown
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Region
from mixfast.tables import ExpertTable, ShardedTable

Given: TypeAlias = "float | str | Mapping[str, float | str] | None"


def wear_of(
    wear: float | str | Mapping[str, float | str], table: ExpertTable | ShardedTable, region: Region | None
) -> Wear:
    """Check the argument, and return how tokens of each domain of the table wear out."""
    given = _by_domain(wear, table.domains)
    if table.kind != "ce":
        raise ValueError(
            "wear needs a table of log-likelihoods, and this one holds predictions: effective shares have no meaning for them; leave wear out"
        )
    if region is None or region.available is None or region.target_tokens is None:
        raise RegionError(
            "wear needs to know how often a mixture repeats each domain: give a region with token counts, Region.from_tokens(tokens, budget)"
        )
    limits = [threshold(one) for one in given]
    epoch = region.available / region.target_tokens
    repeats = np.array([float(one) if limit is None else SHARP for one, limit in zip(given, limits, strict=True)])
    if all(limit is None for limit in limits):
        return Wear(epoch, repeats)
    return Wear(epoch, repeats, np.array([1.0 if limit is None else limit for limit in limits]))


def kept(wear: Given) -> float | str | dict[str, float | str] | None:
    """Return a checked argument as it was given, with plain numbers."""
    if isinstance(wear, Mapping):
        return {name: _kept(one) for name, one in wear.items()}
    return None if wear is None else _kept(wear)


def _kept(wear: float | str) -> float | str:
    epochs = threshold(wear)
    return float(wear) if epochs is None else f"{epochs:.15g} epochs"


def counts_fully(wear: float | str) -> bool:
    """Whether repeats of a domain count as much as new tokens."""
    return threshold(wear) is None and math.isinf(float(wear))


def worn(wear: float | str) -> str:
    """Return a wear as a short text: `15.4`, `inf` or `4.2 epochs`."""
    epochs = threshold(wear)
    return f"{float(wear):.3g}" if epochs is None else f"{epochs:.3g} epochs"


def same_wear(one: Given, other: Given) -> bool:
    """Whether two arguments mean the same; one number is not a mapping, even if the mapping repeats it."""
    return kept(one) == kept(other)


def _by_domain(wear: float | str | Mapping[str, float | str], domains: tuple[str, ...]) -> list[float | str]:
    if not isinstance(wear, Mapping):
        if not _is_wear(wear) or counts_fully(wear):
            raise ValueError(
                f"wear is {shown(wear)}, expected a number of repeats above 0, a threshold such as '4 epochs', or one for each domain"
            )
        return [wear] * len(domains)
    if unknown := [name for name in wear if name not in domains]:
        raise AlignmentError(
            f"wear names unknown domains: {misspelt(unknown, domains)}; the table has {listing(domains)}"
        )
    if absent := [name for name in domains if name not in wear]:
        others = either(
            "wear=dict.fromkeys(table.domains, 15.4) | {...}",
            "--wear 15.4, a number without a name, which is for all others",
        )
        raise AlignmentError(
            f"wear has no number for {listing(absent)}: give every domain one, infinity if its repeats count fully; or start from {others}"
        )
    if wrong := [f"{name}: {shown(one)}" for name, one in wear.items() if not _is_wear(one)]:
        raise ValueError(
            f"wear has {listing(wrong)}: expected a number of repeats above 0, infinity if repeats count fully, or a threshold such as '4 epochs'"
        )
    return [wear[name] for name in domains]


def _is_wear(one: Any) -> bool:
    epochs = threshold(one)
    if epochs is not None:
        return 0.0 < epochs < math.inf
    try:
        return bool(float(one) > 0.0)
    except (TypeError, ValueError):
        return False
