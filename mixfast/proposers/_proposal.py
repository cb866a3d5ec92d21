"""Proposal: the mixture that a law proposes, what the law expects of it, and how far to trust that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.prices import Multipliers, prices
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise import dual, search
from mixfast._engine.optimise.trace import Step
from mixfast._text.names import listing
from mixfast.errors import AlignmentError
from mixfast.laws import Target, has_slopes
from mixfast.mixture import Mixture
from mixfast.region import Reach, Region, limits_over, reach
from mixfast.solver._solution import ShadowPrice

# A multiplier below this is rounding, and a share this close to a limit is at it.
_PRICE_ROUNDING, _AT_LIMIT = 1e-9, 1e-6
# 90 % intervals that hold less than this of unseen runs are too narrow.
_HELD = 0.75
# A share is beyond those of the runs when it is larger by this.
_BEYOND = 1e-3
# Between the best and the worst of some hundred runs lie about five standard deviations.
_IMPLAUSIBLE = 10.0
# Domains in a summary.
_SHOWN = 12
# Ends of ranges that are solved for one by one under a KL term; how close to eps they come, and in how many solves.
_SOLVED, _REACHED, _SOLVES = 128, 0.97, 30


@dataclass(frozen=True)
class Gain:
    """What the law expects the mixture to gain over the prior, in the unit of the objective; positive is better.

    Attributes
    ----------
    value : float
        Objective at the prior less that at the mixture, without the KL term.
    sd : float or None
        Standard deviation of that difference for two new runs, as if all metrics erred together; None where the law has none.
    metrics : dict of str to float
        The same for each metric, in the metric's unit, positive where the mixture is better.
    """

    value: float
    sd: float | None
    metrics: dict[str, float]


@dataclass(frozen=True, eq=False)
class Proposal:
    """A proposed mixture with what speaks for it.

    Attributes
    ----------
    mixture : Mixture
        Shares in the order of the law's domains.
    status : str
        "optimal": `gap` is at most the tolerance, which only an exact solve can say. "optimal_inaccurate", "user_limit": an exact solve
        that ended above it. "searched": the best mixture that was found, without proof.
    value : float
        Objective at the mixture in the unit of the metrics, KL term (and `kappa` times the standard deviation) included.
    gap : float or None
        Frank-Wolfe gap: the objective's minimum under the law is at least ``value - gap``. None where searched.
    method : str
        "exact", "search" or "regmix".
    kl : float
    doubts : tuple of str
        What speaks against training on the mixture as it is.
    objective : dict of str to float
        Weight of each metric, summing to 1; for "worst" solved exactly the multipliers that prove it.
    limited : dict of str to float
        Multipliers of the metrics that `tolerance` holds back: objective saved per unit of tolerance.
    trace : tuple of Step
        Points (or metrics) looked at, domains, value, gap (nan where searched) and seconds.
    seconds : float
    held : tuple of str
        Domains that no run had a share of, kept at their prior share, and those that all runs had the same share of, kept there.
    """

    mixture: Mixture
    status: str
    value: float
    gap: float | None
    method: str
    kl: float
    objective: dict[str, float]
    limited: dict[str, float]
    trace: tuple[Step, ...] = field(repr=False)
    seconds: float
    held: tuple[str, ...]
    _law: Any = field(repr=False)
    _region: Region = field(repr=False)
    _target: Target = field(repr=False)
    _usable: Columns | None = field(repr=False)
    _seed: int = field(repr=False)
    _gradient: Vector | None = field(repr=False)  # (K,) of an exact solve, the KL term included
    _smooth: Exponentials | None = field(
        repr=False
    )  # the convex objective over all domains, where ranges can be had from it
    _seen: tuple[Matrix, Vector] | None = field(repr=False)

    @cached_property
    def _expected(self) -> Matrix:
        """Metrics (2, J) at the mixture and at the prior."""
        return np.asarray(self._law.predict(np.stack([self.mixture.weights, self._region.prior])), dtype=np.float64)

    @cached_property
    def _deviation(self) -> Matrix | None:
        if not hasattr(self._law, "sd"):
            return None
        return np.asarray(self._law.sd(np.stack([self.mixture.weights, self._region.prior])), dtype=np.float64)

    @property
    def predicted(self) -> dict[str, float]:
        """What the law expects of each metric at the mixture."""
        return dict(zip(self._target.metrics, self._expected[0].tolist(), strict=True))

    @property
    def predicted_sd(self) -> dict[str, float] | None:
        """Standard deviation of each metric of a new run at the mixture; None where the law has none."""
        if self._deviation is None:
            return None
        return dict(zip(self._target.metrics, self._deviation[0].tolist(), strict=True))

    @cached_property
    def gain(self) -> Gain:
        """What the mixture gains over the prior."""
        here, prior = (float(v) for v in self._target.score(self._expected))
        sd = None
        if self._deviation is not None:
            sd = float(np.hypot(*self._target.spread(self._expected, self._deviation)))
        each = (self._expected[1] - self._expected[0]) * self._target.sign
        return Gain(prior - here, sd, dict(zip(self._target.metrics, each.tolist(), strict=True)))

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against training on this mixture as it is, a sentence each."""
        found, region, w = [], self._region, self.mixture.weights
        if not region.counted:
            found.append(
                "no token counts were given, so how often this repeats a domain is unknown. Proxy runs repeat little and cannot tell what "
                "that costs, which can be more than a mixture gains. Give tokens and a budget (Region.from_tokens; --tokens and --budget)."
            )
        found += self._doubts_of_the_laws()
        largest = getattr(self._law, "largest", None)
        if largest is not None:
            beyond = [k for k in np.argsort(-w, kind="stable").tolist() if 0.0 < largest[k] < w[k] - _BEYOND]
            if beyond:
                named = listing(
                    f"{self.mixture.domains[k]} {w[k]:.1%}, in runs at most {largest[k]:.1%}" for k in beyond
                )
                found.append(f"shares beyond those of any run, where the law is only extended: {named}.")
        constant = getattr(self._law, "constant", {})
        if never := [name for name in self.held if name not in constant]:
            found.append(
                f"no run had a share of {listing(never)}: kept at the prior share, for nothing is known of it."
            )
        if same := [name for name in self.held if name in constant]:
            named = listing(f"{name} ({constant[name]:.3g})" for name in same)
            found.append(f"all runs had the same share of {named}: kept there, for nothing is known of other shares.")
        if self.gain.sd is not None and self.gain.value < self.gain.sd:
            found.append(
                "the gain is smaller than its uncertainty: the runs do not tell this mixture and the prior apart."
            )
        if self.kl == 0.0:
            needed = "kl=0.05" if region.has_prior else "a prior, such as token counts give, and kl=0.05"
            found.append(
                "nothing pulls towards a prior (kl = 0). Laws err most far from the mixtures that were run, and a search goes there: "
                f"{needed} made better models with every law that was tried (benchmarks/lab)."
            )
        return tuple(found)

    def _doubts_of_the_laws(self) -> list[str]:
        """What the laws' predictions of unseen runs say against those of the metrics that count."""
        known = {one.metric: one for one in getattr(self._law, "reports", ())}
        used = [known[name] for name in (self._target.metrics[j] for j in self._target.used) if name in known]
        found = []
        bad = [one.metric for one in used if one.runs and not one.r2 > 0.0]
        if bad:
            found.append(
                f"of runs they had not seen, laws that count predict no more than the mean does: {listing(bad)}."
            )
        changes = self.gain.metrics
        far = [
            f"{one.metric} by {abs(changes[one.metric]) / one.sd:.3g} standard deviations of the runs"
            for one in used
            if one.sd > 0.0 and abs(changes[one.metric]) > _IMPLAUSIBLE * one.sd
        ]
        if far:
            found.append(
                f"laws expect changes from the prior that no run comes near, so their coefficients may have run away: {listing(far)}."
            )
        narrow = [f"{one.metric} {one.coverage:.0%}" for one in used if one.coverage < _HELD]
        if narrow:
            found.append(
                f"the gain is less sure than it says: 90 % intervals held fewer of the runs that laws had not seen: {listing(narrow)}."
            )
        return found

    @property
    def epochs(self) -> dict[str, float] | None:
        """Passes over each domain's tokens that the mixture implies; None where the region knows no token counts."""
        region = self._region
        if region.available is None or region.target_tokens is None:
            return None
        available = dict(zip(region.domains, region.available.tolist(), strict=True))
        return self.mixture.epochs(available, region.target_tokens)

    @cached_property
    def multipliers(self) -> Multipliers | None:
        """Multipliers of the region's limits; None where searched."""
        if self._gradient is None:
            return None
        usable = (
            np.isin(np.arange(self._region.n_domains), self._usable)
            if self._usable is not None
            else np.ones(self._region.n_domains, bool)
        )
        return prices(self._gradient, limits_over(self._region), usable)

    @cached_property
    def shadow_prices(self) -> tuple[ShadowPrice, ...]:
        """The limits that bind and what relaxing them would save, dearest first; none where searched."""
        prices = self.multipliers
        if prices is None:
            return ()
        region, w = self._region, self.mixture.weights
        limits: list[tuple[str, str, float, float, float]] = []
        for k, name in enumerate(region.domains):
            limits.append((name, "cap", float(region.cap[k]), float(region.cap[k] - w[k]), float(prices.cap[k])))
            limits.append(
                (name, "floor", float(region.floor[k]), float(w[k] - region.floor[k]), float(prices.floor[k]))
            )
        for b, (bound, row) in enumerate(zip(region.bounds, region.bound_rows, strict=True)):
            inside, lower, upper = float(row @ w), float(region.bound_lower[b]), float(region.bound_upper[b])
            limits.append((bound.name, "at least", lower, inside - lower, float(prices.bound_lower[b])))
            limits.append((bound.name, "at most", upper, upper - inside, float(prices.bound_upper[b])))
        least = max(_PRICE_ROUNDING, 10.0 * (self.gap or 0.0))
        binding = [
            ShadowPrice(name, limit, value, price, self._sentence(name, limit, value, price))
            for name, limit, value, slack, price in limits
            if name not in self.held
            and price > least
            and slack <= _AT_LIMIT
            and (limit, value) not in (("cap", 1.0), ("floor", 0.0))
        ]
        return tuple(sorted(binding, key=lambda price: -price.price))

    def _sentence(self, name: str, limit: str, value: float, price: float) -> str:
        region = self._region
        point = f"{price / 100:.3g} of the objective per percentage point"
        if limit == "cap":
            if region.available is not None and region.target_tokens and region.max_epochs is not None:
                k = region.domains.index(name)
                epoch = float(region.available[k]) / region.target_tokens
                # Only where the token count makes the cap: under a tighter one more epochs change nothing.
                if epoch > 0.0 and abs(region.max_epochs[k] * epoch - value) <= 1e-9:
                    return f"{name} is at its cap of {value:.3%}: one more epoch of it is worth at most {price * epoch:.3g} ({point})"
            return f"{name} is at its cap of {value:.3%}: raising it saves {point}"
        if limit == "floor":
            return f"{name} is held up by its floor of {value:.3%}: lowering it saves {point}"
        change = "lowering" if limit == "at least" else "raising"
        return f"{name} is at its limit of {limit} {value:.3%}: {change} it saves {point}"

    def ranges(self, eps: float = 1e-3, domains: list[str] | None = None) -> dict[str, tuple[float, float]]:
        """How far each share can move while the objective stays within `eps` of this one.

        Parameters
        ----------
        eps : float
            In the unit of `value`, > 0.
        domains : list of str, optional
            The domains to look at; all by default.

        Returns
        -------
        dict of str to (float, float)
            Smallest and largest share over mixtures of the region whose objective was computed, so the true range is at least as wide.

        Raises
        ------
        ValueError
            After an exact solve for "worst" or under a tolerance, whose ranges are not known; or eps out of range.

        Notes
        -----
        After an exact solve of a weighted sum, each end is an exact solve of its own with a price on the share (KL term, up to 128
        domains), or rays to the ends of the quadratic model are searched, as for `Solution.ranges`. After a search these are the
        mixtures that it looked at.
        """
        if not eps > 0.0:
            raise ValueError(f"eps is {eps}, expected more than 0, in the unit of the objective")
        names = self.mixture.domains
        wanted = list(names) if domains is None else list(domains)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise AlignmentError(f"no domain {listing(unknown)} in the law, whose domains are {listing(names)}")
        if self._seen is not None:
            points, scores = self._seen
            near = points[scores <= self.value + eps]
            near = np.concatenate([near, self.mixture.weights[None, :]])
            low, high = near.min(axis=0), near.max(axis=0)
            return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names) if name in wanted}
        if self._smooth is None:
            raise ValueError(
                "ranges needs a weighted sum of metrics: propose with objective=proposal.objective and no tolerance"
            )
        if self.kl > 0.0 and not self._region.bounds and len(wanted) <= _SOLVED:
            return self._solved_ranges(self._smooth, eps, wanted)
        return self._ray_ranges(self._smooth, eps, wanted)

    def _solved_ranges(self, smooth: Exponentials, eps: float, wanted: list[str]) -> dict[str, tuple[float, float]]:
        """Both ends by a price on the share: the dearer it is, the further the share moves and the more the objective rises."""
        out = {}
        part = reach(self._region, self.kl)
        region = part.region
        index = np.arange(region.n_domains) if part.usable is None else part.usable
        # Usable domains alone are priced, those without a share stay without.
        usable = set(index.tolist())
        for name in wanted:
            k = region.domains.index(name)
            w = float(self.mixture.weights[k])
            ends = [w, w]
            for side, sign in enumerate((1.0, -1.0)) if k in usable else ():
                ends[side] = self._end(smooth, part, k, sign, eps)
            out[name] = (min(ends[0], w), max(ends[1], w))
        return out

    def _end(self, smooth: Exponentials, part: Reach, k: int, sign: float, eps: float) -> float:
        """The share of domain k at which the objective has risen by all but eps, `sign` 1 for the lowest."""
        best = float(self.mixture.weights[k])
        start = self.mixture.weights
        low, high = 0.0, math.inf
        price = math.sqrt(eps * self.kl / max(best, 1e-12))
        for _ in range(_SOLVES):
            linear = smooth.linear.copy()
            linear[k] += sign * price
            priced = Exponentials(smooth.a, smooth.log_weight, linear, smooth.constant)
            found = dual.solve_exact(priced, part, kl=self.kl, start=start, tol=1e-3 * eps)
            w = part.spread(found.w)
            rise = found.value - sign * price * float(w[k]) - self.value
            if rise <= eps:
                start, low = w, price
                settled = abs(float(w[k]) - best) <= 1e-9 and price > 1e6 * eps
                best = min(best, float(w[k])) if sign > 0.0 else max(best, float(w[k]))
                if rise >= _REACHED * eps or settled:
                    break
            else:
                high = price
            # The rise grows with the square of the price at first.
            guess = price * math.sqrt(0.985 * eps / rise) if rise > 1e-3 * eps else 8.0 * price
            if not low < guess < high:
                guess = 0.5 * (low + high) if math.isfinite(high) else 8.0 * price
            price = guess
        return best

    def _ray_ranges(self, smooth: Exponentials, eps: float, wanted: list[str]) -> dict[str, tuple[float, float]]:
        from mixfast._engine.optimise import flat

        region, usable = self._region, self._usable
        names = region.domains
        index = np.arange(len(names)) if usable is None else usable
        base = smooth.restrict(usable)
        objective = Regularised(base, self.kl, region.prior[index]) if self.kl > 0.0 else base
        w = self.mixture.weights[index]
        _, gradient, hessian = objective.sums(w, hessian=1)
        if hessian is None:
            raise RuntimeError("a Hessian was asked for and not given")
        hessian[np.diag_indices_from(hessian)] += objective.separable(w, None)[1]
        limits = limits_over(region).restrict(usable)
        out = dict.fromkeys(wanted, (0.0, 0.0))
        place = {names[k]: i for i, k in enumerate(index.tolist())}
        for name in wanted:
            if name not in place:
                continue
            i = place[name]
            ends = [flat._model_end(limits, hessian, gradient, w, i, sign, eps) for sign in (-1.0, 1.0)]
            reached = flat._along(objective.losses, w, np.array(ends), self.value + eps)
            out[name] = (float(min(reached[0, i], w[i])), float(max(reached[1, i], w[i])))
        return out

    @cached_property
    def worst_mix(self) -> Mixture:
        """The mixture of the region that the law expects to be worst, for a counterfactual run; searched, without proof."""

        def score(points: Matrix) -> Vector:
            return self._target.score(np.asarray(self._law.predict(points), dtype=np.float64))

        def slope(points: Matrix) -> Matrix:
            values, gradients = self._law.slopes(points)
            return self._target.slope(np.asarray(values), np.asarray(gradients))

        has = has_slopes(self._law)
        w = search.most(self._region, self._usable, score, slope if has else None, self._seed)
        return Mixture(self.mixture.domains, w)

    def summary(self) -> str:
        """A page of text: the mixture, what it is expected to gain, what holds it back, and how sure that is."""
        w, prior = self.mixture.weights, self._region.prior
        proof = {
            "optimal": f"No other allowed mixture is better by more than {self.gap or 0.0:.1g} under this law.",
            "searched": "Found by search: a better mixture may exist.",
        }.get(
            self.status, f"Not solved to the tolerance: another mixture may be better by up to {self.gap or 0.0:.2g}."
        )
        gain = self.gain
        sd = "" if gain.sd is None else f" +- {gain.sd:.2g} (one standard deviation, two new runs)"
        lines = [
            f"Proposed mixture ({self.method}, {self.status}, {self.seconds * 1e3:.3g} ms). {proof}",
            f"Expected gain over the prior: {gain.value:.4g}{sd}.",
        ]
        units = dict.fromkeys(_unit_of(self._law, self._target.metrics[j]) for j in self._target.used)
        if len(units) > 1:
            lines.append(
                f"The objective puts metrics of different units together ({'; '.join(units)}): the larger numbers decide. "
                "Name metrics of one unit, or weigh them."
            )
        width = max(len(name) for name in ("domain", *self.mixture.domains))
        epochs = self.epochs
        order = np.argsort(-w, kind="stable")
        lines.append(f"  {'domain':{width}}   share   prior" + ("  epochs" if epochs else ""))
        for k in order[:_SHOWN]:
            name = self.mixture.domains[k]
            passes = "" if epochs is None else f"  {epochs[name]:6.2f}"
            lines.append(f"  {name:{width}}  {w[k]:6.2%}  {prior[k]:6.2%}{passes}")
        if order.size > _SHOWN:
            lines.append(f"  and {order.size - _SHOWN} more with {float(w[order[_SHOWN:]].sum()):.2%} together")
        lines += [f"Doubt: {doubt}" for doubt in self.doubts]
        lines += [f"- {price.text}" for price in self.shadow_prices[:5]]
        # Changes of the last digits are none.
        least = {name: 1e-9 * max(1.0, abs(value)) for name, value in self.predicted.items()}
        worse = [(name, -change) for name, change in gain.metrics.items() if change < -least[name]]
        if worse:
            worse.sort(key=lambda item: -item[1])
            named = listing(f"{name} by {change:.3g}" for name, change in worse[:5])
            lines.append(
                f"Expected to get worse than at the prior: {len(worse)} of {len(gain.metrics)} metrics ({named})."
            )
        lines += [f"- {name} is held by its tolerance ({price:.3g} per unit)" for name, price in self.limited.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The proposal as plain numbers and strings, for json."""
        gain = self.gain
        return {
            "mixture": self.mixture.as_dict(),
            "status": self.status,
            "value": self.value,
            "gap": None if self.gap is None or not math.isfinite(self.gap) else self.gap,
            "method": self.method,
            "kl": self.kl,
            "objective": self.objective,
            "limited": self.limited,
            "held": list(self.held),
            "doubts": list(self.doubts),
            "predicted": self.predicted,
            "predicted_sd": self.predicted_sd,
            "gain": {"value": gain.value, "sd": gain.sd, "metrics": gain.metrics},
            "epochs": self.epochs,
            "shadow_prices": [vars(price) for price in self.shadow_prices],
            "seconds": self.seconds,
        }


def _unit_of(law: Any, metric: str) -> str:
    """Unit of a metric, with its direction where more is better; nothing where the law does not say."""
    units, directions = getattr(law, "unit", None), getattr(law, "direction", None)
    if not isinstance(units, tuple) or not isinstance(directions, tuple):
        return ""
    at = tuple(law.metrics).index(metric)
    return f"{units[at]}, more is better" if directions[at] == "max" else str(units[at])
