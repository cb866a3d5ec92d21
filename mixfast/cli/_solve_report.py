"""What the command line prints, as text: tables of numbers, the certificate in words, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.region import Region
from mixfast.solver import Bootstrap, HeldOut
from mixfast.solver._solution import ShadowPrice, Solution
from mixfast.tables import ExpertTable

# A table of more lines than this hides what it shows; domains without a share go first.
_MOST_LINES = 40
# A share that can move by this much leaves a real choice open: intervals should come down to it, and are worth a word
# well above it.
_WIDE, _TOO_WIDE = 0.05, 0.08
# Shares that move against each other at least this much over the replicates stand in for one another.
_TRADE = -0.5
# Below this a share is rounding of zero to whoever reads percentages.
_NOTHING = 5e-6
# A domain read more often than this is repeated in earnest.
_REPEATED = 2.0


@dataclass(frozen=True)
class Answer:
    """A solve and what was measured around it."""

    table: ExpertTable
    region: Region | None
    objective: dict[str, float] | str | None
    kl: float
    eps: float
    solution: Solution
    intervals: Bootstrap | None
    ranges: dict[str, tuple[float, float]] | None
    budget: int | None
    saved: bool = False

    @property
    def limited(self) -> bool:
        """Whether the region has any limit, beside a prior."""
        where = self.region
        return where is not None and bool((where.cap < 1.0).any() or (where.floor > 0.0).any() or where.bounds)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Return rows under a header, the first column to the left and the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    out = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        out.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(out)


def percent(share: float) -> str:
    """Return a share as a percentage; a trace of one is not shown as none."""
    return "0" if share <= 0.0 else "<0.01%" if share < _NOTHING * 10 else f"{share:.2%}"


def tokens(number: float) -> str:
    """Return a token count in a few characters."""
    for power, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= power:
            return f"{number / power:.4g}{suffix}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Return bytes in a few characters."""
    for power, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= power:
            return f"{number / power:.3g} {suffix}"
    return f"{number:.0f} B"


# The report of a solve.


def solve_report(answer: Answer) -> str:
    """Return the whole report of `mixfast solve`."""
    parts = [_shares(answer), _certificate(answer)]
    steps = next_steps(answer)
    if steps:
        parts.append("What to do next\n" + "\n".join(f"  - {step}" for step in steps))
    return "\n\n".join(parts)


def _shares(answer: Answer) -> str:
    solution, mixture, domains = answer.solution, answer.solution.mixture, answer.table.domains
    prices = {price.name: price for price in solution.shadow_prices if price.limit in ("cap", "floor")}
    epochs, intervals = solution.epochs, answer.intervals.intervals if answer.intervals else None
    free = solution.unconstrained.mixture if answer.limited else None
    budget = mixture.tokens(answer.budget) if answer.budget is not None else None
    order = sorted(domains, key=lambda name: -mixture[name])
    hidden: list[str] = []
    if len(order) > _MOST_LINES:
        shown = [name for name in order if mixture[name] > _NOTHING or name in prices][:_MOST_LINES]
        hidden = [name for name in order if name not in set(shown)]
        order = shown
    header = ["domain", "share"]
    header += ["90% interval"] if intervals else []
    header += ["epochs"] if epochs else []
    header += ["tokens"] if budget else []
    header += ["price"] if prices else []
    header += [f"range at {answer.eps:g}"] if answer.ranges else []
    header += ["no limits"] if free else []
    rows = []
    for name in order:
        row = [name, percent(mixture[name])]
        row += [_span(intervals[name])] if intervals else []
        row += [f"{epochs[name]:.2f}"] if epochs else []
        row += [tokens(budget[name])] if budget else []
        row += [f"{prices[name].limit} {prices[name].price / 100:.2g}" if name in prices else ""] if prices else []
        row += [_span(answer.ranges[name])] if answer.ranges else []
        row += [percent(free[name])] if free else []
        rows.append(row)
    text = grid(header, rows)
    if hidden:
        rest = math.fsum(mixture[name] for name in hidden)
        text += f"\n... and {len(hidden)} more domains, {percent(rest)} of the tokens together"
    notes = []
    if intervals and answer.intervals:
        notes.append(f"90% interval: over {len(answer.intervals.shares)} resamples of {_units(answer)}")
    if prices:
        notes.append("price: nats saved for each percentage point by which the limit gives way")
    if answer.ranges:
        notes.append(f"range: how far the share alone can go while the loss rises by at most {answer.eps:g}")
    if free:
        notes.append("no limits: the optimum of the same objective over all mixtures")
    return "\n".join([text, *notes])


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{100 * max(low, 0.0):.1f} - {100 * high:.1f}%"


