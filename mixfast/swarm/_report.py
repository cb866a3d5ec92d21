"""The report of a Swarm: what was left out or changed when it was built, and what can be fitted to the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import either
from mixfast._text.names import counted, listing
from mixfast._text.numbers import tokens
from mixfast._text.visible import in_lines
from mixfast.swarm._folds import same_mixture
from mixfast.swarm._history import History
from mixfast.swarm._metric_names import in_doubt
from mixfast.swarm._rank import Identifiable

# Olmix found the error of proposals to level off at about three runs for each number of a law (arXiv:2602.12237).
_RUNS_PER_NUMBER = 3
# Smaller deviations of a sum from 1 are not reported: rounding to four decimals causes them, and changes a share of 20 % by 0.01 %.
_REPORTED = 5e-4
# More epochs than this suggest that tokens and budgets have different units; `Region.from_tokens` refuses such limits.
_MOST_EPOCHS = 1000.0
# Pools that differ by at most this fraction are the same: whole numbers of sequences, and rounded counts.
_SAME_POOL = 1e-3
# Why a column is not used, in the order of the report.
_REASONS = ("name", "text", "empty", "ignored")
# The fraction of the largest number of epochs of a domain below which the smallest one is not printed.
_HARDLY = 1e-3


@dataclass(frozen=True, kw_only=True)
class SwarmReport:
    """Describe what is in a `Swarm` and what was left out; ``str(report)`` is the text.

    Attributes
    ----------
    kept, domains, metrics : int
        Runs R, domains K and metrics J of the swarm.
    dropped : tuple of (str, str)
        Runs left out, each with the reason.
    chosen : tuple of str
        Runs proposed after looking at data.
    renormalised : tuple of str
        Runs with shares that did not sum to 1 and were divided by their sum.
    deviation : float
        The largest deviation of such a sum from 1.
    duplicates : tuple of tuple of str
        Groups of runs with the same mixture.
    constant : tuple of str
        Metrics with the same value for all runs.
    never_sampled : tuple of str
        Domains that no run uses: their effect is unknown.
    unvaried : mapping of str to float
        Further domains with the same share in all runs, except for rounding, each with this share. Their effect is unknown, too.
    linked : tuple of str
        Domains that vary only together, such as two in a fixed ratio: their effects cannot be separated.
    rank : int
        Rank of the mixtures (R, K) without rounding. It is K if the effect of every domain can be separated from those of the others.
    missing : mapping of str to int
        Runs without a value, for each metric that lacks some.
    unused : dict of str to tuple of str
        Columns of the files that are neither ids, domains nor metrics, by reason: "name" (bookkeeping of trackers, standard errors, numbers
        of examples), "text", "empty", or "ignored" on request.
    read : tuple of str
        Notes on how cells were read that are not plain numbers, and on how runs were joined if their columns of ids have different names.
    more_is_better : tuple of str
        Metrics for which more is better; for the others less is better.
    guessed_directions, guessed_units : tuple of str
        Metrics with a direction or unit that their names tell.
    assumed_directions : tuple of str
        Metrics with names that do not tell the direction: less is assumed to be better.
    doubted_directions : dict of str to str
        Metrics for which the other direction may be right, and why: to minimise with negative values, or with a name that does not tell and
        values between 0 and 1 or above 20; log-probabilities with positive values only.
    budget : (float, float), or None
        Smallest and largest number of tokens that a run reads, if the swarm knows its tokens.
    epochs : dict of str to (float, float)
        Smallest and largest number of epochs of each domain, over the runs that sample it; empty if the swarm does not know its tokens.
    other_pools : tuple of str
        Domains with pools that differ by more than 0.1 % between runs. Only laws in epochs know the difference.
    never_repeated : tuple of str
        Domains that some runs sample and no run reads more than once: the runs do not tell what repetition of them costs.
    fits : str
        What can be fitted to this number of runs.
    """

    kept: int
    domains: int
    metrics: int
    dropped: tuple[tuple[str, str], ...]
    chosen: tuple[str, ...]
    renormalised: tuple[str, ...]
    deviation: float
    duplicates: tuple[tuple[str, ...], ...]
    constant: tuple[str, ...]
    never_sampled: tuple[str, ...]
    unvaried: dict[str, float]
    linked: tuple[str, ...]
    rank: int
    missing: dict[str, int]
    unused: dict[str, tuple[str, ...]]
    read: tuple[str, ...]
    more_is_better: tuple[str, ...]
    guessed_directions: tuple[str, ...]
    guessed_units: tuple[str, ...]
    assumed_directions: tuple[str, ...]
    doubted_directions: dict[str, str]
    budget: tuple[float, float] | None
    epochs: dict[str, tuple[float, float]]
    other_pools: tuple[str, ...]
    never_repeated: tuple[str, ...]
    fits: str

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns of the files that are not used, for any reason."""
        return tuple(dict.fromkeys(name for names in self.unused.values() for name in names))

    @property
    def doubted_epochs(self) -> str:
        """Why the tokens or the budgets look wrong; empty if they do not."""
        most = {name: high for name, (_, high) in self.epochs.items() if high > _MOST_EPOCHS}
        if not most:
            return ""
        spans = listing(f"{name} {most[name]:.3g}" for name in sorted(most, key=lambda name: -most[name]))
        return (
            f"more than {_MOST_EPOCHS:g} epochs: {spans}; check that {either('tokens and budget', '--run-tokens and --run-budget')} have one "
            "unit: repetition has been measured below 100 epochs only"
        )

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for run, reason in self.dropped:
            reasons.setdefault(reason, []).append(run)
        lines = [
            ", ".join(
                counted(n, what) for n, what in ((self.kept, "run"), (self.domains, "domain"), (self.metrics, "metric"))
            )
        ]
        lines += [f"dropped, {reason}: {_counted(runs, 'run')}" for reason, runs in reasons.items()]
        if self.chosen:
            lines.append(f"chosen after looking at data, never in a test fold: {_counted(self.chosen, 'run')}")
        if self.renormalised and self.deviation > _REPORTED:
            lines.append(
                f"shares divided by their sum, which differed from 1 by up to {self.deviation:.3g}: "
                f"{_counted(self.renormalised, 'run')}"
            )
        lines += [f"one mixture, {len(group)} runs: {listing(group)}" for group in self.duplicates[:8]]
        if len(self.duplicates) > 8:
            lines.append(f"and {len(self.duplicates) - 8} more mixtures with several runs")
        if self.constant:
            lines.append(f"the same for all runs: {_counted(self.constant, 'metric')}")
        if self.missing:
            shown = listing(f"{name} ({count})" for name, count in self.missing.items())
            lines.append(f"runs without a value: {shown}")
        if self.never_sampled:
            lines.append(f"never sampled, effect unknown: {_counted(self.never_sampled, 'domain')}")
        if self.unvaried:
            shown = listing(f"{name} ({share:.3g})" for name, share in self.unvaried.items())
            lines.append(f"the same share in all runs, effect unknown: {shown}")
        if self.linked:
            lines.append(f"vary only together, effects cannot be separated: {listing(self.linked)}")
        lines += self._epochs()
        lines.append(f"rank of the mixtures: {self.rank} of {self.domains}")
        lines.append(self._ways())
        if self.guessed_units:
            lines.append(f"unit told from the name: {_counted(self.guessed_units, 'metric')}")
        lines += self.read
        if self.unused:
            lines.append(f"columns not used: {self._unused()}")
        return in_lines([*lines, self.fits])

    def _epochs(self) -> list[str]:
        """Return lines on how often the runs read the tokens of the domains, the most repeated first."""
        if self.budget is None:
            return []
        low, high = map(tokens, self.budget)
        lines = [f"each run reads {low} tokens" if low == high else f"a run reads {low} to {high} tokens"]
        if self.other_pools:
            lines.append(
                f"runs with different pools, which only laws in epochs tell apart: {_counted(self.other_pools, 'domain')}"
            )
        order = sorted(self.epochs.items(), key=lambda item: -item[1][1])
        lines.append(f"epochs in the runs that sample a domain: {listing(_span(name, *span) for name, span in order)}")
        if self.doubted_epochs:
            lines.append(self.doubted_epochs)
        if self.never_repeated:
            lines.append(
                f"never read more than once, cost of repetition unknown: {_counted(self.never_repeated, 'domain')}"
            )
        return lines

    def _unused(self) -> str:
        """Return the columns that are not used, by reason, and how to use them."""
        parts = []
        for reason, names in sorted(self.unused.items(), key=lambda item: _REASONS.index(item[0])):
            how = (
                f" (by their names; {either('metric_names=[NAME]', '--metric NAME')} takes one)"
                if reason == "name"
                else ""
            )
            parts.append(("" if reason == "name" else f"{reason}: ") + listing(map(repr, names)) + how)
        return "; ".join(parts)

    def _ways(self) -> str:
        """Return one line on which way is better."""
        count = len(self.more_is_better)
        everything = f"all {self.metrics} metrics" if self.metrics > 1 else "the metric"
        if not count:
            return f"less is better: {everything}{self._assumed(self.metrics)}"
        told = "" if not set(self.more_is_better) & set(self.guessed_directions) else " (told from the names)"
        if count == self.metrics:
            return f"more is better: {everything}{told}"
        rest = self.metrics - count
        return f"more is better: {listing(self.more_is_better)}{told}; less is better: {'the other' if rest == 1 else f'the other {rest}'}{self._assumed(rest)}"

    def _assumed(self, lowered: int) -> str:
        """Return a remark on metrics to minimise with names that do not tell the direction."""
        names = self.assumed_directions
        if not names:
            return ""
        if len(names) == lowered:
            return f" (assumed: {'their names do not say' if lowered > 1 else 'its name does not say'})"
        return f" (assumed for {listing(names)}: {'its name does' if len(names) == 1 else 'their names do'} not say)"


