"""next_runs(): choose the next runs of a swarm by their expected gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.audience import either
from mixfast._text.names import listing, one_of, positions
from mixfast._text.progress import working
from mixfast.designs import _acquisition
from mixfast.designs._design import advised_runs
from mixfast.designs._repetition import matched, over_domains, those_of
from mixfast.designs._results import Design, NextRuns, designed, numbered, seeded, whole
from mixfast.errors import AlignmentError, RegionError
from mixfast.laws import Fit, Joint, Objective, Target, in_run_of, resolve
from mixfast.region import Region
from mixfast.swarm import Swarm

# A run is inside the region if it violates no limit by more than this.
_INSIDE = 1e-6
# Mixtures are the same if the sum of their absolute differences is at most this.
_SAME = 1e-9
_WAYS = ("auto", "information", "improvement", "thompson")


def next_runs(
    swarm: Swarm,
    law: Fit,
    region: Region,
    q: int,
    *,
    objective: Objective = None,
    way: str = "auto",
    among: Swarm | Design | None = None,
    seed: int = 0,
    tokens: Mapping[str, int] | None = None,
    target_budget: int | None = None,
    proxy_budget: int | None = None,
    sequence_length: int = 1,
) -> NextRuns:
    """Choose the ``q`` mixtures to train next, from the existing runs and the laws fitted to them.

    Parameters
    ----------
    swarm : Swarm
        The existing runs.
    law : Fit
        The laws that `mixfast.laws.fit` fitted to them.
    region : Region
        The allowed mixtures.
    q : int
        Number of runs to choose, at least 1.
    objective : optional
        The metrics that count, as for `propose`.
    way : "auto", "information", "improvement" or "thompson"
        "information": the runs that give the most information about the coefficients of log-linear laws (D-optimal). "improvement": the
        largest expected improvement on the best run, one run after the other, each as if those before it had given the
        predicted result. "thompson": q joint random draws of the objective at the candidates; each draw gives its best mixture that no
        earlier draw has chosen. Use it for batches of many runs, and if the laws may be far off. "auto": information if all laws that count
        are log-linear, else improvement.
    among : Swarm or Design, optional
        Mixtures to choose from, with their ids, in place of candidates sampled from the region. Mixtures that the swarm
        already has, or that lie outside the region, are left out.
    seed : int, default 0
        Seed of the candidates and of the draws.
    tokens, target_budget, proxy_budget, sequence_length : optional
        The pools of the new runs, as for `design`. By default those of the existing runs, if the swarm knows them and all runs share them.

    Returns
    -------
    NextRuns
        Its `gain` is the information, or for both "improvement" and "thompson" the expected improvement.

    Raises
    ------
    AlignmentError
        If swarm, law, region and ``among`` do not name the same domains.
    RegionError
        If an argument is malformed, fewer than q candidates are left, or the laws do not support the way: "information" needs log-linear
        laws; "thompson" does not support trees, external regressors or Gaussian processes with tasks above 0.
    BackendError
        If Numba is missing.

    Notes
    -----
    1. Predict the existing runs with the law. The best of those that the region allows is the one to improve on.
    2. Take candidates: mixtures all over the region and around the best, or those of ``among``.
    3. Predict the candidates, with the uncertainty of each and their covariances.
    4. Choose one after the other, each as if those before it had been run.

    There are 4096 candidates, half of them around the best run. The best run is the one with the best prediction, not with the best
    measurement, which may have been chance.

    Laws in epochs and BiMix are exponentials or powers, and are most uncertain where they predict very large losses. Their errors count as normal on
    the scale of the logarithm of the distance from the law's floor, so an improvement is at most the distance of the best run from it.

    The law's covariances say how much one run tells about other mixtures: those of a Gaussian process, or those of a
    law's coefficients by the delta method. Errors of different metrics count as independent. For laws without
    covariances, the uncertainty around every chosen run is reduced. Under the objective "worst" the uncertainty of a mixture is that of the
    metric predicted to be worst there; it is somewhat too small if several metrics are about equally bad. Draws of "thompson" take
    the worst metric of each draw. They are made at the 1024 candidates that may be best (lowest prediction minus two
    standard deviations), without noise. They are draws of the Gaussian process, or of the coefficients; linear and log-linear laws are then
    evaluated exactly, the others along their tangents.

    Cost, in addition to predictions of 4096 mixtures with standard deviations, for each metric that counts: 4096 R numbers and q
    passes over them for a Gaussian process of R runs, 4096 K (K + q) multiplications for other laws, and the factorisation of a 1024
    x 1024 matrix for draws of a process.

    References
    ----------
    Jones, Schonlau and Welch 1998 (expected improvement); Ginsbourger, Le Riche and Carraro 2010 (batches of it, the
    kriging believer); González et al. 2016, arXiv:1505.08052 (penalties); Thompson 1933; Kandasamy et al. 2018,
    arXiv:1705.09236 (batches of draws).
    """
    count, random = whole(q, "q"), seeded(seed)
    known = swarm.align(region.domains).ratios
    if set(law.domains) != set(region.domains):
        raise AlignmentError.between("the law", law.domains, "the region", region.domains)
    law = in_run_of(law, region)
    target = resolve(objective, law)
    order = positions(law.domains, region.domains)
    best, best_value = _best(target.score(law.predict(known[:, order])), known, region)
    ids: tuple[str, ...] = ()
    if among is None:
        points = _acquisition.pool(region, region.project(best), seed=random)
    else:
        points, ids = _others(among, region, known)
    if len(points) < count:
        raise RegionError(
            f"{count} runs were asked for, but only {len(points)} candidates are in the region and not yet trained"
        )
    with working("choosing runs", count, "run"), single_blas():
        candidates = _Candidates.of(points, order, law, target)
        chosen, gain, bought = _chosen(candidates, way, count, known, best=best_value, seed=random)
    runs = numbered(count, swarm.runs) if among is None else tuple(ids[row] for row in chosen.tolist())
    advised = max(advised_runs(int(region.reachable.sum())) - len(swarm), 0)
    pools = matched(region, tokens, target_budget, proxy_budget, sequence_length) or those_of(swarm, region)
    epochs = None if swarm.epochs is None else over_domains(swarm.epochs, swarm.domains, region)
    design = designed(points[chosen], region, runs, "next", advised, pools, known, epochs)
    return NextRuns(design, gain, bought, candidates.mean[chosen], candidates.sd[chosen], best_value)


def _best(values: Vector, known: Matrix, region: Region) -> tuple[Vector, float]:
    """Return the run with the smallest value, and the value; runs outside the region only count if all are outside."""
    inside = np.array([region.violation(row) <= _INSIDE for row in known])
    first = int(np.where(inside | ~inside.any(), values, np.inf).argmin())
    return known[first], float(values[first])


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Mixtures to choose from, with their predictions."""

    points: Matrix  # (M, K), in the order of the region's domains
    at: Matrix  # (M, K), in the order of the law's
    law: Fit
    target: Target
    values: Matrix  # (M, J)
    joints: list[Joint] | None  # of the metrics that count; None if the law has no covariances
    mean: Vector  # of the objective, (M,)
    sd: Vector

    @classmethod
    def of(cls, points: Matrix, order: list[int], law: Fit, target: Target) -> _Candidates:
        """Predict mixtures (M, K); ``order`` holds the column of each of the law's domains."""
        at = points[:, order]
        values, joints = law.predict(at), law.joint(at, [target.metrics[j] for j in target.used])
        spread = law.sd(at) if joints is None else _acquisition.spread(values, target, joints)
        return cls(points, at, law, target, values, joints, target.score(values), target.spread(values, spread))

    def draws(self, count: int, seed: int) -> _acquisition.Places:
        """Return the best candidate of each joint draw of the objective."""
        some = _acquisition.hopeful(self.mean, self.sd, _acquisition.limit(self.target, self.joints))
        joints = self.law.joint(self.at[some], [self.target.metrics[j] for j in self.target.used])
        return some[_acquisition.thompson(self.target, joints or [], count, seed=seed)]


