"""propose(): choose the mixture with the best prediction of a fitted law: exactly if the law is convex, else by a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.audience import either, setting
from mixfast._text.names import listing, one_of, shown
from mixfast._text.numbers import LARGEST
from mixfast.errors import AlignmentError, InfeasibleError, MixfastError
from mixfast.laws import Objective, convex_form, in_run_of, names_metrics, resolve
from mixfast.proposers._exact import exactly
from mixfast.proposers._guards import Amount, Guard, guards_of, tolerated
from mixfast.proposers._outcome import Outcome
from mixfast.proposers._proposal import Proposal
from mixfast.proposers._refusals import refuse_endless, refuse_runaway
from mixfast.proposers._searched import searched
from mixfast.proposers._task import Task, shares_of
from mixfast.region import Region

_METHODS = ("auto", "exact", "search", "regmix", "simulation")


def propose(
    law: Any,
    region: Region | None = None,
    *,
    objective: Objective = None,
    scale: str | None = None,
    guard: Mapping[str, Amount] | None = None,
    kl: float = 0.0,
    method: str = "auto",
    seed: int = 0,
    tolerance: float | Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    tol: float = 1e-9,
    start: Mapping[str, float] | None = None,
) -> Proposal:
    """Find the mixture with the best prediction of a fitted law.

    Minimise ``sum_j omega_j f_j(w) + kl * sum_k w_k log(w_k / prior_k)`` over the region, where f_j is the law of metric j. Metrics
    for which more is better count negatively.

    Parameters
    ----------
    law : fitted law
        As `mixfast.fit` returns it: `domains`, `metrics`, `predict`, and optionally `sd`, `slopes`, `law_of`, `direction`.
    region : Region, optional
        Caps, floors, group limits and the prior, aligned by name; the whole simplex by default.
    objective : None, str or mapping, optional
        None: the mean of all metrics that vary. "worst": the largest of them. "standardised": the mean of all, each divided by its
        standard deviation over the runs. The first two are refused for metrics of different units. A metric's name, or a pattern such as ``"code_*"`` or ``"*_bpb"``.
        A mapping of metrics to weights >= 0, normalised to sum 1; metrics that are not named count 0. Or families:
        ``{"math": ["gsm8k", "arc"], "code": "code_*"}`` gives equal weights to the families and to the metrics within each;
        ``{"math": (["gsm8k"], 7), "code": ("code_*", 19)}`` sets the weights of the families.
    scale : {"spread", "noise", "reference"}, optional
        Divide each metric of the objective by its standard deviation over the runs, by its seed standard deviation (`Fit.noise`), or by its
        predicted value at `reference`, so that metrics of different units and sizes count alike. The weights are then divided by their sum, so
        `kl` keeps its meaning. With "worst": the largest change from `reference`, in the same units.
    guard : mapping of metric or pattern to float or str, optional
        How much worse than at `reference` a metric may be: a number in its unit, ``"1 sd"`` (seed standard deviations; standard deviations
        over the runs if no seed noise is known) or ``"2 %"`` of its predicted value there. ``"code_*"`` is every metric that matches,
        ``"*"`` every metric that the objective does not name. A name goes before patterns, a longer pattern before a shorter one.
    kl : float, default 0
        Weight of the KL divergence to the region's prior (equal shares if it has none, as in `solve`), in the unit of the objective. Olmix
        recommends 0.05.
    method : {"auto", "exact", "search", "regmix", "simulation"}
        "exact" needs convex metrics (log-linear laws, linear laws, and laws in epochs unless fitted with ``convex=False``) and returns a certificate. "search" works with all laws. "regmix"
        is that paper's simulation: the mean of the best 128 of 100 000 sampled mixtures that the region allows. "simulation" is Olmix's: ten
        rounds of 100 000 sampled mixtures, each round around the best of the previous one, and the mean of those within 1e-3 of the best in
        the last round. "auto" is exact if the metrics are convex, else a search.
    seed : int, default 0
        Seed of the search and the simulations; an exact solve is not random.
    tolerance : float or mapping of metric to float, optional
        The simplest guard: a number applies to all metrics that count, in the unit of each. Give `guard` or `tolerance`.
    reference : Mixture or mapping, optional
        The mixture that `scale`, `guard` and `tolerance` refer to; the prior by default.
    kappa : float, default 0
        Risk aversion: adds kappa predictive standard deviations to the objective, with fully correlated errors of the metrics. Needs a search.
    tol : float, default 1e-9
        Frank-Wolfe gap to reach in an exact solve, in the unit of the objective; relative to the value if that is above 1.
    start : Mixture or mapping, optional
        A mixture near the expected answer, to start from.

    Returns
    -------
    Proposal

    Raises
    ------
    AlignmentError
        Law and region (or start, or reference) name different domains; both sets are shown.
    TypeError
        `law` is not a fitted law.
    ValueError
        The objective names unknown metrics or averages metrics of different units, a number is out of range, or "exact" is given for metrics
        that are not convex.
    InfeasibleError
        No mixture of the region keeps every guard. For convex laws this is proved; the message names the metrics that conflict, and
        `InfeasibleError.proof` has their weights.
    ProposalError
        The law predicts infinite or astronomic numbers at the mixture found or at the prior.

    Warns
    -----
    NotConvergedWarning
        An exact solve ended above `tol`; the result is the best point found, with its true gap.

    Notes
    -----
    Domains that are absent from all runs (see `law.identified`) stay at their prior share, within their limits. Domains with the
    same share in all runs (`law.constant`) stay at that share. The law cannot know the effect of either.
    An exact solve uses Newton's method in J unknowns (metrics) if there is a KL term and only limits on single domains, else the loop of
    `solve`. It is deterministic and takes well below a millisecond for 52 metrics and 64 domains; about 10 ms for laws in epochs.
    These predict the run that the region describes (`Region.from_tokens`); without token counts, the run of the fit or of `Fit.for_run`. A search calls `law.predict` on some ten thousand mixtures.

    References
    ----------
    Chen et al., "Olmix" (arXiv 2602.12237), section 4; Liu et al., "RegMix" (arXiv 2407.01492), section 3.
    """
    began = perf_counter()
    check_law(law, method, tol)
    for name, number in (("kl", kl), ("kappa", kappa)):
        if not (isinstance(number, (int, float, np.number)) and 0.0 <= number <= LARGEST):
            raise ValueError(f"{name} is {shown(number)}, expected a finite number >= 0, at most {LARGEST:g}")
    if guard is not None and tolerance is not None:
        raise ValueError("guard and tolerance are given: tolerance is the simplest guard, so leave out one of the two")
    where = aligned(law, region)
    law = in_run_of(law, where)
    where, held = hold(law, where)
    at = None
    if guard is not None or tolerance is not None or scale is not None:
        kept_at = where.prior if reference is None else shares_of("reference", reference, where.domains)
        at = metrics_at(law, kept_at)
    target = resolve(objective, law, scale=scale, reference=at)
    guards: tuple[Guard, ...] = ()
    if at is not None and guard is not None:
        guards = guards_of(law, target, guard, at, target.used if names_metrics(objective, target.metrics) else [])
    elif at is not None and tolerance is not None:
        guards = tolerated(law, target, tolerance, at)
    first = None if start is None else shares_of("start", start, where.domains)
    task = Task(law, where, target, float(kl), float(kappa), seed, tol, held, first, guards)
    outcome = find(task, method)
    proposal = Proposal.of(task, outcome, perf_counter() - began)
    refuse_endless(task, proposal.expected, [outcome.value, outcome.gap or 0.0])
    return proposal


def check_law(law: Any, method: str, tol: float) -> None:
    """Refuse an object that is no fitted law, an unknown method, and a tolerance that no gap can reach."""
    if method not in _METHODS:
        raise ValueError(f"method is {one_of(method, _METHODS)}")
    if not (hasattr(law, "domains") and hasattr(law, "metrics") and hasattr(law, "predict")):
        raise TypeError(
            f"law is {shown(law)}, expected what mixfast.fit returns; one that was saved is read by mixfast.laws.Fit.load(path)"
        )
    if not (math.isfinite(tol) and tol > 0.0):
        raise ValueError(f"tol is {tol}, expected a gap > 0 in the unit of the objective")


def metrics_at(law: Any, w: Vector) -> Vector:
    """Return the metrics (J,) that the law predicts at a mixture (K,)."""
    return np.asarray(law.predict(w[None, :]), dtype=np.float64)[0]


def aligned(law: Any, region: Region | None) -> Region:
    """Return the region in the law's order of domains; the whole simplex by default."""
    domains = tuple(law.domains)
    where = Region.simplex(domains) if region is None else region
    if where.domains != domains and set(where.domains) != set(domains):
        raise AlignmentError.between("the law", domains, "the region", where.domains)
    return where if where.domains == domains else where.align(domains)