def _units(answer: Answer) -> str:
    bootstrap, table = answer.intervals, answer.table
    if bootstrap is None:
        return ""
    if table.sequence is None:
        whole = bootstrap.units == table.n_rows
        return f"{bootstrap.units:,} rows" if whole else f"{bootstrap.units:,} blocks of neighbouring rows"
    whole = bootstrap.units >= np.unique(table.sequence).size
    return f"{bootstrap.units:,} {'sequences' if whole else 'blocks of neighbouring sequences'}"


def _certificate(answer: Answer) -> str:
    solution = answer.solution
    lines = [("value", f"{solution.value:.6f} {answer.table.unit}")]
    if answer.kl > 0.0:
        lines.append(
            ("", f"of which {solution.loss:.6f} loss and {solution.value - solution.loss:.6f} for the KL term")
        )
    if solution.wear is not None:
        lines.append(
            (
                "wear",
                f"a token read {solution.wear:g} times more is worth 1/e of a new one; losses are of effective shares",
            )
        )
    lines.append(("gap", f"{solution.gap:.1e}: no allowed mixture is better by more than this"))
    lines.append(("status", solution.status))
    if answer.limited:
        free = solution.unconstrained
        lines.append(
            (
                "no limits",
                f"{free.value:.6f}, gap {free.gap:.1e}: the limits cost {max(solution.value - free.value, 0.0):.6f}",
            )
        )
    if answer.table.n_groups > 1:
        weights = solution.group_weights
        groups = list(solution.group_losses.items())
        text = [f"{name} {loss:.6f} (weight {weights[name]:.3f})" for name, loss in groups[:_MOST_LINES]]
        lines += [("groups" if i == 0 else "", entry) for i, entry in enumerate(text)]
    bounds = [price for price in solution.shadow_prices if price.limit not in ("cap", "floor")]
    lines += [("group limits" if i == 0 else "", price.text) for i, price in enumerate(bounds)]
    measured = f", intervals {_seconds(answer.intervals.seconds)}" if answer.intervals else ""
    lines.append(("time", f"{_seconds(solution.seconds)}{measured}, {solution.backend}"))
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in lines)


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"


def next_steps(answer: Answer) -> list[str]:
    """Return what the numbers suggest to do, the most important first."""
    steps = [] if answer.solution.status == "optimal" else [_uncertified(answer)]
    if answer.region is None or answer.region.available is None:
        steps.append(
            "no token supply was given: how often this repeats a domain is unknown, and no expert can see what that costs. "
            "--tokens counts.yaml --budget 1T keeps every domain within what exists"
        )
    steps += _about_limits(answer)
    steps += _about_intervals(answer)
    steps += _about_flat_directions(answer)
    steps += _about_groups(answer)
    steps += _about_zeros(answer)
    if not answer.saved:
        steps.append("write the mixture down: --out mixture.yaml")
    return steps


def _uncertified(answer: Answer) -> str:
    return (
        f"the gap {answer.solution.gap:.1e} did not reach the tolerance: the mixture is usable where that much "
        "loss does not matter (--tol says so); a float64 table has less rounding than a float32 one"
    )


def _about_limits(answer: Answer) -> list[str]:
    steps = [_price(price, answer.region) for price in answer.solution.shadow_prices[:3]]
    more = len(answer.solution.shadow_prices) - len(steps)
    if more > 0:
        steps.append(f"{more} more limit{'s bind' if more > 1 else ' binds'}, each at a lower price")
    if answer.solution.wear is None and max((answer.solution.epochs or {}).values(), default=0.0) > _REPEATED:
        steps.append(
            "repeated tokens count as much as new ones here: --wear counts them for less, and needs no hard limit (--max-epochs 32 --wear)"
        )
    return steps


