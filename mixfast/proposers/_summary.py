"""A proposal as text: its shares, its expected gain, the limits that bind and the doubts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixfast._text.names import listing
from mixfast._text.table import text_table
from mixfast._text.visible import in_lines
from mixfast.proposers._controls import controls_in_words, in_digits
from mixfast.proposers._guard_reports import in_words
from mixfast.region import cap_in_words

# This class is in `_proposal.py`, which imports this file.
Proposal = Any

# Most domains, most prices and most worse metrics that a summary lists.
_SHOWN, _PRICES_SHOWN, _WORSE_SHOWN = 12, 5, 5


def summary_of(proposal: Proposal, opening: list[str], base: str) -> str:
    """Return the mixture after these first lines, beside the prior, which is ``base`` in words."""
    w, prior = proposal.mixture.weights, proposal.region.prior
    epochs = proposal.epochs
    order = np.argsort(-w, kind="stable")
    rows = []
    for k in order[:_SHOWN]:
        name = proposal.mixture.domains[k]
        rows.append([name, f"{w[k]:.2%}", f"{prior[k]:.2%}", *([f"{epochs[name]:.2f}"] if epochs else [])])
    header = ["domain", "share", base.removeprefix("the "), *(["epochs"] if epochs else [])]
    head = [in_lines(opening), text_table(header, rows, indent="  ")]
    lines = []
    if order.size > _SHOWN:
        lines.append(f"  and {order.size - _SHOWN} more with {float(w[order[_SHOWN:]].sum()):.2%} together")
    if capped := cap_in_words(proposal.region, w):
        lines.append(f"Limits: {capped}.")
    lines += [f"Doubt: {doubt}" for doubt in proposal.doubts]
    lines += [f"- {price.text}" for price in proposal.shadow_prices[:_PRICES_SHOWN]]
    lines += told_worse(proposal, base)
    lines += [f"- {words}" for words in in_words(proposal.guards)]
    return "\n".join([*head, *([in_lines(lines)] if lines else [])])


def opening_of(proposal: Proposal) -> list[str]:
    """Return the first lines of the summary: the proof, and the gain."""
    proof = f"Not solved to the tolerance: another mixture may be better by up to {proposal.gap or 0.0:.2g}."
    if proposal.status == "optimal":
        proof = f"No other allowed mixture is better by more than {proposal.gap or 0.0:.1g} under this law."
    elif proposal.status == "searched":
        proof = "Found by search: a better mixture may exist."
    gain = proposal.gain
    sd = "" if gain.sd is None else f" +- {gain.sd:.2g} (one standard deviation, two new runs)"
    lines = [
        f"Proposed mixture ({proposal.method}, {proposal.status}, {proposal.seconds * 1e3:.3g} ms). {proof}",
        f"Expected gain over the prior: {in_digits(gain.value)}{sd}.",
    ]
    lines += [words] if (words := controls_in_words(proposal.controls)) else []
    target = proposal.target
    units = dict.fromkeys(_unit_of(proposal.law, target.metrics[j]) for j in target.used)
    if len(units) > 1 and not target.scaled:
        lines.append(
            f"The objective combines metrics of different units ({'; '.join(units)}), so the larger numbers dominate. "
            "Name metrics of one unit, or give weights."
        )
    return lines


def told_worse(proposal: Proposal, base: str) -> list[str]:
    """Name the metrics that are expected to get worse than at ``base``, in one sentence; an empty list if there are none."""
    worse = proposal.worse
    if not worse:
        return []
    named = listing(f"{name} by {change:.3g}" for name, change in list(worse.items())[:_WORSE_SHOWN])
    return [f"Expected to get worse than at {base}: {len(worse)} of {len(proposal.target.metrics)} metrics ({named})."]


def _unit_of(law: Any, metric: str) -> str:
    """Unit of a metric, with its direction if more is better; empty if the law does not say."""
    units, directions = getattr(law, "unit", None), getattr(law, "direction", None)
    if not isinstance(units, tuple) or not isinstance(directions, tuple):
        return ""
    at = tuple(law.metrics).index(metric)
    return f"{units[at]}, more is better" if directions[at] == "max" else str(units[at])
