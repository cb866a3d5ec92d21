"""How a proposal is made: the exact solve of convex metrics, and the search for the rest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.exponentials import Convex, Exponentials
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise import dual, search
from mixfast._engine.optimise.trace import Minimum
from mixfast._text.names import listing
from mixfast.errors import AlignmentError, InfeasibleError, NotConvergedWarning, ProposalError, RegionError
from mixfast.laws import Target, has_slopes
from mixfast.mixture import Mixture
from mixfast.proposers._proposal import Proposal
from mixfast.region import Region, reach

# What a broken tolerance costs in a search, in units of the objective: more than any gain elsewhere.
_BROKEN = 1e3
_MAX_ITER = 200
# Numbers from here on are no losses: the log-linear law is cut off at 1e130.
ASTRONOMIC = 1e100


class Task:
    """What a proposal is made from, checked and in the law's order of domains."""

    def __init__(
        self,
        law: Any,
        region: Region,
        target: Target,
        kl: float,
        kappa: float,
        seed: int,
        tol: float,
        began: float,
        held: tuple[str, ...] = (),
    ) -> None:
        self.held = held
        self.law, self.region, self.target, self.kl, self.kappa = law, region, target, kl, kappa
        self.seed, self.tol, self.began = seed, tol, began
        self.reach = reach(region, kl)
        self.confined, self.usable = self.reach.region, self.reach.usable
        self.first: Vector | None = None
        # Largest value of each signed metric, (J,), infinite where it may be anything.
        self.most: Vector | None = None

    @property
    def prior(self) -> Vector:
        """Over the usable domains."""
        return self.region.prior if self.usable is None else self.region.prior[self.usable]

    def spread(self, w: Vector) -> Vector:
        """Shares over all domains from those of the usable ones."""
        if self.usable is None:
            return w
        out = np.zeros(self.region.n_domains)
        out[self.usable] = w
        return out

    def inner(self) -> Vector:
        """A start over the usable domains, none of them 0."""
        near = self.region.prior if self.first is None else self.first
        return np.ascontiguousarray(self.reach.restrict(self.reach.inner_point(near)))

    def done(self, w: Vector, status: str, value: float, method: str, **more: Any) -> Proposal:
        weight: Vector = more.pop("weight", self.target.weight)
        limited: Vector = more.pop("limited", np.zeros(weight.size))
        names = self.target.metrics
        return Proposal(
            mixture=Mixture(self.region.domains, w),
            status=status,
            value=value,
            method=method,
            kl=self.kl,
            objective=dict(zip(names, weight.tolist(), strict=True)),
            limited={names[j]: float(limited[j]) for j in np.flatnonzero(limited > 1e-9)},
            seconds=perf_counter() - self.began,
            held=self.held,
            _law=self.law,
            _region=self.region,
            _target=self.target,
            _usable=self.usable,
            _seed=self.seed,
            **more,
        )


def exactly(task: Task, form: Convex) -> Proposal:
    """The certified optimum of convex metrics."""
    target, usable, kl = task.target, task.usable, task.kl
    smooth: Exponentials | None = None
    weight, limited = target.weight, np.zeros(target.weight.size)
    if not target.worst:
        smooth = form.combined(target.weight)
    if target.worst or task.most is not None:
        found, weight, limited = _several(task, form)
        value = found.value
        if task.most is not None and not target.worst:
            inside = form.combined(target.weight).restrict(usable)
            value = inside.sums(found.w)[0]
            value += Regularised.term(kl, task.prior, found.w)[0] if kl > 0.0 else 0.0
    elif smooth is not None:
        found = dual.solve_exact(smooth, task.reach, kl=kl, start=task.first, tol=task.tol, max_iter=_MAX_ITER)
        value = found.value
    status = "optimal"
    if not math.isfinite(found.gap) or not math.isfinite(value):
        refuse_runaway(task)
    if not found.gap <= task.tol * max(1.0, abs(found.value)):
        status = "user_limit" if found.steps >= _MAX_ITER else "optimal_inaccurate"
        warnings.warn(
            f"the proposal ended ({status}) with a gap of {found.gap:.3g}, above the tolerance of {task.tol:.3g}: "
            "the mixture is the best point found and the law's value there is within the gap of the optimum",
            NotConvergedWarning,
            stacklevel=4,
        )
    w = task.spread(found.w)
    if usable is None:
        gradient = found.gradient
    else:
        gradient = np.full(w.size, -math.inf)
        if kl == 0.0:
            gradient = form.combined(weight + limited).sums(w)[1]
        gradient[usable] = found.gradient
    return task.done(
        w,
        status,
        value,
        "exact",
        gap=found.gap,
        trace=tuple(found.trace),
        weight=weight,
        limited=limited,
        _gradient=gradient,
        _smooth=smooth if task.most is None else None,
        _seen=None,
    )


