"""bootstrap(): intervals of the proposed shares, by fitting to random halves of the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._engine.optimise.replicates import central_interval
from mixfast._text.frames import data_frame
from mixfast._text.names import listing
from mixfast._text.notebook import html_table
from mixfast._text.numbers import percent
from mixfast._text.progress import tracked
from mixfast._text.table import text_table
from mixfast._text.visible import visible
from mixfast.errors import BackendError, InfeasibleError
from mixfast.proposers._proposal import Proposal
from mixfast.proposers._propose import propose
from mixfast.region import Region

# A share is outside its interval if it is outside by more than this; smaller differences are rounding.
_OUTSIDE = 0.005


@dataclass(frozen=True, eq=False, repr=False)
class ShareIntervals:
    """Intervals of the proposed shares: how much they would differ with other runs.

    Attributes
    ----------
    proposal : Proposal
        The proposal from all runs.
    low, high : dict of str to float
        Ends of the interval of each domain's share at `level`. If all draws lie on one side of the proposal, the interval is widened
        to contain it: the law then depends on the number of runs.
    shares : ndarray (draws, K)
        The proposed shares of each draw.
    level : float
    refused : int
        Draws that have no proposal, because under their laws no mixture keeps the guards.
    """

    proposal: Proposal
    low: dict[str, float]
    high: dict[str, float]
    shares: Matrix
    level: float
    refused: int = 0

    def __repr__(self) -> str:
        return f"ShareIntervals({len(self.shares)} draws, level {self.level:g}; {self.proposal!r})"

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Return the proposed shares with their intervals, and the reason to doubt them if there is one, as text."""
        w = self.proposal.mixture
        rows = [[name, f"{w[name]:.2%}", f"{low:.2%}", f"{high:.2%}"] for name, (low, high) in self.intervals.items()]
        rows.sort(key=lambda row: -w[row[0]])
        doubt = [f"Doubt: {visible(self.doubt)}"] if self.doubt else []
        return "\n".join([text_table(["domain", "share", "from", "to"], rows), *doubt])

    def _repr_html_(self) -> str:
        """Show the largest shares with their intervals in a notebook."""
        w = self.proposal.mixture
        order = sorted(w, key=lambda name: -w[name])
        rows = [(name, percent(w[name]), f"{percent(self.low[name])} to {percent(self.high[name])}") for name in order]
        lines = [
            f"{100 * self.level:g}% intervals over {len(self.shares)} halves of the runs",
            *([self.doubt] if self.doubt else []),
        ]
        return html_table(
            "Intervals of proposed shares", ["domain", "share", "interval"], rows, lines=lines, what="domains"
        )

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the domains as labels and the columns "share", "low" and "high".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        w = self.proposal.mixture
        columns = {"share": w.weights.copy(), "low": list(self.low.values()), "high": list(self.high.values())}
        return data_frame(columns, w.domains, "domain", BackendError)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Lower and upper end of each domain's interval."""
        return {name: (low, self.high[name]) for name, low in self.low.items()}

    @property
    def doubt(self) -> str:
        """Shares outside the interval of the draws, and draws without a proposal, in a sentence each; empty if there are none."""
        return " ".join(words for words in (self._refused, self._outside) if words)

    @property
    def _refused(self) -> str:
        if not self.refused:
            return ""
        return (
            f"laws fitted to {self.refused} of {self.refused + len(self.shares)} halves of the runs find no mixture that keeps the guards; the "
            "intervals are those of the others."
        )

    @property
    def _outside(self) -> str:
        names = self.proposal.mixture.domains
        low, high = central_interval(self.shares, self.level)
        w = self.proposal.mixture.weights
        outside = np.flatnonzero((w < low - _OUTSIDE) | (w > high + _OUTSIDE))
        if not outside.size:
            return ""
        named = listing(f"{names[k]} {w[k]:.1%} (refits {low[k]:.1%} to {high[k]:.1%})" for k in outside)
        return (
            f"laws fitted to halves of the runs agree on shares that differ from the proposal: {named}. The law still changes with the "
            "number of runs. Train more runs before you trust these shares; their intervals are widened to contain the proposal."
        )


def bootstrap(
    swarm: Any,
    law: Any,
    region: Region,
    *,
    fit: Callable[..., Any],
    draws: int = 50,
    level: float = 0.9,
    seed: int = 0,
    **options: Any,
) -> ShareIntervals:
    """Compute intervals of the proposed shares: fit and propose again on random halves of the runs.

    Parameters
    ----------
    swarm : Swarm
        R runs, with `runs` and `subset(index)`.
    law : str or law
        The law to fit.
    region : Region
    fit : callable
        ``fit(swarm, law) -> fitted law``, usually `mixfast.fit`.
    draws : int, default 50
    level : float, default 0.9
        Fraction of the draws inside each interval.
    seed : int
        Seed of the random halves.
    **options
        Other arguments of `propose`.

    Returns
    -------
    ShareIntervals

    Raises
    ------
    InfeasibleError
        Under the laws of all draws but one, or of all, no mixture keeps the guards.

    Notes
    -----
    The mean over a random half of the runs differs from the mean over all runs with the same variance that the mean over all runs has.
    So halves can replace bootstrap resamples. No run occurs twice in a half; a repeated run would invalidate the cross-validation inside many laws.
    Guards have the same amount in every draw, in the unit of the metric.

    References
    ----------
    Politis, Romano, Wolf, "Subsampling" (1999), section 2.3.
    """
    if draws < 2 or not 0.0 < level < 1.0:
        raise ValueError(f"draws is {draws} and level {level}, expected at least 2 draws and a level between 0 and 1")
    count = len(swarm.runs)
    if count < 4:
        raise ValueError(f"the swarm has {count} runs, expected at least 4")
    whole = propose(fit(swarm, law), region, **options)
    options = _in_units(whole, options)
    rng = np.random.default_rng(seed)
    shares, refusals = [], []
    for _ in tracked(range(draws), "refitting halves of the runs", draws, "refit"):
        half = np.sort(rng.permutation(count)[: (count + 1) // 2])
        try:
            one = propose(fit(swarm.subset(half), law), region, **options)
        except InfeasibleError as problem:
            refusals.append(problem)
            continue
        shares.append(one.mixture.align(whole.mixture.domains).weights)
    if len(shares) < 2:
        raise InfeasibleError(
            f"laws fitted to {len(refusals)} of {draws} halves of the runs find no mixture that keeps the guards, so there are no intervals; in one "
            f"of them: {refusals[0]}"
        ) from refusals[0]
    table = np.array(shares)
    low, high = central_interval(table, level)
    # A law fitted to half of the runs is smoother, which can shift a share in the same direction in all draws.
    low, high = np.minimum(low, whole.mixture.weights), np.maximum(high, whole.mixture.weights)
    names = whole.mixture.domains
    return ShareIntervals(
        whole,
        dict(zip(names, low.tolist(), strict=True)),
        dict(zip(names, high.tolist(), strict=True)),
        table,
        level,
        len(refusals),
    )


def _in_units(whole: Proposal, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with guards and scales as numbers, as they are for all runs: a half may repeat no mixture, and then knows no noise."""
    out = dict(options)
    if out.get("guard"):
        out["guard"] = {one.metric: abs(one.limit - one.reference) for one in whole.guards}
    if out.get("scale") and not whole.worst:
        out |= {"objective": {name: weight for name, weight in whole.objective.items() if weight}, "scale": None}
    return out
