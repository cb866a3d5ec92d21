"""The report of a solve as text: the table of shares, the certificate in words, the held-out comparison."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mixfast._text.numbers import NOTHING, percent, tokens
from mixfast._text.table import text_table
from mixfast.cli._advice import next_steps
from mixfast.cli._answer import MOST_LINES, Answer, span
from mixfast.solver import Bootstrap, HeldOut


def solve_report(answer: Answer) -> str:
    """Return the report of `mixfast solve`."""
    parts = [_shares(answer), _certificate(answer)]
    steps = next_steps(answer)
    if steps:
        parts.append("What to do next\n" + "\n".join(f"  - {step}" for step in steps))
    return "\n\n".join(parts)


def _shares(answer: Answer) -> str:
    solution, mixture, domains = answer.solution, answer.solution.mixture, answer.solution.table.domains
    prices = {price.name: price for price in solution.shadow_prices if price.limit in ("cap", "floor")}
    epochs, bootstrap, ranges = solution.epochs, answer.intervals, answer.ranges
    order = sorted(domains, key=lambda name: -mixture[name])
    hidden: list[str] = []
    if len(order) > MOST_LINES:
        shown = [name for name in order if mixture[name] > NOTHING or name in prices][:MOST_LINES]
        hidden = [name for name in order if name not in set(shown)]
        order = shown
    columns: dict[str, Callable[[str], str]] = {"domain": str, "share": lambda name: percent(mixture[name])}
    notes = []
    if bootstrap is not None:
        intervals = bootstrap.intervals
        columns["90% interval"] = lambda name: span(intervals[name])
        notes.append(f"90% interval: over {len(bootstrap.shares)} resamples of {_units(bootstrap)}")
    if epochs:
        columns["epochs"] = lambda name: f"{epochs[name]:.2f}"
    if answer.budget is not None:
        budget = mixture.tokens(answer.budget)
        columns["tokens"] = lambda name: tokens(budget[name])
    if prices:
        columns["price"] = lambda name: f"{prices[name].limit} {prices[name].price / 100:.2g}" if name in prices else ""
        notes.append("price: nats saved for each percentage point by which the limit gives way")
    if ranges:
        columns[f"range at {answer.eps:g}"] = lambda name: span(ranges[name])
        notes.append(f"range: how far the share alone can go while the loss rises by at most {answer.eps:g}")
    if answer.limited:
        free = solution.unconstrained.mixture
        columns["no limits"] = lambda name: percent(free[name])
        notes.append("no limits: the optimum of the same objective over all mixtures")
    text = text_table(list(columns), [[show(name) for show in columns.values()] for name in order])
    if hidden:
        rest = math.fsum(mixture[name] for name in hidden)
        text += f"\n... and {len(hidden)} more domains, {percent(rest)} of the tokens together"
    return "\n".join([text, *notes])


def _units(bootstrap: Bootstrap) -> str:
    table = bootstrap.solution.table
    if table.sequence is None:
        whole = bootstrap.units == table.n_rows
        return f"{bootstrap.units:,} rows" if whole else f"{bootstrap.units:,} blocks of neighbouring rows"
    whole = bootstrap.units >= np.unique(table.sequence).size
    return f"{bootstrap.units:,} {'sequences' if whole else 'blocks of neighbouring sequences'}"


def _certificate(answer: Answer) -> str:
    solution = answer.solution
    lines = [("value", f"{solution.value:.6f} {solution.table.unit}")]
    if solution.kl > 0.0:
        term = solution.value - solution.loss
        lines.append(("", f"of which {solution.loss:.6f} loss and {term:.6f} for the KL term"))
    if solution.wear is not None:
        worth = f"a token read {solution.wear:g} times more is worth 1/e of a new one"
        lines.append(("wear", f"{worth}; losses are of effective shares"))
    lines.append(("gap", f"{solution.gap:.1e}: no allowed mixture is better by more than this"))
    lines.append(("status", solution.status))
    if answer.limited:
        free = solution.unconstrained
        cost = max(solution.value - free.value, 0.0)
        lines.append(("no limits", f"{free.value:.6f}, gap {free.gap:.1e}: the limits cost {cost:.6f}"))
    if solution.table.n_groups > 1:
        weights = solution.group_weights
        groups = list(solution.group_losses.items())
        text = [f"{name} {loss:.6f} (weight {weights[name]:.3f})" for name, loss in groups[:MOST_LINES]]
        lines += [("groups" if i == 0 else "", entry) for i, entry in enumerate(text)]
    bounds = [price for price in solution.shadow_prices if price.limit not in ("cap", "floor")]
    lines += [("group limits" if i == 0 else "", price.text) for i, price in enumerate(bounds)]
    measured = f", intervals {_seconds(answer.intervals.seconds)}" if answer.intervals else ""
    lines.append(("time", f"{_seconds(solution.seconds)}{measured}, {solution.backend}"))
    return text_table(None, lines, left=(0, 1))


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"


def held_out_report(report: HeldOut, limited: bool) -> str:
    """Return the held-out comparison as text."""
    shown = report.rows[:MOST_LINES]
    rows = [[row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}"] for row in shown]
    header = ["mixture", "loss where fitted", "loss on held-out rows"]
    text = f"fitted on {report.sizes[0]:,} rows, compared on the other {report.sizes[1]:,}\n{text_table(header, rows)}"
    if len(report.rows) > len(shown):
        text += f"\n... and {len(report.rows) - len(shown):,} more with a larger loss"
    if limited:
        text += "\nOnly `mixfast` keeps to the limits here; the others are free of them."
    return text
