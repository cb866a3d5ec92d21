"""`Answer`: a solution, a proposal or a bare mixture, seen alike by the sections and figures of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast.laws import Fit, Target, resolve
from mixfast.mixture import Mixture
from mixfast.proposers import Proposal, ShareIntervals
from mixfast.region import Region, ShadowPrice
from mixfast.solver import Bootstrap, Solution, losses
from mixfast.tables import ExpertTable

Ends = dict[str, tuple[float, float]]

# How far a status may be trusted, in the words of the page.
_STATUS = {
    "optimal": "Certified: no mixture that the limits allow is better by more than the gap.",
    "optimal_inaccurate": "Not certified to the tolerance: rounding stopped the solver. A better mixture may exist, by up to the gap.",
    "user_limit": "Not finished: the steps ran out. A better mixture may exist, by up to the gap.",
    "searched": "Found by search: nothing proves that there is no better mixture.",
    "given": "A mixture that was given: nothing was solved or proposed.",
}


@dataclass(frozen=True, eq=False)
class Answer:
    """A mixture and what is known of it.

    `source` is the solution or proposal; None for a mixture that was only given, whose losses `judge` can still tell.
    """

    mixture: Mixture
    source: Solution | Proposal | None
    region: Region | None
    judge: Fit | ExpertTable | None = None

    @classmethod
    def of(
        cls,
        given: Solution | Proposal | Mixture,
        region: Region | None = None,
        judges: Sequence[Fit | ExpertTable | None] = (),
    ) -> Answer:
        """Wrap a solution, a proposal or a mixture; `region` and the first of `judges` with its domains are for a mixture."""
        if isinstance(given, (Solution, Proposal)):
            return cls(given.mixture, given, given.region)
        if isinstance(given, Mixture):
            fits = region is not None and set(region.domains) == set(given.domains)
            judge = next((one for one in judges if one is not None and set(one.domains) >= set(given.domains)), None)
            where = region.align(given.domains) if region is not None and fits else None
            return cls(given, None, where, judge)
        raise TypeError(f"expected a Solution, a Proposal or a Mixture, got {type(given).__name__}")

    @property
    def status(self) -> str:
        return "given" if self.source is None else self.source.status

    @property
    def meaning(self) -> str:
        """The status in a sentence."""
        words = _STATUS.get(self.status, "")
        if not isinstance(self.source, Proposal):
            return words
        return f"{words} All of it under the law: how far that holds for runs it has not seen is said below."

    @property
    def gap(self) -> float | None:
        """The certified distance to the best value; None where nothing is certified."""
        gap = None if self.source is None else self.source.gap
        return None if gap is None or not math.isfinite(gap) else gap

    @property
    def kl(self) -> float:
        """Weight of the KL term, nats."""
        return 0.0 if self.source is None else self.source.kl

    @cached_property
    def prior(self) -> dict[str, float] | None:
        """Prior shares; None where no prior was given."""
        return self.region.by_name(self.region.prior) if self.region is not None and self.region.has_prior else None

    @cached_property
    def caps(self) -> dict[str, float]:
        """Caps below 1."""
        caps = {} if self.region is None else self.region.by_name(self.region.cap)
        return {name: cap for name, cap in caps.items() if cap < 1.0}

    @cached_property
    def epochs(self) -> dict[str, float] | None:
        """Passes over each domain's tokens; None where the region knows no token counts."""
        return None if self.region is None else self.region.epochs(self.mixture)

    @property
    def limited(self) -> bool:
        """Whether there is any limit beside a prior."""
        return self.region is not None and self.region.limited

    @cached_property
    def prices(self) -> tuple[ShadowPrice, ...]:
        return () if self.source is None else self.source.shadow_prices

    @property
    def unit(self) -> str:
        """The unit of the value."""
        if isinstance(self.source, Solution):
            worn = "" if self.source.wear is None else f", of effective shares (wear {self.source.wear:g})"
            return self.source.table.unit + worn
        if isinstance(self.judge, ExpertTable):
            return self.judge.unit
        return ", ".join(self.units) if len(self.units) == 1 else "the objective's unit"

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The units of the metrics that the objective of a law is made of."""
        if self.source is None and isinstance(self.judge, Fit):
            return tuple(dict.fromkeys(self.judge.unit))
        # A law from elsewhere may have no units.
        if not isinstance(self.source, Proposal) or not isinstance(
            known := getattr(self.source.law, "unit", ()), tuple
        ):
            return ()
        return tuple(dict.fromkeys(known[j] for j in self.source.target.used)) if known else ()

    def order(self) -> list[str]:
        """Domains by share, the largest first."""
        return sorted(self.mixture.domains, key=lambda name: -self.mixture[name])

    def compared(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The loss, without the KL term, of this mixture and of others over the same domains."""
        domains = self.mixture.domains
        known = {"this mixture": self.mixture} | {n: s for n, s in others.items() if set(s) <= set(domains)}
        stack = np.array([[shares.get(name, 0.0) for name in domains] for shares in known.values()])
        if self.source is None:
            if self.judge is None:
                return {}
            # A mixture's file leaves out what has no share.
            whole = np.zeros((len(stack), len(self.judge.domains)))
            whole[:, [self.judge.domains.index(name) for name in domains]] = stack
            stack = whole
            if isinstance(self.judge, ExpertTable):
                values = losses(self.judge, stack)
            else:
                target = _mean_of(self.judge)
                if target is None:
                    return {}
                values = target.score(self.judge.predict(stack))
        elif isinstance(self.source, Solution):
            values = self.source.losses(stack)
        else:
            values = self.source.target.score(np.asarray(self.source.law.predict(stack), dtype=np.float64))
        return dict(zip(known, values.tolist(), strict=True))

    def references(self, present: Mixture | None) -> dict[str, dict[str, float]]:
        """The mixtures that this one is compared with: the prior, equal shares, and the present mixture."""
        uniform = dict.fromkeys(self.mixture.domains, 1.0 / len(self.mixture))
        if self.prior is None:
            out = {"uniform": uniform}
        else:
            same = all(abs(self.prior[name] - uniform[name]) <= 1e-12 for name in self.prior)
            out = {"uniform prior": uniform} if same else {"prior": self.prior, "uniform": uniform}
        if present is not None and present is not self.mixture:
            out["present mixture"] = present.as_dict()
        return out


def ends_of(intervals: Bootstrap | ShareIntervals | Mapping[str, tuple[float, float]] | None) -> Ends:
    """Intervals by domain, from a bootstrap of either kind or a mapping."""
    if isinstance(intervals, (Bootstrap, ShareIntervals)):
        return intervals.intervals
    return dict(intervals or {})


def base_of(law: Fit, at: Mapping[str, float] | None) -> tuple[Vector, str]:
    """Shares (K,) in the law's order at which it is evaluated, and their name; equal shares if `at` has other domains."""
    if at is not None and set(at) == set(law.domains):
        return np.array([at[name] for name in law.domains]), "this mixture"
    return np.full(len(law.domains), 1.0 / len(law.domains)), "equal shares"


def target_of(law: Fit, answer: Answer | None) -> Target:
    """The objective that a proposal of this law was made for, else the mean of its metrics, or the first of several units."""
    source = None if answer is None else answer.source
    if isinstance(source, Proposal) and tuple(source.law.metrics) == tuple(law.metrics):
        return source.target
    return _mean_of(law) or resolve(law.metrics[0], law)


def _mean_of(law: Fit) -> Target | None:
    """The mean of a law's metrics; None where they have different units."""
    try:
        return resolve(None, law)
    except ValueError:
        return None
