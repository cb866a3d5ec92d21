"""`Answer`: one interface to a solution, a proposal or a bare mixture, for the sections and figures of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import positions
from mixfast.baselines import controls, different
from mixfast.laws import Fit, Target, resolve
from mixfast.mixture import Mixture
from mixfast.proposers import LeastChange, Proposal, ShareIntervals
from mixfast.region import Region, ShadowPrice
from mixfast.solver import Bootstrap, Solution, losses, worn
from mixfast.tables import ExpertTable, ShardedTable

Ends = dict[str, tuple[float, float]]

# What each status proves, in the words of the page.
_STATUS = {
    "optimal": "Certified: no allowed mixture is better by more than the gap.",
    "optimal_inaccurate": "Not certified to the tolerance: rounding stopped the solver. Another mixture may be better by up to the gap.",
    "user_limit": "Not certified to the tolerance: the step limit stopped the solver. Another mixture may be better by up to the gap.",
    "searched": "Found by search: nothing proves that there is no better mixture.",
    "given": "This mixture was given as input: nothing was solved or proposed.",
}


@dataclass(frozen=True, eq=False)
class Answer:
    """A mixture and what is known about it.

    `source` is the solution or proposal. It is None for a bare mixture, whose losses are computed by `judge`: a law or a table.
    """

    mixture: Mixture
    source: Solution | Proposal | None
    region: Region | None
    judge: Fit | ExpertTable | ShardedTable | None = None

    @classmethod
    def of(
        cls,
        given: Solution | Proposal | Mixture,
        region: Region | None = None,
        judges: Sequence[Fit | ExpertTable | ShardedTable | None] = (),
    ) -> Answer:
        """Wrap a solution, a proposal or a bare mixture; only the last needs `region` and one of `judges`, the first with its domains."""
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
        """What the status proves, in sentences."""
        words = _STATUS.get(self.status, "")
        if not isinstance(self.source, Proposal):
            return words
        return f"{words} This holds under the law; its errors on unseen runs are shown below."

    @property
    def gap(self) -> float | None:
        """Upper bound of the distance to the best value; None if nothing is certified."""
        gap = None if self.source is None else self.source.gap
        return None if gap is None or not math.isfinite(gap) else gap

    @property
    def kl(self) -> float:
        """Weight of the KL term, nats."""
        return 0.0 if self.source is None else self.source.kl

    @cached_property
    def prior(self) -> dict[str, float] | None:
        """Prior shares; None if no prior was given."""
        return self.region.by_name(self.region.prior) if self.region is not None and self.region.has_prior else None

    @cached_property
    def caps(self) -> dict[str, float]:
        """Caps below 1."""
        caps = {} if self.region is None else self.region.by_name(self.region.cap)
        return {name: cap for name, cap in caps.items() if cap < 1.0}

    @cached_property
    def common_cap(self) -> float | None:
        """The cap of most domains, below 1; None if they have different caps, or none."""
        if not self.caps:
            return None
        cap, count = Counter(self.caps.values()).most_common(1)[0]
        return cap if count > max(1, len(self.mixture) // 2) else None

    @property
    def common_cap_words(self) -> str:
        """The common cap in words, empty if there is none."""
        if self.common_cap is None:
            return ""
        count = sum(cap == self.common_cap for cap in self.caps.values())
        who = "every domain" if count == len(self.mixture) else f"{count} of {len(self.mixture)} domains"
        return f"cap of {who}: {percentage(self.common_cap)}"

    @cached_property
    def epochs(self) -> dict[str, float] | None:
        """Passes over each domain's tokens; None if the region has no token counts."""
        return None if self.region is None else self.region.epochs(self.mixture)

    @property
    def limited(self) -> bool:
        """Whether the region has any limit in addition to a prior."""
        return self.region is not None and self.region.limited

    @cached_property
    def prices(self) -> tuple[ShadowPrice, ...]:
        return () if self.source is None else self.source.shadow_prices

    @property
    def unit(self) -> str:
        """The unit of the objective."""
        if isinstance(self.source, Solution):
            wear = self.source.wear
            of = "by domain" if isinstance(wear, dict) else worn(wear) if wear is not None else ""
            return self.source.table.unit + (f", at effective shares (wear {of})" if of else "")
        if isinstance(self.judge, (ExpertTable, ShardedTable)):
            return self.judge.unit
        return ", ".join(self.units) if len(self.units) == 1 else "the objective's unit"

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The units of the metrics in the objective of a law."""
        if self.source is None and isinstance(self.judge, Fit):
            return tuple(dict.fromkeys(self.judge.unit))
        # A law from elsewhere may have no units.
        if not isinstance(self.source, Proposal) or not isinstance(
            known := getattr(self.source.law, "unit", ()), tuple
        ):
            return ()
        return tuple(dict.fromkeys(known[j] for j in self.source.target.used)) if known else ()

    @property
    def is_scaled(self) -> bool:
        """Whether each metric of the objective is divided by its standard deviation, so that the units do not matter."""
        return isinstance(self.source, Proposal) and self.source.target.scaled

    @property
    def loss(self) -> float | None:
        """The objective without the KL term and without a term for risk; None if nothing can compute it, or the change is the objective."""
        if isinstance(self.source, Solution):
            return self.source.loss
        if isinstance(self.source, LeastChange):
            return None
        if isinstance(self.source, Proposal):
            return float(self.source.target.score(self.source.expected)[0])
        return self.compared({}).get("this mixture")

    @property
    def added(self) -> dict[str, float]:
        """The terms that the solver added to the loss, by name; together with the loss they are the objective that it minimised."""
        if self.source is None or self.loss is None:
            return {}
        more, terms = self.source.value - self.loss, {}
        if self.kl > 0.0:
            divergence = self._divergence()
            terms[f"{self.kl:g} x KL to the {'prior' if self.prior else 'uniform mixture'}"] = self.kl * divergence
            more -= self.kl * divergence
        # The difference of two sums is exact only up to rounding.
        if abs(more) > 1e-9 * max(1.0, abs(self.source.value)):
            terms["predicted standard deviations"] = more
        return terms

    def _divergence(self) -> float:
        """Return the KL divergence of the mixture from its prior, in nats."""
        prior = self.prior or dict.fromkeys(self.mixture.domains, 1.0 / len(self.mixture))
        return math.fsum(w * math.log(w / prior[name]) for name, w in self.mixture.items() if w > 0.0)

    def order(self) -> list[str]:
        """Domains by share, the largest first."""
        return sorted(self.mixture.domains, key=lambda name: -self.mixture[name])

    def compared(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Compute the objective without the KL term for this mixture and for others over the same domains; empty if nothing can.

        It is empty for a `LeastChange` too, in which no metric is rewarded beyond its goal.
        """
        if isinstance(self.source, LeastChange):
            return {}
        domains = self.mixture.domains
        known = {"this mixture": self.mixture} | {n: s for n, s in others.items() if set(s) <= set(domains)}
        stack = np.array([[shares.get(name, 0.0) for name in domains] for shares in known.values()])
        if self.source is None:
            if self.judge is None:
                return {}
            # The file of a mixture omits domains without a share.
            whole = np.zeros((len(stack), len(self.judge.domains)))
            whole[:, positions(domains, self.judge.domains)] = stack
            stack = whole
            if isinstance(self.judge, (ExpertTable, ShardedTable)):
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
        """Return the mixtures that this one is compared with: the prior, baselines of token counts, equal shares and the present mixture."""
        uniform = dict.fromkeys(self.mixture.domains, 1.0 / len(self.mixture))
        if self.prior is None:
            out = {"uniform": uniform}
        else:
            same = all(abs(self.prior[name] - uniform[name]) <= 1e-12 for name in self.prior)
            out = {"uniform prior": uniform} if same else {"prior": self.prior, "uniform": uniform}
        if self.region is not None and self.region.counted:
            others = different(controls(self.region), [Mixture(shares) for shares in out.values()])
            out |= {name: mixture.as_dict() for name, mixture in others.items()}
        if present is not None and present is not self.mixture:
            out["present mixture"] = present.as_dict()
        return out


