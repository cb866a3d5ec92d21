"""carry(): convert runs of any earlier update to the present domains, following the changes in a ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError
from mixfast.region import Region
from mixfast.reuse._changes import Add, Change, Partition, Remove, ReuseError, Update
from mixfast.reuse._entries import change_of
from mixfast.reuse._ledger import Ledger
from mixfast.reuse._reuse import Reuse
from mixfast.reuse._runs import Carried, swarm, together, without
from mixfast.swarm import Swarm

# Ids of the runs of an update in `mixfast reuse`: the number of the update in the ledger, and that of the run.
_ID = re.compile(r"u(\d+)-")


def carry(old: Swarm, ledger: Ledger, plan: Reuse | None = None, *, keep_gone: bool = False) -> Carried:
    """Convert the runs of any earlier update to the present domains, or to those of an open plan.

    Runs with ids of an update (``u2-0``) belong to the domains after that update. All other runs belong to the earliest
    set of domains that includes theirs. From there every change is followed. Runs with a share of removed or revised domains are left out.
    The share of a split domain is divided among its parts in their natural proportions, by the token counts of the ledger. Domains added
    later have the share 0. A domain that was removed and added again under the same name counts as the same data.

    Parameters
    ----------
    old : Swarm
    ledger : Ledger
    plan : Reuse, optional
        The open plan of the ledger.
    keep_gone : bool, default False
        As for `swarm`: keep every run, and removed or revised domains in addition to the present ones. A law fitted to such runs also
        covers the domains that are gone, and `region` gives them a cap of 0.

    Returns
    -------
    Carried
        `dropped` lists the runs that were left out; `region` is that of the plan, or one without limits.

    Raises
    ------
    AlignmentError
        If no set of domains in the ledger includes those of the runs.
    ReuseError
        If no run can be kept, or the ledger lacks the tokens of the parts of a split domain.
    """
    begun = _origin(old, ledger)
    steps = [[change_of(each) for each in entry.changes] for entry in ledger.entries[begun + 1 :]]
    sizes: list[Mapping[str, float]] = [entry.tokens for entry in ledger.entries[begun + 1 :]]
    final = Region(tuple(ledger.mixture))
    if plan is not None:
        final = plan.part.full
        steps.append(list(plan.update.changes))
        size = final.available if final.available is not None else final.prior if final.has_prior else None
        sizes.append({} if size is None else final.by_name(size))
    # Domains that the runs do not name had the share 0.
    present = tuple(ledger.entries[begun].mixture)
    runs = widened(old, present)
    dropped: list[str] = []
    for number, changes in enumerate(_without_returns(steps)):
        if not changes:
            continue
        update = Update.of(changes, present)
        carried = swarm(_aside(runs, present, update), changes, _natural(update, sizes[number:]), keep_gone=keep_gone)
        runs, present = carried.swarm, update.domains
        dropped += carried.dropped
    if set(present) != set(final.domains):
        raise AlignmentError.between("the runs", present, "the ledger", final.domains)
    gone = tuple(name for name in runs.domains if name not in set(present))
    runs = runs.align((*final.domains, *gone))
    unseen = tuple(name for name, most in zip(runs.domains, runs.ratios.max(axis=0), strict=True) if most == 0.0)
    return Carried(runs, tuple(dropped), unseen, gone, without(final, gone))


def joined(swarms: Sequence[Swarm]) -> Swarm:
    """Join the runs of several swarms over the union of their domains; domains that a swarm lacks get the share 0."""
    domains = tuple(dict.fromkeys(name for each in swarms for name in each.domains))
    whole = widened(swarms[0], domains)
    for each in swarms[1:]:
        whole = together(whole, widened(each, domains))
    return whole


def _origin(old: Swarm, ledger: Ledger) -> int:
    """Return the number of the entry with the domains of the runs."""
    numbers = {found[1] if (found := _ID.match(run)) else "" for run in old.runs}
    fitting = [i for i, entry in enumerate(ledger.entries) if set(old.domains) <= set(entry.mixture)]
    if not fitting:
        raise AlignmentError.between("the runs", old.domains, "the ledger", ledger.mixture)
    (told,) = numbers if len(numbers) == 1 else ("",)
    return int(told) if told and int(told) in fitting else fitting[0]


def _without_returns(steps: Sequence[Sequence[Change]]) -> list[list[Change]]:
    """Return the changes of each update, without removals of domains that were added again later and without these additions."""
    came_back: set[tuple[int, str]] = set()
    for i, changes in enumerate(steps):
        for name in _names(changes, Remove):
            again = next((j for j in range(i + 1, len(steps)) if name in _names(steps[j], Add)), None)
            if again is not None:
                came_back |= {(i, name), (again, name)}
    out: list[list[Change]] = []
    for i, changes in enumerate(steps):
        kept: list[Change] = []
        for change in changes:
            if not isinstance(change, (Add, Remove)):
                kept.append(change)
            elif names := [name for name in change.domains if (i, name) not in came_back]:
                kept.append(type(change)(names))
        out.append(kept)
    return out


def _names(changes: Iterable[Change], kind: type[Add] | type[Remove]) -> list[str]:
    return [name for change in changes if isinstance(change, kind) for name in change.domains]


def widened(old: Swarm, domains: Sequence[str]) -> Swarm:
    """Return the runs with these domains added, at a share of 0."""
    later = [name for name in domains if name not in old.domains]
    none = np.zeros((len(old), len(later)))
    tokens = None if old.tokens is None else np.hstack([old.tokens, none])
    return old.over((*old.domains, *later), np.hstack([old.ratios, none]), tokens)


def _aside(runs: Swarm, present: Sequence[str], update: Update) -> Swarm:
    """Rename domains that are gone if this update needs their names."""
    needed = {f"{name} (old)" for name in update.gone} | set(update.new)
    gone = set(runs.domains) - set(present)
    names = [f"{name} (old)" if name in gone & needed else name for name in runs.domains]
    return runs.over(names, runs.ratios, runs.tokens)


def _natural(update: Update, sizes: Sequence[Mapping[str, float]]) -> Region:
    """Return a region over the domains after an update; its prior has the natural proportions of the parts of split domains.

    ``sizes`` are the tokens of domains after this update and after later ones, which may have counts that this one lacks.
    """
    prior = dict.fromkeys(update.domains, 1.0)
    for change in update.changes:
        if isinstance(change, Partition):
            known = next((each for each in sizes if set(change.parts) <= set(each)), None)
            if known is None or not sum(known[part] for part in change.parts) > 0.0:
                raise ReuseError(
                    f"the ledger has no tokens of {listing(change.parts)}, so their shares in runs of {shown(change.parent)} "
                    "are unknown; leave out the runs from before that partition"
                )
            prior |= {part: float(known[part]) for part in change.parts}
    return Region(update.domains, prior=prior)
