"""propose(): from a fitted law to the mixture it recommends, exact where the law is convex, searched and so named where it is not.

Also the questions around it: how strongly to pull towards the prior (`path`, `advise_kl`), and how much the shares would
move with other runs (`bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing
from mixfast.errors import AlignmentError, InfeasibleError, MixfastError, RegionError
from mixfast.laws import Objective, convex_form, resolve
from mixfast.proposers._proposal import Gain, Proposal
from mixfast.proposers._task import (
    Task,
    exactly,
    most_of,
    refuse_endless,
    refuse_runaway,
    searched,
    shares_of,
    with_limited,
)  # fmt: skip
from mixfast.region import Region

__all__ = ["Gain", "KlAdvice", "Proposal", "ShareIntervals", "advise_kl", "bootstrap", "path", "propose"]

_METHODS = ("auto", "exact", "search", "regmix")
# A share this far outside an interval is not there by rounding.
_OUTSIDE = 0.005


def propose(
    law: Any,
    region: Region | None = None,
    *,
    objective: Objective = None,
    kl: float = 0.0,
    method: str = "auto",
    seed: int = 0,
    tolerance: float | Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    tol: float = 1e-9,
    start: Mapping[str, float] | None = None,
) -> Proposal:
    """Find the mixture that a fitted law expects to be best.

    Minimise ``sum_j omega_j f_j(w) + kl * sum_k w_k log(w_k / prior_k)`` over the region, f_j being the law of metric j; metrics
    of which more is better count negatively.

    Parameters
    ----------
    law : fitted law
        As `mixfast.fit` returns it: `domains`, `metrics`, `predict`, and where there are any `sd`, `slopes`, `law_of`, `direction`.
    region : Region, optional
        Caps, floors, group limits and the prior, aligned by name; the whole simplex by default.
    objective : None, str or mapping, optional
        None: the mean of all metrics. "worst": the largest metric. A metric's name, or a prefix with ``*``. A mapping of metrics to
        weights >= 0, normalised to sum 1, others counting 0. Or families: ``{"math": ["gsm8k", "arc"], "code": "code_*"}`` weighs the
        families alike and the metrics within each alike; ``{"math": (["gsm8k"], 7), "code": ("code_*", 19)}`` weighs the families.
    kl : float, default 0
        Weight of the KL divergence to the region's prior, in the unit of the objective. Olmix recommends 0.05.
    method : {"auto", "exact", "search", "regmix"}
        "exact" needs metrics that are convex (log-linear or linear laws) and ends with a certificate. "search" is for all laws. "regmix"
        is that paper's simulation: the mean of the best 128 of 100 000 draws that the region allows. "auto" is exact where it can be.
    seed : int, default 0
        Of the search and the simulation; an exact solve has nothing random.
    tolerance : float or mapping of metric to float, optional
        How much worse than at `reference` a metric may become, in its unit; all metrics that count, or those named.
    reference : Mixture or mapping, optional
        The mixture that `tolerance` refers to; the prior by default.
    kappa : float, default 0
        Risk aversion: adds kappa predictive standard deviations (as if all metrics erred together) to the objective; needs a search.
    tol : float, default 1e-9
        Frank-Wolfe gap that an exact solve reaches, in the unit of the objective; times its value where that is above 1.
    start : Mixture or mapping, optional
        A mixture near the answer.

    Returns
    -------
    Proposal

    Raises
    ------
    AlignmentError
        Law and region (or start, or reference) name different domains; both sets are shown.
    TypeError
        Something that is no fitted law.
    ValueError
        An objective that names unknown metrics, numbers out of range, "exact" for metrics that are not convex.
    RegionError
        kl > 0 and a region without a prior.
    InfeasibleError
        No mixture of the region keeps every metric within its tolerance.
    ProposalError
        The law gives infinite or astronomic numbers at the mixture found or at the prior.

    Warns
    -----
    NotConvergedWarning
        An exact solve ended above `tol`; the result is the best point found, with its true gap.

    Notes
    -----
    Domains that no run had a share of (`law.identified`) stay at their prior share, within their limits, and those that all runs had the
    same share of (`law.constant`) at that share: no law knows what they do.
    Exact: Newton's method in J unknowns (metrics) under a KL term and limits on single domains, else the loop of `solve`; deterministic.
    Well below a millisecond for 52 metrics and 64 domains. A search calls `law.predict` on some ten thousand mixtures.

    References
    ----------
    Chen et al., "Olmix" (arXiv 2602.12237), section 4; Liu et al., "RegMix" (arXiv 2407.01492), section 3.
    """
    began = perf_counter()
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_METHODS)}")
    if not (hasattr(law, "domains") and hasattr(law, "metrics") and hasattr(law, "predict")):
        raise TypeError(
            f"law is {law!r:.80}, expected what mixfast.fit returns; one that was saved is read by mixfast.laws.Fit.load(path)"
        )
    for name, number in (("kl", kl), ("kappa", kappa)):
        if not (isinstance(number, (int, float, np.number)) and math.isfinite(number) and number >= 0.0):
            raise ValueError(f"{name} is {number!r}, expected a finite number >= 0")
    if not (math.isfinite(tol) and tol > 0.0):
        raise ValueError(f"tol is {tol}, expected a gap > 0 in the unit of the objective")
    domains = tuple(law.domains)
    where = Region.simplex(domains) if region is None else region
    if where.domains != domains:
        if set(where.domains) != set(domains):
            raise AlignmentError.between("the law", domains, "the region", where.domains)
        where = where.align(domains)
    if kl > 0.0 and not where.has_prior:
        raise RegionError(
            f"kl = {kl} pulls towards the prior, and the region has none: give Region a prior (prior=1 for a uniform one), "
            "or build it with Region.from_tokens"
        )
    where, held = _hold(law, where)
    target = resolve(objective, law)
    task = Task(law, where, target, float(kl), float(kappa), seed, tol, began, held)
    task.first = None if start is None else shares_of("start", start, domains)
    if tolerance is not None:
        task.most = most_of(
            task, tolerance, where.prior if reference is None else shares_of("reference", reference, domains)
        )
    form, other = convex_form(law, with_limited(target, task.most))
    reasons = [f"no convex law for {listing(other)}"] if other else []
    reasons += ["kappa > 0"] if kappa > 0.0 else []
    if method == "exact" and reasons:
        raise ValueError(
            f"method='exact' needs convex laws (log_linear or linear) and no kappa, but: {listing(reasons)}; use method='auto'"
        )
    exact = method in ("auto", "exact") and form is not None and not reasons
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = exactly(task, form) if exact and form is not None else searched(task, method)
    except MixfastError:
        raise
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        refuse_runaway(task)
        raise
    return refuse_endless(task, found)


def _hold(law: Any, region: Region) -> tuple[Region, tuple[str, ...]]:
    """The region with domains held, and their names: at their share in all runs, or where no run had one at their prior share."""
    identified = getattr(law, "identified", None)
    if identified is None or np.all(identified):
        return region, ()
    unseen = ~np.asarray(identified, dtype=bool)
    constant = getattr(law, "constant", {})
    kept = [constant.get(name, prior) for name, prior in zip(region.domains, region.prior.tolist(), strict=True)]
    at = np.clip(kept, region.floor, region.cap)
    names = tuple(name for name, no in zip(region.domains, unseen.tolist(), strict=True) if no)
    try:
        held = region.replace(cap=np.where(unseen, at, region.cap), floor=np.where(unseen, at, region.floor))
    except InfeasibleError as problem:
        shown = listing(f"{name} at {at[region.domains.index(name)]:.3g}" for name in names)
        raise InfeasibleError(
            f"no run varied {listing(names)}, so the law knows nothing of other shares and they are kept ({shown}); with that the region "
            f"holds no mixture: {problem}"
        ) from problem
    return held, names


def path(law: Any, region: Region, kls: Sequence[float], **options: Any) -> list[Proposal]:
    """Propose for each of several strengths of the pull towards the prior, each from the one before.

    Parameters
    ----------
    law, region
        As for `propose`.
    kls : sequence of float
        Strengths >= 0, solved from the largest down and returned in the order given.
    **options
        Other arguments of `propose`.

    Returns
    -------
    list of Proposal
    """
    out: dict[int, Proposal] = {}
    previous: Proposal | None = None
    for index in sorted(range(len(kls)), key=lambda i: -kls[i]):
        start = {} if previous is None else {"start": previous.mixture}
        previous = propose(law, region, **{**options, "kl": kls[index], **start})
        out[index] = previous
    return [out[index] for index in range(len(kls))]


@dataclass(frozen=True, eq=False)
class KlAdvice:
    """How proposals with several strengths of the pull towards the prior fare under laws fitted to other runs.

    Attributes
    ----------
    kl : float
        The largest strength whose mean score is within one standard error of the best.
    best : float
        The strength with the best mean score.
    kls, scores, errors : ndarray
        Strengths, mean objective over the folds (without KL term), and the standard error of its difference to the best.
    """

    kl: float
    best: float
    kls: Vector
    scores: Vector
    errors: Vector


def advise_kl(
    refit: Callable[[Any], Any],
    runs: int,
    region: Region,
    kls: Sequence[float],
    *,
    objective: Objective = None,
    repeats: int = 8,
    seed: int = 0,
    **options: Any,
) -> KlAdvice:
    """Choose the strength of the pull towards the prior: propose from one half of the runs, judge by a law of the other half.

    Parameters
    ----------
    refit : callable
        Takes an index array of runs and returns the law fitted to them:
        ``lambda rows: mixfast.fit(swarm.subset(rows), "log_linear", folds=0)``.
    runs : int
        Number of runs.
    region, objective, options
        As for `propose`.
    kls : sequence of float
        Strengths to compare.
    repeats : int, default 8
        Random splits into halves, each used both ways.
    seed : int
        Of the splits.

    Returns
    -------
    KlAdvice

    Notes
    -----
    Halves leave each law fewer runs than the final one has, so the advice leans to the careful side; so does its rule.
    """
    kls = [float(kl) for kl in kls]
    if not kls:
        raise ValueError("kls is empty, expected at least one strength")
    if runs < 4 or repeats < 1:
        raise ValueError(f"runs is {runs} and repeats {repeats}, expected at least 4 runs and 1 split")
    rng = np.random.default_rng(seed)
    rows: list[Vector] = []
    for _ in range(repeats):
        order = rng.permutation(runs)
        halves = np.sort(order[: runs // 2]), np.sort(order[runs // 2 :])
        laws = [refit(half) for half in halves]
        for fitted, judge in (laws, laws[::-1]):
            proposals = path(fitted, region, kls, objective=objective, **options)
            points = np.stack([p.mixture.align(judge.domains).weights for p in proposals])
            rows.append(resolve(objective, judge).score(np.asarray(judge.predict(points), dtype=np.float64)))
    table = np.array(rows)
    scores = table.mean(axis=0)
    best = int(scores.argmin())
    difference = table - table[:, [best]]
    # The two uses of one split share their runs: count them once.
    errors = difference.std(axis=0, ddof=1) / math.sqrt(repeats) if len(rows) > 1 else np.zeros(len(kls))
    chosen = max(kl for kl, score, error in zip(kls, scores, errors, strict=True) if score <= scores[best] + error)
    return KlAdvice(chosen, kls[best], np.array(kls), scores, errors)


@dataclass(frozen=True, eq=False)
class ShareIntervals:
    """How much the proposed shares move with the runs that happened to be made.

    Attributes
    ----------
    proposal : Proposal
        From all runs.
    low, high : dict of str to float
        Interval of each domain's share at `level`, widened to the proposal where all draws lie to one side of it: then the law itself
        depends on how many runs there are.
    shares : ndarray (draws, K)
        The proposals of the draws.
    level : float
    doubt : str
        Which shares lie outside what (nearly) all draws say; empty where none does.
    """

    proposal: Proposal
    low: dict[str, float]
    high: dict[str, float]
    shares: Matrix
    level: float

    @property
    def doubt(self) -> str:
        """Which shares lie outside what (nearly) all draws say; empty where none does."""
        names, tail = self.proposal.mixture.domains, 0.5 - 0.5 * self.level
        low, high = np.quantile(self.shares, [tail, 1.0 - tail], axis=0)
        w = self.proposal.mixture.weights
        outside = np.flatnonzero((w < low - _OUTSIDE) | (w > high + _OUTSIDE))
        if not outside.size:
            return ""
        named = listing(f"{names[k]} {w[k]:.1%} (refits {low[k]:.1%} to {high[k]:.1%})" for k in outside)
        return (
            f"refits on halves of the runs agree on other shares than the proposal: {named}. The law changes with the number of runs: "
            "train more before these shares are trusted; their intervals are widened to hold the proposal."
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
    """Intervals for the proposed shares: fit and propose again on random halves of the runs.

    Parameters
    ----------
    swarm : Swarm
        R runs, with `runs` and `subset(index)`.
    law : str or law
        What to fit.
    region : Region
    fit : callable
        ``fit(swarm, law) -> fitted law``, usually `mixfast.fit`.
    draws : int, default 50
    level : float, default 0.9
        Share of the draws between the ends of each interval.
    seed : int
        Of the halves.
    **options
        Other arguments of `propose`.

    Returns
    -------
    ShareIntervals

    Notes
    -----
    A mean over half of the runs, drawn without replacement, differs from that over all of them with just the variance that all of them
    have: halves stand in for the bootstrap and no run is there twice, which would spoil the cross-validation inside many laws.

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
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(draws):
        half = np.sort(rng.permutation(count)[: (count + 1) // 2])
        one = propose(fit(swarm.subset(half), law), region, **options)
        shares.append(one.mixture.align(whole.mixture.domains).weights)
    table = np.array(shares)
    low, high = np.quantile(table, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    # With half of the runs a law is smoother, and may move a share one way in all draws.
    low, high = np.minimum(low, whole.mixture.weights), np.maximum(high, whole.mixture.weights)
    names = whole.mixture.domains
    return ShareIntervals(
        whole,
        dict(zip(names, low.tolist(), strict=True)),
        dict(zip(names, high.tolist(), strict=True)),
        table,
        level,
    )
