"""Reuse: the plan of an update; converts mixtures, swarms and laws between the collapsed domains and all domains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.notebook import html_text
from mixfast._text.visible import in_lines
from mixfast.errors import AlignmentError
from mixfast.laws import Fit, Predictor, uses_epochs
from mixfast.mixture import Mixture
from mixfast.region import Region
from mixfast.reuse._changes import ReuseError, Update
from mixfast.reuse._collapse import Collapse, Matrix
from mixfast.reuse._collapsed_law import CollapsedLaw
from mixfast.reuse._coupling import Coupling
from mixfast.swarm import Swarm


@dataclass(frozen=True, eq=False, repr=False)
class Reuse:
    """The plan of an update: frozen domains, open domains, and the predicted cost.

    Attributes
    ----------
    kind : str
        "full" or "partial".
    update : Update
        The changes, with the domains `kept`, `new` and `gone`.
    reopened : tuple of str
        Unchanged domains that are not frozen.
    above : tuple of str
        Frozen domains with an old share above their new cap. The caps hold because they limit the whole virtual domain.
    part : Collapse
        The frozen part as one virtual domain.
    region : Region
        Region of the collapsed mixtures, for `propose`. The virtual domain comes first, with the cap of Lemma 1. With its prior, a KL term
        equals the one over all domains up to a constant. To sample a swarm around the prior itself, use `sampling`.
    runs, full_runs : int
        Proxy runs advised for this plan, 3 (m + 1) for m collapsed domains, and for a recomputation with all domains open.
    coupling : Coupling or None
        Predictions of the old law; None without a law.
    loss : float or None
        Predicted loss against a full recomputation, in the unit of the objective; None without a law.
    warnings : tuple of str
        Why reuse may not be safe; empty if there are no known risks.
    notes : tuple of str
        Changes that were made in addition to those asked for.
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
        """Return the plan as text, as `mixfast reuse add` prints it."""
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
        """The collapsed region with the prior itself, for `design`: the virtual domain has the sum of its members."""
        return self.region.replace(prior=self.part.natural)

    @property
    def mixture(self) -> Mixture:
        """The new mixture if nothing is open, as after `Remove`: the old shares, renormalised."""
        if len(self.part.domains) > 1:
            raise ReuseError(
                f"{listing(self.part.others)} are open: train a swarm over the collapsed region, propose, and expand the result"
            )
        return self.part.expand({self.virtual: 1.0})

    def expand(self, collapsed: Mapping[str, float]) -> Mixture:
        """Convert a collapsed mixture to one over all domains; frozen ratios are exact."""
        return self.part.expand(collapsed)

    def expand_rows(self, rows: ArrayLike, domains: Iterable[str]) -> Matrix:
        """Convert collapsed rows with columns ``domains`` to mixtures (R, K) in the order of the full region."""
        return self.part.expand_rows(rows, domains)

    def expand_swarm(self, runs: Swarm) -> Swarm:
        """Convert the runs of a swarm over the collapsed domains to all domains, for use in later updates.

        The result knows no tokens, because those of the virtual domain do not tell those of its members.
        """
        return runs.over(self.part.full.domains, self.expand_rows(runs.ratios, runs.domains))

    def collapse_swarm(self, runs: Swarm) -> Swarm:
        """Convert runs that were trained on expanded mixtures to the collapsed domains; `ReuseError` names runs with other ratios.

        The tokens of the virtual domain are those for which its epochs are the mean of its members' epochs, weighted by their shares.
        """
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
                "write shares with at least nine digits"
            )
        # `over` keeps the report of the swarm, which names runs that were left out.
        return whole.over(part.domains, rows, None if whole.tokens is None else part.tokens(whole.tokens))

    def collapse(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Convert a mixture with the frozen ratios to collapsed shares; raise `ReuseError` if its ratios differ."""
        return self.part.collapse(shares)

    def in_target_run(self, law: Fit) -> Fit:
        """Return a fit over the collapsed domains as it predicts the target run; the fit itself if it is no function of epochs.

        Raises
        ------
        ReuseError
            The fit has laws in epochs, and neither the plan's region nor the runs tell how often the target run reads a share.
        """
        if not uses_epochs(law):
            return law
        full = self.part.full
        if full.available is not None and full.target_tokens is not None:
            tokens = self.part.tokens(full.available[None].astype(np.float64))[0].tolist()
            counts = {name: count or math.inf for name, count in zip(self.part.domains, tokens, strict=True)}
            return law.for_run(counts, full.target_tokens)
        if law.rate is None:
            raise ReuseError(
                "the laws are functions of epochs, and the plan has no token counts, so the epochs of the target run are unknown; "
                + either(
                    "plan with a region of Region.from_tokens",
                    "make the plan again with --tokens and --budget",
                )
            )
        return law

    def virtual_slopes(self, law: Predictor, *, earlier: Reuse | None = None) -> dict[str, float]:
        """Return the exact coefficient of the virtual domain for each metric, ``a_fix . p_fix``, from the old log-linear law.

        Parameters
        ----------
        law : fitted law
            Log-linear, over the old domains; or over the collapsed domains of `earlier`.
        earlier : Reuse, optional
            The plan with the law's domains. Its frozen part must also be frozen here, with the same ratios.

        Raises
        ------
        ReuseError
            If the law is not log-linear, or lacks frozen domains.
        """
        shares: Mapping[str, float] = (
            self.frozen if earlier is None else earlier.part.collapse(self.frozen, partly=True)
        )
        names = tuple(law.domains)
        if missing := [name for name, share in shares.items() if share > 0.0 and name not in names]:
            raise ReuseError(
                f"the law lacks the frozen domains {listing(missing)}; its domains are {listing(names)}. If it is over collapsed "
                "domains, give their plan as earlier="
            )
        point = np.array([shares.get(name, 0.0) for name in names])
        out = {}
        for j, metric in enumerate(law.metrics):
            fitted: Any = law  # a single law, or the law of one metric in a fit
            column = j
            if hasattr(law, "law_of"):
                fitted, column = law.law_of(metric)
            if getattr(fitted, "name", "") != "log_linear":
                raise ReuseError(f"the law of {metric} is {getattr(fitted, 'name', 'unknown')}, not log_linear")
            out[metric] = float(np.asarray(fitted.a)[column] @ point)
        return out

    def collapse_law(self, law: Fit) -> CollapsedLaw:
        """Convert a fit over all domains to one over the collapsed domains, for `propose`: its prediction at r is that of the fit at Phi(r)."""
        return CollapsedLaw(law, self.part)

    @property
    def report(self) -> str:
        """Frozen domains, advised runs, predicted cost and warnings, as text."""
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
            unknown = ", but repetition is not checked, because token counts and a budget are missing"
            lines.append("no known risks" + ("" if self.part.full.counted else unknown))
        return in_lines(lines)
