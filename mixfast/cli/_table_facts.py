"""Facts about a table for `mixfast info`: shape, groups, sequences, lengths, weights and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast._text.numbers import size
from mixfast.tables import Block, ExpertTable, ShardedTable, number_sequences

Facts = list[tuple[str, str]]
# Smallest and largest entry, and the sum of all.
Spread = tuple[float, float, float]


def table_facts(path: str, table: ExpertTable | ShardedTable) -> Facts:
    """Return facts on a table, as pairs of name and text. Reads lengths and weights of a sharded table once."""
    outputs = f"predictions with {table.n_outputs} output{'s' * (table.n_outputs > 1)}"
    kind = "log-likelihoods" if table.kind == "ce" else outputs
    groups = zip(table.group_names, group_sizes(table), strict=True)
    facts = [
        ("table", path),
        ("shape", f"{table.n_rows:,} rows x {table.n_domains:,} domains"),
        ("values", f"{kind}, {table.dtype.name}"),
        ("domains", listing(table.domains)),
        ("groups", listing(f"{n} ({rows:,} rows)" for n, rows in groups)),
    ]
    length, weight = _spreads(table)
    count = sequence_count(table)
    if count is None:
        facts.append(("sequences", _uncounted(table)))
    else:
        several = isinstance(table, ShardedTable) and table.n_groups > 1
        facts.append(("sequences", f"{count:,}{', counted in each group' * several}"))
    if length is None:
        facts.append(("lengths", "none: rows are not divided by a length"))
    else:
        least, most, total = length
        facts.append(("lengths", f"{least:g} to {most:g}, mean {total / table.n_rows:.6g}"))
    if weight is not None:
        least, most, total = weight
        facts.append(("weights", f"{least:.3g} to {most:.3g}, sum {total:.6g}"))
    if table.temperature is not None:
        facts.append(("temperatures", listing(f"{name} {one:.4g}" for name, one in table.temperature.items())))
    if table.clipped:
        facts.append(("clipped", f"{table.clipped:,} probabilities of labels were raised when the table was built"))
    if isinstance(table, ShardedTable) or table.kind == "ce":
        low, high, top = table.extremes
        facts.append(("extremes", f"{low:.4g} to {high + 0.0:.4g} nats; the worst row's best expert has {top:.4g}"))
    else:
        targets = f"targets {table.target.min():.4g} to {table.target.max():.4g}"
        facts.append(("extremes", f"predictions {table.values.min():.4g} to {table.values.max():.4g}, {targets}"))
    facts.append(("memory", _memory(table)))
    return facts


def group_sizes(table: ExpertTable | ShardedTable) -> list[int]:
    """Return the rows of each group."""
    sizes = table.group_rows if isinstance(table, ShardedTable) else np.diff(table.group_offsets)
    return [int(rows) for rows in sizes]


def sequence_count(table: ExpertTable | ShardedTable) -> int | None:
    """Return the number of sequences; None without ids, or if the ids of a sharded table do not ascend in its parts."""
    if isinstance(table, ShardedTable):
        sequences = number_sequences(table) if table.has_sequence else None
        return int(sequences.counts.sum()) if sequences is not None and sequences.ascending else None
    return None if table.sequence is None else int(np.unique(table.sequence).size)


def _uncounted(table: ExpertTable | ShardedTable) -> str:
    if isinstance(table, ShardedTable) and table.has_sequence:
        return "not counted: their ids do not ascend within each group of each part"
    return "no ids: every row is its own sequence"


def _memory(table: ExpertTable | ShardedTable) -> str:
    if isinstance(table, ShardedTable):
        many = len(table.parts)
        return f"{size(table.nbytes)} in {many} part{'s' * (many > 1)}; a solve keeps a sample of the rows in memory"
    mapped = "mapped from disk" if isinstance(_root(table.values), np.memmap) else "in memory"
    return f"{size(table.nbytes)} {mapped}; a solve needs up to {size(max(0.1 * table.nbytes, 50e6))} more"


def _root(array: NDArray[np.float64]) -> object:
    while not isinstance(array, np.memmap) and isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _spreads(table: ExpertTable | ShardedTable) -> tuple[Spread | None, Spread | None]:
    """Return smallest, largest and sum of the lengths and of the weights; None where the table has none."""
    if not isinstance(table, ShardedTable):
        return _spread(table.length), _spread(table.weight)
    if not (table.has_length or table.has_weight):
        return None, None
    lengths, weights = zip(*table.collect(_block_spreads), strict=True)
    return _joined(lengths), _joined(weights)


def _block_spreads(block: Block) -> tuple[Spread | None, Spread | None]:
    return _spread(block.rows.vectors.get("length")), _spread(block.rows.vectors.get("weight"))


def _spread(array: NDArray[Any] | None) -> Spread | None:
    return None if array is None else (float(array.min()), float(array.max()), float(array.sum()))


def _joined(spreads: tuple[Spread | None, ...]) -> Spread | None:
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return None
    least, most, total = zip(*known, strict=True)
    return min(least), max(most), sum(total)
