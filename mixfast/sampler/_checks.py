"""Checks of the arguments of a sampler: which domains have a share, their sizes and their limits of repetition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError, SamplerError
from mixfast.sampler._numbers import LONGEST, NEVER, Integers
from mixfast.sampler._schedule import MixtureSchedule

POLICIES = ("repeat", "stop", "redistribute")


def domains_with_shares(schedule: MixtureSchedule) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which domains (K,) have a share at any time, and which have one that rounding does not make 0."""
    named = np.zeros(len(schedule.domains), dtype=bool)
    sampled = named.copy()
    for change in schedule.changes:
        named |= schedule.vector(change.mixture) > 0
        sampled |= schedule.shares(change) > 0
    return named, sampled


def domain_sizes(
    domains: tuple[str, ...], sizes: Mapping[str, int] | ArrayLike | None, sampled: NDArray[np.bool_]
) -> Integers:
    """Return the samples of each domain (K,); 0 for all if domains have no end."""
    if sizes is None:
        return np.zeros(len(domains), dtype=np.int64)
    if isinstance(sizes, Mapping):
        try:
            numbers: ArrayLike = [sizes[name] for name in domains]
        except KeyError:
            raise AlignmentError.between("the mixture", domains, "sizes", sizes) from None
    else:
        numbers = sizes
    try:
        given = np.asarray(numbers)
    except (ValueError, OverflowError) as problem:
        raise SamplerError(f"sizes must be whole numbers, one for each domain: {problem}") from problem
    if given.shape != (len(domains),):
        raise SamplerError(
            f"sizes must have one number for each of the {len(domains)} domains, got shape {given.shape}"
        )
    if given.dtype.kind not in "iu":
        raise SamplerError(f"sizes must be whole numbers of samples, got {given.dtype} ({listing(given.tolist())})")
    wrong = (given < 0) | (given > LONGEST)
    if wrong.any():
        named = [f"{domains[k]}={given[k]}" for k in np.flatnonzero(wrong)]
        raise SamplerError(f"sizes must be between 1 and 2^60 samples, got {listing(named)}")
    empty = [domains[k] for k in np.flatnonzero(sampled & (given == 0))]
    if empty:
        raise SamplerError(f"these domains have a share but no samples: {listing(empty)}; drop them from the mixture")
    return np.ascontiguousarray(given, dtype=np.int64)


def sample_limits(
    domains: tuple[str, ...], sizes: Integers, max_epochs: float | Mapping[str, float] | None, policy: str
) -> Integers:
    """Return the maximum number of samples of each domain (K,); 2^62 means no limit."""
    caps = np.full(len(domains), NEVER, dtype=np.int64)
    # The limit of domains that a mapping leaves out, too.
    usual = None if policy == "repeat" else 1
    if max_epochs is None:
        if usual is None:
            return caps
        max_epochs = usual
    if not sizes.any():
        raise SamplerError(f"on_exhausted={shown(policy)} and max_epochs count passes over domains: give their sizes")
    if isinstance(max_epochs, Mapping):
        unknown = set(max_epochs) - set(domains)
        if unknown:
            raise AlignmentError.between("max_epochs", max_epochs, "the mixture", domains)
        wishes = [max_epochs.get(name, usual) for name in domains]
    else:
        wishes = [max_epochs] * len(domains)
    for k, (name, wish) in enumerate(zip(domains, wishes, strict=True)):
        if wish is None:
            continue
        if isinstance(wish, bool) or not isinstance(wish, (int, float, np.integer, np.floating)) or not wish > 0:
            raise SamplerError(f"max_epochs must be positive numbers, got {shown(wish)} for domain {shown(name)}")
        if isinstance(wish, (float, np.floating)) and math.isinf(wish):
            continue
        # The decimal as written: 2.3 times 10 samples are 23, although the float64 is slightly below 2.3.
        times = Fraction(repr(float(wish)) if isinstance(wish, (float, np.floating)) else int(wish))
        cap = int(times * int(sizes[k]))
        if cap == 0 and sizes[k] > 0:
            raise SamplerError(
                f"max_epochs {shown(wish)} leaves no sample of domain {shown(name)}, which has {sizes[k]}"
            )
        caps[k] = min(cap, NEVER)
    return caps
