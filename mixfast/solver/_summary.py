"""A solution as text: its shares, the limits that bind, and the certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mixfast._text.numbers import NOTHING, percent, tokens
from mixfast._text.table import text_table
from mixfast.region import cap_in_words
from mixfast.solver._wear import worn
from mixfast.tables import given

# These classes are in `_solution.py`, which imports this file.
Solution = Any
Bootstrap = Any

# Reports show at most this many lines of a table; domains with share 0 are left out first.
MOST_LINES = 40


def span(ends: tuple[float, float]) -> str:
    """Format an interval of shares in per cent."""
    low, high = ends
    return f"{100 * max(low, 0.0):.1f} - {100 * high:.1f}%"


def is_limited(solution: Solution) -> bool:
    """Whether the region of a solution has any limit; a prior alone does not count."""
    return solution.region is not None and solution.region.limited


def solve_summary(
    solution: Solution,
    *,
    intervals: Bootstrap | None = None,
    ranges: dict[str, tuple[float, float]] | None = None,
    eps: float = 1e-3,
    budget: int | None = None,
) -> str:
    """Format the shares with their intervals, ranges and prices, and the certificate."""
    return f"{_shares(solution, intervals, ranges, eps, budget)}\n\n{_certificate(solution, intervals)}"


def _shares(
    solution: Solution,
    bootstrap: Bootstrap | None,
    ranges: dict[str, tuple[float, float]] | None,
    eps: float,
    tokens_of_run: int | None,
) -> str:
    mixture, domains = solution.mixture, solution.table.domains
    prices = {price.name: price for price in solution.shadow_prices if price.limit in ("cap", "floor")}
    epochs = solution.epochs
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
        columns[f"{100 * bootstrap.level:g}% interval"] = lambda name: span(intervals[name])
        notes.append(
            f"{100 * bootstrap.level:g}% interval: over {len(bootstrap.shares)} resamples of {_units(bootstrap)}"
        )
    if epochs:
        columns["epochs"] = lambda name: f"{epochs[name]:.2f}"
    if isinstance(wear := solution.wear, dict):
        columns["wear"] = lambda name: worn(wear[name])
        notes.append(
            "wear: repeats after which a token of the domain is worth 1/e of a new one; inf: repeats count fully"
            + ("; epochs: later ones count nothing" if any(isinstance(one, str) for one in wear.values()) else "")
        )
    if tokens_of_run is not None:
        budget = mixture.tokens(tokens_of_run)
        columns["tokens"] = lambda name: tokens(budget[name])
    if prices:
        columns["price"] = lambda name: f"{prices[name].limit} {prices[name].price / 100:.2g}" if name in prices else ""
        saved = "nats saved" if solution.table.kind == "ce" else "decrease of the objective"
        notes.append(f"price: {saved} for each percentage point by which the limit is relaxed")
    if ranges:
        columns[f"range at {eps:g}"] = lambda name: span(ranges[name])
        notes.append(
            f"range: values of this share, with the others adjusted, at which the loss is at most {eps:g} higher"
        )
    if is_limited(solution):
        free = solution.unconstrained.mixture
        columns["no limits"] = lambda name: percent(free[name])
        notes.append("no limits: the optimum of the same objective over all mixtures")
    text = text_table(list(columns), [[show(name) for show in columns.values()] for name in order])
    if hidden:
        rest = math.fsum(mixture[name] for name in hidden)
        text += f"\n... and {len(hidden)} more domains, {percent(rest)} of the tokens together"
    return "\n".join([text, *notes])


def _units(bootstrap: Bootstrap) -> str:
    what = "sequences" if "sequence" in given(bootstrap.solution.table) else "rows"
    return f"{bootstrap.units:,} {f'blocks of neighbouring {what}' if bootstrap.merged else what}"


def _certificate(solution: Solution, bootstrap: Bootstrap | None) -> str:
    lines = [("value", f"{solution.value:.6f} {solution.table.unit}")]
    if solution.kl > 0.0:
        term = solution.value - solution.loss
        lines.append(("", f"of which {solution.loss:.6f} loss and {term:.6f} for the KL term"))
    if solution.wear is not None:
        worth = (
            "repeated tokens are worth less, as the column wear says"
            if isinstance(solution.wear, dict)
            else f"a token read {solution.wear:g} times more is worth 1/e of a new one"
            if isinstance(solution.wear, float)
            else f"a domain counts fully up to {worn(solution.wear)}, and nothing beyond"
        )
        lines.append(("wear", f"{worth}; losses are of effective shares"))
    lines.append(("gap", f"{solution.gap:.1e}: no allowed mixture is better by more than this"))
    lines.append(("status", solution.status))
    if is_limited(solution):
        free = solution.unconstrained
        cost = max(solution.value - free.value, 0.0)
        lines.append(("no limits", f"{free.value:.6f}, gap {free.gap:.1e}: the limits cost {cost:.6f}"))
    if solution.table.n_groups > 1:
        weights = solution.group_weights
        groups = list(solution.group_losses.items())
        text = [f"{name} {loss:.6f} (weight {weights[name]:.3f})" for name, loss in groups[:MOST_LINES]]
        lines += [("groups" if i == 0 else "", entry) for i, entry in enumerate(text)]
    if solution.region is not None and (capped := cap_in_words(solution.region, solution.mixture.weights)):
        lines.append(("caps", capped))
    bounds = [price for price in solution.shadow_prices if price.limit not in ("cap", "floor")]
    lines += [("group limits" if i == 0 else "", price.text) for i, price in enumerate(bounds)]
    measured = f", intervals {_seconds(bootstrap.seconds)}" if bootstrap else ""
    lines.append(("time", f"{_seconds(solution.seconds)}{measured}, {solution.backend}"))
    return text_table(None, lines, left=(0, 1))


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"
