"""Reuse: the plan of an update, with the way from collapsed mixtures, swarms and laws to those over all domains and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._text.names import listing, shown
from mixfast._text.notebook import html_text
from mixfast._text.visible import in_lines
from mixfast.errors import AlignmentError
from mixfast.laws import Fit, Predictor
from mixfast.mixture import Mixture
from mixfast.region import Region
from mixfast.reuse._changes import ReuseError, Update
from mixfast.reuse._collapse import Collapse, Matrix
from mixfast.reuse._collapsed_law import CollapsedLaw
from mixfast.reuse._coupling import Coupling
from mixfast.swarm import Swarm


@dataclass(frozen=True, eq=False, repr=False)
class Reuse:
    """A plan: what is frozen, what is open, and what that costs.

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

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f", predicted loss {self.loss:.3g}"
        return (
            f"Reuse({self.kind}; {len(self.part.domains)} domains to fit, {self.runs} runs of {self.full_runs}{loss})"
        )

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Return the plan in words, as `mixfast reuse add` prints it."""
        return self.report

    def _repr_html_(self) -> str:
        """Show the plan in words in a notebook."""
        return html_text("Plan", self.report)

    @property
    def safe(self) -> bool:
        """Whether there are no warnings."""
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
        return runs.over(self.part.full.domains, self.expand_rows(runs.ratios, runs.domains))

    def collapse_swarm(self, runs: Swarm) -> Swarm:
        """Return runs that were trained on expanded mixtures over the collapsed domains; `ReuseError` names runs with other ratios."""
        part = self.part
        if set(runs.domains) == set(part.domains):
            return runs.align(part.domains)
        if set(runs.domains) != set(part.full.domains):
            raise AlignmentError.between("the swarm", runs.domains, "the reuse plan", part.full.domains)
        whole = runs.align(part.full.domains)
        rows, off = [], []
        for run, shares in zip(whole.runs, whole.ratios.tolist(), strict=True):
            try:
                found = part.collapse(dict(zip(part.full.domains, shares, strict=True)))
            except ReuseError:
                off.append(run)
            else:
                rows.append([found[name] for name in part.domains])
        if off:
            raise ReuseError(
                f"these runs do not have the frozen ratios of {shown(part.virtual)}: {listing(off)}; leave out runs of other plans, and "
                "write shares with nine digits at least"
            )
        # With what its report has to tell: runs that were left out stay named.
        return whole.over(part.domains, rows)

    def collapse(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Return the collapsed shares of a mixture with the frozen ratios; `ReuseError` where it has others."""
        return self.part.collapse(shares)

    def virtual_slopes(self, law: Predictor, *, earlier: Reuse | None = None) -> dict[str, float]:
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
            fitted: Any = law  # of one's own, or out of a fit
            column = j
            if hasattr(law, "law_of"):
                fitted, column = law.law_of(metric)
            if getattr(fitted, "name", "") != "log_linear":
                raise ReuseError(f"the law of {metric} is {getattr(fitted, 'name', 'unknown')}, not log_linear")
            out[metric] = float(np.asarray(fitted.a)[column] @ point)
        return out

    def collapse_law(self, law: Fit) -> CollapsedLaw:
        """Return a fit over all domains as one over the collapsed domains, for `propose`: it says of r what the fit says of Phi(r)."""
        return CollapsedLaw(law, self.part)

    @property
    def report(self) -> str:
        """What is frozen, what must be run, what it may cost and whether it is safe, as text."""
        open_ = len(self.part.others)
        lines = [
            f"{self.kind} reuse: {len(self.frozen)} domains frozen as {shown(self.virtual)}, {open_} open"
            + (f", of them reopened: {listing(self.reopened)}" if self.reopened else ""),
            f"runs advised: {self.runs}, against {self.full_runs} for a full recomputation",
            f"cap of {shown(self.virtual)}: {min(self.part.cap[0], 1.0):.6g}"
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
        return in_lines(lines)
