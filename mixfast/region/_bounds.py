"""Turn the forms in which users may write the limits of a region into checked arrays and bounds; the only place that knows these forms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import domain_names, listing, misspelt, shown
from mixfast._text.numbers import total as exact_sum
from mixfast.errors import InfeasibleError, RegionError

Limit = float | ArrayLike | Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Bound:
    """Limit the summed share of a group of domains: ``lower <= sum_j coefficient_j w_j <= upper``.

    Attributes
    ----------
    name : str
        Its name in messages and shadow prices.
    domains : tuple of str
        Members of the group.
    lower, upper : float or None
        Limits as shares of the whole mixture. None, or infinity with the matching sign, is no limit. Stored as floats.
    coefficients : tuple of float, optional
        One for each member; 1 by default.
    """

    name: str
    domains: tuple[str, ...]
    lower: float | None = None
    upper: float | None = None
    coefficients: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        members = domain_names(self.domains, RegionError)
        coefficients = (1.0,) * len(members) if self.coefficients is None else tuple(map(float, self.coefficients))
        lower = -math.inf if self.lower is None else float(self.lower)
        upper = math.inf if self.upper is None else float(self.upper)
        if len(coefficients) != len(members):
            raise RegionError(
                f"bound {shown(self.name)} has {len(members)} domains and {len(coefficients)} coefficients"
            )
        if not all(map(math.isfinite, coefficients)) or not any(coefficients):
            raise RegionError(
                f"bound {shown(self.name)}: coefficients must be finite and not all 0, got {coefficients}"
            )
        if math.isnan(lower) or math.isnan(upper) or lower == math.inf or upper == -math.inf:
            raise RegionError(
                f"bound {shown(self.name)}: limits must be numbers or None, got {shown(self.lower)} and {shown(self.upper)}"
            )
        if math.isinf(lower) and math.isinf(upper):
            raise RegionError(f"bound {shown(self.name)} has neither a lower nor an upper limit")
        if lower > upper:
            raise InfeasibleError(
                f"bound {shown(self.name)} has a lower limit {lower:.6g} above its upper limit {upper:.6g}"
            )
        for field, value in (("domains", members), ("lower", lower), ("upper", upper), ("coefficients", coefficients)):
            object.__setattr__(self, field, value)


def described(bound: Bound) -> str:
    limits = [f"at least {bound.lower:.6g}"] if bound.lower is not None and bound.lower > -math.inf else []
    limits += [f"at most {bound.upper:.6g}"] if bound.upper is not None and bound.upper < math.inf else []
    return f"{shown(bound.name)} ({listing(bound.domains, limit=4)}: {', '.join(limits)})"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def per_domain(what: str, given: Limit, domains: tuple[str, ...], missing: float | None) -> Vector:
    """Return a new array (K,) of non-negative numbers from a number, an array or a mapping.

    Domains that a mapping leaves out get ``missing``. If ``missing`` is None, the mapping must name every domain.
    """
    if given is None:
        return np.full(len(domains), missing, dtype=np.float64)
    if isinstance(given, Mapping):
        known = set(domains)
        unknown = [str(name) for name in given if name not in known]
        if unknown:
            raise RegionError(
                f"{what} names unknown domains: {misspelt(unknown, domains)}; the domains are: {listing(domains)}"
            )
        absent = [name for name in domains if name not in given]
        if missing is None and absent:
            raise RegionError(f"{what} must name every domain, missing: {listing(absent)}")
        given = np.array([missing if given.get(name) is None else given[name] for name in domains])
    try:
        values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise RegionError(
            f"{what} must be a number, one number for each domain, or a mapping by domain: {problem}"
        ) from problem
    if values.ndim and values.shape != (len(domains),):
        raise RegionError(f"{what} must have shape ({len(domains)},), one number for each domain, got {values.shape}")
    values = np.broadcast_to(values, (len(domains),)).copy()
    wrong = [f"{domains[index]}={values[index]}" for index in np.flatnonzero(~(values >= 0.0))]
    if wrong:
        raise RegionError(f"{what} must be non-negative numbers, got {listing(wrong)}")
    return values


def by_name(domains: tuple[str, ...], **limits: Limit) -> dict[str, Any]:
    """Return the limits with arrays turned into mappings, which do not depend on the order of the domains."""
    named: dict[str, Any] = {}
    for what, given in limits.items():
        is_array = given is not None and not isinstance(given, Mapping) and np.ndim(given) == 1
        named[what] = dict(zip(domains, np.asarray(given).tolist(), strict=True)) if is_array else given
    return named


def shares_of(given: Limit, domains: tuple[str, ...]) -> Vector:
    """Return a prior (K,), read-only, divided by its sum; uniform if none is given."""
    prior = np.ones(len(domains)) if given is None else per_domain("prior", given, domains, missing=None)
    total = exact_sum(prior)
    if not (0.0 < total < math.inf):
        raise RegionError(f"prior must have a positive, finite sum, got {total}")
    return read_only(prior / total)


def whole(value: object, what: str, least: int) -> int:
    """Return a token count as int; floats such as 1e12 count as whole."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or value != value // 1:
        read = (
            "; mixfast.readers.token_counts(path) reads files with counts such as 3.2B"
            if isinstance(value, str)
            else ""
        )
        raise RegionError(f"{what} must be a whole number of tokens, got {shown(value)}{read}")
    if not least <= value < 2**63:
        raise RegionError(f"{what} must be at least {least} and below 2**63, got {shown(value)}")
    return int(value)


