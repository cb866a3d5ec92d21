"""Region: the set of allowed mixtures and its prior, with the geometry that solvers need."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry import lp, projection
from mixfast._engine.geometry.limits import GroupLimits
from mixfast._text.audience import either
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, domain_names, listing, places, shown
from mixfast._text.notebook import html_table
from mixfast._text.numbers import percent
from mixfast.errors import AlignmentError, InfeasibleError, MixfastWarning, RegionError
from mixfast.mixture import Mixture
from mixfast.region._bounds import Bound, Limit, bound_list, by_name, described, per_domain, read_only, shares_of, whole

DEFAULT_MAX_EPOCHS = 4.0
"""Up to 4 epochs, repeated tokens are worth almost as much as new ones (Muennighoff et al. 2023, arXiv:2305.16264)."""
MOST_EPOCHS = 1000.0
"""More epochs than this are refused as a mistake, such as a number of tokens. Muennighoff et al. measured up to 44 epochs."""
# Numbers from here on stand for "no limit" in files that cannot hold infinity.
_ENDLESS = 1e100

# Ten caps of 0.1 do not sum to 1 exactly, because decimal fractions are rounded; real contradictions are far larger.
# Half of the tolerance of the linear program, so that a region accepted here never fails there.
_ROUNDING = 0.5 * lp.FEASIBLE
# A domain that the limits allow at most this share counts as one without a share.
UNREACHABLE = _ROUNDING


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Region(Frozen):
    """Describe which mixtures are allowed, and which one is the prior.

    The region is the set ``{w : sum w = 1, floor <= w <= cap, bound_lower <= bound_rows @ w <= bound_upper}``. A region
    that exists holds at least one mixture.

    Parameters
    ----------
    domains : sequence of str
        Unique, non-empty names, length K.
    prior : number, array_like (K,) or mapping of str to float, optional
        Non-negative, divided by its sum; a mapping must name every domain. None, or any one number: uniform.
    cap, floor : number, array_like (K,) or mapping of str to float, optional
        Largest and smallest share of each domain. Domains that a mapping leaves out have no limit. Caps above 1 are no
        limit; finite ones give a warning. Floors are at least 0.
    bounds : mapping or sequence, optional
        Linear limits on groups of domains, in any of these forms; None is no limit::

            {"all code": (["python", "c"], 0.1, 0.3)}
            {"all code": {"domains": ["python", "c"], "lower": 0.1, "upper": 0.3}}  # or "min", "max"
            {("python", "c"): (0.1, 0.3), "unsafe": (None, 0.01)}  # domains as the key
            [Bound("all code", ("python", "c"), 0.1, 0.3), (["unsafe"], None, 0.01)]

        Members may also be a mapping of domain to coefficient.

    Attributes
    ----------
    domains : tuple of str
    prior, cap, floor : ndarray (K,), float64, read-only
    has_prior : bool
        Whether a prior was given or follows from token counts. If not, `prior` is uniform.
    bounds : tuple of Bound
    bound_names : tuple of str, length B
    bound_rows : ndarray (B, K); bound_lower, bound_upper : ndarray (B,)
        The bounds as a matrix with lower and upper limits; infinite means no limit.
    available : ndarray (K,), int64, or None; target_tokens : int or None; max_epochs : ndarray (K,), float64, or None
        Token counts behind the caps, if the region was built by `from_tokens`.
    counted : bool
        Whether the caps follow from token counts: of this region, or of the domains that `reuse` froze into one.

    Raises
    ------
    RegionError
        If names, shapes or numbers are malformed.
    InfeasibleError
        If no mixture meets all limits; the message names the limits that contradict each other.

    Examples
    --------
    >>> region = Region(["web", "code", "books"], cap={"code": 0.2}, bounds={("code", "books"): (0.25, None)})
    >>> region.project([0.7, 0.6, -0.3]).round(3).tolist()
    [0.75, 0.2, 0.05]
    >>> region.lower_bound([3.0, 1.0, 2.0])
    1.8
    """

    domains: tuple[str, ...]
    prior: Vector
    cap: Vector
    floor: Vector
    has_prior: bool
    bounds: tuple[Bound, ...]
    bound_rows: NDArray[np.float64]
    bound_lower: Vector
    bound_upper: Vector
    available: NDArray[np.int64] | None
    target_tokens: int | None
    max_epochs: Vector | None
    counted: bool
    _given: dict[str, Any]  # the limits as given, to rebuild this region with its domains in another order

    def __init__(
        self, domains: Iterable[str], *, prior: Limit = None, cap: Limit = None, floor: Limit = None, bounds: Any = None
    ) -> None:
        names = domain_names(domains, RegionError)
        caps = per_domain("cap", cap, names, missing=1.0)
        beyond = [f"{name}={caps[k]:g}" for k, name in enumerate(names) if 1.0 < caps[k] < math.inf]
        if beyond:
            warnings.warn(
                f"cap: {listing(beyond)} is not a limit, because shares sum to 1; 20 % is 0.2",
                MixfastWarning,
                stacklevel=2,
            )
        caps = np.minimum(caps, 1.0)
        floors = per_domain("floor", floor, names, missing=0.0)
        limits = bound_list(bounds, names)
        rows = np.zeros((len(limits), len(names)))
        position = places(names)
        for row, bound in zip(rows, limits, strict=True):
            row[[position[name] for name in bound.domains]] = bound.coefficients
        self._set(
            domains=names,
            prior=shares_of(prior, names),
            cap=read_only(caps),
            floor=read_only(floors),
            has_prior=prior is not None,
            bounds=limits,
            bound_rows=read_only(rows),
            bound_lower=read_only(np.array([bound.lower for bound in limits], dtype=np.float64)),
            bound_upper=read_only(np.array([bound.upper for bound in limits], dtype=np.float64)),
            available=None,
            target_tokens=None,
            max_epochs=None,
            counted=False,
            _given=by_name(names, prior=prior, cap=cap, floor=floor) | {"bounds": limits},
        )
        self._check_box()
        self._check_bounds()

    @classmethod
    def simplex(cls, domains: Iterable[str]) -> Region:
        """Return the region of all mixtures of ``domains``: no limits, uniform prior."""
        return cls(domains)

    @classmethod
    def from_tokens(
        cls,
        available: Mapping[str, int],
        target_tokens: int,
        *,
        max_epochs: float | Mapping[str, float] = DEFAULT_MAX_EPOCHS,
        prior: Limit = None,
        cap: Limit = None,
        floor: Limit = None,
        bounds: Any = None,
    ) -> Region:
        """Return the region of mixtures for which the available tokens suffice.

        The cap of a domain is ``max_epochs * available / target_tokens``, or ``cap`` if that is smaller.

        Parameters
        ----------
        available : mapping of str to int
            Tokens of each domain; its keys are the domains.
        target_tokens : int
            Tokens of the whole training run.
        max_epochs : number or mapping of str to number
            How often the tokens of a domain may be read, at most 1000; infinity is no limit. The default, also for domains that
            a mapping leaves out, is 4: up to 4 epochs, repeated tokens are worth almost as much as new ones.
        prior : optional
            As for `Region`; None stands for the natural shares, ``available / sum(available)``.
        cap, floor, bounds : optional
            As for `Region`.

        Returns
        -------
        Region
            Its attributes `available`, `target_tokens` and `max_epochs` are set.

        Raises
        ------
        RegionError, InfeasibleError
            As for `Region`. If there are too few tokens, the message gives the number that is missing.

        References
        ----------
        Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", arXiv:2305.16264.

        Examples
        --------
        >>> region = Region.from_tokens({"web": 900, "books": 100}, 1000, max_epochs={"books": 2})
        >>> region.cap.tolist(), region.prior.tolist()
        ([1.0, 0.2], [0.9, 0.1])
        """
        if not isinstance(available, Mapping):
            raise RegionError(f"available must be a mapping of domain to tokens, got {type(available).__name__}")
        names = domain_names(available, RegionError)
        counts = [whole(available[name], f"available[{shown(name)}]", 0) for name in names]
        target = whole(target_tokens, "target_tokens", 1)
        epochs = per_domain("max_epochs", max_epochs, names, missing=DEFAULT_MAX_EPOCHS)
        absurd = [
            f"{name}={times:g}"
            for name, times in zip(names, epochs.tolist(), strict=True)
            if MOST_EPOCHS < times < _ENDLESS
        ]
        if absurd:
            raise RegionError(
                f"max_epochs is at most {MOST_EPOCHS:g}, got {listing(absurd)}: repetition has been measured below 100 epochs only; "
                "check that it is not a number of tokens, and give inf for no limit"
            )
        supply = np.array(
            [epoch * count if count else 0.0 for epoch, count in zip(epochs.tolist(), counts, strict=True)]
        )
        if math.fsum(np.minimum(supply / target, 1.0)) < 1.0 - _ROUNDING:
            total = math.fsum(supply)
            raise InfeasibleError(
                f"the supply is {target - total:,.0f} tokens short: {sum(counts):,} tokens are available, and the epochs allowed turn "
                f"them into {total:,.0f}, but the run takes {target:,}; add data, allow more epochs or lower {either('the target', '--budget')}"
            )
        caps = np.minimum(np.minimum(supply / target, 1.0), per_domain("cap", cap, names, missing=1.0))
        natural = np.array(counts, dtype=np.float64)
        region = cls(names, prior=natural if prior is None else prior, cap=caps, floor=floor, bounds=bounds)
        region._set(
            available=read_only(np.array(counts, dtype=np.int64)),
            target_tokens=target,
            max_epochs=read_only(epochs),
            counted=True,
            _given=by_name(names, prior=prior, cap=cap, floor=floor) | {"bounds": region.bounds},
        )
        return region

    # Facts.

    @property
    def n_domains(self) -> int:
        """K, the number of domains."""
        return len(self.domains)

    @property
    def bound_names(self) -> tuple[str, ...]:
        """Names of the bounds, in the order of the rows of `bound_rows`."""
        return tuple(bound.name for bound in self.bounds)

    @property
    def cap_given(self) -> Vector:
        """Caps (K,) as given, without those that follow from token counts."""
        return per_domain("cap", self._given["cap"], self.domains, missing=1.0)

    @property
    def cap_for_all(self) -> float | None:
        """The cap below 1 that was given for all domains or for more than half of them; None if there is none."""
        values, counts = np.unique(self.cap_given, return_counts=True)
        most = int(counts.argmax())
        return float(values[most]) if values[most] < 1.0 and 2 * counts[most] > self.n_domains > 1 else None

    @cached_property
    def group_limits(self) -> GroupLimits | None:
        """The bounds, scaled so that the largest coefficient of each is about 1; None without bounds.

        The scales are powers of two, which change no digit. A scaled limit beyond float64 cannot be reached by any mixture.
        """
        if not self.bounds:
            return None
        exponent = -np.frexp(self.bound_scale)[1] + 1
        with np.errstate(over="ignore", under="ignore"):
            rows = np.ldexp(self.bound_rows, exponent[:, None])
            low, high = np.ldexp(self.bound_lower, exponent), np.ldexp(self.bound_upper, exponent)
        return GroupLimits(read_only(rows), read_only(low), read_only(high))

    @property
    def bound_scale(self) -> Vector:
        """The largest coefficient of each bound, (B,). `violation` and the solver measure bounds in this unit."""
        scale: Vector = np.abs(self.bound_rows).max(axis=1, initial=0.0)
        return scale

    @cached_property
    def reachable(self) -> NDArray[np.bool_]:
        """Which domains can have a share above 0, (K,) bool; caps or bounds force the others to 0."""
        reached = self.cap > 0.0
        if not self.bounds:
            # With limits on single domains only, a share can rise above its floor if another share can fall.
            fixed = math.fsum(self.floor) >= 1.0 - _ROUNDING
            return read_only(self.floor > 0.0 if fixed else reached)
        # Projecting a far point gives every open domain as much as the bounds allow. The linear program proves that
        # the other domains stay at 0.
        open_, reached = reached, np.zeros(self.n_domains, dtype=bool)
        while (unknown := open_ & ~reached).any():
            found = unknown & (self.project(np.where(unknown, 2.0, 0.0)) > _ROUNDING)
            if not found.any():
                found = unknown & (self.linear_min(np.where(unknown, -1.0, 0.0)) > _ROUNDING)
            if not found.any():
                break
            reached |= found
        return read_only(reached)

    def __repr__(self) -> str:
        parts = [f"{counted(self.n_domains, 'domain')}: {listing(self.domains, limit=4)}"]
        parts += [counted(int((self.cap < 1.0).sum()), "cap")] if (self.cap < 1.0).any() else []
        parts += [counted(int((self.floor > 0.0).sum()), "floor")] if (self.floor > 0.0).any() else []
        parts += [f"bounds: {listing(self.bound_names, limit=4)}"] if self.bounds else []
        parts += [f"target {self.target_tokens:,} tokens"] if self.target_tokens is not None else []
        return f"Region({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """Show the limits of each domain in a notebook."""
        columns = {"floor": self.floor, "cap": self.cap, **({"prior": self.prior} if self.has_prior else {})}
        rows = [
            (name, *map(percent, row))
            for name, row in zip(self.domains, np.array(list(columns.values())).T.tolist(), strict=True)
        ]
        lines = [described(bound) for bound in self.bounds]
        lines += [f"run of {self.target_tokens:,} tokens"] if self.target_tokens is not None else []
        title = f"Region over {counted(self.n_domains, 'domain')}"
        return html_table(title, ["domain", *columns], rows, lines=lines, what="domains")

    # Geometry.

    def project(self, x: ArrayLike) -> Vector:
        """Return the mixture (K,) of the region nearest to ``x`` (K,): minimise ``|w - x|^2`` over the region.

        The result is exact: caps and floors hold to the last bit, the sum and the bounds to a few roundings.

        Raises
        ------
        RegionError
            If ``x`` has another shape or holds NaN or infinity.

        Notes
        -----
        Compiled; a few passes of O(K). With B bounds, a Newton method on their B multipliers calls it repeatedly.

        References
        ----------
        Cominetti, Mascarenhas and Silva 2014, "A Newton's method for the continuous quadratic knapsack problem".
        """
        point = self._vector("x", x)
        return projection.project(point, *self._limits, self._capped) if self.bounds else self._capped(point)

    def linear_min(self, g: ArrayLike) -> Vector:
        """Return a vertex (K,) of the region that minimises ``<g, s>``; between equal costs the first domain is filled first.

        Raises
        ------
        RegionError
            If ``g`` has another shape or holds NaN or infinity.

        Notes
        -----
        Greedy and compiled, O(K + filled log K); with bounds a dual simplex method started from the greedy vertex.
        """
        cost = self._vector("g", g)
        return lp.minimise(cost, *self._limits) if self.bounds else simplex.linear_min(cost, self.floor, self.cap, 1.0)

    def lower_bound(self, g: ArrayLike) -> float:
        """Return the minimum of ``<g, s>`` over the region, in the unit of ``g``."""
        return math.fsum(self._vector("g", g) * self.linear_min(g))

    def violation(self, w: ArrayLike | Mapping[str, float]) -> float:
        """Return the largest violation by ``w`` of the sum, a cap, a floor or a bound, as a share; 0 inside the region.

        The violation of a bound is the smallest share that must move between domains to meet it, for any scale of its coefficients.
        If all coefficients are 1, it is the amount by which the group's share is too large or too small. ``w`` is an array (K,) in the order of ``domains``, or a `Mixture` or mapping of the same domains.
        """
        if isinstance(w, Mapping):
            if set(w) != set(self.domains):
                raise AlignmentError.between("the region", self.domains, "the mixture", w)
            w = [w[name] for name in self.domains]
        point = self._vector("w", w)
        single = max(abs(math.fsum(point) - 1.0), float((self.floor - point).max()), float((point - self.cap).max()))
        if self.group_limits is None:
            return max(single, 0.0)
        rows, low, high = self.group_limits
        inside = rows @ point
        above = [_to_move(rows[b], float(inside[b] - high[b]), point) for b in np.flatnonzero(inside > high)]
        below = [_to_move(-rows[b], float(low[b] - inside[b]), point) for b in np.flatnonzero(inside < low)]
        return max(single, *above, *below, 0.0)

    def contains(self, w: ArrayLike | Mapping[str, float], atol: float = 1e-9) -> bool:
        """Whether ``w`` meets every limit to within ``atol``; see `violation`."""
        return self.violation(w) <= atol

    # Other regions of the same kind.

    def align(self, domains: Iterable[str]) -> Region:
        """Return the same region in the order of ``domains``; raise `AlignmentError` if the sets of names differ."""
        names = domain_names(domains, RegionError)
        if names == self.domains:
            return self
        if set(names) != set(self.domains):
            raise AlignmentError.between("the region", self.domains, "the domains asked for", names)
        return self._again(names, {})

    def replace(self, **changes: Any) -> Region:
        """Return this region with another ``prior``, ``cap``, ``floor`` or ``bounds``; None removes one of them.

        A region built by `from_tokens` keeps its token counts, and the caps that follow from them. For other regions, ``counted``
        says whether their caps follow from token counts.
        """
        unknown = sorted(set(changes) - {"prior", "cap", "floor", "bounds", "counted"})
        if unknown:
            raise RegionError(f"replace takes prior, cap, floor, bounds and counted, got {listing(unknown)}")
        return self._again(self.domains, changes)

    @property
    def limited(self) -> bool:
        """Whether there is any cap below 1, floor above 0 or group limit; a prior alone limits nothing."""
        return bool((self.cap < 1.0).any() or (self.floor > 0.0).any() or self.bounds)

    def by_name(self, values: NDArray[Any]) -> dict[str, Any]:
        """Return numbers (K,) in the order of ``domains``, such as ``region.cap``, by name."""
        return dict(zip(self.domains, values.tolist(), strict=True))

    def epoch_share(self, domain: str) -> float | None:
        """Share that one epoch of a domain amounts to, if token counts set its cap; None if another limit sets it."""
        if self.available is None or self.target_tokens is None or self.max_epochs is None:
            return None
        k = self.domains.index(domain)
        epoch = float(self.available[k]) / self.target_tokens
        supply = min(float(self.max_epochs[k]) * epoch, 1.0)
        return epoch if self.cap[k] >= supply * (1.0 - 1e-12) else None

    def epochs(self, mixture: Mixture) -> dict[str, float] | None:
        """Return how often ``mixture`` reads the tokens of each domain; None if the region has no token counts."""
        if self.available is None or self.target_tokens is None:
            return None
        return mixture.epochs(self.by_name(self.available), self.target_tokens)

    # Inside.

    def _again(self, names: tuple[str, ...], changes: Mapping[str, Any]) -> Region:
        given = {**self._given, **changes}
        counted = given.pop("counted", self.counted)
        if self.available is None or self.target_tokens is None or self.max_epochs is None:
            region = Region(names, **given)
            region._set(counted=counted)
            return region
        available = self.by_name(self.available)
        ordered = {name: available[name] for name in names}
        return Region.from_tokens(ordered, self.target_tokens, max_epochs=self.by_name(self.max_epochs), **given)

    def _set(self, **fields: Any) -> None:
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def _limits(self) -> tuple[Vector, Vector, Matrix, Vector, Vector]:
        """Box and bounds, for regions that have bounds."""
        rows, low, high = self.group_limits or GroupLimits(self.bound_rows, self.bound_lower, self.bound_upper)
        return self.floor, self.cap, rows, low, high

    def _capped(self, x: Vector) -> Vector:
        return simplex.project(x, self.floor, self.cap, 1.0)

    def _vector(self, what: str, values: ArrayLike) -> Vector:
        vector = np.ascontiguousarray(values, dtype=np.float64)
        if vector.shape != self.cap.shape:
            raise RegionError(
                f"{what} must have shape ({self.n_domains},), one number for each domain, got {vector.shape}"
            )
        if not np.isfinite(vector).all():
            wrong = [f"{self.domains[index]}={vector[index]}" for index in np.flatnonzero(~np.isfinite(vector))]
            raise RegionError(f"{what} must be finite, got {listing(wrong)}")
        return vector

    def _check_box(self) -> None:
        crossed = [
            f"{name} (floor {low:.6g}, cap {high:.6g})"
            for name, low, high in zip(self.domains, self.floor.tolist(), self.cap.tolist(), strict=True)
            if low > high
        ]
        if crossed:
            raise InfeasibleError(f"floor above cap: {listing(crossed)}")
        if (total := math.fsum(self.cap)) < 1.0 - _ROUNDING:
            raise InfeasibleError(
                f"the caps sum to {total:.15g}, but shares must sum to 1; raise some of them: {self._largest(self.cap)}"
            )
        if (total := math.fsum(self.floor)) > 1.0 + _ROUNDING:
            raise InfeasibleError(
                f"the floors sum to {total:.15g}, more than 1; lower some of them: {self._largest(self.floor, above=0.0)}"
            )

    def _check_bounds(self) -> None:
        if self.group_limits is None:
            return
        for bound, given, row, lower, upper in zip(self.bounds, self.bound_rows, *self.group_limits, strict=True):
            slack = _ROUNDING * float(np.abs(row).max())
            vertices = [simplex.linear_min(g, self.floor, self.cap, 1.0) for g in (row, -row)]
            least, most = (float(row @ vertex) for vertex in vertices)
            if lower > most + slack or upper < least - slack:
                shown = [float(given @ vertex) for vertex in vertices]
                side = f"at most {shown[1]:.6g}" if lower > most else f"at least {shown[0]:.6g}"
                raise InfeasibleError(f"bound {described(bound)} cannot hold: caps and floors make the group {side}")
        try:
            lp.check(*self._limits)
        except lp.Contradiction as found:
            culprits = listing(described(self.bounds[row]) for row in found.rows)
            raise InfeasibleError(f"bounds that cannot hold together, given the caps and floors: {culprits}") from None

    def _largest(self, values: Vector, *, above: float = -math.inf) -> str:
        order = np.argsort(-values, kind="stable")
        return listing(f"{self.domains[index]}={values[index]:.6g}" for index in order if values[index] > above)


def _to_move(row: Vector, excess: float, w: Vector) -> float:
    """Return the smallest share that must move for ``row @ w`` to fall by `excess`: from the largest coefficients to the smallest, or to 0."""
    if not excess > 0.0:
        return 0.0
    order = np.argsort(-row, kind="stable")
    gain, share = row[order] - min(float(row.min()), 0.0), np.maximum(w[order], 0.0)
    fallen = np.cumsum(gain * share)
    last = int(np.searchsorted(fallen, excess))
    if last == row.size:  # no move is enough: return the amount by which the sum of shares would have to change
        return min(excess / float(np.abs(row).max()), 1.0)
    before = float(fallen[last - 1]) if last else 0.0
    return math.fsum(share[:last]) + (excess - before) / float(gain[last])