def _price(price: ShadowPrice, where: Region | None) -> str:
    point = f"{price.price / 100:.2g} nats per percentage point"
    epoch = where.epoch_share(price.name) if where is not None and price.limit == "cap" else None
    if where is not None and where.max_epochs is not None and epoch:
        limit = where.max_epochs[where.domains.index(price.name)]
        return (
            f"{price.name} runs out at {limit:g} epochs. One more is worth at most "
            f"{price.price * epoch:.2g} nats: --max-epochs {price.name}={limit + 1:g}, or find more"
        )
    if price.limit == "cap":
        return (
            f"{price.name} is at its cap of {percent(price.value)}: raising it (--cap {price.name}=...) saves {point}"
        )
    if price.limit == "floor":
        floor = f"{price.name} is held up by its floor of {percent(price.value)}"
        return f"{floor}: lowering it (--floor {price.name}=...) saves {point}"
    return price.text


def _about_intervals(answer: Answer) -> list[str]:
    bootstrap, table = answer.intervals, answer.table
    if bootstrap is None:
        return []
    steps = []
    name, (low, high) = max(bootstrap.intervals.items(), key=lambda item: item[1][1] - item[1][0])
    if high - low > _TOO_WIDE:
        factor = ((high - low) / _WIDE) ** 2
        steps.append(
            f"{name} is known to {100 * (high - low):.0f} points only ({_span((low, high))}). Intervals shrink with "
            f"the square root of the data: about {factor:.1f} times the sequences bring it to 5 points"
        )
    if table.sequence is None and table.length is None and table.n_rows > 1000:
        steps.append(
            "rows were resampled as if independent: if they are tokens, give the table `sequence` ids, or the "
            "intervals are too narrow"
        )
    return steps


def _about_flat_directions(answer: Answer) -> list[str]:
    ranges, domains = answer.ranges, answer.table.domains
    if not ranges:
        return []
    wide = {name: high - low for name, (low, high) in ranges.items() if high - low > _WIDE}
    pairs = (
        []
        if answer.intervals is None
        else _trades(answer.intervals.shares, [k for k, name in enumerate(domains) if name in wide])
    )
    if pairs:
        text = ", ".join(f"{domains[a]} and {domains[b]}" for a, b in pairs[:2])
        return [f"these can trade places at less than {answer.eps:g}: {text}. Choose by price, licence or taste"]
    if wide:
        name = max(wide, key=lambda key: wide[key])
        return [f"the optimum is flat: {name} can be anything in {_span(ranges[name])} at a cost of {answer.eps:g}"]
    return []


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


def _about_groups(answer: Answer) -> list[str]:
    if answer.table.n_groups < 2:
        return []
    losses = answer.solution.group_losses
    if answer.objective == "worst":
        weights = " ".join(
            f"--objective {name}={w:.3f}" for name, w in answer.solution.group_weights.items() if w > 5e-4
        )
        return (
            [f'"worst" has no intervals and ranges; the weights that prove it do: {weights}']
            if answer.table.n_groups <= 8
            else []
        )
    name = max(losses, key=lambda key: losses[key])
    return [f"{name} has the largest loss of the groups: --objective worst makes the largest as small as it can be"]


def _about_zeros(answer: Answer) -> list[str]:
    weights = answer.solution.mixture.weights
    if answer.kl > 0.0 or not (weights <= _NOTHING).any():
        return []
    none = int((weights <= _NOTHING).sum())
    return [
        f"{none} of {weights.size} domains get nothing. If that is not wanted: --kl 0.01 pulls towards the prior, "
        "--floor holds a share up"
    ]


# The other reports.


