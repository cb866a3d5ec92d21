"""Solution: the mixture that a solver proposes, with everything that speaks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.geometry.prices import Multipliers
from mixfast._engine.optimise.trace import Minimum, Step
from mixfast.mixture import Mixture
from mixfast.solver._multipliers import multipliers

if TYPE_CHECKING:
    from mixfast.solver._problem import Problem

Vector = NDArray[np.float64]

# A multiplier below this share of the spread of the gradient is rounding, not a price.
_PRICE_ROUNDING = 1e-7
# A share this close to a limit is at it.
_AT_LIMIT = 1e-6


@dataclass(frozen=True)
class ShadowPrice:
    """What one binding limit costs.

    Attributes
    ----------
    name : str
        The domain, or the name of the group limit.
    limit : str
        "cap", "floor", "at least" or "at most" (the last two for groups).
    value : float
        The share the limit allows.
    price : float
        Nats of loss saved per unit of share by which the limit is relaxed, >= 0; divide by 100 for a percentage point.
    text : str
        The same as a sentence.
    """

    name: str
    limit: str
    value: float
    price: float
    text: str


@dataclass(frozen=True, eq=False)
class Solution:
    """A mixture with its certificate.

    Attributes
    ----------
    mixture : Mixture
        The proposed shares, in the order of the table's domains.
    status : str
        "optimal": the gap is certified to be at most the tolerance. "optimal_inaccurate": rounding stopped progress above it.
        "user_limit": `max_iter` or the fixed number of steps of "eg-paper" ended it.
    value : float
        Objective at the mixture, nats (squared units of the target for "mse"), the KL term included.
    gap : float
        Frank-Wolfe gap over the region: the objective's minimum is at least ``value - gap``.
    loss : float
        The objective without the KL term.
    group_losses : dict of str to float
        Loss of each group of rows at the mixture.
    group_weights : dict of str to float
        Weight of each group: as asked, or for "worst" the multipliers that prove the minimax value.
    multipliers : Multipliers
    shadow_prices : tuple of ShadowPrice
        The limits that bind, dearest first.
    epochs : dict of str to float, or None
        Passes over each domain's tokens that the mixture implies; None where the token counts are not known.
    wear : float or None
        As given to `solve`; the losses are then those of effective shares.
    trace : tuple of Step
        Rows looked at, domains in play, value, gap and seconds of each step.
    seconds : float
        Wall time of the solve.
    backend : str
        What computed it, e.g. "cpu (avx512, 2 threads)".
    """

    mixture: Mixture
    status: str
    value: float
    gap: float
    loss: float
    trace: tuple[Step, ...] = field(repr=False)
    seconds: float
    backend: str
    _problem: Problem = field(repr=False)
    _group_weight: Vector = field(repr=False)
    _minimum: Minimum = field(repr=False)

    @property
    def group_weights(self) -> dict[str, float]:
        """Weight of each group in the objective, summing to 1; for "worst" the multipliers that prove the minimax value."""
        return dict(zip(self._problem.table.group_names, self._group_weight.tolist(), strict=True))

    @cached_property
    def group_losses(self) -> dict[str, float]:
        """Loss of each group of rows at the mixture, without the KL term; one sweep of the rows where there are several."""
        names = self._problem.table.group_names
        if len(names) == 1:
            return {names[0]: self.loss}
        usable = self._problem.usable
        w = self.mixture.weights if usable is None else self.mixture.weights[usable]
        losses = [float(group.losses(w[None, :])[0]) for group in self._problem.group_objectives]
        return dict(zip(names, losses, strict=True))

    @property
    def epochs(self) -> dict[str, float] | None:
        """Implied epochs by domain, or None where the region knows no token counts."""
        region = self._problem.region
        if region is None or region.available is None or region.target_tokens is None:
            return None
        available = dict(zip(region.domains, region.available.tolist(), strict=True))
        return self.mixture.epochs(available, region.target_tokens)

    @property
    def wear(self) -> float | None:
        """Repeats after which a token was counted for 1/e of a new one; None where repeats count as new."""
        return None if self._problem.wear is None else self._problem.wear.repeats

    @cached_property
    def multipliers(self) -> Multipliers:
        """Multipliers of the region's limits; one sweep of the rows where it excludes domains, or the solve was in float32."""
        return multipliers(self._problem, self._minimum, self._group_weight)

    @cached_property
    def shadow_prices(self) -> tuple[ShadowPrice, ...]:
        """The limits that bind and what relaxing them would save, dearest first."""
        return tuple(sorted(self._prices(), key=lambda price: -price.price))

    def _prices(self) -> list[ShadowPrice]:
        region = self._problem.region
        if region is None:
            return []
        w, prices = self.mixture.weights, self.multipliers
        # Name, kind, the limit, how far the share is from it, and its price.
        limits: list[tuple[str, str, float, float, float]] = []
        for k, name in enumerate(region.domains):
            cap, floor = float(region.cap[k]), float(region.floor[k])
            if cap < 1.0:
                limits.append((name, "cap", cap, cap - w[k], float(prices.cap[k])))
            if floor > 0.0:
                limits.append((name, "floor", floor, w[k] - floor, float(prices.floor[k])))
        for b, (bound, row) in enumerate(zip(region.bounds, region.bound_rows, strict=True)):
            inside = float(row @ w)
            lower = -math.inf if bound.lower is None else float(bound.lower)
            upper = math.inf if bound.upper is None else float(bound.upper)
            limits.append((bound.name, "at least", lower, inside - lower, float(prices.bound_lower[b])))
            limits.append((bound.name, "at most", upper, upper - inside, float(prices.bound_upper[b])))
        return [
            ShadowPrice(name, limit, value, price, self._sentence(name, limit, value, price))
            for name, limit, value, slack, price in limits
            if price > max(_PRICE_ROUNDING, 10 * self.gap) and slack <= _AT_LIMIT
        ]

    def _sentence(self, name: str, limit: str, value: float, price: float) -> str:
        region = self._problem.region
        point = f"{price / 100:.3g} nats per percentage point"
        # Only where the token count makes the cap: under a tighter one more epochs change nothing.
        epoch = region.epoch_share(name) if limit == "cap" and region is not None else None
        per_epoch = price * (epoch or 0.0)
        if per_epoch > 0.0:
            return f"{name} is at its cap of {value:.3%}: one more epoch of it is worth at most {per_epoch:.3g} nats ({point})"
        if limit == "cap":
            return f"{name} is at its cap of {value:.3%}: raising it saves {point}"
        if limit == "floor":
            return f"{name} is held up by its floor of {value:.3%}: lowering it saves {point}"
        change = "lowering" if limit == "at least" else "raising"
        return f"{name} is at its limit of {limit} {value:.3%}: {change} it saves {point}"

    @cached_property
    def unconstrained(self) -> Solution:
        """The optimum of the same objective over the whole simplex: what the limits of the region cost."""
        from mixfast.solver._minimise import solve_problem

        if self._problem.region is None:
            return self
        return solve_problem(self._problem.without_limits())

    def ranges(self, eps: float = 1e-3, domains: list[str] | None = None) -> dict[str, tuple[float, float]]:
        """How far each share can move while the objective stays within `eps` nats of this one.

        Parameters
        ----------
        eps : float
            Nats (the unit of `value`), > 0.
        domains : list of str, optional
            The domains to look at; all by default.

        Returns
        -------
        dict of str to (float, float)
            Smallest and largest share over ``{w in region: L(w) <= value + eps}``. Both ends are attained by mixtures whose loss was
            computed, so the true range is at least as wide.

        Notes
        -----
        For each end: maximise the share within the quadratic model of L at the optimum, then search along the ray to that point with exact
        losses, and once more with the gradient found there. Costs a few sweeps of the rows for each batch of 64 domains.
        """
        from mixfast._engine.optimise import flat

        return flat.ranges(self, eps, domains)

    def to_dict(self) -> dict[str, Any]:
        """The solution as plain numbers and strings, for json."""
        return {
            "mixture": self.mixture.as_dict(),
            "status": self.status,
            "value": self.value,
            "gap": self.gap,
            "loss": self.loss,
            "group_losses": self.group_losses,
            "group_weights": self.group_weights,
            "epochs": self.epochs,
            "wear": self.wear,
            "shadow_prices": [vars(price) for price in self.shadow_prices],
            "seconds": self.seconds,
            "backend": self.backend,
        }
