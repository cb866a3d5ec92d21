"""swarm(): convert old runs to a changed set of domains, and drop those that no longer apply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mixfast._text.names import listing, places, positions, shown
from mixfast.errors import AlignmentError
from mixfast.region import Region
from mixfast.reuse._changes import Change, Partition, ReuseError, Update
from mixfast.swarm import Swarm


@dataclass(frozen=True, eq=False)
class Carried:
    """Old runs converted to the new domains.

    Attributes
    ----------
    swarm : Swarm
        Domains in the order of the region, followed by those that are `gone`.
    dropped : tuple of str
        Runs left out because they had a share of removed or revised domains.
    unseen : tuple of str
        Domains without a share in any run: new runs must cover them.
    gone : tuple of str
        Removed or revised domains that were kept, because their runs inform about the others.
    region : Region
        Region over the swarm's domains, for `next_runs` and `propose`: domains that are gone have a cap of 0.
    """

    swarm: Swarm
    dropped: tuple[str, ...]
    unseen: tuple[str, ...]
    gone: tuple[str, ...]
    region: Region


def swarm(
    old: Swarm,
    changes: Change | Iterable[Change],
    region: Region,
    *,
    tolerance: float = 0.0,
    keep_gone: bool = False,
) -> Carried:
    """Convert old runs to the new domains.

    Parameters
    ----------
    old : Swarm
        Runs over the old domains.
    changes : Add, Remove, Partition, Revise, or several
    region : Region
        Region over the new domains. In old runs, the share of a split domain is divided among its parts in their natural proportions: those
        of the region's token counts, or if it has none, of its prior.
    tolerance : float, default 0
        Keep a run if its share of removed or revised domains is at most this; its other shares are renormalised.
    keep_gone : bool, default False
        Keep every run, and removed or revised domains in addition to the new ones. This includes domains of earlier updates: old domains
        that the changes do not name and the region lacks. A law can then be fitted to all runs, and `region` gives the domains that are
        gone a cap of 0. A revised domain that keeps its name is kept as "NAME (old)".

    Returns
    -------
    Carried
        Added domains have share 0 in all of its runs.

    Raises
    ------
    ReuseError
        If the changes contradict the domains, no run can be kept, or parts have neither tokens nor prior.
    AlignmentError
        If the region's domains are not those after the changes.

    References
    ----------
    Chen et al., "Olmix" (arXiv 2602.12237), algorithm 3.
    """
    if not 0.0 <= tolerance < 1.0:
        raise ReuseError(f"tolerance is {tolerance}, expected a share of at least 0 and below 1")
    given = (changes,) if isinstance(changes, Change) else tuple(changes)
    touched = {name for change in given for name in getattr(change, "gone", ())}
    earlier = tuple(name for name in old.domains if keep_gone and name not in {*region.domains, *touched})
    update = Update.of(given, (name for name in old.domains if name not in earlier))
    if set(region.domains) != set(update.domains):
        raise AlignmentError.between("the region", region.domains, "the changes", update.domains)
    split = {change.parent: change.parts for change in update.changes if isinstance(change, Partition)}
    ended = [*earlier, *(name for name in update.gone if name not in split)] if keep_gone else []
    place = {name: name for name in update.kept} | {name: _ended(name, region) for name in ended}
    domains = (*region.domains, *(place[name] for name in ended))
    column = places(domains)
    spread = np.zeros((len(old.domains), len(domains)))
    for row, name in zip(spread, old.domains, strict=True):
        parts = _parts(name, split[name], region) if name in split else {place[name]: 1.0} if name in place else {}
        for member, part in parts.items():
            row[column[member]] = part
    shares = old.ratios @ spread
    keep = 1.0 - shares.sum(axis=1) <= tolerance + 1e-12
    if not keep.any():
        raise ReuseError(
            f"no run can be kept: all {len(old)} had a share above {tolerance:g} of changed domains, {listing(update.gone)}; "
            "leave these runs out, or convert them in Python with a higher tolerance or with keep_gone=True"
        )
    kept = shares[keep] / shares[keep].sum(axis=1, keepdims=True)
    runs = tuple(run for run, stays in zip(old.runs, keep.tolist(), strict=True) if stays)
    carried = Swarm(
        kept,
        old.values[keep],
        domains=domains,
        metric_names=old.metrics,
        runs=runs,
        chosen=old.chosen[keep],
        direction=old.direction,
        unit=old.unit,
        # The pool of a part is its natural proportion of the pool of the domain that was split.
        tokens=None if old.tokens is None else old.tokens[keep] @ spread,
        budget=None if old.budget is None else old.budget[keep],
    )
    return Carried(
        carried,
        tuple(run for run, stays in zip(old.runs, keep.tolist(), strict=True) if not stays),
        tuple(name for name, most in zip(domains, kept.max(axis=0), strict=True) if most == 0.0),
        domains[region.n_domains :],
        without(region, domains[region.n_domains :]),
    )


def _ended(name: str, region: Region) -> str:
    """Return the name of a domain that is gone, made different from the new ones."""
    if name not in region.domains:
        return name
    if (other := f"{name} (old)") in region.domains:
        raise ReuseError(
            f"the old {shown(name)} cannot be kept as {shown(other)}, which is a new domain; rename the new one"
        )
    return other


def _parts(parent: str, members: tuple[str, ...], region: Region) -> dict[str, float]:
    """Return the natural proportions of the parts of a domain."""
    size = region.prior if region.available is None else region.available.astype(np.float64)
    natural = dict(zip(members, size[positions(members, region.domains)].tolist(), strict=True))
    total = sum(natural.values())
    if not total > 0.0:
        raise ReuseError(
            f"the parts of {shown(parent)}, {listing(members)}, have no tokens and no prior: their proportions are unknown"
        )
    return {name: part / total for name, part in natural.items()}


def without(region: Region, gone: tuple[str, ...]) -> Region:
    """Return the region with further domains whose cap is 0."""
    if not gone:
        return region
    nothing = np.zeros(len(gone))
    return Region(
        (*region.domains, *gone),
        prior=np.concatenate([region.prior, nothing]) if region.has_prior else None,
        cap=np.concatenate([region.cap, nothing]),
        floor=np.concatenate([region.floor, nothing]),
        bounds=region.bounds,
    )


def together(one: Swarm, other: Swarm) -> Swarm:
    """Join the runs of two swarms, such as converted old runs and new ones; see `Swarm.append`."""
    return one.append(other)
