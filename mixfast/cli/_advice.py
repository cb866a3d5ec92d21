"""Advice on what to do next, from the numbers of a solve."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mixfast._text.numbers import NOTHING
from mixfast._text.visible import quote
from mixfast.cli._answer import Answer
from mixfast.region import Region, ShadowPrice
from mixfast.solver import solve_doubts, span
from mixfast.tables import given

# Widths of intervals, as shares: the width that more data should reach, and the width above which a warning is printed.
_WIDE, _TOO_WIDE = 0.05, 0.08
# Two domains can replace each other if the correlation of their shares over the replicates is at most this.
_TRADE = -0.5
# Number of limits whose prices are listed.
_MOST_PRICES = 3


def next_steps(answer: Answer) -> list[str]:
    """Return advice, the most important first."""
    about = (_about_limits, _about_intervals, _about_flat_directions, _about_groups, _about_zeros)
    steps = [*solve_doubts(answer.solution, answer.intervals), *(step for each in about for step in each(answer))]
    return steps if answer.saved else [*steps, "write the mixture to a file: --out mixture.yaml"]


def _about_limits(answer: Answer) -> Iterator[str]:
    solution = answer.solution
    for price in solution.shadow_prices[:_MOST_PRICES]:
        yield _price(price, solution.region)
    more = len(solution.shadow_prices) - _MOST_PRICES
    if more > 0:
        yield f"{more} more limit{'s bind' if more > 1 else ' binds'}, each at a lower price"


def _price(price: ShadowPrice, where: Region | None) -> str:
    """Return the price in words, with the option that relaxes the limit."""
    if where is None or price.limit not in ("cap", "floor"):
        return price.text
    if price.limit == "cap" and where.max_epochs is not None and where.epoch_share(price.name):
        more = where.max_epochs[where.domains.index(price.name)] + 1.0
        return (
            f"{price.text}; --max-epochs {quote(price.name)}={more:g} relaxes it, and so do more tokens of this domain"
        )
    return f"{price.text} (--{price.limit} {quote(price.name)}=...)"


def _about_intervals(answer: Answer) -> Iterator[str]:
    bootstrap = answer.intervals
    if bootstrap is None:
        return
    name, (low, high) = max(bootstrap.intervals.items(), key=lambda item: item[1][1] - item[1][0])
    if high - low > _TOO_WIDE:
        factor = ((high - low) / _WIDE) ** 2
        noun = "sequences" if "sequence" in given(answer.solution.table) else "rows"
        yield (
            f"the share of {name} is only determined to within {100 * (high - low):.0f} points ({span((low, high))}). Intervals shrink with "
            f"the square root of the number of {noun}: about {factor:.1f} times as many reduce it to 5 points"
        )


def _about_flat_directions(answer: Answer) -> Iterator[str]:
    ranges, domains = answer.ranges or {}, answer.solution.table.domains
    wide = {name: high - low for name, (low, high) in ranges.items() if high - low > _WIDE}
    among = [k for k, name in enumerate(domains) if name in wide]
    pairs = [] if answer.intervals is None else _trades(answer.intervals.shares, among)
    if pairs:
        text = ", ".join(f"{domains[a]} and {domains[b]}" for a, b in pairs[:2])
        yield f"these can replace each other at a cost of less than {answer.eps:g}: {text}. Choose by price, licence or other criteria"
    elif wide:
        name = max(wide, key=lambda key: wide[key])
        yield f"the optimum is flat: the share of {name} can be anywhere in {span(ranges[name])} at a cost of {answer.eps:g}"


def _trades(shares: NDArray[np.float64], among: list[int]) -> list[tuple[int, int]]:
    """Return pairs of domains whose shares replace each other over the resamples, the largest exchange first."""
    among = [k for k in among if shares[:, k].std() > 1e-9]
    if len(among) < 2:
        return []
    covariance = np.cov(shares[:, among].T)
    deviation = np.sqrt(np.diag(covariance))
    first, second = np.triu_indices(len(among), 1)
    found = [
        (float(covariance[i, j]), among[i], among[j])
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
        if covariance[i, j] < _TRADE * deviation[i] * deviation[j]
    ]
    return [(a, b) for _, a, b in sorted(found)]


def _about_groups(answer: Answer) -> Iterator[str]:
    solution, count = answer.solution, answer.solution.table.n_groups
    if solution.worst and 1 < count <= 8:
        weights = " ".join(
            f"--objective {quote(name)}={w:.3f}" for name, w in solution.group_weights.items() if w > 5e-4
        )
        yield f'there are no intervals and ranges for "worst"; the weighted objective with the same optimum has them: {weights}'
    elif not solution.worst and count > 1:
        losses = solution.group_losses
        name = max(losses, key=lambda key: losses[key])
        yield f"{name} has the largest loss of the groups: --objective worst minimises the largest loss"


def _about_zeros(answer: Answer) -> Iterator[str]:
    weights = answer.solution.mixture.weights
    none = int((weights <= NOTHING).sum())
    if none and answer.solution.kl == 0.0:
        yield (
            f"{none} of {weights.size} domains get a share of 0. To keep them: --kl 0.01 pulls towards the prior, "
            "--floor sets a smallest share"
        )
