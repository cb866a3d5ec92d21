"""The argument `wear` of `solve`: one number of repeats for all domains, or one for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.objectives.wear import Wear
from mixfast._text.audience import either
from mixfast._text.names import listing, misspelt, shown
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Region
from mixfast.tables import ExpertTable, ShardedTable

Given: TypeAlias = "float | Mapping[str, float] | None"


def wear_of(wear: float | Mapping[str, float], table: ExpertTable | ShardedTable, region: Region | None) -> Wear:
    """Check the argument, and return how tokens of each domain of the table wear out."""
    repeats = _repeats(wear, table.domains)
    if table.kind != "ce":
        raise ValueError(
            "wear needs a table of log-likelihoods, and this one holds predictions: effective shares have no meaning for them; leave wear out"
        )
    if region is None or region.available is None or region.target_tokens is None:
        raise RegionError(
            "wear needs to know how often a mixture repeats each domain: give a region with token counts, Region.from_tokens(tokens, budget)"
        )
    return Wear(region.available / region.target_tokens, repeats)


def kept(wear: Given) -> float | dict[str, float] | None:
    """Return a checked argument as it was given, with plain numbers."""
    if isinstance(wear, Mapping):
        return {name: float(repeats) for name, repeats in wear.items()}
    return None if wear is None else float(wear)


def same_wear(one: Given, other: Given) -> bool:
    """Whether two arguments mean the same; one number is not a mapping, even if the mapping repeats it."""
    return kept(one) == kept(other)


def _repeats(wear: float | Mapping[str, float], domains: tuple[str, ...]) -> Vector:
    if not isinstance(wear, Mapping):
        if not (math.isfinite(wear) and wear > 0.0):
            raise ValueError(f"wear is {wear}, expected a number of repeats above 0, or one for each domain")
        return np.full(len(domains), float(wear))
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
    if wrong := [f"{name}: {shown(repeats)}" for name, repeats in wear.items() if not _is_positive(repeats)]:
        raise ValueError(
            f"wear has {listing(wrong)}: expected a number of repeats above 0, or infinity if repeats count fully"
        )
    return np.array([float(wear[name]) for name in domains])


def _is_positive(repeats: Any) -> bool:
    try:
        return bool(float(repeats) > 0.0)
    except (TypeError, ValueError):
        return False
