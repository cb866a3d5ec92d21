"""Detect tables that are given in the wrong place (twice, swapped, or mixtures as metrics), and say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import listing, places, positions, shown
from mixfast._text.visible import quote
from mixfast.mixture import sum_to_one
from mixfast.swarm._amounts import is_mixture, kind_of_amounts
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._columns import is_bookkeeping
from mixfast.swarm._files import Raw
from mixfast.swarm._ids import id_candidates
from mixfast.swarm._names import affixes
from mixfast.swarm._table import read_table
from mixfast.swarm._within import block_within, groups_within

# Most ids and names shown in one message.
_SHOWN = 3
# Shares that agree to this many decimals are the same.
_DECIMALS = 12


def how_to_split(raw: Raw, id: str | None) -> str:
    """Return how to pass one table with mixtures and metrics, naming the columns that form mixtures if there are any."""
    where = raw.where.removeprefix("ratios ").removeprefix("file ")
    keys = set(id_candidates(raw, id))
    ids = tuple(map(str, range(raw.rows)))
    names = [name for name in raw.names if name not in keys and not is_bookkeeping(name)]
    table = read_table(raw, names, ids, check=False)
    file = where if where != "ratios" else "swarm.csv"
    found = groups_within(table.names, table.values, is_mixture) if table.names else []
    everything = tuple(range(len(table.names)))
    block = found[0].columns if found else everything if is_mixture(table.values) else block_within(table.values)
    if block is not None and len(block) == len(table.names):
        kind = kind_of_amounts(table.values)
        return (
            f"{where} holds mixtures only: {f'its columns are {kind}' if kind else 'its columns sum to 1 in every run'}. Two files are needed: give the one with the metrics of the "
            "same runs as METRICS"
        )
    patterns = [found[0].pattern] if found else [table.names[column] for column in block or ()]
    options = " ".join(f"--domains {quote(pattern)}" for pattern in patterns) or "--domains 'PATTERN*'"
    several = f" (or {listing((one.pattern for one in found[1:]), limit=2)})" if len(found) > 1 else ""
    chosen: object = "PATTERN*" if not patterns else patterns[0] if len(patterns) == 1 else patterns
    how = either(f"domains={shown(chosen)}", f"mixfast fit {quote(file)} {options}")
    return (
        f"{where} is given alone or twice. Two files are needed, RATIOS and METRICS; or, if it holds both, name the columns with the "
        f"shares of domains: {how}{several}; the others are metrics, or those of {either('metric_names', '--metric')}"
    )


def refuse_swapped(ratios: Raw, metrics: Raw, shares: Matrix, values: Matrix) -> None:
    """Raise if the metrics are mixtures and the mixtures are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = values.shape[1] > 1 and is_mixture(values)
        if whole and len(values) > 1 and sum_to_one(shares.sum(axis=1)).mean() < 0.5:
            raise SwarmError(
                f"the tables look swapped: every row of {metrics.where} sums to 1, and fewer than half of {ratios.where}; give the mixtures first"
            )


def refuse_shares_as_metrics(
    ratios: Raw,
    metrics: Raw,
    domains: tuple[str, ...],
    shares: Sequence[Matrix],
    measured: tuple[str, ...],
    values: Matrix,
) -> None:
    """Raise if metrics are the shares of domains, in one of the units (R, K) of ``shares``, or another mixture over the same domains."""
    # Columns are looked up by their bytes, which avoids comparing every metric with every domain.
    by_bytes = {
        _bytes(column): name
        for unit in shares
        for name, column, varies in zip(domains, unit.T, np.ptp(unit, axis=0) > 0.0, strict=True)
        if varies
    }
    found = ((name, by_bytes.get(_bytes(column))) for name, column in zip(measured, values.T, strict=True))
    same = {name: domain for name, domain in found if domain is not None}
    if len(values) > 1 and same:
        told = listing(
            (f"{shown(name)} is the share of {shown(domain)}" for name, domain in same.items()), limit=_SHOWN
        )
        raise SwarmError(
            f"{metrics.where} holds the mixtures of {ratios.where} as metrics ({told}): no law can be fitted to its own input. Give the "
            "table with the metrics of the runs; if one table holds both, name the columns of shares: "
            + either("domains='PATTERN*'", "--domains 'PATTERN*'")
        )
    if len(values) > 1 and (other := _other_mixture(domains, measured, values)):
        kind = kind_of_amounts(values[:, positions(other, measured)])
        raise SwarmError(
            f"{metrics.where} holds mixtures as metrics: {listing(other, limit=_SHOWN)} {f'are {kind}' if kind else 'sum to 1'} in every run and have the names of the domains, "
            f"as for another phase of training. Leave them out: {either(f'ignore=[{shown(other[0])}, ...]', f'--ignore {quote(other[0])} ...')}"
        )


def _bytes(column: Vector) -> bytes:
    """Return what equal columns have in common: the last bits depend on the unit of the shares, and adding 0 turns -0 into 0."""
    with np.errstate(over="ignore"):  # metrics of 1e300 round to infinity, which no share equals
        return (np.round(column, _DECIMALS) + 0.0).tobytes()


def _other_mixture(domains: tuple[str, ...], measured: tuple[str, ...], values: Matrix) -> list[str]:
    """Return metrics that sum to 1 and have the names of the domains, except for a common beginning or end; empty if there are none."""
    start, end = affixes(domains)
    bare = [name[len(start) : len(name) - len(end)] for name in domains]
    column = places(measured)
    tried = set()
    for name in measured if len(domains) > 1 else ():
        for pattern in {name.removesuffix(bare[0]) + "*", "*" + name.removeprefix(bare[0])}:
            if pattern in tried or pattern.replace("*", bare[-1]) not in column:
                continue
            tried.add(pattern)
            names = [pattern.replace("*", each) for each in bare]
            if not column.keys() >= set(names):
                continue
            if is_mixture(values[:, [column[each] for each in names]]):
                return names
    return []
