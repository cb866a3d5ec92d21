"""Mixtures that follow from token counts: natural, uniform, temperature and UniMax."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import domain_names, listing, shown
from mixfast.errors import RegionError
from mixfast.mixture import Mixture
from mixfast.region import DEFAULT_MAX_EPOCHS, Region

Tokens = Mapping[str, float] | Region

MULTILINGUAL = 10.0 / 3.0
"""Default temperature: the exponent 0.3 of XLM-R (arXiv:1911.02116) and mT5 (arXiv:2010.11934)."""


def natural(tokens: Tokens) -> Mixture:
    """Return shares in proportion to the tokens of each domain.

    Parameters
    ----------
    tokens : mapping of str to number, or Region
        Tokens of each domain, at least 0; or a region that was built by `Region.from_tokens`. Other limits of the region are ignored.

    Raises
    ------
    RegionError
        If a count is negative or not a number, all are 0, or the region has no token counts.

    Examples
    --------
    >>> natural({"web": 900, "books": 100}).as_dict()
    {'web': 0.9, 'books': 0.1}
    """
    return temperature(tokens, 1.0)


def uniform(domains: Iterable[str] | Tokens) -> Mixture:
    """Return equal shares.

    Parameters
    ----------
    domains : sequence of str, mapping of str to number, or Region
        The domains. Domains with 0 tokens in a mapping, and domains that the limits of a region keep at 0, get no share.

    Raises
    ------
    RegionError
        If names are malformed, or no domain can have a share.

    Examples
    --------
    >>> uniform(["web", "code", "books", "papers"])["web"]
    0.25
    """
    if isinstance(domains, Region):
        names, usable = domains.domains, domains.reachable.astype(np.float64)
    elif isinstance(domains, Mapping):
        names, counts = token_counts(domains)
        usable = (counts > 0.0).astype(np.float64)
    else:
        names = domain_names(domains, RegionError)
        usable = np.ones(len(names))
    return Mixture(names, usable / usable.sum())


def temperature(tokens: Tokens, temperature: float = MULTILINGUAL) -> Mixture:
    """Return shares in proportion to ``tokens ** (1 / temperature)``.

    Temperature 1 gives the natural shares, infinity equal shares of all domains that have tokens. Papers that give an exponent
    (alpha, or s) mean ``1 / temperature``.

    Parameters
    ----------
    tokens : mapping of str to number, or Region
        As for `natural`.
    temperature : number, default 10/3
        Above 0; infinity is allowed. The default is the exponent 0.3 of XLM-R and mT5.

    Raises
    ------
    RegionError
        As for `natural`, or if the temperature is not above 0.

    References
    ----------
    Arivazhagan et al. 2019, arXiv:1907.05019 (temperature); Conneau et al. 2020, arXiv:1911.02116 (exponent 0.3).

    Examples
    --------
    >>> temperature({"web": 900, "books": 100}, 2).as_dict()
    {'web': 0.75, 'books': 0.25}
    """
    names, counts = token_counts(tokens)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | np.number) or not temperature > 0.0:
        raise RegionError(
            f"temperature must be a number above 0, got {shown(temperature)}; "
            "1 gives the natural shares, larger numbers more equal ones"
        )
    if temperature == 1.0:
        return Mixture(names, counts / math.fsum(counts))
    relative = counts / counts.max()
    shares = np.where(counts > 0.0, relative ** (1.0 / float(temperature)), 0.0)
    return Mixture(names, shares / math.fsum(shares))


def unimax(
    tokens: Tokens, budget: int | None = None, max_epochs: float | Mapping[str, float] = DEFAULT_MAX_EPOCHS
) -> Mixture:
    """Return the most equal shares that read no domain more than ``max_epochs`` times.

    Domains whose equal share would take more epochs get ``max_epochs * tokens / budget``, and the others share the rest equally. This is
    the point nearest to equal shares, in Euclidean distance, within these caps.

    Parameters
    ----------
    tokens : mapping of str to number, or Region
        Tokens of each domain; or a region, whose caps, floors and group limits then all hold: the answer is the point of the region
        nearest to equal shares.
    budget : int
        Tokens of the whole run. Not with a region.
    max_epochs : number or mapping of str to number, default 4
        How often the tokens of a domain may be read, as for `Region.from_tokens`. Not with a region.

    Raises
    ------
    RegionError
        If an argument is malformed.
    InfeasibleError
        If the tokens do not suffice for the budget. (The original algorithm then returns the natural shares, which read every domain
        more than ``max_epochs`` times.)

    References
    ----------
    Chung et al. 2023, "UniMax", arXiv:2304.09151, Algorithm 1.

    Examples
    --------
    >>> unimax({"web": 900, "code": 300, "books": 20}, 1000, max_epochs=4).as_dict()
    {'web': 0.46, 'code': 0.46, 'books': 0.08}
    """
    region = region_of(tokens, budget, max_epochs)
    return Mixture(region.domains, region.project(np.full(region.n_domains, 1.0 / region.n_domains)))


def token_counts(tokens: Tokens) -> tuple[tuple[str, ...], Vector]:
    """Return the names of domains and their tokens (K,)."""
    if isinstance(tokens, Region):
        if tokens.available is None:
            raise RegionError(
                f"the region has no token counts; {either('build it with Region.from_tokens', 'give --tokens and --budget')}"
            )
        return tokens.domains, tokens.available.astype(np.float64)
    if not isinstance(tokens, Mapping):
        raise RegionError(f"tokens must be a mapping of domain to tokens or a Region, got {type(tokens).__name__}")
    names = domain_names(tokens, RegionError)
    wrong = [f"{name}={shown(tokens[name])}" for name in names if not _is_count(tokens[name])]
    if wrong:
        raise RegionError(f"tokens must be finite numbers of at least 0, got {listing(wrong)}")
    counts = np.array([float(tokens[name]) for name in names])
    if not counts.any():
        raise RegionError(f"no domain has tokens: {listing(names)}")
    return names, counts


def region_of(tokens: Tokens, budget: int | None, max_epochs: float | Mapping[str, float]) -> Region:
    """Return the given region, or the one that follows from token counts, a budget and a limit on epochs."""
    if isinstance(tokens, Region):
        if budget is not None:
            raise RegionError(
                "a region knows its budget and epochs; leave out the budget, or give the tokens by domain"
            )
        return tokens
    if budget is None:
        raise RegionError("budget is missing: the tokens of the whole run, which limit the share of a domain")
    names, counts = token_counts(tokens)
    if not _is_count(budget) or not 1 <= budget < 2**63 or budget != budget // 1:
        raise RegionError(f"budget must be a whole number of tokens of at least 1, got {shown(budget)}")
    if broken := [f"{name}={count:g}" for name, count in zip(names, counts.tolist(), strict=True) if count % 1.0]:
        raise RegionError(f"tokens must be whole numbers for a budget, got {listing(broken)}")
    return Region.from_tokens(tokens, budget, max_epochs=max_epochs)  # type: ignore[arg-type]


def _is_count(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float | np.number) and 0.0 <= float(value) < math.inf
