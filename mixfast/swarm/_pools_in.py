"""Read the tokens and the budgets of runs from tables with a row for each run, joined on the ids of the runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.numbers import count
from mixfast.swarm import _pools
from mixfast.swarm._cells import is_missing, is_number
from mixfast.swarm._checks import SwarmError, run_id, run_ids
from mixfast.swarm._columns import ID_NAMES, is_bookkeeping
from mixfast.swarm._files import Frame, Raw, Source, read_csv, read_frame
from mixfast.swarm._ids import id_candidates
from mixfast.swarm._names import align_names
from mixfast.swarm._pools import refuse_one_alone

# Tokens by domain, or a table with a row for each run and a column for each domain.
TokensTable = Source | Frame | Mapping[str, Any] | None
# Tokens of a run: one number, a number for each run by id, or the name of a column.
BudgetColumn = float | str | Mapping[str, float] | None


def epochs_of_runs(
    tokens: TokensTable,
    budget: BudgetColumn,
    ratios: NDArray[np.float64],
    domains: tuple[str, ...],
    runs: tuple[str, ...],
) -> NDArray[np.float64] | None:
    """Return the epochs (R, K) of runs without metrics, as `Swarm.with_tokens` would; None without tokens and budget.

    ``tokens`` may also name domains that the runs lack.
    """
    given = Pools(tokens, budget, others=True).of(runs, domains, {})
    available, read = _pools.pools(given["tokens"], given["budget"], ratios, domains, runs)
    return _pools.epochs(ratios, available, read)


@dataclass(frozen=True)
class Pools:
    """What is given about the pools of the runs of two tables; with ``others`` the tokens may also be those of domains that the runs lack."""

    tokens: TokensTable = None
    budget: BudgetColumn = None
    id: str | None = None
    others: bool = False

    @property
    def column(self) -> str | None:
        """The column with the budgets, if one is named."""
        return self.budget if isinstance(self.budget, str) else None

    def of(
        self, runs: Sequence[str], domains: Sequence[str], budgets: Mapping[str, Sequence[object]]
    ) -> dict[str, Any]:
        """Return the arguments ``tokens`` and ``budget`` of the swarm of these runs and domains.

        ``budgets`` holds the cells of the column of budgets for these runs, by the name of each table that has it.
        """
        tokens: Any = self.tokens
        budget: Any = self.budget
        refuse_one_alone(tokens, budget)
        table = None if tokens is None or _is_by_domain(tokens) else _ByRun.read(tokens, runs, self.id)
        if isinstance(budget, str):
            if table is not None and budget in table.raw.names:
                budgets = {**budgets, table.raw.where: table.cells(budget)}
            if not budgets:
                raise SwarmError(
                    f"{either(f'budget={shown(budget)}', f'--run-budget {budget}')} is neither a number of tokens{either('', ' (such as 5B)')} nor a column of a table of the runs"
                )
            where, cells = next(iter(budgets.items()))
            budget = _numbers(cells, runs, f"{where}: column {shown(budget)}")
        elif isinstance(budget, Mapping):
            given = {run_id(run): value for run, value in budget.items()}
            if lacking := [run for run in runs if run not in given]:
                raise SwarmError(
                    f"budget has no number for {_some_runs(lacking)}; give one for each run, or one for all"
                )
            budget = [given[run] for run in runs]
        elif np.ndim(budget):
            raise SwarmError(
                "budget is a sequence, which names no runs, and runs may be left out; give one number, a mapping of run to tokens, or the "
                "name of a column"
            )
        if table is not None:
            tokens = table.tokens(domains, self.column, others=self.others)
        elif isinstance(tokens, Mapping) and self.others:
            tokens = {name: value for name, value in tokens.items() if name in set(domains)}
        return {"tokens": tokens, "budget": budget}


def _is_by_domain(tokens: object) -> bool:
    """Return whether tokens are one number for each domain, in place of a table with a row for each run."""
    return isinstance(tokens, Mapping) and all(np.ndim(value) == 0 and not isinstance(value, Mapping) for value in tokens.values())  # fmt: skip


@dataclass(frozen=True, eq=False)
class _ByRun:
    """A table with a row for each run, and the rows of the runs of the swarm."""

    raw: Raw
    key: str
    runs: Sequence[str]
    rows: list[int]

    @classmethod
    def read(cls, source: Any, runs: Sequence[str], id: str | None) -> _ByRun:
        is_file = isinstance(source, (str, os.PathLike)) or hasattr(source, "read")
        raw = read_csv(source, "tokens") if is_file else read_frame(source, "tokens")
        key = next(iter(id_candidates(raw, id)), None)
        if key is None:
            raise SwarmError(
                f"{raw.where} needs a column with the ids of runs, {' or '.join(ID_NAMES[:3])}; it has {listing(map(repr, raw.names))}"
                + either(
                    "; for a file of domain: count, tokens=mixfast.readers.token_counts(path)",
                    "; if all runs had the same pools, give a yaml or json file with lines of 'domain: tokens'",
                )
            )
        position = {run: row for row, run in enumerate(run_ids(raw.cells(raw.places[key]), raw.where))}
        if lacking := [run for run in runs if run not in position]:
            raise SwarmError(
                f"{raw.where} has no row for {_some_runs(lacking)}; it needs a row for each run, or give one number for each domain"
            )
        return cls(raw, key, runs, [position[run] for run in runs])

    def cells(self, name: str) -> list[object]:
        """Return the cells of a column for the runs of the swarm."""
        cells = self.raw.cells(self.raw.places[name])
        return [cells[row] for row in self.rows]

    def tokens(self, domains: Sequence[str], budget: str | None, *, others: bool) -> NDArray[np.float64]:
        """Return the tokens (R, K) of the columns that are named like the domains."""
        exact = set(domains)
        columns = [
            name
            for name in self.raw.names
            if name not in (self.key, budget) and (name in exact or not (others or is_bookkeeping(name)))
        ]
        order = align_names(columns, domains, self.raw.where, "the runs")
        where = self.raw.where
        found = [_numbers(self.cells(columns[at]), self.runs, f"{where}: column {shown(columns[at])}") for at in order]
        return np.column_stack(found)


def _numbers(cells: Sequence[object], runs: Sequence[str], where: str) -> NDArray[np.float64]:
    """Return numbers of tokens (R,), written like 3.2B, 1e9 or 2_000."""
    found = np.empty(len(cells))
    wrong = []
    for row, cell in enumerate(cells):
        try:
            found[row] = _tokens(cell)
        except ValueError:
            wrong.append(f"run {shown(runs[row])}: {shown('' if is_missing(cell) else str(cell))}")
    if wrong:
        raise SwarmError(
            f"{where} must hold numbers of tokens, such as 2000000, 3.2B or 1e9, got {listing(wrong, limit=3)}; write 0 for a domain without tokens"
        )
    return found


def _tokens(cell: Any) -> float:
    """Return the number of tokens of a cell; raise ValueError if it is not one."""
    if is_missing(cell) or isinstance(cell, (bool, np.bool_)):
        raise ValueError
    return float(cell) if is_number(cell) else float(count(str(cell)))


def _some_runs(runs: Sequence[str]) -> str:
    return f"{'run' if len(runs) == 1 else 'runs'} {listing(map(shown, runs), limit=3)}"