def _several(task: Task, form: Convex) -> tuple[Minimum, Vector, Vector]:
    """The minimum of the worst metric, or under limits on metrics; weights (J,) and the limits' multipliers (J,)."""
    from mixfast._exact_pieces import minimise_limited, minimise_worst

    target, usable = task.target, task.usable
    limits = task.reach.limits
    if usable is not None:
        form = Convex(form.a[:, usable], form.on, form.linear[:, usable], form.constant)
    options: dict[str, Any] = {"tol": task.tol, "max_iter": _MAX_ITER}
    none = np.zeros(target.weight.size)
    if task.most is None:
        found, weight = minimise_worst(form, target.used, limits, task.kl, task.prior, task.inner(), **options)
        return found, weight, none
    if target.worst:
        raise ValueError(
            "objective='worst' and tolerance exclude each other: name the metrics to be kept and a weighted objective"
        )
    limited = np.isfinite(task.most)
    found, multipliers, broken = minimise_limited(
        form, target.weight, task.most, limits, task.kl, task.prior, task.inner(), **options
    )
    if broken > max(10.0 * task.tol, 1e-8):
        # What is the least that some metric must lose?
        shifted = Convex(form.a, form.on, form.linear, form.constant - np.where(limited, task.most, 0.0))
        used = np.flatnonzero(limited).tolist()
        least, weight = minimise_worst(
            shifted, used, replace(limits, interior=False), 0.0, task.prior, task.inner(), **options
        )
        if least.value > max(10.0 * task.tol, 1e-8):
            names = [target.metrics[j] for j in np.argsort(-weight, kind="stable") if weight[j] > 1e-6]
            raise InfeasibleError(
                f"no mixture of the region keeps every metric within its tolerance: {listing(names)} cannot all be kept, one must "
                f"exceed it by {least.value:.3g}; allow more tolerance or a wider region"
            )
    return found, target.weight, multipliers


