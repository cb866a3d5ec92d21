"""Pools that make a proxy run repeat each domain as often as the target run will, and whether the runs can tell what repetition costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either, setting
from mixfast._text.names import counted, domain_names, listing, positions, shown
from mixfast.errors import AlignmentError, RegionError
from mixfast.laws import REPEATED_RUNS
from mixfast.region import Region
from mixfast.swarm import Swarm

# The wear of a domain can be told from its value if `REPEATED_RUNS` read it more than once, and the standard deviation of the logarithm of
# these epochs is at least this: that of epochs spread evenly, in logarithm, from 1 to 8. `python -m benchmarks.studies wear_design`: for a true
# wear of 15.4 repeats, the median t of the fitted wear is 4.4 above this spread and 0.5 below it, if the domain's effect is ten times the noise.
SPREAD, _TELLING = 0.6, 8.0
# Smaller shares count as not sampled. RegMix's code advises at least 1e-5, for proxies of 1B tokens.
SAMPLED = 1e-5
# More than one epoch, beyond rounding.
_TWICE = 1.0 + 1e-6
# Existing runs whose epochs for a share differ by more than this fraction are not matched.
_MATCHED = 0.05


@dataclass(frozen=True)
class Pools:
    """Tokens of each domain's pool, and of a run and a sequence."""

    tokens: dict[str, int]
    budget: int
    sequence: int
    exact: Vector  # (K,) before rounding
    target: Vector  # (K,) epochs of the target run for each unit of share

    @property
    def sizes(self) -> Vector:
        return np.array(list(self.tokens.values()), dtype=np.float64)

    def epochs(self, ratios: Matrix) -> Matrix:
        """Return how often runs (R, K) read the pools; 0 where the share is 0."""
        return epochs_of(ratios, self.sizes, self.budget)


def epochs_of(ratios: Matrix, tokens: Vector, budget: float) -> Matrix:
    """Return epochs (R, K) of pools (K,); 0 where the share is 0."""
    return np.divide(ratios * budget, tokens, out=np.zeros_like(ratios), where=(ratios > 0.0) & (tokens > 0.0))


def over_domains(values: Matrix, domains: tuple[str, ...], region: Region) -> Matrix:
    """Return values (R, L) of some domains for all domains (R, K) of a region, 0 for the others."""
    whole = np.zeros((len(values), region.n_domains))
    whole[:, positions(domains, region.domains)] = values
    return whole


def matched(
    region: Region,
    tokens: Mapping[str, int] | None,
    target_budget: int | None,
    proxy_budget: int | None,
    sequence_length: int,
) -> Pools | None:
    """Return pools of ``tokens * proxy_budget / target_budget``, rounded to whole sequences; None without a proxy budget."""
    sequence = _whole(sequence_length, "sequence_length")
    available, target = _supply(region, tokens, target_budget)
    if proxy_budget is None:
        if tokens is not None or sequence != 1:
            what = "tokens and target_budget" if tokens is not None else either("sequence_length", "--sequence-length")
            raise RegionError(
                f"{what} need {either('proxy_budget', '--proxy-budget')}, the tokens of a proxy run: the pools follow from it"
            )
        return None
    if available is None or target is None:
        raise RegionError(
            f"{either('proxy_budget', '--proxy-budget')} needs the tokens of each domain and of the target run: "
            f"{either('give tokens and target_budget, or a region of Region.from_tokens', 'give --tokens and --budget')}"
        )
    budget = _whole(proxy_budget, either("proxy_budget", "--proxy-budget"))
    if budget > target:
        raise RegionError(
            f"{either('proxy_budget', '--proxy-budget')} is {budget:,} tokens, more than the {target:,} of the target run: its pools would "
            "need more tokens than there are"
        )
    if sequence > budget:
        raise RegionError(f"a sequence of {sequence:,} tokens is longer than a proxy run of {budget:,} tokens")
    exact = available * (budget / target)
    sizes = np.where(available > 0.0, np.maximum(np.rint(exact / sequence), 1.0), 0.0).astype(np.int64) * sequence
    with np.errstate(divide="ignore"):
        rate = target / available
    return Pools(dict(zip(region.domains, sizes.tolist(), strict=True)), budget, sequence, exact, rate)


