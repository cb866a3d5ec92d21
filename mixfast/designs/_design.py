"""design() and extend(): choose the mixtures of a new swarm, or of runs added to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import either, setting
from mixfast._text.memory import too_little_for
from mixfast._text.names import domain_names, listing, one_of, shown
from mixfast._text.numbers import size
from mixfast.designs import _cover, _frozen, _olmix_sampler, _regmix
from mixfast.designs._olmix import Olmix
from mixfast.designs._regmix import RegMix
from mixfast.designs._repetition import Pools, matched, over_domains
from mixfast.designs._results import RUNS_PER_NUMBER, Design, designed, numbered, seeded, whole
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Region
from mixfast.swarm import Swarm

# Without a number of runs, a design has at most this many: more proxies than anybody trains by default, and a file of hundreds of MB.
_MOST_ADVISED = 10_000
# Copies of the mixtures that are in memory at once: candidates, chosen ones, those of all domains, and a file's text at 20 bytes a share.
_COPIES = 6


def advised_runs(domains: int | Iterable[str]) -> int:
    """Return how many runs to train for a number of domains: ``3 (m + 1)``.

    A log-linear law ``c + exp(b + a.w)`` has m + 1 free parameters for m domains, because shares sum to 1 and b can be absorbed into a.
    Olmix found that the error of its proposals levels off at about three runs for each parameter. Domains in one frozen group count
    as one.

    Parameters
    ----------
    domains : int or sequence of str
        The number of domains, at least 1, or their names.

    Raises
    ------
    RegionError
        If the number is below 1 or not an integer.

    References
    ----------
    Olmix (arXiv:2602.12237).

    Examples
    --------
    >>> advised_runs(64), advised_runs(["web", "code", "books"])
    (195, 12)
    """
    number = domains if isinstance(domains, int) else len(domain_names(domains, RegionError))
    return RUNS_PER_NUMBER * (whole(number, "domains") + 1)


def design(
    region: Region,
    runs: int | None = None,
    *,
    seed: int,
    method: str | RegMix | Olmix = "cover",
    frozen: Mapping[str, Mapping[str, float]] | None = None,
    tokens: Mapping[str, int] | None = None,
    target_budget: int | None = None,
    proxy_budget: int | None = None,
    sequence_length: int = 1,
    repeats: int = 0,
) -> Design:
    """Choose the mixtures of a swarm.

    Parameters
    ----------
    region : Region
        The allowed mixtures. Samples are centred on its prior.
    runs : int, optional
        Default: `advised_runs` for the domains that can have a share; each frozen group counts as one.
    seed : int
        The same seed gives the same bits.
    method : "cover", "regmix", "olmix", RegMix or Olmix, default "cover"
        "cover" spreads runs over the region: each is the mixture of a pool that is farthest, in Hellinger distance, from
        those before it. "regmix" is RegMix's sampler and "olmix" is Olmix's sampler of sources and topics; `RegMix` and `Olmix`
        hold their settings.
    frozen : mapping of str to mapping of str to float, optional
        Groups of domains whose ratios to each other are kept: ``{"old": {"web": 0.7, "books": 0.3}}``. Not available with
        "regmix". With "olmix" a group is one source with this name, or one topic if the name is "source:topic".
    proxy_budget : int, optional
        Tokens of a proxy run. The design then says how large each domain's pool must be so that a share is read as often in the proxy as in
        the target run: ``tokens * proxy_budget / target_budget``, rounded to whole sequences, at least one. Needs a region of
        `Region.from_tokens`, or the next two.
    tokens : mapping of str to int, optional
        Tokens of each domain, if the region does not know them.
    target_budget : int, optional
        Tokens of the target run, if the region does not know them.
    sequence_length : int, default 1
        Tokens of a sequence, the unit of the pools.
    repeats : int, default 0
        Number of the runs that repeat one mixture, the allowed one nearest to the prior, to be trained with different seeds: the seed noise of
        every metric then is known (`Swarm.noise`), at least 2. They come first, are listed in `Design.repeats`, and are among ``runs``;
        without ``runs`` they are added to the number advised. Three estimate a standard deviation to about 50 %, five to about 35 %.

    Returns
    -------
    Design
        With "cover" and "olmix", rows sum to exactly 1 (by `math.fsum`) and lie in the region ("olmix": to within 1e-9), and
        frozen ratios hold to 1e-12. With "regmix", shares are multiples of the minimum, and rows sum to 1 only to within a few of these multiples, as in the original.

    Raises
    ------
    RegionError
        If an argument is malformed; if ``runs`` is not given and more than 10 000 are advised; or if the mixtures do not fit in memory.
    AlignmentError
        If ``frozen`` names a domain that is not in the region.
    InfeasibleError
        If no mixture with the frozen ratios satisfies the limits, or "regmix" or "olmix" finds too few mixtures.
    BackendError
        If Numba is missing ("cover").

    Notes
    -----
    "cover" rejects nothing, so its cost does not depend on how tight the limits are. The choice takes 20 R^2 K
    multiplications, about a second for 900 runs of 64 domains. Above some thousand runs all samples are used without a choice.

    References
    ----------
    Liu et al., "RegMix" (arXiv 2407.01492); Olmix (arXiv:2602.12237), Lemma 1, for caps of frozen groups; "Repetition Mismatch"
    (arXiv:2606.07597), for pools that repeat as in the target run.

    Examples
    --------
    >>> region = Region(["web", "code", "books"], cap={"books": 0.1})
    >>> swarm = design(region, 12, seed=0)
    >>> swarm.ratios.shape, bool(swarm.ratios[:, 2].max() <= 0.1)
    ((12, 3), True)

    A target run of 1000 tokens reads 40 tokens of books up to 4 times. So does a proxy run of 100 tokens with a pool of 4:

    >>> tokens = {"web": 900, "code": 300, "books": 40}
    >>> swarm = design(Region.from_tokens(tokens, 1000), 12, seed=0, proxy_budget=100)
    >>> swarm.pools, round(float(swarm.epochs[:, 2].max()), 6) <= 4
    ({'web': 90, 'code': 30, 'books': 4}, True)
    """
    way = _method(method)
    if isinstance(way, RegMix) and frozen:
        raise RegionError(f"RegMix's sampler has no frozen groups; use {setting('method', 'cover')} or olmix")
    pools = _pools(region, way, tokens, target_budget, proxy_budget, sequence_length)
    columns = _frozen.collapsed(region, frozen)
    advised = advised_runs(_free(columns, way))
    centre = _centre(columns, repeats, runs)
    count = advised + len(centre[1:]) if runs is None else whole(runs, "runs")
    _refuse_many(count, region, given=runs is not None)
    fresh = count - len(centre)
    if isinstance(way, RegMix):
        rows, name = _regmix.regmix(region, fresh, way, seed=seeded(seed)), "regmix"
    elif isinstance(way, Olmix):
        rows, name = columns.expand(_olmix_sampler.olmix(columns, fresh, way, seed=seeded(seed))), "olmix"
    else:
        known = centre[:1] if len(centre) else None
        rows, name = columns.expand(_cover.cover(columns.region, fresh, seed=seeded(seed), existing=known)), "cover"
    rows = np.concatenate([columns.expand(centre), rows])
    return designed(rows, region, numbered(count, ()), name, advised, pools, repeats=len(centre))


def extend(
    swarm: Swarm | Design,
    region: Region,
    runs: int,
    *,
    seed: int,
    method: str | RegMix | Olmix = "cover",
    frozen: Mapping[str, Mapping[str, float]] | None = None,
    tokens: Mapping[str, int] | None = None,
    target_budget: int | None = None,
    proxy_budget: int | None = None,
    sequence_length: int = 1,
    repeats: int = 0,
) -> Design:
    """Choose runs to add to a swarm, far from the runs it has.

    Parameters
    ----------
    swarm : Swarm or Design
        The existing runs, over the region's domains or some of them; domains that they lack had no share.
    region : Region
        The mixtures allowed for the new runs. Existing runs may lie outside.
    runs : int
        Number of new runs, at least 1.
    seed, frozen, tokens, target_budget, proxy_budget, sequence_length, repeats
        As for `design`. Existing runs whose pools are not known count as runs over the same pools.
    method : "cover", "olmix" or Olmix, default "cover"
        "olmix" samples as `design` does and drops candidates nearer than ``existing_apart`` to an existing run, in Euclidean
        distance. RegMix's sampler does not take existing runs into account.

    Returns
    -------
    Design
        The new runs only. With "cover" each is the mixture of a pool that is farthest from all before it,
        so the first runs alone, however many, are a good extension too. Ids differ from those of the swarm.

    Raises
    ------
    AlignmentError
        If the swarm has domains that are not in the region.
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
            f"{listing(region.domains)}. Rename the swarm's domains with Swarm.align, or leave out the runs that use them"
        )
    way = _method(method)
    if isinstance(way, RegMix):
        raise RegionError(f"RegMix's sampler cannot avoid existing runs; use {setting('method', 'cover')} or olmix")
    count = whole(runs, "runs")
    pools = _pools(region, way, tokens, target_budget, proxy_budget, sequence_length)
    _refuse_many(count, region, given=True)
    columns = _frozen.collapsed(region, frozen)
    ratios = over_domains(swarm.ratios, swarm.domains, region)
    centre = _centre(columns, repeats, runs)
    fresh = count - len(centre)
    if isinstance(way, Olmix):
        chosen, name = _olmix_sampler.olmix(columns, fresh, way, seed=seeded(seed), existing=ratios), "olmix"
    else:
        before = np.concatenate([columns.collapse(ratios), centre[:1]])
        chosen, name = _cover.cover(columns.region, fresh, seed=seeded(seed), existing=before), "cover"
    rows = columns.expand(np.concatenate([centre, chosen]))
    advised = max(advised_runs(_free(columns, way)) - len(swarm.runs), 0)
    known = None if swarm.epochs is None else over_domains(swarm.epochs, swarm.domains, region)
    return designed(rows, region, numbered(count, swarm.runs), name, advised, pools, ratios, known, len(centre))