def table_facts(path: Path, table: ExpertTable) -> list[tuple[str, str]]:
    """Return the facts of a table, name and text."""
    mapped = "mapped from disk" if isinstance(_root(table.values), np.memmap) else "in memory"
    kind = (
        "log-likelihoods"
        if table.kind == "ce"
        else f"predictions with {table.n_outputs} output{'s' * (table.n_outputs > 1)}"
    )
    sizes = np.diff(table.group_offsets).tolist()
    facts = [
        ("table", str(path)),
        ("shape", f"{table.n_rows:,} rows x {table.n_domains:,} domains"),
        ("values", f"{kind}, {table.dtype.name}"),
        ("domains", listing(table.domains)),
        ("groups", listing(f"{n} ({rows:,} rows)" for n, rows in zip(table.group_names, sizes, strict=True))),
    ]
    if table.sequence is None:
        facts.append(("sequences", "no ids: every row counts as a sequence of its own"))
    else:
        facts.append(("sequences", f"{np.unique(table.sequence).size:,}"))
    if table.length is None:
        facts.append(("lengths", "none: rows are not divided by a length"))
    else:
        facts.append(("lengths", f"{table.length.min():g} to {table.length.max():g}, mean {table.length.mean():.6g}"))
    if table.weight is not None:
        facts.append(("weights", f"{table.weight.min():.3g} to {table.weight.max():.3g}, sum {table.weight.sum():.6g}"))
    if table.kind == "ce":
        low, high, top = table.extremes
        facts.append(("extremes", f"{low:.4g} to {high + 0.0:.4g} nats; the worst row's best expert has {top:.4g}"))
    else:
        facts.append(
            (
                "extremes",
                f"predictions {table.values.min():.4g} to {table.values.max():.4g}, "
                f"targets {table.target.min():.4g} to {table.target.max():.4g}",
            )
        )
    work = max(0.1 * table.nbytes, 50e6)
    facts.append(("memory", f"{size(table.nbytes)} {mapped}; a solve needs up to {size(work)} beside it"))
    return facts


def _root(array: NDArray[np.float64]) -> object:
    while not isinstance(array, np.memmap) and isinstance(array.base, np.ndarray):
        array = array.base
    return array


def info_report(path: Path, table: ExpertTable) -> str:
    """Return the whole report of `mixfast info`."""
    facts = table_facts(path, table)
    width = max(len(name) for name, _ in facts) + 2
    own, uniform = losses(table)
    several = 1 < table.n_groups <= 6
    header = [
        "loss of",
        *(["mean of groups", *table.group_names] if several else ["mean of groups" if table.n_groups > 1 else "loss"]),
    ]
    order = np.argsort(own.mean(axis=0), kind="stable")[:_MOST_LINES].tolist()
    columns = [("uniform mixture", uniform), *((f"only {table.domains[k]}", own[:, k]) for k in order)]
    rows = [
        [name, f"{values.mean():.5f}", *([f"{v:.5f}" for v in values] if several else [])] for name, values in columns
    ]
    text = "\n".join(f"{name:<{width}}{fact}" for name, fact in facts) + f"\n\n{grid(header, rows)}"
    if table.n_domains > len(order):
        text += f"\n... and {table.n_domains - len(order):,} experts with a larger loss"
    return text + f"\nin {table.unit}"


def losses(table: ExpertTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the loss of each expert alone (G, K), and of the uniform mixture (G,), by group; one sweep in blocks."""
    own, uniform = np.zeros((table.n_groups, table.n_domains)), np.zeros(table.n_groups)
    weight = table.row_weight
    block = max(1, (1 << 20) // table.n_domains)
    for g in range(table.n_groups):
        start, stop = int(table.group_offsets[g]), int(table.group_offsets[g + 1])
        for first in range(start, stop, block):
            rows = slice(first, min(first + block, stop))
            # A row of weight 0 counts nothing, even where its loss is infinite.
            counts = weight[rows] > 0.0
            c, values = weight[rows][counts], table.values[rows][counts].astype(np.float64)
            if table.kind == "ce":
                top = values.max(axis=1, keepdims=True, initial=-math.inf)
                own[g] -= (c[:, None] * values).sum(axis=0)
                uniform[g] -= c @ (np.log(np.exp(values - top).mean(axis=1)) + top[:, 0])
            else:
                error = values - table.target[rows][counts][:, None]
                own[g] += 0.5 * c @ error**2
                uniform[g] += 0.5 * c @ error.mean(axis=1) ** 2
    return own, uniform


def held_out_report(report: HeldOut, limited: bool) -> str:
    """Return the held-out comparison as text."""
    shown = report.rows[:_MOST_LINES]
    rows = [[row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}"] for row in shown]
    header = ["mixture", "loss where fitted", "loss on held-out rows"]
    text = f"fitted on {report.sizes[0]:,} rows, compared on the other {report.sizes[1]:,}\n{grid(header, rows)}"
    if len(report.rows) > len(shown):
        text += f"\n... and {len(report.rows) - len(shown):,} more with a larger loss"
    if limited:
        text += "\nOnly `mixfast` keeps to the limits here; the others are free of them."
    return text
