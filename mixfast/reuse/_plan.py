"""Mixture reuse: when domains are added, removed, split or revised, keep what is known and run only what is new.

`full` freezes the relative shares of all domains that a change leaves alone and makes them one virtual domain; `partial` reopens
those whose freezing would cost most; `carry` takes runs over to the new domains. `Ledger` records what was frozen when and why.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._text.names import listing
from mixfast.errors import AlignmentError, InfeasibleError, RegionError
from mixfast.laws._target import Objective
from mixfast.mixture import Mixture
from mixfast.region import Region
from mixfast.reuse._changes import Add, Change, Partition, Remove, ReuseError, Revise, Update
from mixfast.reuse._collapse import Collapse, Matrix
from mixfast.reuse._collapsed_law import Seen
from mixfast.reuse._coupling import Coupling, StandIn, kappa
from mixfast.reuse._ledger import Entry, Ledger
from mixfast.reuse._pending import Pending, change_of, region_of
from mixfast.reuse._runs import Carried, collapsed, expanded, swarm, together
from mixfast.reuse._warnings import doubts
from mixfast.swarm import Swarm

__all__ = [
    "Add", "Carried", "Coupling", "Entry", "Ledger", "Partition", "Pending", "Remove", "Reuse", "ReuseError", "Revise", "Update",
    "full", "kappa", "partial", "resume", "swarm", "together",
]  # fmt: skip

# Olmix's advice (RQ2): so many runs for each number a law has to find, one for each domain and a constant.
_RUNS_PER_NUMBER = 3
# Of the predicted gain; Olmix's partial reuse kept 98 % of it.
_ALLOWED = 0.02
# A share that was at its cap, and was written with nine digits, is not above it.
_AT_CAP = 1e-9


@dataclass(frozen=True, eq=False)
class Reuse:
    """What is frozen, what is open, and what that costs.

    Attributes
    ----------
    kind : str
        "full" or "partial".
    update : Update
        The changes, with the domains `kept`, `new` and `gone`.
    reopened : tuple of str
        Old domains that are not frozen although no change touches them.
    above : tuple of str
        Frozen domains whose old share is above their new cap: the caps hold, but by holding the whole virtual domain down.
    part : Collapse
        The frozen part as one virtual domain.
    region : Region
        Collapsed mixtures, the virtual domain first, its cap that of Lemma 1. Its prior is the centre with which a KL term is the
        one over all domains, up to a constant: for `propose`. To sample a swarm around the prior itself, take `sampling`.
    runs, full_runs : int
        Proxy runs advised for this plan, 3 (m + 1) for m collapsed domains, and for a recomputation with all domains open.
    coupling : Coupling or None
        What the old law predicts; None where none was given.
    loss : float or None
        Predicted loss against a full recomputation, in the unit of the objective; None without a law.
    warnings : tuple of str
        Why reuse may not be safe; empty where nothing speaks against it.
    notes : tuple of str
        What was done beyond what was asked for.
    """

    kind: str
    update: Update
    reopened: tuple[str, ...]
    above: tuple[str, ...]
    part: Collapse = field(repr=False)
    region: Region = field(repr=False)
    runs: int
    full_runs: int
    coupling: Coupling | None = field(repr=False)
    loss: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def safe(self) -> bool:
        """Whether nothing is known that speaks against this reuse."""
        return not self.warnings

    @property
    def virtual(self) -> str:
        """Name of the virtual domain."""
        return self.part.virtual

    @property
    def frozen(self) -> Mixture:
        """Relative shares of the frozen domains, sum 1."""
        return self.part.frozen

    @property
    def sampling(self) -> Region:
        """The collapsed region with the prior's own shares, the virtual domain's being its members' sum: for `design`."""
        return self.region.replace(prior=self.part.natural)

    @property
    def mixture(self) -> Mixture:
        """The new mixture where nothing is open, as after `Remove`: the old shares renormalised."""
        if len(self.part.domains) > 1:
            raise ReuseError(
                f"{listing(self.part.others)} are open: run a swarm on the collapsed region, propose, and expand the result"
            )
        return self.part.expand({self.virtual: 1.0})

    def expand(self, collapsed: Mapping[str, float]) -> Mixture:
        """Return the mixture of all domains that a collapsed one (or a Mixture) stands for; frozen ratios are exact."""
        return self.part.expand(collapsed)

    def expand_rows(self, rows: ArrayLike, domains: Iterable[str]) -> Matrix:
        """Return the mixtures (R, K), in the order of the full region, of collapsed rows whose columns are ``domains``."""
        return self.part.expand_rows(rows, domains)

    def expand_swarm(self, runs: Swarm) -> Swarm:
        """Return the runs of a swarm over the collapsed domains as runs over all domains, to be carried to later updates."""
        return expanded(self.part, runs)

    def collapse_swarm(self, runs: Swarm) -> Swarm:
        """Return runs that were trained on expanded mixtures over the collapsed domains; `ReuseError` names runs with other ratios."""
        return collapsed(self.part, runs)

    def collapse(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Return the collapsed shares of a mixture with the frozen ratios; `ReuseError` where it has others."""
        return self.part.collapse(shares)

    def virtual_slopes(self, law: Any, *, earlier: Reuse | None = None) -> dict[str, float]:
        """Return the virtual domain's coefficient of each metric, from the old log-linear law: ``a_fix . p_fix``, exact.

        Parameters
        ----------
        law : fitted law
            Log-linear, over the old domains; or over the collapsed domains of `earlier`.
        earlier : Reuse, optional
            The plan that the law's domains come from. Its frozen part must be frozen here too, with the same ratios.

        Raises
        ------
        ReuseError
            If the law is not log-linear, or does not know the frozen domains.
        """
        shares: Mapping[str, float] = (
            self.frozen if earlier is None else earlier.part.collapse(self.frozen, partly=True)
        )
        names = tuple(law.domains)
        if missing := [name for name, share in shares.items() if share > 0.0 and name not in names]:
            raise ReuseError(
                f"the law does not know the frozen domains {listing(missing)}; it knows {listing(names)}. If it is over collapsed "
                "domains, give their plan as earlier="
            )
        point = np.array([shares.get(name, 0.0) for name in names])
        out = {}
        for j, metric in enumerate(law.metrics):
            fitted, column = law.law_of(metric) if hasattr(law, "law_of") else (law, j)
            if getattr(fitted, "name", "") != "log_linear":
                raise ReuseError(f"the law of {metric} is {getattr(fitted, 'name', 'unknown')}, not log_linear")
            out[metric] = float(np.asarray(fitted.a)[column] @ point)
        return out

    def collapse_law(self, law: Any) -> Any:
        """Return a fit over all domains as one over the collapsed domains, for `propose`: it says of r what the fit says of Phi(r)."""
        return Seen(law, self.part)

    @property
    def report(self) -> str:
        """What is frozen, what must be run, what it may cost and whether it is safe, as text."""
        open_ = len(self.part.others)
        lines = [
            f"{self.kind} reuse: {len(self.frozen)} domains frozen as {self.virtual!r}, {open_} open"
            + (f", of them reopened: {listing(self.reopened)}" if self.reopened else ""),
            f"runs advised: {self.runs}, against {self.full_runs} for a full recomputation",
            f"cap of {self.virtual!r}: {min(self.part.cap[0], 1.0):.6g}"
            + (f", set by {self.part.cap[1]}" if self.part.cap[0] < 1.0 else ""),
        ]
        if self.coupling is not None and self.loss is not None:
            gain = self.coupling.gain
            lost = f", {self.loss / gain:.2%} of the gain" if gain > 0.0 and math.isfinite(self.loss) else ""
            lines.append(f"predicted loss against a full recomputation: {self.loss:.3g}{lost}")
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"not safe: {warning}" for warning in self.warnings]
        if not self.warnings:
            unknown = ", but no token counts with a budget are known: how often domains repeat is not checked"
            lines.append("nothing known speaks against it" + ("" if self.part.full.counted else unknown))
        return "\n".join(lines)


def full(
    mixture: Mapping[str, float],
    changes: Change | Iterable[Change],
    region: Region,
    *,
    law: Any = None,
    objective: Objective = None,
    kl: float = 0.0,
    like: Mapping[str, str] | None = None,
    virtual: str = "existing",
) -> Reuse:
    """Freeze the relative shares of every domain that the changes leave alone.

    Parameters
    ----------
    mixture : Mixture or mapping of str to float
        The mixture chosen before, over all old domains (expanded, whatever was frozen on the way to it).
    changes : Add, Remove, Partition, Revise, or several
        Each against the old domains.
    region : Region
        Limits and prior over the new domains.
    law : fitted law, optional
        The old one, log-linear or linear over the old domains; with it the loss of freezing is predicted.
    objective, kl : optional
        As for `propose`; what the loss is a loss of.
    like : mapping of str to str, optional
        New domain to the domain of the law that it is expected to act like. Parts of a partition and revised domains act like what
        they come from; of any other new domain the worst is assumed.
    virtual : str, default "existing"
        Name of the virtual domain.

    Returns
    -------
    Reuse
        After `Remove` alone with nothing open: its `mixture` is the old one renormalised. Where the new limits do not allow that,
        the domains that break them are reopened, and `notes` says so.

    Raises
    ------
    ReuseError
        If the changes do not fit the old domains, or nothing is left to freeze.
    AlignmentError
        If the region's domains are not those that the changes lead to.
    InfeasibleError
        If no mixture with the frozen ratios meets the region's limits; the message names the domain that is in the way.

    Examples
    --------
    >>> old = {"web": 0.25, "code": 0.25, "books": 0.5}
    >>> plan = full(old, Add(["math"]), Region(["web", "code", "books", "math"], cap={"books": 0.3}))
    >>> plan.expand({"existing": 0.4, "math": 0.6}).as_dict()
    {'web': 0.1, 'code': 0.1, 'books': 0.2, 'math': 0.6}
    >>> plan.region.cap.tolist(), plan.runs, plan.full_runs
    ([0.6, 1.0], 9, 15)
    """
    shares, update, where = _checked(mixture, changes, region)
    stand_in = _stand_in(law, update, where, shares, objective, kl, like, virtual)
    return _plan("full", shares, update, where, (), stand_in, kl, virtual, _ALLOWED, [])


def partial(
    mixture: Mapping[str, float],
    changes: Change | Iterable[Change],
    region: Region,
    *,
    law: Any = None,
    reopen: Iterable[str] | None = None,
    allowed: float = _ALLOWED,
    objective: Objective = None,
    kl: float = 0.0,
    like: Mapping[str, str] | None = None,
    virtual: str = "existing",
) -> Reuse:
    """Freeze what a change leaves alone but for the old domains that are worth reopening.

    Parameters
    ----------
    mixture, changes, region, law, objective, kl, like, virtual
        As for `full`.
    reopen : sequence of str, optional
        The domains to reopen, whatever the law says. None: the law chooses, and must be given.
    allowed : float, default 0.02
        Predicted loss that may remain, as a fraction of the predicted gain over the prior.

    Returns
    -------
    Reuse
        `coupling.reopen` is what the law proposes, `reopened` what is done.

    Raises
    ------
    ReuseError, AlignmentError, InfeasibleError
        As for `full`.

    Notes
    -----
    Domains are ranked by their part in the bound of Theorem 1: kappa of the domain and the new ones, times how far its relative share
    moves in the optimum of the old law over the new domains. Of that order the shortest head is reopened that leaves the loss, solved
    exactly with and without freezing, within what is allowed; members that prove needless are frozen again. Some 2 K exact solves.
    """
    if not 0.0 <= allowed < math.inf:
        raise ReuseError(f"allowed is {allowed}, expected a fraction of the predicted gain, at least 0")
    shares, update, where = _checked(mixture, changes, region)
    stand_in = _stand_in(law, update, where, shares, objective, kl, like, virtual)
    chosen: tuple[str, ...] | None = None
    if reopen is not None:
        named = [reopen] if isinstance(reopen, str) else list(reopen)
        if unknown := [name for name in named if name not in update.kept]:
            raise ReuseError(
                f"{listing(unknown)} cannot be reopened: not among the old domains without a change, {listing(update.kept)}"
            )
        chosen = tuple(name for name in update.kept if name in named)
    elif stand_in is None:
        raise ReuseError("which domains to reopen follows from the old law: give it, or name the domains")
    return _plan("partial", shares, update, where, chosen, stand_in, kl, virtual, allowed, [])


def resume(ledger: Ledger) -> Reuse:
    """Return the plan that `Ledger.begin` noted, as it was: what is frozen, its limits, and what was predicted of it.

    Raises
    ------
    ReuseError
        If no update is planned.

    Examples
    --------
    >>> ledger = Ledger.start({"web": 0.75, "code": 0.25}, why="first swarm")
    >>> plan = full(ledger.mixture, Add(["math"]), Region(["web", "code", "math"]))
    >>> resume(ledger.begin(plan, why="maths came")).frozen == plan.frozen
    True
    """
    pending = ledger.pending
    if pending is None:
        raise ReuseError("the ledger has no open plan: plan an update first")
    changes = [change_of(change) for change in pending.changes]
    plan = partial(ledger.mixture, changes, region_of(pending.region), reopen=pending.reopened, virtual=pending.virtual)
    return replace(plan, kind=pending.kind, loss=pending.loss, warnings=pending.warnings, notes=())


def _checked(mixture: Mapping[str, float], changes: Any, region: Region) -> tuple[Mixture, Update, Region]:
    shares = mixture if isinstance(mixture, Mixture) else Mixture.from_dict(mixture)
    update = Update.of(changes, shares.domains)
    if set(region.domains) != set(update.domains):
        raise AlignmentError.between("the region", region.domains, "the changes", update.domains)
    return shares, update, region


def _stand_in(
    law: Any, update: Update, region: Region, shares: Mixture, objective: Objective, kl: float, like: Any, virtual: str
) -> StandIn | None:
    if not (math.isfinite(kl) and kl >= 0.0):
        raise ReuseError(f"kl is {kl}, expected a finite number >= 0")
    if law is None:
        return None
    if kl > 0.0 and not region.has_prior:
        raise RegionError(f"kl = {kl} pulls towards the prior, and the region has none: give Region a prior")
    return StandIn(law, update, region, shares, objective=objective, kl=kl, virtual=virtual, like=like or {})


def _plan(
    kind: str,
    shares: Mixture,
    update: Update,
    region: Region,
    reopen: tuple[str, ...] | None,
    stand_in: StandIn | None,
    kl: float,
    virtual: str,
    allowed: float,
    notes: list[str],
) -> Reuse:
    coupling = stand_in.coupling(allowed) if stand_in is not None else None
    opened = list(reopen if reopen is not None else coupling.reopen if coupling is not None else ())
    part, inside = _frozen(shares, update, region, opened, virtual, notes)
    loss = stand_in.loss(opened) if stand_in is not None else None
    caps: dict[str, float] = dict(zip(region.domains, region.cap.tolist(), strict=True))
    above = {name: caps[name] for name in part.frozen if shares[name] > caps[name] + _AT_CAP}
    warnings = doubts(shares, above, part, opened, coupling, loss, kl, allowed)
    size = len(part.domains)
    return Reuse(
        kind,
        update,
        tuple(name for name in update.kept if name in set(opened)),
        tuple(above),
        part,
        inside,
        _RUNS_PER_NUMBER * (size + 1) if size > 1 else 0,
        _RUNS_PER_NUMBER * (region.n_domains + 1),
        coupling,
        loss,
        tuple(warnings),
        tuple(notes),
    )


def _frozen(
    shares: Mixture, update: Update, region: Region, opened: list[str], virtual: str, notes: list[str]
) -> tuple[Collapse, Region]:
    """The frozen part and its region; where nothing is open, domains whose new shares break limits are opened, and noted."""
    while True:
        members = [name for name in update.kept if name not in set(opened)]
        if not any(shares[name] > 0.0 for name in members):
            raise ReuseError(
                "nothing is left to freeze: every old domain with a share is changed or reopened; recompute with all domains open"
            )
        part = Collapse.of(shares, members, region, virtual=virtual)
        try:
            return part, part.region
        except InfeasibleError:
            if update.new:
                raise
            ratio = {name: part.frozen[name] for name in members}
            limits = dict(zip(region.domains, zip(region.floor, region.cap, strict=True), strict=True))
            off = [name for name in members if not limits[name][0] <= ratio[name] <= limits[name][1]]
            if not off or len(off) == len(members):
                raise
            notes.append(
                f"renormalising breaks the limits of {listing(off)}: reopened, their shares must be found anew"
            )
            opened += off
