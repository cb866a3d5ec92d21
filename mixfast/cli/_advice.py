"""What the numbers of a solve suggest to do next."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from mixfast._text.numbers import NOTHING
from mixfast.cli._answer import Answer
from mixfast.region import Region, ShadowPrice
from mixfast.solver import span

# An interval of _WIDE leaves a real choice open and is what more data should aim at; one of _TOO_WIDE is worth a warning.
_WIDE, _TOO_WIDE = 0.05, 0.08
# Two domains whose shares correlate at least this negatively over the replicates can replace each other.
_TRADE = -0.5
# Limits whose prices are named.
_MOST_PRICES = 3
# A domain read more often than this is repeated enough for --wear to matter.
_REPEATED = 2.0


def next_steps(answer: Answer) -> list[str]:
    """Return what the numbers suggest to do, the most important first."""
    about = (_about_proof, _about_limits, _about_intervals, _about_flat_directions, _about_groups, _about_zeros)
    steps = [step for each in about for step in each(answer)]
    return steps if answer.saved else [*steps, "write the mixture down: --out mixture.yaml"]


def _about_proof(answer: Answer) -> Iterator[str]:
    solution = answer.solution
    if solution.status != "optimal":
        yield (
            f"the gap {solution.gap:.1e} did not reach the tolerance: the mixture is usable where that much "
            "loss does not matter (--tol says so); a float64 table has less rounding than a float32 one"
        )
    if solution.region is None or solution.region.available is None:
        yield (
            "no token supply was given: how often this repeats a domain is unknown, and no expert can see what that costs. "
            "--tokens counts.yaml --budget 1T keeps every domain within what exists"
        )


def _about_limits(answer: Answer) -> Iterator[str]:
    solution = answer.solution
    for price in solution.shadow_prices[:_MOST_PRICES]:
        yield _price(price, solution.region)
    more = len(solution.shadow_prices) - _MOST_PRICES
    if more > 0:
        yield f"{more} more limit{'s bind' if more > 1 else ' binds'}, each at a lower price"
    if solution.wear is None and max((solution.epochs or {}).values(), default=0.0) > _REPEATED:
        yield "repeated tokens count as much as new ones here: --wear counts them for less, and needs no hard limit (--max-epochs 32 --wear)"


def _price(price: ShadowPrice, where: Region | None) -> str:
    """The price in the words of the answer, with the option that relaxes the limit."""
    if where is None or price.limit not in ("cap", "floor"):
        return price.text
    if price.limit == "cap" and where.max_epochs is not None and where.epoch_share(price.name):
        more = where.max_epochs[where.domains.index(price.name)] + 1.0
        return f"{price.text}; --max-epochs {quote(price.name)}={more:g} allows it, or find more tokens of it"
    return f"{price.text} (--{price.limit} {quote(price.name)}=...)"


def _about_intervals(answer: Answer) -> Iterator[str]:
    bootstrap, table = answer.intervals, answer.solution.table
    if bootstrap is None:
        return
    name, (low, high) = max(bootstrap.intervals.items(), key=lambda item: item[1][1] - item[1][0])
    if high - low > _TOO_WIDE:
        factor = ((high - low) / _WIDE) ** 2
        yield (
            f"{name} is known to {100 * (high - low):.0f} points only ({span((low, high))}). Intervals shrink with "
            f"the square root of the data: about {factor:.1f} times the sequences bring it to 5 points"
        )
    if table.sequence is None and table.length is None and table.n_rows > 1000:
        yield (
            "rows were resampled as if independent: if they are tokens, give the table `sequence` ids, or the "
            "intervals are too narrow"
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