def bound_list(given: Any, domains: tuple[str, ...]) -> tuple[Bound, ...]:
    """Return bounds in any of the accepted forms as checked `Bound` objects."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        bounds = [_bound(key, value, domains) for key, value in given.items()]
    elif isinstance(given, Sequence) and not isinstance(given, str):
        bounds = [value if isinstance(value, Bound) else _bound(None, value, domains) for value in given]
    else:
        raise RegionError(f"bounds must be a mapping or a sequence of Bound, got {type(given).__name__}")
    known = set(domains)
    seen: set[str] = set()
    for bound in bounds:
        unknown = [name for name in bound.domains if name not in known]
        if unknown:
            raise RegionError(
                f"bound {shown(bound.name)} names unknown domains: {misspelt(unknown, domains)}; the domains are: {listing(domains)}"
            )
        if bound.name in seen:
            raise RegionError(f"two bounds are called {shown(bound.name)}; give each a name of its own")
        seen.add(bound.name)
    return tuple(bounds)


def _bound(key: Any, value: Any, domains: tuple[str, ...]) -> Bound:
    """Return one bound from a mapping's key (None in a list) and value."""
    said = f"bound {shown(key)}: {shown(value)}" if key is not None else f"bound {shown(value)}"
    if isinstance(value, Bound):
        return value
    members, lower, upper = None, None, None
    if isinstance(value, Mapping):
        unknown = sorted(set(map(str, value)) - {"name", "domains", "lower", "min", "upper", "max"})
        if unknown or {"lower", "min"} <= set(value) or {"upper", "max"} <= set(value):
            raise RegionError(f"{said}: expected the keys domains, lower (or min), upper (or max), and name in a list")
        members = value.get("domains")
        lower, upper = value.get("lower", value.get("min")), value.get("upper", value.get("max"))
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (2, 3):
        *head, lower, upper = value
        members = head[0] if head else None
    else:
        raise RegionError(f"{said}: expected (domains, lower, upper), or (lower, upper) with the domains as the key")
    if members is None and key is not None:
        members = sorted(key, key=str) if isinstance(key, frozenset) else key
        key = None
    if members is None:
        raise RegionError(f"{said}: no domains are given")
    if isinstance(members, str):
        members = (members,)
    coefficients = tuple(members.values()) if isinstance(members, Mapping) else None
    names = domain_names(members, RegionError)
    name = key if key is not None else value.get("name") if isinstance(value, Mapping) else None
    name = " + ".join(names) if name is None else str(name)
    try:
        return Bound(name, names, lower, upper, coefficients)
    except (TypeError, ValueError) as problem:
        if isinstance(problem, RegionError):
            raise
        raise RegionError(f"{said}: limits and coefficients must be numbers: {problem}") from problem