def _refuse_many(runs: int, region: Region, *, given: bool) -> None:
    """Raise at once if there are more mixtures than the caller can have meant, or than fit in memory."""
    if not given and runs > _MOST_ADVISED:
        raise RegionError(
            f"{region.n_domains} domains: {runs} runs are advised for a log-linear law, and more than {_MOST_ADVISED} are only planned if you ask for "
            f"them: give the number of {either('runs', '--runs')}, or let groups of domains keep their ratios ({either('frozen', '--frozen')})"
        )
    needed = _COPIES * 8 * runs * region.n_domains
    if (room := too_little_for(needed)) is not None:
        raise RegionError(
            f"choosing {runs} mixtures of {region.n_domains} domains takes about {size(needed)}, and {size(room)} of memory are free: give a smaller "
            f"number of {either('runs', '--runs')}"
        )


def _centre(columns: _frozen.Collapsed, repeats: int, runs: int | None) -> Matrix:
    """Return the allowed mixture nearest to the prior, (repeats, C) over the columns."""
    if isinstance(repeats, bool) or not isinstance(repeats, int | np.integer) or repeats < 0 or repeats == 1:
        raise RegionError(
            f"{either('repeats', '--repeats')} is {shown(repeats)}, expected 0, or at least 2 runs of one mixture, whose spread is the noise"
        )
    if runs is not None and repeats and repeats >= whole(runs, "runs"):
        raise RegionError(
            f"{either('repeats', '--repeats')} is {repeats} of {runs} runs: that leaves none of another mixture, so nothing could be learnt from them"
        )
    region = columns.region
    nearest = region.prior if region.contains(region.by_name(region.prior)) else region.project(region.prior)
    return np.tile(nearest, (int(repeats), 1))


