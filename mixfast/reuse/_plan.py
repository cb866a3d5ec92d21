"""Plan an update: choose which relative shares stay frozen, and predict the cost.

`full` is `partial` with nothing reopened; the steps are those of `partial`.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mixfast._text.audience import either
from mixfast._text.names import listing, misspelt, shown
from mixfast.errors import AlignmentError, InfeasibleError, RegionError
from mixfast.laws import Objective, Predictor
from mixfast.mixture import NINE_DIGITS, Mixture
from mixfast.region import Region
from mixfast.reuse._changes import Change, ReuseError, Update
from mixfast.reuse._collapse import Collapse
from mixfast.reuse._coupling import Coupling, StandIn
from mixfast.reuse._reuse import Reuse

# Olmix's advice (RQ2): runs for each parameter of a law, which has one parameter for each domain and a constant.
RUNS_PER_NUMBER = 3
# Allowed predicted loss, as a fraction of the predicted gain; Olmix's partial reuse kept 98 % of the gain.
ALLOWED = 0.02


def full(
    mixture: Mapping[str, float],
    changes: Change | Iterable[Change],
    region: Region,
    *,
    law: Predictor | None = None,
    objective: Objective = None,
    kl: float = 0.0,
    like: Mapping[str, str] | None = None,
    virtual: str = "existing",
) -> Reuse:
    """Plan an update that freezes the relative shares of all unchanged domains.

    Parameters
    ----------
    mixture : Mixture or mapping of str to float
        The present mixture over all old domains (expanded, whatever was frozen in earlier updates).
    changes : Add, Remove, Partition, Revise, or several
        Changes of the old domains.
    region : Region
        Limits and prior over the new domains.
    law : fitted law, optional
        The old law, log-linear or linear over the old domains. If given, the loss of freezing is predicted.
    objective, kl : optional
        As for `propose`; the loss is measured in this objective.
    like : mapping of str to str, optional
        Maps a new domain to the domain of the law that it is expected to act like. Parts of a partition and revised domains act like
        the domain they come from. For any other new domain the worst case is assumed.
    virtual : str, default "existing"
        Name of the virtual domain.

    Returns
    -------
    Reuse
        After `Remove` alone nothing is open, and `mixture` is the old mixture, renormalised. If the new limits do not allow that,
        the domains that violate them are reopened, and `notes` says so.

    Raises
    ------
    ReuseError
        If the changes contradict the old domains, or nothing is left to freeze.
    AlignmentError
        If the region's domains are not those after the changes.
    InfeasibleError
        If no mixture with the frozen ratios satisfies the region's limits; the message names the domain that prevents it.

    Examples
    --------
    >>> from mixfast.reuse import Add
    >>> old = {"web": 0.25, "code": 0.25, "books": 0.5}
    >>> plan = full(old, Add(["math"]), Region(["web", "code", "books", "math"], cap={"books": 0.3}))
    >>> plan.expand({"existing": 0.4, "math": 0.6}).as_dict()
    {'web': 0.1, 'code': 0.1, 'books': 0.2, 'math': 0.6}
    >>> plan.region.cap.tolist(), plan.runs, plan.full_runs
    ([0.6, 1.0], 9, 15)
    """
    plan = partial(mixture, changes, region, law=law, reopen=(), objective=objective, kl=kl, like=like, virtual=virtual)
    return replace(plan, kind="full")


def partial(
    mixture: Mapping[str, float],
    changes: Change | Iterable[Change],
    region: Region,
    *,
    law: Predictor | None = None,
    reopen: Iterable[str] | None = None,
    allowed: float = ALLOWED,
    objective: Objective = None,
    kl: float = 0.0,
    like: Mapping[str, str] | None = None,
    virtual: str = "existing",
) -> Reuse:
    """Plan an update that freezes the unchanged domains, except those that are worth reopening.

    Parameters
    ----------
    mixture, changes, region, law, objective, kl, like, virtual
        As for `full`.
    reopen : sequence of str, optional
        The domains to reopen. None: the law chooses, and must be given.
    allowed : float, default 0.02
        Allowed predicted loss, as a fraction of the predicted gain over the prior.

    Returns
    -------
    Reuse
        `coupling.reopen` lists the domains that the law proposes to reopen, `reopened` those that the plan reopens.

    Raises
    ------
    ReuseError, AlignmentError, InfeasibleError
        As for `full`.

    Notes
    -----
    1. Match the changes with the old domains: which are kept, new or gone.
    2. Use the old law in place of the unknown new one to compute how strongly old and new domains are coupled.
    3. Choose the kept domains to reopen: those named, or those that the law proposes.
    4. Freeze the relative shares of the other kept domains. They become one virtual domain, with the cap of Lemma 1.
    5. Predict the loss of freezing, collect warnings, and advise a number of runs.

    The law ranks domains by their term in the bound of Theorem 1: kappa of the domain and the new ones, times the change of its relative
    share in the optimum of the old law over the new domains. The shortest prefix of that order is reopened for which the loss,
    solved exactly with and without freezing, is within the allowed loss; needless domains are frozen again. This takes about 2 K exact
    solves.
    """
    if not 0.0 <= allowed < math.inf:
        raise ReuseError(f"allowed is {allowed}, expected a fraction of the predicted gain, at least 0")
    shares = mixture if isinstance(mixture, Mixture) else Mixture.from_dict(mixture)
    update = Update.of(changes, shares.domains)
    if set(region.domains) != set(update.domains):
        raise AlignmentError.between("the region", region.domains, "the changes", update.domains)

    if not (math.isfinite(kl) and kl >= 0.0):
        raise ReuseError(f"kl is {kl}, expected a finite number >= 0")
    stand_in = None
    if law is not None:
        if kl > 0.0 and not region.has_prior:
            raise RegionError(
                f"kl = {kl} pulls towards the prior, and the region has none: {either('give Region a prior', 'give a --prior')}"
            )
        stand_in = StandIn(law, update, region, shares, objective=objective, kl=kl, virtual=virtual, like=like or {})
    elif reopen is None:
        raise ReuseError(
            f"the old law is needed to choose the domains to reopen: give {either('it', '--law')}, or name the domains{either('', ': --reopen A,B')}"
        )
    named = None if reopen is None else _named(reopen, update)
    coupling = None if stand_in is None else stand_in.coupling(allowed)

    if named is None and coupling is not None:
        named = coupling.reopen
    part, opened, notes = _freeze(shares, update, region, named or (), virtual)

    loss = None if stand_in is None else stand_in.loss(opened)
    caps = region.by_name(region.cap)
    above = {name: (shares[name], caps[name]) for name in part.frozen if shares[name] > caps[name] + NINE_DIGITS}
    size = len(part.domains)
    return Reuse(
        kind="partial",
        update=update,
        reopened=opened,
        above=tuple(above),
        part=part,
        region=part.region,
        runs=RUNS_PER_NUMBER * (size + 1) if size > 1 else 0,
        full_runs=RUNS_PER_NUMBER * (region.n_domains + 1),
        coupling=coupling,
        loss=loss,
        warnings=_doubts(part, above=above, opened=opened, coupling=coupling, loss=loss, kl=kl, allowed=allowed),
        notes=notes,
    )


def _named(reopen: Iterable[str], update: Update) -> tuple[str, ...]:
    """Check the domains that the user names for reopening, and return them in the order of the kept domains."""
    named = [reopen] if isinstance(reopen, str) else list(reopen)
    if unknown := [name for name in named if name not in update.kept]:
        raise ReuseError(
            f"{misspelt(unknown, update.kept)} cannot be reopened: not among the unchanged domains, {listing(update.kept)}"
        )
    return tuple(name for name in update.kept if name in named)


def _freeze(
    shares: Mixture, update: Update, region: Region, opened: tuple[str, ...], virtual: str
) -> tuple[Collapse, tuple[str, ...], tuple[str, ...]]:
    """Freeze the kept domains that are not opened; return the frozen part, the open domains, and notes.

    If no domain is new and the renormalised shares violate limits, the domains that violate them are opened, too.
    """
    notes: list[str] = []
    while True:
        members = [name for name in update.kept if name not in opened]
        if not any(shares[name] > 0.0 for name in members):
            raise ReuseError(
                "nothing is left to freeze: every old domain with a share is changed or reopened; recompute the mixture with all domains open"
            )
        part = Collapse.of(shares, members, region, virtual=virtual)
        try:
            part.region  # noqa: B018  built here, where it may be infeasible
        except InfeasibleError:
            limits = dict(zip(region.domains, zip(region.floor, region.cap, strict=True), strict=True))
            off = [name for name in members if not limits[name][0] <= part.frozen[name] <= limits[name][1]]
            if update.new or not off or len(off) == len(members):
                raise
            notes.append(
                f"the renormalised shares violate the limits of {listing(off)}: these domains are reopened and need new shares"
            )
            opened = tuple(name for name in update.kept if name in opened or name in off)
        else:
            return part, opened, tuple(notes)


def _doubts(
    part: Collapse,
    *,
    above: Mapping[str, tuple[float, float]],
    opened: Iterable[str],
    coupling: Coupling | None,
    loss: float | None,
    kl: float,
    allowed: float,
) -> tuple[str, ...]:
    """List why this reuse may not be safe; ``above`` holds the share and the cap of each frozen domain above its cap."""
    out = []
    if above:
        over = [f"{name} ({share:.4g} > {cap:.4g})" for name, (share, cap) in above.items()]
        out.append(
            f"frozen shares are above their new caps: {listing(over)}; the caps hold, but only because all of {shown(part.virtual)} is limited to "
            f"{part.cap[0]:.4g}: reopen these domains"
        )
    if kl > 0.0 and not math.isfinite(part.divergence):
        out.append(
            "the prior gives a frozen domain the share 0, so a KL term excludes the virtual domain; change the prior"
        )
    if coupling is None or loss is None:
        if part.others:
            out.append("no law was given, so the cost of freezing is unknown")
        return tuple(out)
    if coupling.assumed:
        twin = coupling.like[coupling.assumed[0]]
        out.append(
            f"nothing is known about {listing(coupling.assumed)}: assumed to act like {twin}, the worst case for freezing; name "
            "the old domain that each acts like"
        )
    if coupling.gap > max(0.1 * allowed * coupling.gain, 1e-6):
        out.append(
            f"the old law is too steep for an exact optimum: loss and gain may be wrong by {coupling.gap:.2g}; fit the law to more runs, "
            "or choose its penalty by cross-validation"
        )
    if loss > max(allowed * coupling.gain, 1e-6):
        more = [name for name in coupling.reopen if name not in set(opened)]
        out.append(
            f"freezing is predicted to lose {loss:.3g}, more than {allowed:.0%} of the gain of {coupling.gain:.3g}; "
            + (f"reopen {listing(more)}" if more else "recompute with all domains open")
        )
    return tuple(out)