def percentage(value: float) -> str:
    """Return a share in a few characters; a tiny one is not shown as 0."""
    if value <= 0.0:
        return "0"
    return "<0.01%" if value < 5e-5 else f"{100 * value:.2f}%" if value < 0.0995 else f"{100 * value:.1f}%"


def ends_of(intervals: Bootstrap | ShareIntervals | Mapping[str, tuple[float, float]] | None) -> Ends:
    """Return intervals by domain, from a bootstrap of either kind or a mapping."""
    if isinstance(intervals, (Bootstrap, ShareIntervals)):
        return intervals.intervals
    return dict(intervals or {})


def base_of(law: Fit, at: Mapping[str, float] | None) -> tuple[Vector, str]:
    """Return the shares (K,) at which a law is evaluated, in its order, and their name; equal shares if `at` has other domains."""
    if at is not None and set(at) == set(law.domains):
        return np.array([at[name] for name in law.domains]), "this mixture"
    return np.full(len(law.domains), 1.0 / len(law.domains)), "equal shares"


def target_of(law: Fit, answer: Answer | None) -> Target:
    """Return the objective of a proposal of this law; else the mean of its metrics, or its first metric if units differ."""
    source = None if answer is None else answer.source
    if isinstance(source, Proposal) and source.target.used and tuple(source.law.metrics) == tuple(law.metrics):
        return source.target
    return _mean_of(law) or resolve(law.metrics[0], law)


def _mean_of(law: Fit) -> Target | None:
    """Return the mean of a law's metrics; None if they have different units."""
    try:
        return resolve(None, law)
    except ValueError:
        return None