def find(task: Task, method: str) -> Outcome:
    """Solve exactly if the law and the method allow it, else search."""
    form, other = convex_form(task.law, task.counted)
    reasons = [f"no convex law for {listing(other)}"] if other else []
    reasons += ["kappa > 0"] if task.kappa > 0.0 else []
    if method == "exact" and reasons:
        raise ValueError(
            f"{setting('method', 'exact')} needs convex laws (log_linear, linear or convex epochs){either(' and no kappa', '')}, but: "
            f"{listing(reasons)}; use {setting('method', 'auto')}"
        )
    exact = method in ("auto", "exact") and not reasons
    try:
        # A search calls the law thousands of times for a few mixtures each, too little work to divide among BLAS threads.
        with np.errstate(over="ignore", invalid="ignore"), single_blas():
            return exactly(task, form) if exact and form is not None else searched(task, method)
    except MixfastError:
        raise
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        refuse_runaway(task)
        raise


def hold(law: Any, region: Region) -> tuple[Region, tuple[str, ...]]:
    """Fix the domains that no run varied, at their share in all runs or else their prior share; return the region and their names."""
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
        shown = listing(f"{name} at {share:.3g}" for name, share in zip(names, at[unseen].tolist(), strict=True))
        raise InfeasibleError(
            f"no run varied {listing(names)}, so the law knows nothing about other shares and they are fixed ({shown}); with these shares "
            f"no mixture satisfies the limits: {problem}"
        ) from problem
    return held, names