def those_of(swarm: Swarm, region: Region) -> Pools | None:
    """Return the pools that all runs of a swarm read, in the order of the region; None if they are not known, or differ between runs."""
    if swarm.tokens is None or swarm.budget is None or np.ptp(swarm.budget) or np.ptp(swarm.tokens, axis=0).any():
        return None
    sizes, budget = over_domains(swarm.tokens[:1], swarm.domains, region)[0], float(swarm.budget[0])
    if (sizes != np.rint(sizes)).any() or budget != np.rint(budget):
        return None
    supply = region.available if region.available is not None else sizes
    with np.errstate(divide="ignore"):
        rate = (region.target_tokens or budget) / supply.astype(np.float64)
    return Pools(dict(zip(region.domains, sizes.astype(np.int64).tolist(), strict=True)), int(budget), 1, sizes, rate)


def _supply(
    region: Region, tokens: Mapping[str, int] | None, target_budget: int | None
) -> tuple[Vector | None, int | None]:
    """Return the tokens (K,) of each domain and of the target run, from the arguments or the region."""
    if region.available is not None:
        if tokens is not None or target_budget is not None:
            raise RegionError(
                "the region knows the tokens of each domain and of the target run: leave out tokens and target_budget"
            )
        return region.available.astype(np.float64), region.target_tokens
    if (tokens is None) != (target_budget is None):
        raise RegionError("tokens and target_budget are given together: the epochs of the target run follow from both")
    if tokens is None or target_budget is None:
        return None, None
    names = domain_names(tokens, RegionError)
    if set(names) != set(region.domains):
        raise AlignmentError.between("tokens", names, "the region", region.domains)
    wrong = [f"{name}={shown(tokens[name])}" for name in names if not _is_count(tokens[name])]
    if wrong:
        raise RegionError(f"tokens must be numbers of at least 0, got {listing(wrong)}")
    return np.array([float(tokens[name]) for name in region.domains]), _whole(target_budget, "target_budget")


def _whole(value: object, what: str) -> int:
    """Check a number of tokens of at least 1; floats such as 1e12 count as whole."""
    if not _is_count(value) or not 1 <= value < 2**63 or value != value // 1:
        raise RegionError(f"{what} must be a whole number of tokens of at least 1, got {shown(value)}")
    return int(value)