def searched(task: Task, method: str) -> Proposal:
    """The best mixture found; no proof."""
    law, target, usable = task.law, task.target, task.usable
    prior = task.prior

    def score(points: Matrix) -> Vector:
        values = np.asarray(law.predict(points), dtype=np.float64)
        out = target.score(values)
        if task.kappa > 0.0:
            out = out + task.kappa * target.spread(values, np.asarray(law.sd(points), dtype=np.float64))
        if task.kl > 0.0:
            inside = points if usable is None else points[:, usable]
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = np.where(inside > 0.0, inside * np.log(inside / prior), 0.0)
            out = out + task.kl * terms.sum(axis=1)
        if task.most is not None:
            out = out + _BROKEN * np.maximum(values * target.sign - task.most, 0.0).max(axis=1)
        return np.where(np.isfinite(out), out, np.inf)

    def slope(points: Matrix) -> Matrix:
        values, gradients = law.slopes(points)
        values, gradients = np.asarray(values, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
        out = target.slope(values, gradients)
        if task.kl > 0.0:
            inside = points if usable is None else points[:, usable]
            term = task.kl * (np.log(np.maximum(inside, 1e-12) / prior) + 1.0)
            if usable is None:
                out = out + term
            else:
                out = out.copy()
                out[:, usable] += term
        return out

    if task.kappa > 0.0 and not hasattr(law, "sd"):
        raise ValueError("kappa > 0 needs a law with standard deviations, and this one has none")

    def clock() -> float:
        return perf_counter() - task.began

    if method == "regmix":
        if not task.region.has_prior:
            raise RegionError(
                "method='regmix' draws mixtures around the prior, and the region has none: give Region a prior"
            )
        found = search.regmix(task.confined, score, task.seed, clock)
    else:
        starts = [task.confined.project(task.region.prior)]
        starts += [] if task.first is None else [task.first]
        has = has_slopes(law)
        found = search.search(task.confined, usable, score, slope if has else None, task.seed, np.array(starts), clock)
    return task.done(
        found.w,
        "searched",
        found.value,
        "regmix" if method == "regmix" else "search",
        gap=None,
        trace=tuple(found.trace),
        _gradient=None,
        _smooth=None,
        _seen=(found.seen, found.scores),
    )


def refuse_endless(task: Task, found: Proposal) -> Proposal:
    """Return the proposal; `ProposalError` where a number that a person would decide by is not one."""
    with np.errstate(over="ignore", invalid="ignore"):
        for where, values in zip(("at the mixture found", "at the prior"), found._expected, strict=True):
            if names := _astronomic(task, values):
                raise _runaway(names, where)
        numbers = (found.value, 0.0 if found.gap is None else found.gap, *task.target.score(found._expected).tolist())
    if not np.isfinite(numbers).all():
        raise _runaway([task.target.metrics[j] for j in task.target.used], "around the mixture found")
    return found


def refuse_runaway(task: Task) -> None:
    """Raise `ProposalError` where the law's numbers, not the question, keep it from being answered."""
    points = [task.region.prior, task.confined.project(task.region.prior)]
    points += [task.confined.linear_min(-row) for row in np.eye(task.region.n_domains)]
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(task.law.predict(np.array(points)), dtype=np.float64)
    if names := _astronomic(task, values):
        raise _runaway(names, "within the region")


def _astronomic(task: Task, values: Matrix) -> list[str]:
    """The metrics that are not finite, or so large that laws cut them off there."""
    fine = (np.abs(np.atleast_2d(values)) < ASTRONOMIC).all(axis=0)
    return [task.target.metrics[j] for j in np.flatnonzero(~fine)]


def _runaway(names: list[str], where: str) -> ProposalError:
    return ProposalError(
        f"no mixture is proposed: the law of {listing(names)} gives infinite or astronomic numbers {where}. Its coefficients ran away, "
        "as they do with few runs for the domains, or with domains that hardly vary or vary together: limit their shares, leave such "
        "metrics out of the objective and of the fit, fit another law, or a log-linear one with penalty='cv'"
    )


def shares_of(what: str, given: Mapping[str, float], domains: tuple[str, ...]) -> Vector:
    """Shares (K,) in the law's order."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} is {type(given).__name__}, expected a Mixture or a mapping of domain to share")
    if set(given) != set(domains):
        raise AlignmentError.between(what, given, "the law", domains)
    return Mixture(domains, [float(given[name]) for name in domains]).weights


def most_of(task: Task, tolerance: float | Mapping[str, float], reference: Vector) -> Vector:
    """Largest allowed value of each signed metric (J,)."""
    target = task.target
    values = np.asarray(task.law.predict(reference[None, :]), dtype=np.float64)[0] * target.sign
    most = np.full(values.size, math.inf)
    if isinstance(tolerance, Mapping):
        unknown = [name for name in tolerance if name not in target.metrics]
        if unknown:
            raise ValueError(
                f"tolerance names {listing(unknown)}; the law's metrics are: {listing(target.metrics, 100)}"
            )
        room = {target.metrics.index(name): float(amount) for name, amount in tolerance.items()}
    else:
        room = dict.fromkeys(target.used, float(tolerance))
    wrong = [f"{target.metrics[j]}={amount}" for j, amount in room.items() if not amount >= 0.0]
    if wrong:
        raise ValueError(f"tolerance must be >= 0, in the unit of each metric, got {listing(wrong)}")
    for j, amount in room.items():
        most[j] = values[j] + amount
    return most


def with_limited(target: Target, most: Vector | None) -> Target:
    """The target with every metric that has a limit counting, to ask whether all of them are convex."""
    if most is None:
        return target
    return Target(target.metrics, np.where(np.isfinite(most), 1.0, target.weight), target.sign, target.worst)
