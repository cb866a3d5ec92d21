"""LeastChange: the mixture nearest to a given one that reaches stated metrics, with its proof."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from mixfast._text.names import listing
from mixfast._text.notebook import html_table
from mixfast._text.numbers import percent
from mixfast.mixture import Mixture
from mixfast.proposers._controls import Control
from mixfast.proposers._guard_reports import GuardReport
from mixfast.proposers._proposal import Proposal

# A mixture that moves a smaller share of the tokens stays as it is.
_STAYS = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class LeastChange(Proposal):
    """The least change of a mixture that reaches stated metrics: a `Proposal` whose objective is the change itself.

    It has the attributes of `Proposal`, with these meanings:

    Attributes
    ----------
    mixture : Mixture
    status : str
        "optimal": no mixture that reaches the goals has a `change` smaller by more than `gap`. "searched": found without proof; `reached`
        says whether the goals are reached.
    value : float
        The same as `change`.
    gap : float or None
        In nats. None after a search.
    objective : dict of str to float
        All 0: no metric is rewarded beyond its goal.
    limited : dict of str to float
        Nats of `change` saved for each unit by which a goal is relaxed.
    """

    _saved: ClassVar[str] = "nats saved"
    _unit: ClassVar[str] = "nats of change"

    def __repr__(self) -> str:
        gap = "" if self.gap is None else f", gap {self.gap:.1e}"
        return f"LeastChange({self.method}, {self.status}; {self.change:.4g} nats{gap}; {self.mixture.largest()})"

    def _repr_html_(self) -> str:
        """Show the goals, with what they cost, and the shares that move most in a notebook."""
        near = self.near
        order = sorted(self.mixture, key=lambda name: -abs(self.mixture[name] - near[name]))
        rows = [(name, percent(self.mixture[name]), percent(near[name])) for name in order]
        lines = [*self._opening(), *(one.text for one in self.guards)]
        return html_table(
            f"Least change ({self.method})", ["domain", "share", "near"], rows, lines=lines, what="domains"
        )

    @property
    def near(self) -> Mixture:
        """The mixture to stay near."""
        return Mixture(self.region.domains, self.region.prior)

    @property
    def change(self) -> float:
        """``KL(mixture || near)``, nats."""
        return self.value

    @property
    def moved(self) -> float:
        """The share of the tokens that differs between the mixture and `near`."""
        return float(0.5 * abs(self.mixture.weights - self.region.prior).sum())

    @property
    def reached(self) -> bool:
        """Whether every goal is reached and every guard kept, under the law."""
        return not any(one.violated for one in self.guards)

    @property
    def goals(self) -> tuple[GuardReport, ...]:
        """What became of each goal; `guards` lists the guards too."""
        return tuple(one for one in self.guards if one.kind == "goal")

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """Empty, because baselines have no goals."""
        return ()

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to train on this mixture as it is, one sentence each."""
        none = [name for name, share in self.near.items() if share <= 0.0]
        closed = (
            f"near gives no share to {listing(none)}, so it gets none: any share of it would be an infinite change. Give it a small share in near "
            "to let it in."
        )
        return (*super().doubts, *([closed] if none else []))

    def _opening(self) -> list[str]:
        proof = f"Not solved to the tolerance: another mixture may be nearer by up to {self.gap or 0.0:.2g} nats."
        if self.status == "optimal":
            proof = (
                f"No mixture that reaches the goals under this law is nearer by more than {self.gap or 0.0:.1g} nats."
            )
        elif self.status == "searched" and self.reached:
            proof = "Found by search: a nearer mixture may exist."
        elif self.status == "searched":
            proof = (
                "The search found no mixture that reaches the goals; this one comes nearest to them. It proves nothing."
            )
        kept = ["near already reaches every goal, so nothing changes."] if self.reached and self.moved < _STAYS else []
        return [
            f"Least change ({self.method}, {self.status}, {self.seconds * 1e3:.3g} ms). {proof}",
            f"KL(mixture || near) = {self.change:.4g} nats; {self.moved:.1%} of the tokens move.",
            *kept,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain numbers and strings, for JSON: as `Proposal.to_dict`, with "near", "change", "moved" and "reached"."""
        return {
            **super().to_dict(),
            "near": self.near.as_dict(),
            "change": self.change,
            "moved": self.moved,
            "reached": self.reached,
        }
