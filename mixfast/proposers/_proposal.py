"""Proposal: the mixture that a law proposes, its predicted metrics, and reasons to doubt it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.prices import Multipliers
from mixfast._engine.optimise.flat import doubt
from mixfast._engine.optimise.search import maximise
from mixfast._engine.optimise.trace import Step
from mixfast._text.audience import either
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import listing, misspelt
from mixfast._text.notebook import html_table
from mixfast._text.numbers import percent
from mixfast.errors import AlignmentError, BackendError, MixfastWarning
from mixfast.laws import Target, has_slopes
from mixfast.mixture import Mixture
from mixfast.proposers._controls import Control, compare_controls
from mixfast.proposers._doubts import doubts
from mixfast.proposers._exact import kept_to
from mixfast.proposers._guard_reports import GuardReport, doubts_of_guards, in_words
from mixfast.proposers._outcome import Gain, Outcome
from mixfast.proposers._ranges import ranges_seen, ranges_solved
from mixfast.proposers._summary import opening_of, summary_of, told_worse
from mixfast.proposers._task import Task
from mixfast.region import Region, ShadowPrice, domain_columns, limit_prices, shadow_prices

# Multipliers up to `_PRICE_ROUNDING`, or up to `_GAPS` times the gap, are rounding.
_PRICE_ROUNDING, _GAPS = 1e-9, 10.0
# A metric with a multiplier up to this is not limited by its guard. A search may exceed a guard by this fraction of its limit.
_FREE, _SEARCHED = 1e-9, 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class Proposal(Frozen):
    """A proposed mixture with its status, predicted metrics, limits and doubts.

    Attributes
    ----------
    mixture : Mixture
        Shares in the order of the law's domains.
    status : str
        "optimal": an exact solve whose `gap` is at most the tolerance. "optimal_inaccurate", "user_limit": an exact solve
        that ended above it. "searched": the best mixture that was found, without proof.
    value : float
        Objective at the mixture in the unit of the metrics, KL term (and `kappa` times the standard deviation) included.
    gap : float or None
        Frank-Wolfe gap: the objective's minimum under the law is at least ``value - gap``. None after a search.
    method : str
        "exact", "search", "regmix" or "simulation".
    kl : float
    objective : dict of str to float
        Weight of each metric, summing to 1; for an exact solve of "worst", the multipliers that prove the minimum.
    limited : dict of str to float
        Multipliers of the metrics whose guard or `tolerance` binds: objective saved for each unit by which it is relaxed.
    trace : tuple of Step
        Points (or metrics) evaluated, domains, value, gap (nan in a search) and seconds.
    seconds : float
    held : tuple of str
        Domains that were not varied: those absent from all runs stay at their prior share, and those with the same share in all runs stay at
        that share.
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
    _task: Task = field(repr=False)
    _outcome: Outcome = field(repr=False)
    # What relaxing a guard saves, and the unit of the prices of the region's limits, in words.
    _saved: ClassVar[str] = "saved"
    _unit: ClassVar[str] = "of the objective"

    @classmethod
    def of(cls, task: Task, outcome: Outcome, seconds: float) -> Self:
        """Build the proposal from the outcome of a task."""
        names = task.target.metrics
        return cls(
            mixture=Mixture(task.region.domains, outcome.w),
            status=outcome.status,
            value=outcome.value,
            gap=outcome.gap,
            method=outcome.method,
            kl=task.weight,
            objective=dict(zip(names, outcome.weight.tolist(), strict=True)),
            limited={names[j]: float(outcome.limited[j]) for j in np.flatnonzero(outcome.limited > _FREE)},
            trace=outcome.trace,
            seconds=seconds,
            held=task.held,
            _task=task,
            _outcome=outcome,
        )

    def __repr__(self) -> str:
        gap = "" if self.gap is None else f", gap {self.gap:.1e}"
        return f"Proposal({self.method}, {self.status}; value {self.value:.6g}{gap}; {self.mixture.largest()})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the largest shares and the certificate in a notebook."""
        epochs = self.epochs
        order = sorted(self.mixture, key=lambda name: -self.mixture[name])
        rows = [
            (name, percent(self.mixture[name]), *([] if epochs is None else [f"{epochs[name]:.2f}"])) for name in order
        ]
        proof = f"{self.status}: the best mixture that the {self.method} found, without proof"
        if self.gap is not None:
            proof = f"{self.status}: under the law, no allowed mixture is better by more than {self.gap:.1e}"
        header = ["domain", "share", *([] if epochs is None else ["epochs"])]
        lines = [f"{proof} (value {self.value:.6g})"]
        return html_table(f"Proposal ({self.method})", header, rows, lines=lines, what="domains")

    def to_pandas(self) -> Any:
        """Return one row for each domain as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            Labels: the domains. Columns: "share", "prior" (if the region has one), "floor", "cap", "epochs" (if the region knows token counts) and
            "price" (objective saved for each unit of share by which the binding cap or floor gives way, 0 for others).

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        columns = domain_columns(self.mixture, self.region, self.shadow_prices)
        return data_frame(columns, self.mixture.domains, "domain", BackendError)

    @property
    def law(self) -> Any:
        """The fitted law."""
        return self._task.law

    @property
    def region(self) -> Region:
        """The region, in the law's order of domains; domains that no run varied are fixed in it."""
        return self._task.region

    @property
    def target(self) -> Target:
        """The objective as weights of the law's metrics."""
        return self._task.target

    @property
    def worst(self) -> bool:
        """Whether the largest metric was minimised."""
        return self.target.worst

    @cached_property
    def expected(self) -> Matrix:
        """Metrics (2, J) that the law predicts at the mixture and at the prior."""
        return np.asarray(self.law.predict(self._points), dtype=np.float64)

    @cached_property
    def _deviation(self) -> Matrix | None:
        return np.asarray(self.law.sd(self._points), dtype=np.float64) if hasattr(self.law, "sd") else None

    @property
    def _points(self) -> Matrix:
        return np.stack([self.mixture.weights, self.region.prior])

    @property
    def predicted(self) -> dict[str, float]:
        """The predicted value of each metric at the mixture."""
        return dict(zip(self.target.metrics, self.expected[0].tolist(), strict=True))

    @property
    def predicted_sd(self) -> dict[str, float] | None:
        """Standard deviation of each metric for a new run at the mixture; None if the law has no standard deviations."""
        if self._deviation is None:
            return None
        return dict(zip(self.target.metrics, self._deviation[0].tolist(), strict=True))

    @cached_property
    def gain(self) -> Gain:
        """The expected gain of the mixture over the prior."""
        here, prior = (float(v) for v in self.target.score(self.expected))
        sd = None
        if self._deviation is not None:
            sd = float(np.hypot(*self.target.spread(self.expected, self._deviation)))
        each = (self.expected[1] - self.expected[0]) * self.target.sign
        return Gain(prior - here, sd, dict(zip(self.target.metrics, each.tolist(), strict=True)))

    @cached_property
    def worse(self) -> dict[str, float]:
        """The metrics expected to be worse at the mixture than at the prior, and by how much in their units, largest first."""
        # Changes in the last digits are rounding.
        least = {name: 1e-9 * max(1.0, abs(value)) for name, value in self.predicted.items()}
        lost = {name: -change for name, change in self.gain.metrics.items() if change < -least[name]}
        return dict(sorted(lost.items(), key=lambda item: -item[1]))

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """Cheap baselines under the same law: natural, temperature, uniform and UniMax, as far as the region allows to compute them."""
        return compare_controls(self.region, self.law, self.target, float(self.target.score(self.expected)[0]))

    @cached_property
    def guards(self) -> tuple[GuardReport, ...]:
        """What became of each guard (or tolerance): its limit, the predicted value, whether it binds, and what relaxing it saves."""
        predicted, exact = self.predicted, self.gap is not None
        return tuple(
            GuardReport.of(
                guard,
                predicted[guard.metric],
                self.limited.get(guard.metric, 0.0) if exact else None,
                free=max(_FREE, _GAPS * (self.gap or 0.0)) if guard.kind != "tolerance" else _FREE,
                rounding=max(
                    kept_to(self._task) * float(self._task.scales[guard.index]),
                    _SEARCHED * abs(guard.limit) * (not exact),
                ),
                saved=self._saved,
            )
            for guard in self._task.guards
        )

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to train on this mixture as it is, one sentence each."""
        found = doubts(self._task, self.mixture, self.gain)
        return (*found, *doubts_of_guards(self._task.guards, self.guards, self.predicted_sd))

    @property
    def epochs(self) -> dict[str, float] | None:
        """Passes over each domain's tokens that the mixture implies; None if the region has no token counts."""
        return self.region.epochs(self.mixture)

    @cached_property
    def multipliers(self) -> Multipliers | None:
        """Multipliers of the region's limits; None after a search."""
        if self._outcome.gradient is None:
            return None
        reach = self._task.reach
        return limit_prices(self.region, self._outcome.gradient, reach.spread(np.ones(reach.prior.size)) > 0.0)

    @cached_property
    def shadow_prices(self) -> tuple[ShadowPrice, ...]:
        """The limits that bind and what relaxing them would save, largest first; empty after a search."""
        if self.multipliers is None:
            return ()
        least = max(_PRICE_ROUNDING, _GAPS * (self.gap or 0.0))
        w = self.mixture.weights
        return shadow_prices(self.region, w, self.multipliers, least=least, unit=self._unit, held=self.held)

    def ranges(self, eps: float = 1e-3, domains: list[str] | None = None) -> dict[str, tuple[float, float]]:
        """Compute how far each share can move while the objective stays within `eps` of this one.

        Parameters
        ----------
        eps : float
            Allowed rise of the objective, in the unit of `value`, > 0.
        domains : list of str, optional
            The domains to compute ranges for; all by default.

        Returns
        -------
        dict of str to (float, float)
            Smallest and largest share over mixtures of the region within eps. Mixtures within eps reach both ends, so the true range is at
            least as wide. After an exact solve, duality proves that its ends are at most 1e-4 further out.

        Warns
        -----
        MixfastWarning
            If that was not proved for some domains; the warning names them.

        Raises
        ------
        ValueError
            After an exact solve for "worst" or under a guard or tolerance, for which ranges are not available; or eps is out of range.

        Notes
        -----
        After an exact solve of a weighted sum, each end is found as for `Solution.ranges`. After a search, the ranges are those of the mixtures
        that it evaluated, and nothing is proved about others.
        """
        if not eps > 0.0:
            raise ValueError(f"eps is {eps}, expected more than 0, in the unit of the objective")
        names = self.mixture.domains
        wanted = list(names) if domains is None else list(domains)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise AlignmentError(f"no domain {misspelt(unknown, names)} in the law, whose domains are {listing(names)}")
        w, outcome = self.mixture.weights, self._outcome
        if outcome.seen is not None:
            points, scores = outcome.seen
            return ranges_seen(points, scores <= self.value + eps, w, names, wanted)
        if outcome.smooth is None:
            raise ValueError(
                either(
                    "ranges needs a weighted sum of metrics: propose with objective=proposal.objective and no guard or tolerance",
                    "ranges need a weighted sum of metrics: give --objective NAME=WEIGHT or --target instead of worst, and no --guard and --reach",
                )
            )
        found = ranges_solved(self._task, outcome.smooth, w, eps=eps, wanted=wanted)
        if words := doubt(found):
            warnings.warn(words, MixfastWarning, stacklevel=2)
        return {name: (one.low, one.high) for name, one in found.items()}

    @cached_property
    def worst_mix(self) -> Mixture:
        """The mixture of the region with the worst prediction, for a counterfactual run; found by a search, without proof."""
        law, target = self.law, self.target

        def score(points: Matrix) -> Vector:
            return target.score(np.asarray(law.predict(points), dtype=np.float64))

        def slope(points: Matrix) -> Matrix:
            values, gradients = law.slopes(points)
            return target.slope(np.asarray(values), np.asarray(gradients))

        w = maximise(self._task.reach, score, slope if has_slopes(law) else None, seed=self._task.seed)
        return Mixture(self.mixture.domains, w)

    def summary(self) -> str:
        """Return the mixture, its expected gain, the limits that bind and the doubts, as text."""
        return summary_of(self, self._opening(), self._task.base)

    def _opening(self) -> list[str]:
        """Return the first lines of the summary: the proof, and the gain."""
        return opening_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the proposal as plain numbers and strings, for JSON."""
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
            "guards": [guard.to_dict() for guard in self.guards],
            "held": list(self.held),
            "doubts": list(self.doubts),
            "predicted": self.predicted,
            "predicted_sd": self.predicted_sd,
            "gain": {"value": gain.value, "sd": gain.sd, "metrics": gain.metrics},
            "worse": self.worse,
            "controls": [control.to_dict() for control in self.controls],
            "epochs": self.epochs,
            "shadow_prices": [vars(price) for price in self.shadow_prices],
            "seconds": self.seconds,
        }


def task_of(proposal: Proposal) -> Task:
    """Return the problem that a proposal solves, for other files of this room."""
    return proposal._task


def worse_in_words(proposal: Proposal) -> list[str]:
    """Name the metrics that are expected to get worse, in one sentence; an empty list if there are none."""
    return told_worse(proposal, proposal._task.base)


def guards_in_words(proposal: Proposal) -> list[str]:
    """Say which guards of metrics bind and at what price, which are violated, and how many hold."""
    return in_words(proposal.guards)
