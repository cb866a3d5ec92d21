"""Integers for samples and shares: both are whole numbers, so that a stream is the same on all machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, shown
from mixfast.errors import SamplerError

Integers = NDArray[np.int64]

# Samples are counted in 60 bits and shares in units of 2^-62, so that every product of the two fits into 128 bits.
LONGEST = 1 << 60
SHARE_BITS = 62
# A sample number after every sample, and a count above that of any run.
NEVER = 1 << 62


def whole_number(what: str, value: object, least: int) -> int:
    """Return a whole number of at least ``least`` as an int; refuse anything else."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise SamplerError(f"{what} must be a whole number of at least {least}, got {shown(value)}")
    return int(value)


def rank_and_world_size(rank: object, world_size: object) -> tuple[int, int]:
    """Return the rank of a process and the number of processes that train together, both checked."""
    rank, world_size = whole_number("rank", rank, 0), whole_number("world_size", world_size, 1)
    if rank >= world_size:
        raise SamplerError(f"rank must be below world_size, got rank {rank} of {world_size}")
    return rank, world_size


def positive_numbers(numbers: Mapping[str, SupportsFloat], what: str, advice: str = "") -> list[float]:
    """Return the numbers of a mapping by domain; refuse those that are not positive, by name."""
    found, wrong = [], []
    for name, number in numbers.items():
        try:
            found.append(float(number))
        except (TypeError, ValueError):
            found.append(np.nan)
        if not 0 < found[-1] < np.inf:
            wrong.append(f"{name}={shown(number)}")
    if wrong:
        raise SamplerError(f"{what} must be positive numbers, got {listing(wrong)}{advice}")
    return found