def _chosen(
    candidates: _Candidates, way: str, count: int, known: Matrix, *, best: float, seed: int
) -> tuple[_acquisition.Places, Vector, str]:
    """Return the positions of the chosen candidates, the gain of each, and what the gain measures."""
    target, values, joints = candidates.target, candidates.values, candidates.joints
    way = _way(way, candidates.law, target, joints is not None)
    if way == "information" and joints is not None:
        used = target.used
        chosen, gain = _acquisition.informative(target.weight[used], values[:, used], joints, count)
        alike = (
            ", all metrics weighted equally, as the objective worst has no weights"
            if target.worst and len(used) > 1
            else ""
        )
        return chosen, gain, f"nats of information about the coefficients{alike}"
    uncertainty = (
        _acquisition.Nearness(candidates.sd, candidates.points, known)
        if joints is None
        else _acquisition.Covariances(target, values, joints)
    )
    drawn = candidates.draws(count, seed) if way == "thompson" else None
    limit = _acquisition.limit(target, joints)
    chosen, gain = _acquisition.improving(candidates.mean, uncertainty, best, count, drawn, limit)
    return chosen, gain, "expected improvement of the objective"


def _way(way: str, law: Fit, target: Target, joint: bool) -> str:
    """Resolve "auto"; raise `RegionError` if the laws do not support the way."""
    if way not in _WAYS:
        raise RegionError(f"way is {one_of(way, _WAYS)}")
    kinds = {name: law.law_of(name)[0].name for name in (target.metrics[j] for j in target.used)}
    other = [name for name, kind in kinds.items() if kind != "log_linear"]
    if way == "information" and other:
        raise RegionError(
            f"the way 'information' needs log-linear laws; these metrics have other laws: {listing(other)}"
        )
    if way == "thompson" and not joint:
        raise RegionError(
            "the way 'thompson' needs laws with covariances between mixtures, and some of these have none: "
            f"{listing([f'{name} ({kind})' for name, kind in kinds.items()])}; fit {either('gp with tasks=0, ', '')}log_linear, linear, "
            "autoscale or bimix"
        )
    return ("improvement" if other else "information") if way == "auto" else way


def _others(among: Swarm | Design, region: Region, known: Matrix) -> tuple[Matrix, tuple[str, ...]]:
    """Return the mixtures that the region allows and that are not trained yet, in the order of the region's domains, and their ids."""
    if set(among.domains) != set(region.domains):
        raise AlignmentError.between("among", among.domains, "the region", region.domains)
    points = among.ratios[:, positions(region.domains, among.domains)]
    points = points / points.sum(axis=1, keepdims=True)
    new = np.array([np.abs(known - row).sum(axis=1).min() > _SAME and region.contains(row, _SAME) for row in points])
    return points[new], tuple(run for run, fresh in zip(among.runs, new.tolist(), strict=True) if fresh)
