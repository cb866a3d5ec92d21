"""What the numbers of a solve suggest to do next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mixfast._text.numbers import NOTHING
from mixfast._text.visible import quote
from mixfast.cli._answer import Answer
from mixfast.region import Region, ShadowPrice
from mixfast.solver import solve_doubts, span

# An interval of _WIDE leaves a real choice open and is what more data should aim at; one of _TOO_WIDE is worth a warning.
_WIDE, _TOO_WIDE = 0.05, 0.08
# Two domains whose shares correlate at least this negatively over the replicates can replace each other.
_TRADE = -0.5
# Limits whose prices are named.
_MOST_PRICES = 3


def next_steps(answer: Answer) -> list[str]:
    """Return what the numbers suggest to do, the most important first."""
    about = (_about_limits, _about_intervals, _about_flat_directions, _about_groups, _about_zeros)
    steps = [*solve_doubts(answer.solution, answer.intervals), *(step for each in about for step in each(answer))]
    return steps if answer.saved else [*steps, "write the mixture down: --out mixture.yaml"]


def _about_limits(answer: Answer) -> Iterator[str]:
    solution = answer.solution
    for price in solution.shadow_prices[:_MOST_PRICES]:
        yield _price(price, solution.region)
    more = len(solution.shadow_prices) - _MOST_PRICES
    if more > 0:
        yield f"{more} more limit{'s bind' if more > 1 else ' binds'}, each at a lower price"


def _price(price: ShadowPrice, where: Region | None) -> str:
    """The price in the words of the answer, with the option that relaxes the limit."""
    if where is None or price.limit not in ("cap", "floor"):
        return price.text
    if price.limit == "cap" and where.max_epochs is not None and where.epoch_share(price.name):
        more = where.max_epochs[where.domains.index(price.name)] + 1.0
        return f"{price.text}; --max-epochs {quote(price.name)}={more:g} allows it, or find more tokens of it"
    return f"{price.text} (--{price.limit} {quote(price.name)}=...)"


def _about_intervals(answer: Answer) -> Iterator[str]:
    bootstrap = answer.intervals
    if bootstrap is None:
        return
    name, (low, high) = max(bootstrap.intervals.items(), key=lambda item: item[1][1] - item[1][0])
    if high - low > _TOO_WIDE:
        factor = ((high - low) / _WIDE) ** 2
        yield (
            f"{name} is known to {100 * (high - low):.0f} points only ({span((low, high))}). Intervals shrink with "
            f"the square root of the data: about {factor:.1f} times the sequences bring it to 5 points"
        )


def _about_flat_directions(answer: Answer) -> Iterator[str]:
    ranges, domains = answer.ranges or {}, answer.solution.table.domains
    wide = {name: high - low for name, (low, high) in ranges.items() if high - low > _WIDE}
    among = [k for k, name in enumerate(domains) if name in wide]
    pairs = [] if answer.intervals is None else _trades(answer.intervals.shares, among)
    if pairs:
        text = ", ".join(f"{domains[a]} and {domains[b]}" for a, b in pairs[:2])
        yield f"these can trade places at less than {answer.eps:g}: {text}. Choose by price, licence or taste"
    elif wide:
        name = max(wide, key=lambda key: wide[key])
        yield f"the optimum is flat: {name} can be anything in {span(ranges[name])} at a cost of {answer.eps:g}"


def _trades(shares: NDArray[np.float64], among: list[int]) -> list[tuple[int, int]]:
    """Pairs of domains whose shares replace each other over the resamples, the largest exchange first."""
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
        yield f'"worst" has no intervals and ranges; the weights that prove it do: {weights}'
    elif not solution.worst and count > 1:
        losses = solution.group_losses
        name = max(losses, key=lambda key: losses[key])
        yield f"{name} has the largest loss of the groups: --objective worst makes the largest as small as it can be"


def _about_zeros(answer: Answer) -> Iterator[str]:
    weights = answer.solution.mixture.weights
    none = int((weights <= NOTHING).sum())
    if none and answer.solution.kl == 0.0:
        yield (
            f"{none} of {weights.size} domains get nothing. If that is not wanted: --kl 0.01 pulls towards the prior, "
            "--floor holds a share up"
        )
