"""Mixture: named shares of training tokens, checked when it is built, and its files."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.atomic import write_text
from mixfast._text.audience import either
from mixfast._text.frames import data_series
from mixfast._text.frozen import locked
from mixfast._text.json import is_json, read_json
from mixfast._text.kinds import other_kind
from mixfast._text.names import counted, did_you_mean, domain_names, listing, misspelt, one_of, places, shown
from mixfast._text.notebook import html_table
from mixfast._text.numbers import percent
from mixfast._text.numbers import total as exact_sum
from mixfast._text.outputs import MIXTURE, check_output
from mixfast._text.sized import text_of
from mixfast._text.visible import visible_json
from mixfast._text.yaml import read_yaml, write_yaml
from mixfast.errors import AlignmentError, BackendError, MixfastWarning, MixtureError, UnknownDomainError

__all__ = ["Mixture"]

FORMAT = "mixfast-mixture-1"

Vector = NDArray[np.float64]

NEGATIVE_ROUNDING = 1e-12
"""Shares down to this far below 0 are rounding of a solver and become 0; lower ones are refused."""
SUM_TOLERANCE = 5e-3
"""Shares with a sum further than this from 1 are refused. RegMix publishes shares rounded to 0.001; their sums differ from 1 by up to this much."""
NINE_DIGITS = 1e-9
"""Largest change of a share that was written with nine digits."""
# In float64, 1 - 0.995 is one rounding above 0.005.
_SUM_ALLOWED = SUM_TOLERANCE + 1e-9
# Float64 arithmetic stays far below this, so a larger deviation means that digits were dropped.
_SUM_WARNED = 1e-9


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Mixture(Mapping[str, float]):
    """Hold the share of training tokens of each domain.

    Shares are non-negative and sum to 1: ``math.fsum(mixture.weights) == 1.0``. A mixture is a read-only mapping from
    domain to share, so ``mixture["web"]``, ``len(mixture)``, ``dict(mixture)`` and ``"web" in mixture`` work; two
    mixtures are equal if they give the same domains the same shares, in any order.

    Parameters
    ----------
    domains : sequence of str, or mapping of str to float
        Unique, non-empty names, length K; or the shares by domain, without ``weights``.
    weights : array_like, shape (K,)
        Shares in the order of ``domains``, finite, at least -1e-12 (rounding below zero becomes 0), with a sum within
        5e-3 of 1. They are divided by their sum; a deviation of more than 1e-9 gives a `MixfastWarning`.

    Attributes
    ----------
    domains : tuple of str
    weights : ndarray, shape (K,), float64, read-only

    Raises
    ------
    MixtureError
        If names or shares are malformed; the offending domains are named.
    UnknownDomainError
        Raised by ``mixture[name]`` if no domain has this name. It is also a `KeyError`.

    Examples
    --------
    >>> mixture = Mixture(["web", "code", "books"], [0.5, 0.3, 0.2])
    >>> mixture["code"], mixture == Mixture({"web": 0.5, "code": 0.3, "books": 0.2})
    (0.3, True)
    >>> mixture.tokens(1001)
    {'web': 501, 'code': 300, 'books': 200}
    >>> print(mixture.to_yaml())
    format: mixfast-mixture-1
    mixture:
      web: 0.5
      code: 0.3
      books: 0.2
    <BLANKLINE>
    """

    domains: tuple[str, ...]
    weights: Vector

    def __init__(self, domains: Iterable[str] | Mapping[str, float], weights: ArrayLike | None = None) -> None:
        if weights is None:
            if not isinstance(domains, Mapping):
                raise MixtureError(
                    "a mixture needs the shares of its domains: Mixture({'web': 0.5, 'code': 0.5}), or Mixture(['web', 'code'], [0.5, 0.5])"
                )
            weights = list(domains.values())
        elif isinstance(domains, Mapping):
            raise MixtureError(
                "the shares are given twice, by the mapping of domains and as weights; leave out the weights"
            )
        self._set(domain_names(domains, MixtureError), weights)

    def _set(self, names: tuple[str, ...], weights: ArrayLike) -> None:
        object.__setattr__(self, "domains", names)
        object.__setattr__(self, "weights", _shares(names, weights))

    @cached_property
    def _position(self) -> dict[str, int]:
        return places(self.domains)

    @classmethod
    def from_dict(cls, shares: Mapping[str, float]) -> Mixture:
        """Build a mixture from a mapping of domain to share; the order of the mapping is kept."""
        if not isinstance(shares, Mapping):
            raise MixtureError(f"shares must be a mapping of domain to share, got {type(shares).__name__}")
        return cls(tuple(shares), list(shares.values()))

    # The mapping itself.

    def __getitem__(self, domain: str) -> float:
        position = self._position
        if domain not in position:
            raise UnknownDomainError(
                f"the mixture has no domain {shown(domain)}{did_you_mean(domain, position)}; its domains are: {listing(position)}"
            )
        return float(self.weights[position[domain]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.domains)

    def __len__(self) -> int:
        return len(self.domains)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickle and deepcopy give arrays that can be written to.
        for name, value in state.items():
            object.__setattr__(self, name, locked(value))

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        shown = listing((f"{name} {share:.4g}" for name, share in self.items()), limit=12)
        return f"Mixture({shown})"

    def _repr_html_(self) -> str:
        """Show the largest shares in a notebook."""
        order = sorted(self, key=lambda name: -self[name])
        rows = [(name, percent(self[name])) for name in order]
        return html_table(f"Mixture of {counted(len(self), 'domain')}", ["domain", "share"], rows, what="domains")

    def to_pandas(self) -> Any:
        """Return the shares as a pandas Series with the domains as labels, in the order of ``domains``.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        return data_series(self.weights.copy(), self.domains, "domain", "share", BackendError)

    def largest(self, limit: int = 4) -> str:
        """Return the largest shares, for a line of text."""
        order = sorted(self, key=lambda name: -self[name])
        return listing((f"{name} {100.0 * self[name]:.4g}%" for name in order), limit)

    def as_dict(self) -> dict[str, float]:
        """Return the shares as a plain dict of Python floats, in the order of ``domains``."""
        return dict(zip(self.domains, self.weights.tolist(), strict=True))

    # What a mixture means in tokens.

    def epochs(self, available: Mapping[str, int], target_tokens: int) -> dict[str, float]:
        """Return how many times each domain's tokens are read in a run of ``target_tokens``.

        Parameters
        ----------
        available : mapping of str to int
            Tokens of each domain. Every domain of the mixture must be there; more may be.
        target_tokens : int
            Tokens of the whole run, positive.

        Returns
        -------
        dict of str to float
            ``share * target_tokens / available``. For a domain without tokens: infinite if it has a share, else 0.

        Raises
        ------
        AlignmentError
            If a domain of the mixture is missing from ``available``.
        MixtureError
            If a count is negative or not a number, or ``target_tokens`` is not positive.
        """
        if any(name not in available for name in self.domains):
            raise AlignmentError.between("the mixture", self.domains, "available", available)
        if not target_tokens > 0:
            raise MixtureError(f"target_tokens must be a positive number of tokens, got {shown(target_tokens)}")
        wrong = [f"{name}={shown(available[name])}" for name in self.domains if not available[name] >= 0]
        if wrong:
            raise MixtureError(f"available must hold non-negative token counts, got {listing(wrong)}")
        result = {}
        for name, share in self.items():
            count = available[name]
            result[name] = share * target_tokens / count if count else (math.inf if share else 0.0)
        return result

    def tokens(self, budget: int) -> dict[str, int]:
        """Split a budget of tokens by largest remainder: whole numbers that sum to ``budget`` exactly.

        Parameters
        ----------
        budget : int
            Tokens (or sequences, or documents) to distribute, at least 0.

        Returns
        -------
        dict of str to int
            Each number is within 1 of ``share * budget``. Between equal remainders the earlier domain goes first. A share of 0
            gets 0.

        Raises
        ------
        MixtureError
            If ``budget`` is negative or not a whole number.

        Notes
        -----
        Computed in exact integers, so any budget is fine; K log K work.
        """
        if (
            isinstance(budget, bool)
            or not isinstance(budget, (int, float, np.integer, np.floating))
            or budget != budget // 1
        ):
            raise MixtureError(f"budget must be a whole number of tokens, got {shown(budget)}")
        budget = int(budget)
        if budget < 0:
            raise MixtureError(f"budget must be at least 0, got {budget}")
        # A float64 is an integer over a power of two: over their common denominator the shares are integers.
        ratios = [share.as_integer_ratio() for share in self.weights.tolist()]
        common = max(denominator for _, denominator in ratios)
        units = [numerator * (common // denominator) for numerator, denominator in ratios]
        total = sum(units)
        split = [divmod(unit * budget, total) for unit in units]
        counts = [whole for whole, _ in split]
        by_remainder = sorted(range(len(split)), key=lambda index: -split[index][1])
        for index in by_remainder[: budget - sum(counts)]:
            counts[index] += 1
        return dict(zip(self.domains, counts, strict=True))

    def row_weights(self, domain_of_row: ArrayLike, *, scale: str = "mean") -> Vector:
        """Return weights of pooled rows with which one model is trained on the mixture: ``w_k / n_k`` for each of the n_k rows of domain k.

        Parameters
        ----------
        domain_of_row : (n,) str
            Name of the domain of each row of the pool, in any order. Rows may occur several times, in one domain or in several.
        scale : {"mean", "largest", "paper"}
            "mean" multiplies the weights so that their mean over all rows is 1. "largest" makes the largest weight 1, so that no row counts more than once:
            if few rows have most of the weight, a regularised model is then regularised as for few rows. "paper" is the scale of the MixMin code,
            ``(w_k / max w) * (max n / n_k)``.

        Returns
        -------
        (n,) float64
            Such as ``model.fit(X, y, sample_weight=mixture.row_weights(domain))``; rows of domains without a share get 0.

        Raises
        ------
        MixtureError
            If names are not text, a row belongs to a domain that the mixture does not have, or a domain with a share has no rows.

        References
        ----------
        Thudi et al., "MixMin" (arXiv 2502.10510), the retraining of a classifier on pooled bioassays.

        Examples
        --------
        >>> Mixture({"a": 0.5, "b": 0.5}).row_weights(["a", "b", "b", "b"])
        array([2.        , 0.66666667, 0.66666667, 0.66666667])
        """
        if scale not in ("mean", "largest", "paper"):
            raise MixtureError(f"scale is {one_of(scale, ('mean', 'largest', 'paper'))}")
        if isinstance(domain_of_row, np.ma.MaskedArray) and np.ma.getmaskarray(domain_of_row).any():
            raise MixtureError("domain_of_row has masked entries: drop those rows")
        try:
            given = np.asarray(domain_of_row)
        except ValueError as problem:
            raise MixtureError(f"domain_of_row is no array of names: {problem}") from None
        if given.ndim != 1 or given.size == 0:
            raise MixtureError(
                f"domain_of_row has shape {given.shape}, expected the name of the domain of each row, (n,)"
            )
        odd = (
            [] if given.dtype.kind in "UT" else [(i, x) for i, x in enumerate(given.tolist()) if not isinstance(x, str)]
        )
        if odd:
            row, found = odd[0]
            positions = isinstance(found, int) and not isinstance(found, bool)
            advice = ": for positions give numpy.array(mixture.domains)[positions]" if positions else ""
            raise MixtureError(f"domain_of_row must hold names of domains, got {shown(found)} in row {row}{advice}")
        names, code, count = np.unique(given.astype(str), return_inverse=True, return_counts=True)
        unknown = [name for name in names.tolist() if name not in self]
        if unknown:
            raise MixtureError(
                f"rows belong to domains that the mixture does not have: {misspelt(unknown, self.domains)}"
            )
        without = [name for name, share in self.items() if share > 0.0 and name not in set(names.tolist())]
        if without:
            raise MixtureError(
                f"domains with a share have no rows: {listing(without)}; give rows of each, or leave them out of the mixture"
            )
        share = np.array([self[name] for name in names.tolist()])
        rate = share / count
        factor = {"mean": given.size, "largest": 1.0 / rate.max(), "paper": count.max() / share.max()}[scale]
        weights: Vector = (rate * factor)[code.reshape(-1)]
        return weights

    # Other mixtures of the same domains.

    def align(self, domains: Iterable[str]) -> Mixture:
        """Return the same mixture in the order of ``domains``; raise `AlignmentError` if the sets of names differ."""
        names = domain_names(domains, MixtureError)
        if set(names) != set(self.domains):
            raise AlignmentError.between("the mixture", self.domains, "the domains asked for", names)
        return Mixture(names, [self[name] for name in names])

    def drop_zeros(self, threshold: float = 0.0) -> tuple[Mixture, tuple[str, ...]]:
        """Return the mixture of the domains with a share above ``threshold``, and the names of the others.

        Most data loaders refuse a share of 0. The remaining shares are divided by their sum.
        """
        keep = self.weights > threshold
        if not keep.any():
            raise MixtureError(f"no share is above the threshold {threshold}; the largest is {self.weights.max():.6g}")
        kept = tuple(name for name, stays in zip(self.domains, keep, strict=True) if stays)
        dropped = tuple(name for name, stays in zip(self.domains, keep, strict=True) if not stays)
        weights = self.weights[keep]
        return Mixture(kept, weights if not dropped else weights / math.fsum(weights)), dropped

    def total_variation(self, other: Mapping[str, float] | ArrayLike) -> float:
        """Return half the sum of absolute differences of shares: 0 for equal mixtures, 1 for disjoint ones.

        ``other`` is a mixture or a mapping of the same domains, or an array (K,) in the order of ``domains``.
        """
        return 0.5 * math.fsum(np.abs(self.weights - self._other(other, "the other mixture")))

    def kl(self, prior: Mapping[str, float] | ArrayLike) -> float:
        """Return the divergence ``sum_k w_k log(w_k / prior_k)`` in nats; infinite if a domain with a share has a prior of 0.

        ``prior`` is a mixture or a mapping of the same domains, or an array (K,) in the order of ``domains``.
        """
        reference = self._other(prior, "the prior")
        used = self.weights > 0.0
        if (reference[used] == 0.0).any():
            return math.inf
        # The divergence is at least 0; for equal mixtures rounding can make it negative.
        return max(0.0, math.fsum(self.weights[used] * np.log(self.weights[used] / reference[used])))

    def _other(self, other: Mapping[str, float] | ArrayLike, what: str) -> Vector:
        if not isinstance(other, Mapping):
            return _shares(self.domains, other)
        if set(other) != set(self.domains):
            raise AlignmentError.between("the mixture", self.domains, what, other)
        return _shares(self.domains, [other[name] for name in self.domains])

    # Files.

    def to_json(self) -> str:
        """Return the mixture as JSON; `from_json` gives back the same float64 shares, bit by bit."""
        return (
            visible_json(json.dumps({"format": FORMAT, "mixture": self.as_dict()}, indent=2, ensure_ascii=False)) + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Mixture:
        """Read what `to_json` writes, or a flat JSON object of domain to share."""
        return cls.from_dict(_named_shares(read_json(text, MixtureError)))

    def to_yaml(self) -> str:
        """Return the mixture as YAML; `from_yaml` gives back the same float64 shares, bit by bit.

        Names that YAML could take for something else are quoted, and shares always have a decimal point, so every
        YAML reader sees strings and floats.
        """
        return write_yaml({"format": FORMAT, "mixture": self.as_dict()})

    @classmethod
    def from_yaml(cls, text: str) -> Mixture:
        """Read what `to_yaml` writes, or a flat YAML mapping of domain to share, with comments.

        Anything else is refused, and so is a domain that is given twice.
        """
        return cls.from_dict(_named_shares(read_yaml(text, MixtureError), parse=float))

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the mixture to ``path``: YAML for ``.yaml`` and ``.yml``, JSON for ``.json``.

        Raises
        ------
        MixtureError
            If the ending is another one, or if, without ``force``, a file of another kind would be overwritten, such as a ledger.
        OSError
            If the file cannot be written. The old file is unchanged.
        """
        path = Path(path)
        check_output(path, MIXTURE, MixtureError, force=force)
        write_text(path, self.to_json() if is_json(path, "a mixture file", MixtureError) else self.to_yaml())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Mixture:
        """Read a mixture from a ``.yaml``, ``.yml`` or ``.json`` file."""
        path = Path(path)
        read = cls.from_json if is_json(path, "a mixture file", MixtureError) else cls.from_yaml
        try:
            return read(text_of(path, MixtureError, encoding="utf-8"))
        except UnicodeDecodeError as problem:
            raise MixtureError(other_kind(path, "a mixture file (yaml or json)")) from problem
        except MixtureError as problem:
            raise MixtureError(
                f"{path}: {problem} (files of other loaders are read by {either('mixfast.readers.read', 'export, report and reuse start')})"
                if str(problem).startswith(("shares must be numbers", "a mixture file must map"))
                else f"{path}: {problem}"
            ) from problem


def _json_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return value


def _named_shares(document: Any, parse: Callable[[Any], float] = _json_number) -> dict[str, float]:
    """Return the shares of a mixture file."""
    if not isinstance(document, dict):
        raise MixtureError(f"a mixture file must map domains to shares, got a {type(document).__name__}")
    if isinstance(document.get("mixture"), dict):
        if document.get("format", FORMAT) != FORMAT:
            raise MixtureError(f"format {shown(document['format'])} is not known; this version reads {FORMAT!r}")
        if unknown := sorted(set(document) - {"format", "mixture"}):
            raise MixtureError(f"unexpected keys beside 'format' and 'mixture': {listing(unknown)}")
        document = document["mixture"]
    shares, wrong = {}, []
    for name, share in document.items():
        try:
            shares[name] = parse(share)
        except (TypeError, ValueError, OverflowError):
            wrong.append(f"{name}: {shown(share)}")
    if wrong:
        raise MixtureError(f"shares must be numbers, got {listing(wrong)}")
    return shares


def over(names: tuple[str, ...], weights: ArrayLike) -> Mixture:
    """Return a mixture of names that a table or a region has checked already: to check a thousand names takes as long as to solve for their shares."""
    mixture = object.__new__(Mixture)
    mixture._set(names, weights)
    return mixture


def sum_to_one(totals: ArrayLike) -> NDArray[np.bool_]:
    """Return for each sum of shares whether it is within `SUM_TOLERANCE` of 1."""
    return np.abs(np.asarray(totals) - 1.0) <= _SUM_ALLOWED


def _shares(domains: tuple[str, ...], weights: ArrayLike) -> Vector:
    """Return checked shares (K,), read-only, that sum to exactly 1."""
    try:
        shares = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as problem:
        raise MixtureError(f"weights must be numbers, one for each domain: {problem}") from problem
    if shares.shape != (len(domains),):
        raise MixtureError(
            f"weights must have one share for each of the {len(domains)} domains, got shape {shares.shape}"
        )
    # In Python floats, because for a few shares each numpy call takes as long as all of these. NaN may pass through min and max, not the sum.
    listed = shares.tolist()
    least = min(listed)
    total = exact_sum(listed) if least >= -NEGATIVE_ROUNDING and max(listed) < math.inf else math.nan
    if math.isnan(total):
        wrong = ~(np.isfinite(shares) & (shares >= -NEGATIVE_ROUNDING))
        named = [f"{domains[index]}={shares[index]}" for index in np.flatnonzero(wrong)]
        raise MixtureError(f"shares must be finite and not negative, got {listing(named)}")
    if least < 0.0:
        np.maximum(shares, 0.0, out=shares)
        total = exact_sum(shares.tolist())
    if not abs(total - 1.0) <= _SUM_ALLOWED:
        raise MixtureError(
            f"shares must sum to 1 within {SUM_TOLERANCE}, got {total:.9g}; divide them by their sum if that is meant"
        )
    if abs(total - 1.0) > _SUM_WARNED:
        warnings.warn(f"shares sum to {total:.12g} and were divided by it", MixfastWarning, stacklevel=4)
    if total != 1.0:
        shares /= total
        # The rounding error goes to the largest share, because its relative change is the smallest. Shares that were stored sum to 1
        # already, so that reading them changes no bit.
        for _ in range(4):
            missing = 1.0 - math.fsum(shares.tolist())
            if missing == 0.0:
                break
            shares[shares.argmax()] += missing
    shares += 0.0  # turns -0.0 into 0.0
    shares.setflags(write=False)
    return shares
