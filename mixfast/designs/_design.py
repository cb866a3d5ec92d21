"""Which mixtures to train next: swarms that cover a region, RegMix's and Olmix's samplers, and runs added to a swarm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import domain_names, listing
from mixfast.designs import _cover, _frozen, _next_runs, _olmix, _regmix
from mixfast.designs._olmix import Olmix
from mixfast.designs._regmix import RegMix
from mixfast.designs._results import RUNS_PER_NUMBER, Design, NextRuns
from mixfast.errors import AlignmentError, RegionError
from mixfast.laws import Fit, Objective, Target, resolve
from mixfast.region import Region
from mixfast.swarm import Swarm

__all__ = ["Design", "NextRuns", "Olmix", "RegMix", "advised_runs", "design", "extend", "next_runs"]


def advised_runs(domains: int | Iterable[str]) -> int:
    """Return how many runs to train for so many domains: ``3 (m + 1)``.

    A log-linear law ``c + exp(b + a.w)`` has m + 1 numbers to find for m domains whose shares sum to 1 (b is one of the
    slopes there), and Olmix found the error of its proposals to level off at about three runs for each. Domains frozen
    together count as one.

    Parameters
    ----------
    domains : int or sequence of str
        Their number, at least 1, or their names.

    Raises
    ------
    RegionError
        If the number is below 1 or no whole number.

    References
    ----------
    Olmix (arXiv:2602.12237).

    Examples
    --------
    >>> advised_runs(64), advised_runs(["web", "code", "books"])
    (195, 12)
    """
    number = domains if isinstance(domains, int) else len(domain_names(domains, RegionError))
    return RUNS_PER_NUMBER * (_count(number, "domains") + 1)


def design(
    region: Region,
    runs: int | None = None,
    *,
    seed: int,
    method: str | RegMix | Olmix = "cover",
    frozen: Mapping[str, Mapping[str, float]] | None = None,
) -> Design:
    """Choose the mixtures of a swarm.

    Parameters
    ----------
    region : Region
        What mixtures are allowed; its prior is what draws are gathered around.
    runs : int, optional
        Default: what `advised_runs` says of the domains that can have a share, frozen groups counted as one.
    seed : int
        The same seed gives the same bits.
    method : "cover", "regmix", "olmix", RegMix or Olmix, default "cover"
        "cover" spreads runs over the region: each is the one of a pool that is farthest, in Hellinger distance, from
        those before it. "regmix" is RegMix's sampler and "olmix" Olmix's of sources and topics; `RegMix` and `Olmix`
        hold their settings.
    frozen : mapping of str to mapping of str to float, optional
        Groups of domains whose ratios to each other are kept: ``{"old": {"web": 0.7, "books": 0.3}}``. Not with
        "regmix". With "olmix" a group is one source of its name, or one topic where that is "source:topic".

    Returns
    -------
    Design
        With "cover" and "olmix" rows sum to 1 exactly (by `math.fsum`), lie in the region, "olmix" to within 1e-9, and
        frozen ratios hold to 1e-12. With "regmix" shares are multiples of the minimum, which sum to 1 only to within a few of them, as in the original.

    Raises
    ------
    RegionError
        If an argument is malformed.
    AlignmentError
        If ``frozen`` names a domain that the region does not have.
    InfeasibleError
        If no mixture keeps the frozen ratios within the limits, or a sampler that rejects finds too few mixtures.
    BackendError
        If Numba is missing ("cover").

    Notes
    -----
    "cover" rejects nothing: its cost does not depend on how tight the limits are. Choosing takes 20 R^2 K
    multiplications, about a second for 900 runs of 64 domains; above some thousand runs the draws are used as they are.

    References
    ----------
    Liu et al., "RegMix" (arXiv 2407.01492); Olmix (arXiv:2602.12237), Lemma 1, for caps of frozen groups.

    Examples
    --------
    >>> region = Region(["web", "code", "books"], cap={"books": 0.1})
    >>> swarm = design(region, 12, seed=0)
    >>> swarm.ratios.shape, bool(swarm.ratios[:, 2].max() <= 0.1)
    ((12, 3), True)
    """
    way = _method(method)
    if isinstance(way, RegMix) and frozen:
        raise RegionError("RegMix's sampler does not know frozen groups; use method='cover' or 'olmix'")
    groups = _olmix.qualities(region, frozen or {}) if isinstance(way, Olmix) else frozen
    columns = _frozen.collapsed(region, groups)
    advised = advised_runs(int(columns.region.reachable.sum()))
    count = advised if runs is None else _count(runs, "runs")
    if isinstance(way, RegMix):
        rows, name = _regmix.regmix(region, count, way, seed=_seed(seed)), "regmix"
    elif isinstance(way, Olmix):
        rows, name = columns.expand(_olmix.olmix(columns, count, way, seed=_seed(seed))), "olmix"
    else:
        rows, name = columns.expand(_cover.cover(columns.region, count, seed=_seed(seed))), "cover"
    return _designed(rows, region, _numbered(count, ()), name, advised)


def extend(
    swarm: Swarm | Design,
    region: Region,
    runs: int,
    *,
    seed: int,
    frozen: Mapping[str, Mapping[str, float]] | None = None,
) -> Design:
    """Choose runs to add to those of a swarm, where it has none yet.

    Parameters
    ----------
    swarm : Swarm or Design
        Runs that exist, of the region's domains or some of them: the others had no share in them.
    region : Region
        Where the new runs may lie; the old ones may lie outside.
    runs : int
        New runs, at least 1.
    seed, frozen
        As for `design`.

    Returns
    -------
    Design
        The new runs only, in the order of their use: each is the one of a pool farthest from all before it, so that any
        first part of them is a good extension too. Ids differ from the swarm's.

    Raises
    ------
    AlignmentError
        If the swarm has domains that the region does not have.
    RegionError, InfeasibleError, BackendError
        As for `design`.

    Examples
    --------
    >>> region = Region(["web", "code"])
    >>> first = design(region, 3, seed=0)
    >>> extend(first, region, 2, seed=0).runs
    ('3', '4')
    """
    if unknown := sorted(set(swarm.domains) - set(region.domains)):
        raise AlignmentError(
            f"the swarm has domains that the region lacks: {listing(unknown)}; the region's are: "
            f"{listing(region.domains)}. Rename the swarm's by Swarm.align, or leave out the runs that use them"
        )
    count = _count(runs, "runs")
    columns = _frozen.collapsed(region, frozen)
    there = np.zeros((len(swarm.runs), region.n_domains))
    there[:, [region.domains.index(name) for name in swarm.domains]] = swarm.ratios
    known = columns.collapse(there)
    rows = columns.expand(_cover.cover(columns.region, count, seed=_seed(seed), there=known))
    advised = max(advised_runs(int(columns.region.reachable.sum())) - len(swarm.runs), 0)
    return _designed(rows, region, _numbered(count, swarm.runs), "cover", advised)


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
) -> NextRuns:
    """Choose the ``q`` mixtures to train next, given runs and the laws fitted to them.

    Parameters
    ----------
    swarm : Swarm
        The runs there are.
    law : Fit
        What `mixfast.laws.fit` made of them.
    region : Region
        What mixtures are allowed.
    q : int
        Runs to choose, at least 1.
    objective : optional
        Which metrics count, as for `propose`.
    way : "auto", "information", "improvement" or "thompson"
        "information": D-optimal, the runs that say most of the coefficients of log-linear laws. "improvement": the
        largest expected improvement on the best run, one run after the other, each as if those before it had come out as
        predicted. "thompson": q times the objective is drawn at all candidates jointly, and each draw's best mixture
        taken that no draw before has named; for batches of many runs, and where laws may be far off. "auto": information
        where all laws that count are log-linear, improvement otherwise.
    among : Swarm or Design, optional
        Mixtures to choose from, with their ids, in place of candidates drawn from the region; those that the swarm has
        already, or that lie outside the region, are left out.
    seed : int, default 0
        Of the candidates, and of what is drawn.

    Returns
    -------
    NextRuns
        Its `gain` is information, or for "improvement" and "thompson" alike the expected improvement.

    Raises
    ------
    AlignmentError
        If swarm, law, region and ``among`` do not name the same domains.
    RegionError
        If an argument is malformed, fewer than q candidates are left, or laws do not allow the way: other laws than
        log-linear ones for "information", trees, regressors from elsewhere or processes of tasks above 0 for "thompson".
    BackendError
        If Numba is missing.

    Notes
    -----
    4096 candidates, half of them around the best run. The best run is the one of the best prediction, not of the best
    measurement, which may have been luck.

    What one run tells of other mixtures is what the law's own covariances say: those of a Gaussian process, or of a
    law's coefficients by the delta method. Errors of different metrics are taken to be independent. Laws that know no
    covariances get a penalty around every run chosen. Under the objective "worst" a mixture's uncertainty is that of the
    metric predicted to be worst there, and somewhat too small where several are about as bad; draws of "thompson" take
    the worst metric of each draw. They are made at the 1024 candidates that may be best (lowest prediction less two
    standard deviations), without noise: of the process itself, or of the coefficients, with linear and log-linear laws
    evaluated exactly and the others along their tangents.

    Cost beside predictions of 4096 mixtures with standard deviations, for each metric that counts: 4096 R numbers and q
    passes over them with a Gaussian process of R runs, 4096 K (K + q) multiplications for other laws; a factor of a 1024
    x 1024 matrix for draws of a process.

    References
    ----------
    Jones, Schonlau and Welch 1998 (expected improvement); Ginsbourger, Le Riche and Carraro 2010 (batches of it, the
    kriging believer); González et al. 2016, arXiv:1505.08052 (penalties); Thompson 1933; Kandasamy et al. 2018,
    arXiv:1705.09236 (batches of draws).
    """
    count, random = _count(q, "q"), _seed(seed)
    known = swarm.align(region.domains).ratios
    target = resolve(objective, law)
    used = [target.metrics[j] for j in target.used]
    if set(law.domains) != set(region.domains):
        raise AlignmentError.between("the law", law.domains, "the region", region.domains)
    order = [region.domains.index(name) for name in law.domains]
    before = target.score(law.predict(known[:, order]))
    inside = np.array([region.violation(row) <= 1e-6 for row in known])
    # A mixture that is not allowed cannot be the one to improve on, unless there is no other.
    first = int(np.where(inside | ~inside.any(), before, np.inf).argmin())
    ids: tuple[str, ...]
    if among is None:
        points, ids = _next_runs.pool(region, region.project(known[first]), seed=random), ()
    else:
        points, ids = _others(among, region, known)
    if len(points) < count:
        raise RegionError(
            f"{count} runs are wanted, but only {len(points)} candidates are left that the region allows and that are not yet trained"
        )
    at = points[:, order]
    values, joints = law.predict(at), law.joint(at, used)
    spread = _next_runs.spread(values, target, joints) if joints is not None else law.sd(at)
    mean, sd = target.score(values), target.spread(values, spread)
    way = _way(way, law, target, joints is not None)
    if way == "information" and joints is not None:
        chosen, gain = _next_runs.informative(target.weight[target.used], values[:, target.used], joints, count)
        bought = "nats of information on the coefficients"
    else:
        drawn = None
        if way == "thompson":
            some = _next_runs.hopeful(mean, sd)
            drawn = some[_next_runs.thompson(target, law.joint(at[some], used) or [], count, seed=random)]
        doubt = (
            _next_runs.Nearness(sd, points, known) if joints is None else _next_runs.Covariances(target, values, joints)
        )
        chosen, gain = _next_runs.improving(mean, doubt, float(before[first]), count, drawn)
        bought = "expected improvement of the objective"
    runs = _numbered(count, swarm.runs) if among is None else tuple(ids[row] for row in chosen.tolist())
    advised = max(advised_runs(int(region.reachable.sum())) - len(swarm), 0)
    rows = points[chosen]
    return NextRuns(
        _designed(rows, region, runs, "next", advised), gain, bought, mean[chosen], sd[chosen], float(before[first])
    )


def _way(way: str, law: Fit, target: Target, joint: bool) -> str:
    """How runs are chosen where that is "auto"; an error where the laws do not allow it."""
    if way not in ("auto", "information", "improvement", "thompson"):
        raise RegionError(f"way must be auto, information, improvement or thompson, got {way!r}")
    kinds = {name: law.law_of(name)[0].name for name in (target.metrics[j] for j in target.used)}
    other = [name for name, kind in kinds.items() if kind != "log_linear"]
    if way == "information" and other:
        raise RegionError(f"the way 'information' needs log-linear laws; of another kind: {listing(other)}")
    if way == "thompson" and not joint:
        raise RegionError(
            "the way 'thompson' draws the errors of mixtures jointly, which not all of these laws know: "
            f"{listing([f'{name} ({kind})' for name, kind in kinds.items()])}; fit gp with tasks=0, log_linear, linear, "
            "autoscale or bimix"
        )
    return ("improvement" if other else "information") if way == "auto" else way


def _others(among: Swarm | Design, region: Region, known: Matrix) -> tuple[Matrix, tuple[str, ...]]:
    """Mixtures that the region allows and no run has had, in the order of the region's domains, and their ids."""
    if set(among.domains) != set(region.domains):
        raise AlignmentError.between("among", among.domains, "the region", region.domains)
    points = among.ratios[:, [among.domains.index(name) for name in region.domains]]
    points = points / points.sum(axis=1, keepdims=True)
    new = np.array([np.abs(known - row).sum(axis=1).min() > 1e-9 and region.contains(row, 1e-9) for row in points])
    return points[new], tuple(run for run, fresh in zip(among.runs, new.tolist(), strict=True) if fresh)


def _designed(rows: Matrix, region: Region, runs: tuple[str, ...], method: str, advised: int) -> Design:
    rows = np.ascontiguousarray(rows)
    rows.setflags(write=False)
    return Design(rows, region.domains, runs, method, advised)


def _method(given: object) -> str | RegMix | Olmix:
    if isinstance(given, RegMix | Olmix):
        return given
    known: dict[str, str | RegMix | Olmix] = {"cover": "cover", "regmix": RegMix(), "olmix": Olmix()}
    if not isinstance(given, str) or given not in known:
        raise RegionError(f"method must be one of {listing(known)}, or settings such as RegMix(), got {given!r}")
    return known[given]


def _numbered(count: int, taken: Iterable[str]) -> tuple[str, ...]:
    """Ids that count on from the largest number among those taken."""
    used = set(taken)
    start = max((int(run) + 1 for run in used if run.isdecimal()), default=len(used))
    fresh = tuple(str(start + index) for index in range(count))
    return fresh if used.isdisjoint(fresh) else tuple(f"new-{run}" for run in fresh)


def _count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise RegionError(f"{what} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 1 << 32:
        raise RegionError(f"seed must be a whole number from 0 to 2^32 - 1, got {value!r}")
    return int(value)
