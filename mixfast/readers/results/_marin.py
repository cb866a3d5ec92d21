"""``observations.parquet`` of a swarm in marin's registry: a row for each run, with the weights of each training phase and its metrics.

In the same folder, ``swarm.parquet`` has the tokens of each phase, and ``buckets.parquet`` has the cells (domains) and their tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixfast._text.names import listing, matching
from mixfast._text.optional import needed
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._levanter import left_out, unit_of
from mixfast.readers.results._numbers import as_number
from mixfast.readers.results._source import Source

_PHASE = re.compile(r"phase_?(\d+)_weights$")
_BPB = "grouped_bpb"
_TRAINING = "training_eval_metrics"
_ENDING_OF_MEANS = "_mean"
# Phases have the same mixture if no share differs by more.
_SAME = 1e-12


def _fits(source: Source) -> bool:
    if source.kind != "table" or not source.name.endswith(".parquet"):
        return False
    try:
        from pyarrow.parquet import read_schema
    except ImportError:
        return source.name == "observations.parquet"
    with source.open_parquet() as handle:
        names = read_schema(handle).names
    return any(map(_PHASE.match, names)) and bool({_BPB, _TRAINING} & set(names))


def _read(source: Source, wanted: Wanted) -> Contents:
    rows = records(source.path, source)
    if not rows:
        raise ResultsError("it has no runs")
    names = _run_names(rows, wanted.id)
    measures: list[Measure] = []
    for run, row in zip(names, rows, strict=True):
        measures += _measures(run, row)
    mixtures, notes = _mixtures(names, rows, _budgets(source.path), wanted.domains)
    groups = Counter(str(row["group"]) for row in rows if row.get("group"))
    if groups:
        notes.append(f"groups of runs: {', '.join(f'{name} ({count})' for name, count in groups.items())}")
    if (source.path.parent / "buckets.parquet").exists():
        notes.append("buckets.parquet in the same folder holds the tokens of each domain: pass it to --tokens")
    known = {_BPB, _TRAINING, *(key for key in rows[0] if _PHASE.match(key))}
    text = tuple(key for key in rows[0] if key not in known)
    return Contents(measures, mixtures=mixtures, text=text, notes=tuple(notes))


def records(path: Path, source: Source | None = None) -> list[dict[str, Any]]:
    """Return the rows of a parquet file as mappings; columns of maps become mappings, too."""
    with needed(f"{path}: reading a parquet file", "pyarrow", "mixfast[io]", ResultsError):
        from pyarrow.parquet import read_table
    with (source or Source(path)).open_parquet() as handle:
        rows = read_table(handle).to_pylist()
    return [{key: _mapping(value) for key, value in row.items()} for row in rows]


def _mapping(value: Any) -> Any:
    """Return a map, which pyarrow gives as a list of pairs, as a mapping."""
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return dict(value)
    return value


def _run_names(rows: Sequence[Mapping[str, Any]], id: str) -> list[str]:
    """Return the name of each run: its ``run_name`` if all differ, else its id, which includes the name of the swarm."""
    for key in filter(None, (id, "run_name", "observation_id")):
        found = [row.get(key) for row in rows]
        if id == key and None in found:
            raise ResultsError(f"it has no column {id!r} for the ids of runs; its columns are {listing(rows[0])}")
        if None not in found and len(set(found)) == len(found):
            return [str(name) for name in found]
    raise ResultsError("its runs must have different values of observation_id")


def _measures(run: str, row: Mapping[str, Any]) -> list[Measure]:
    evaluated = {name: value for name, value in (row.get(_BPB) or {}).items() if value is not None}
    trained = {name: value for name, value in (row.get(_TRAINING) or {}).items() if value is not None}
    out = []
    for name, value in evaluated.items():
        number, stem = as_number(value), name.removesuffix(_ENDING_OF_MEANS)
        parts = [other for other in evaluated if other != name and other.startswith(f"{stem}_")] if stem != name else []
        why = f"mean of {len(parts)} metrics that start with {stem}_" if parts else ""
        if number is not None:
            out.append(Measure(name, number, run=run, unit="bits_per_byte", direction="min", left_out=why))
    reasons = left_out(trained)
    for name, value in trained.items():
        number, unit = as_number(value), unit_of(name)
        if number is not None and not name.endswith(("loading_time", "total_time")):
            way = None if unit is None else "min"
            out.append(Measure(name, number, run=run, unit=unit, direction=way, left_out=reasons[name]))
    return out


def _budgets(path: Path) -> list[float] | None:
    """Return the tokens of each phase, if swarm.parquet stands beside the file."""
    beside = path.parent / "swarm.parquet"
    if not beside.exists():
        return None
    rows = records(beside)
    given = rows[0].get("phase_budgets") if len(rows) == 1 else None
    budgets = [as_number(value) for value in given or ()]
    if not budgets or any(value is None or not 0.0 < value < math.inf for value in budgets):
        raise ResultsError(f"{beside} must have one row with 'phase_budgets', the tokens of each phase")
    return [value for value in budgets if value is not None]


def _mixtures(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], budgets: list[float] | None, domains: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return the mixture of each run over its whole training, and notes; patterns for one phase choose the mixture of this phase."""
    phases = sorted((key for key in rows[0] if _PHASE.match(key)), key=_number_of)
    cells = list(dict.fromkeys(cell for row in rows for phase in phases for cell in row.get(phase) or ()))
    weights = {run: found for run, row in zip(names, rows, strict=True) if (found := _weights(row, phases, cells))}
    notes = []
    if lacking := [run for run in names if run not in weights]:
        notes.append(f"runs without a mixture, because their weights lack a domain in a phase: {listing(lacking)}")
    chosen = _chosen(phases, cells, domains)
    if len(chosen) == 1:
        at = phases.index(chosen[0])
        notes.append(f"the mixtures are those of phase {_number_of(chosen[0])}, as --domains says")
        return {run: found[at] for run, found in weights.items()}, notes
    if all(_same(found) for found in weights.values()):
        return {run: found[0] for run, found in weights.items()}, notes
    if budgets is None or len(budgets) != len(phases):
        one = f"phase_{_number_of(phases[-1])}_*"
        notes.append(
            f"the runs have {len(phases)} phases with different mixtures, and no swarm.parquet beside the file says how many tokens each "
            f"has: the mixtures were left out; take those of one phase with --domains '{one}'"
        )
        return {}, notes
    total = math.fsum(budgets)
    parts = [budget / total for budget in budgets]
    if chosen:
        notes.append("each domain of each phase is a domain of its own; shares are fractions of all training tokens")
        return {
            run: {
                f"phase_{_number_of(phase)}_{cell}": part * shares[cell]
                for phase, part, shares in zip(phases, parts, found, strict=True)
                if phase in chosen
                for cell in cells
            }
            for run, found in weights.items()
        }, notes
    tokens = " and ".join(f"{part:.1%}" for part in parts)
    notes.append(
        f"the mixture of a run is the mean of its {len(phases)} phases, weighted by their tokens ({tokens}); --domains 'phase_1_*' takes one phase"
    )
    return {
        run: {cell: math.fsum(part * shares[cell] for part, shares in zip(parts, found, strict=True)) for cell in cells}
        for run, found in weights.items()
    }, notes