def _is_count(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0.0 <= float(value) < math.inf


# Doubts.


def doubts(
    region: Region, ratios: Matrix, pools: Pools | None, existing: Matrix, known: Matrix | None = None
) -> tuple[str, ...]:
    """List what the epochs of a design cannot tell.

    Parameters
    ----------
    region : Region
    ratios : (R, K)
        The new runs.
    pools : Pools or None
    existing : (N, K)
        Runs that exist.
    known : (N, K) or None
        Their epochs. Without, they are taken to read the same pools.
    """
    if pools is None:
        repeated = _repeated(region, None)
        if not repeated:
            return ()
        return (
            f"the target run may read some domains more than once ({listing(repeated, limit=3)}), and proxies that read whole domains repeat "
            f"less: {either('proxy_budget=N', '--proxy-budget N')} plans pools that they repeat as often",
        )
    epochs = pools.epochs(ratios)
    before = pools.epochs(existing) if known is None else known
    every = np.concatenate([before, epochs])
    return (
        *_of_wear(region, every, pools),
        *_of_existing(region, existing, known, pools),
        *_of_sequences(region, ratios, pools),
    )


def _repeated(region: Region, pools: Pools | None) -> list[str]:
    """Name the domains that the limits allow the target run to read more than once."""
    if pools is not None:
        rate = pools.target
    elif region.available is not None and region.target_tokens is not None:
        with np.errstate(divide="ignore"):
            rate = region.target_tokens / region.available.astype(np.float64)
    else:
        return []
    most = np.where(region.cap > 0.0, region.cap * np.where(np.isfinite(rate), rate, 0.0), 0.0)
    return [region.domains[k] for k in np.flatnonzero((most > _TWICE) & region.reachable)]


def _of_wear(region: Region, epochs: Matrix, pools: Pools) -> list[str]:
    """Name the domains that the target run may repeat and whose wear the runs cannot tell from their value.

    Domains that no run can read `_TELLING` times, even alone, are left out: no design can tell their wear, and it is small.
    """
    repeated = positions(_repeated(region, pools), region.domains)
    unclear = [k for k in repeated if pools.target[k] >= _TELLING and not wear_is_told(epochs[:, k])]
    if not unclear:
        return []
    named = listing(
        f"{region.domains[k]} (at most {epochs[:, k].max():.2g} epochs, {counted(int((epochs[:, k] > _TWICE).sum()), 'run')})"
        for k in unclear
    )
    remedy = (
        "Add runs whose shares of these domains differ more."
        if all(region.cap[k] >= 1.0 or region.cap[k] * pools.target[k] >= 2.0 * _TELLING for k in unclear)
        else f"Add runs, or allow more epochs in the design than in the proposal ({setting('max_epochs', 16)})."
    )
    return [
        f"the runs cannot tell the wear of these domains from their value: {named}. A domain needs {REPEATED_RUNS} runs that read it "
        f"more than once, and their epochs must differ as much as from 1 to {_TELLING:g}. {remedy}"
    ]


def wear_is_told(epochs: Vector) -> bool:
    """Whether runs with these epochs (R,) of a domain can tell its wear from its value; see `SPREAD`."""
    repeated = epochs[epochs > _TWICE]
    return repeated.size >= REPEATED_RUNS and float(np.log(repeated).std()) >= SPREAD


def _of_existing(region: Region, existing: Matrix, known: Matrix | None, pools: Pools) -> list[str]:
    """Compare the epochs of existing runs with those that the target run has at the same shares."""
    if known is None or not len(existing):
        return []
    repeated = _repeated(region, pools)
    if repeated and not (known > _TWICE).any():
        return [
            f"the existing runs repeat nothing, but the target run may read {listing(repeated)} more than once: laws learn the cost of repetition "
            "from the new runs only."
        ]
    wanted = existing * np.where(np.isfinite(pools.target), pools.target, 0.0)
    off = np.abs(known - wanted) > _MATCHED * wanted
    other = [region.domains[k] for k in np.flatnonzero(off.any(axis=0))]
    if not other:
        return []
    return [
        f"the existing runs read {listing(other)} more or less often than the target run would at the same shares: only a law in epochs can "
        "use both."
    ]


def _of_sequences(region: Region, ratios: Matrix, pools: Pools) -> list[str]:
    """Name pools and shares that are smaller than one sequence."""
    found = []
    unit = f"one sequence of {pools.sequence:,} tokens" if pools.sequence > 1 else "one token"
    short = (pools.exact > 0.0) & (pools.exact < pools.sequence)
    if short.any():
        named = listing(f"{region.domains[k]} ({pools.exact[k]:.3g} tokens)" for k in np.flatnonzero(short))
        found.append(
            f"pools smaller than {unit}, raised to it, so proxies repeat them less often than the target run: {named}."
        )
    tiny = ((ratios >= SAMPLED) & (ratios * pools.budget < pools.sequence)).sum(axis=0)
    if tiny.any():
        named = listing(f"{region.domains[k]} (runs: {tiny[k]})" for k in np.flatnonzero(tiny))
        found.append(f"shares of less than {unit} in a proxy run, which then may not read the domain: {named}.")
    return found
