"""reach(): the mixture nearest to a given one that reaches stated metrics, or the proof that none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError
from mixfast.laws import in_run_of, resolve
from mixfast.proposers._guards import Amount, goals_of, guards_of
from mixfast.proposers._least_change import LeastChange
from mixfast.proposers._propose import aligned, check_law, find, hold, metrics_at
from mixfast.proposers._refusals import refuse_endless
from mixfast.proposers._task import Task, shares_of
from mixfast.region import Region
from mixfast.region import reach as usable


def reach(
    law: Any,
    region: Region | None,
    goals: Mapping[str, Amount],
    *,
    near: Mapping[str, float] | None = None,
    guard: Mapping[str, Amount] | None = None,
    method: str = "auto",
    seed: int = 0,
    tol: float = 1e-9,
    start: Mapping[str, float] | None = None,
) -> LeastChange:
    """Find the least change of a mixture that reaches stated metrics.

    Minimise ``sum_k w_k log(w_k / near_k)`` over the mixtures of the region at which the law predicts every goal to be reached.

    Parameters
    ----------
    law : fitted law
        As for `propose`.
    region : Region or None
        Caps, floors and group limits; the whole simplex for None.
    goals : mapping of metric or pattern to float or str
        A value to reach, as ``"<= 0.9"``, ``">= 0.6"`` for a metric to maximise, or a number; or a change from the prediction at `near`:
        ``"2 % better"``, ``"1 sd better"`` (seed standard deviations), ``"0.01 better"``, also ``"... worse"``. ``"code_*"`` is every
        metric that matches and ``"*"`` every metric. A name goes before patterns, a longer pattern before a shorter one.
    near : Mixture or mapping, optional
        The mixture to stay near, such as the one you train on today; by default the prior of the region.
    guard : mapping, optional
        Limits of other metrics relative to `near`, as for `propose`; ``"*"`` is every metric without a goal.
    method : {"auto", "exact", "search"}
        "exact" needs convex metrics, as for `propose`, and returns a certificate. "search" works with all laws and proves nothing. "auto" is exact if the metrics are convex, else a search.
    seed : int, default 0
        Seed of the search.
    tol : float, default 1e-9
        Frank-Wolfe gap to reach in an exact solve, in nats.
    start : Mixture or mapping, optional
        A mixture near the expected answer, to start from.

    Returns
    -------
    LeastChange

    Raises
    ------
    InfeasibleError
        No mixture reaches the goals: proved, for convex laws. The message has the best value of each goal that cannot be reached, or the
        goals that conflict; `InfeasibleError.proof` has their weights.
    AlignmentError, TypeError, ValueError, ProposalError
        As for `propose`.

    Warns
    -----
    NotConvergedWarning
        An exact solve ended above `tol`.

    Notes
    -----
    A domain without a share in `near` gets none: any share of it would be an infinite change. To let it in, give it a small share there.
    The multiplier of a goal (`LeastChange.limited`) is what the goal costs: nats saved for each unit by which it is relaxed.
    """
    began = perf_counter()
    check_law(law, method, tol)
    if method not in ("auto", "exact", "search"):
        what = either(f"method is {method!r}", f"--method {method}")
        raise ValueError(f"{what}, expected auto, exact or search: {either('reach', '--reach')} has no simulation")
    where = aligned(law, region)
    law = in_run_of(law, where)
    if near is None and not where.has_prior:
        raise ValueError(
            either(
                "near is not given, and the region has no prior to stay near: give near=mixture",
                "--reach needs the mixture to stay near: give --near FILE, --prior FILE or --tokens FILE",
            )
        )
    kept_at = where.prior if near is None else shares_of("near", near, where.domains)
    held_in, held = hold(law, _around(where, kept_at))
    at = metrics_at(law, kept_at)
    every = resolve(dict.fromkeys(law.metrics, 1.0), law)
    wanted = goals_of(law, every, goals, at)
    named = [goal.index for goal in wanted]
    kept = () if guard is None else guards_of(law, every, guard, at, named)
    if twice := [one.metric for one in kept if one.index in named]:
        raise ValueError(
            f"{either('goals and guard', '--reach and --guard')} both name {listing(twice)}: give one limit for each metric"
        )
    target = replace(every, weight=np.zeros(len(law.metrics)))
    first = None if start is None else shares_of("start", start, where.domains)
    task = Task(law, held_in, target, 1.0, 0.0, seed, tol, held, first, (*wanted, *kept), "near")
    outcome = find(task, method)
    change = float(task.kl.values(task.reach.restrict(outcome.w)[None, :])[0])
    found = LeastChange.of(task, replace(outcome, value=max(change, 0.0)), perf_counter() - began)
    refuse_endless(task, found.expected, [found.value, found.gap or 0.0])
    return found


def _around(region: Region, near: Vector) -> Region:
    """Return the region with `near` as its prior; refuse one that needs a share of a domain without a share in `near`."""
    around = region.replace(prior=near)
    try:
        usable(around, 1.0)
    except InfeasibleError as problem:
        none = [name for name, share in zip(region.domains, near, strict=True) if share <= 0.0]
        raise InfeasibleError(
            f"near gives no share to {listing(none)}. Any share of such a domain is an infinite change, and without one no mixture satisfies the "
            "limits: give it a small share in near, or remove the floors or group limits that need it"
        ) from problem
    return around