def report(
    *,
    ratios: Matrix,
    values: Matrix,
    domains: tuple[str, ...],
    metrics: tuple[str, ...],
    runs: tuple[str, ...],
    chosen: NDArray[np.bool_],
    direction: tuple[str, ...],
    unit: tuple[str, ...],
    tokens: Matrix | None,
    budget: NDArray[np.float64] | None,
    epochs: Matrix | None,
    identifiable: Identifiable,
    history: History,
) -> SwarmReport:
    """Return the report of a swarm with these fields."""
    lacking = np.isnan(values).sum(axis=0).tolist()
    free = {*history.guessed_directions, *history.assumed_directions}
    columns = zip(metrics, values.T, direction, unit, strict=True)
    why = {
        name: in_doubt(column, way, assumed=name in history.assumed_directions, unit=word)
        for name, column, way, word in columns
        if name in free
    }
    missing = {name: count for name, count in zip(metrics, lacking, strict=True) if count}
    unused = (ratios == 0.0).all(axis=0)
    # Unlike nanmin, fmin gives no warning for metrics without any value.
    spread = zip(metrics, np.fmin.reduce(values), np.fmax.reduce(values), lacking, strict=True)
    spans = {} if epochs is None else _spans(epochs, domains)
    return SwarmReport(
        kept=len(runs),
        domains=len(domains),
        metrics=len(metrics),
        chosen=tuple(runs[row] for row in np.flatnonzero(chosen).tolist()),
        duplicates=tuple(tuple(runs[row] for row in rows) for rows in same_mixture(ratios) if len(rows) > 1),
        constant=tuple(name for name, low, high, count in spread if low == high and len(runs) - count > 1),
        never_sampled=tuple(domains[column] for column in np.flatnonzero(unused).tolist()),
        unvaried={domains[k]: share for k, share in identifiable.constant.items() if not unused[k]},
        linked=tuple(domains[k] for k in identifiable.linked),
        rank=identifiable.rank,
        missing=missing,
        more_is_better=tuple(name for name, way in zip(metrics, direction, strict=True) if way == "max"),
        doubted_directions={name: reason for name, reason in why.items() if reason is not None},
        budget=None if budget is None else (float(budget.min()), float(budget.max())),
        epochs=spans,
        other_pools=()
        if tokens is None
        else tuple(name for name, pool in zip(domains, tokens.T, strict=True) if _differ(pool)),
        never_repeated=tuple(name for name, (_, most) in spans.items() if most <= 1.0),
        fits=_fits(len(runs), len(domains), identifiable.rank, missing),
        **vars(history),
    )


