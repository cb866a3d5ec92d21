"""Check names of domains and groups, and list offending items in messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import domain_names as mixture_names
from mixfast._text.names import named, positions, shown
from mixfast.errors import TableError

# At most this many items are listed in a message; the others are counted.
SHOWN = 5
# Longest name shown, in characters.
_NAME = 80


def some(items: Sequence[Any], *, quote: bool = True) -> str:
    """Write the first few items, and how many there are."""
    return counted([shown(item, _NAME) if quote else named(item) for item in items[:SHOWN]], len(items))


def counted(shown: Sequence[str], count: int) -> str:
    """Write the items that are shown, and the number of all if there are more."""
    more = f", ... ({count} in all)" if count > len(shown) else ""
    return ", ".join(shown) + more


def checked_names(given: Any, what: str) -> tuple[str, ...]:
    """Return distinct, non-empty names as plain str."""
    if isinstance(given, np.ndarray):
        given = decoded(given, what).tolist()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TableError(f"{what} must be a sequence of names, got {shown(given)}")
    listed = list(given)
    for name in listed:
        if not isinstance(name, str):
            raise TableError(f"{what} must be names (str), got {shown(name)} of type {type(name).__name__}")
        # NUL cannot be stored in a numpy string array, nor shown.
        if not name or "\0" in name:
            raise TableError(f"{what} must not be empty or contain NUL, got {shown(name)}")
    if len(set(listed)) != len(listed):
        twice = [f"{shown(name)} ({count} times)" for name, count in Counter(listed).items() if count > 1]
        raise TableError(f"{what} must be distinct; duplicated: {counted(twice, len(twice))}")
    return tuple(str(name) for name in listed)


def decoded(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Return names given as UTF-8 bytes as text; other arrays are returned unchanged."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise TableError(f"{what} are bytes that are not UTF-8: {error}") from None


@lru_cache(maxsize=64)
def default_names(n_domains: int) -> tuple[str, ...]:
    """Return the default names of domains."""
    return tuple(f"domain_{k}" for k in range(n_domains))


def domain_names(given: Any, n_domains: int, label: str) -> tuple[str, ...]:
    """Return the names of the columns, one for each."""
    if given is None:
        return default_names(n_domains)
    # The names must also be valid in a mixture, because `solve` returns one.
    domains = mixture_names(checked_names(given, "domains"), TableError)
    if len(domains) != n_domains:
        raise TableError(
            f"{len(domains)} domains are named ({some(domains)}), but {label} has {n_domains} columns; "
            "rows come first, domains second"
        )
    return domains


def order_of(own: tuple[str, ...], domains: tuple[str, ...]) -> NDArray[np.intp] | None:
    """Return the columns of a file in the order of the domains; None if they have it."""
    if own == domains:
        return None
    return np.array(positions(domains, own))


def unit_of(*, has_weight: bool, has_length: bool) -> str:
    """Return the unit of the loss of log-likelihoods, in words."""
    if has_weight:
        return "nats, as weighted by the rows' own weights"
    return "nats per unit of length" if has_length else "nats per row"