def _pools(
    region: Region,
    way: object,
    tokens: Mapping[str, int] | None,
    target_budget: int | None,
    proxy_budget: int | None,
    sequence_length: int,
) -> Pools | None:
    """Return the pools, unless the sampler is told that proxies read whole domains."""
    pools = matched(region, tokens, target_budget, proxy_budget, sequence_length)
    if pools is not None and isinstance(way, Olmix) and way.proxy_tokens is not None:
        raise RegionError(
            f"{either('proxy_tokens of Olmix', '--proxy-tokens')} limits runs over whole domains, and {either('proxy_budget', '--proxy-budget')} "
            "plans smaller pools: leave out one of them"
        )
    return pools


def _free(columns: _frozen.Collapsed, way: object) -> int:
    """Return the number of columns that can have a share; the columns of a source with fixed topic shares count as one."""
    reachable = columns.region.reachable
    if not isinstance(way, Olmix):
        return int(reachable.sum())
    fixed = {topic.split(":", 1)[0] for topic in way.topic_share}
    owner = [name.split(":", 1)[0] for name, open_ in zip(columns.region.domains, reachable, strict=True) if open_]
    return len(set(owner) & fixed) + sum(name not in fixed for name in owner)


def _method(given: object) -> str | RegMix | Olmix:
    """Return the settings of a named method, or the given settings."""
    if isinstance(given, RegMix | Olmix):
        return given
    known: dict[str, str | RegMix | Olmix] = {"cover": "cover", "regmix": RegMix(), "olmix": Olmix()}
    if not isinstance(given, str) or given not in known:
        raise RegionError(f"method is {one_of(given, known)}, or settings such as RegMix()")
    return known[given]