def _number_of(phase: str) -> int:
    found = _PHASE.match(phase)
    return int(found[1]) if found else 0


def _weights(row: Mapping[str, Any], phases: Sequence[str], cells: Sequence[str]) -> list[dict[str, float]] | None:
    """Return the weights of each phase by cell; None if one is missing."""
    out = []
    for phase in phases:
        given = row.get(phase)
        shares = {cell: as_number((given or {}).get(cell)) for cell in cells}
        known = {cell: share for cell, share in shares.items() if share is not None and math.isfinite(share)}
        if len(known) < len(cells):
            return None
        out.append(known)
    return out


def _chosen(phases: Sequence[str], cells: Sequence[str], domains: Sequence[str]) -> list[str]:
    """Return the phases that patterns such as ``phase_1_*`` name; none if they name domains or are not given."""
    columns = {f"phase_{_number_of(phase)}_{cell}": phase for phase in phases for cell in cells}
    found = {columns[name] for pattern in domains for name in matching(list(columns), pattern)}
    return [phase for phase in phases if phase in found]


def _same(phases: Sequence[Mapping[str, float]]) -> bool:
    return all(abs(phase[cell] - share) <= _SAME for phase in phases[1:] for cell, share in phases[0].items())


MARIN = Format(
    "marin",
    f"rows with phase0_weights, phase1_weights and {_BPB}",
    ("observations.parquet",),
    _fits,
    _read,
)