def _differ(pool: NDArray[np.float64]) -> bool:
    """Return whether the tokens of a domain (R,), 0 for runs that do not read it, differ between runs by more than rounding."""
    read = pool[pool > 0.0]
    return len(read) > 1 and float(np.ptp(read)) > _SAME_POOL * float(read.max())


def _span(name: str, few: float, most: float) -> str:
    """Return the epochs of a domain for the report."""
    if few == most:
        return f"{name} {few:.3g}"
    return f"{name} up to {most:.3g}" if few < _HARDLY * most else f"{name} {few:.3g} to {most:.3g}"


def _spans(epochs: Matrix, domains: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest epochs (R, K) of each domain that some run samples, over the runs that sample it."""
    sampled = zip(domains, epochs.T, strict=True)
    return {
        name: (float(column[column > 0.0].min()), float(column.max()))
        for name, column in sampled
        if (column > 0.0).any()
    }


def _fits(runs: int, domains: int, rank: int, missing: dict[str, int]) -> str:
    """Return which laws the runs determine: a log-linear law has one number for each domain and a constant."""
    needed = domains + 1
    scarce = [name for name, count in missing.items() if runs - count < needed]
    if runs < needed:
        text = (
            f"{runs} runs for {domains} domains are fewer than domains + 1 = {needed}: the log-linear law has no unique "
            f"fit; laws with a penalty or a prior (ridge, Gaussian process) and boosted trees can be fitted, "
            f"with caution. About {_RUNS_PER_NUMBER * needed} runs are advised"
        )
    elif rank < domains:
        text = (
            f"the mixtures leave {domains - rank} of {domains} directions unexplored: only laws with a penalty or "
            f"a prior have a unique fit, and this fit predicts nothing about those directions"
        )
    elif runs < _RUNS_PER_NUMBER * needed:
        text = f"every law can be fitted; for the log-linear law about {_RUNS_PER_NUMBER * needed} runs are advised"
    else:
        text = "every law can be fitted"
    if scarce and runs >= needed:
        text += f"; but fewer than {needed} runs have a value of {listing(scarce)}"
    return text


def _counted(names: tuple[str, ...] | list[str], what: str) -> str:
    return f"{counted(len(names), what)}: {listing(names)}" if len(names) <= 8 else listing(names)
