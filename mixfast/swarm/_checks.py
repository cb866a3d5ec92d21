"""Check the arguments of a Swarm: turn names, shares, values, directions and units in any accepted form into checked arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import either
from mixfast._text.names import listing, misspelt, shown
from mixfast._text.visible import quote
from mixfast.errors import MixfastError
from mixfast.mixture import NEGATIVE_ROUNDING, SUM_TOLERANCE, sum_to_one
from mixfast.swarm._amounts import COUNTS, disagreement, doubt_of_counts, kind_of_amounts, total_column
from mixfast.swarm._metric_names import told_direction, told_unit
from mixfast.swarm._within import mixtures_within

# One word for all metrics, one for each by name, or one for each in order; with None the names decide.
PerMetric = str | Mapping[str, str] | Sequence[str] | None

# Rows with sums this close to 1 keep every bit, so that reading a file returns what was written.
_SUM_EXACT = 1e-12
# Most runs shown in one message.
_SHOWN = 3
# A law is fitted to each metric and judged on its own, which takes milliseconds: more metrics than these would take minutes without an answer.
_MOST_METRICS = 10_000
# Numbers with more decimals count as unrounded float64.
_MOST_DECIMALS = 12

_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+\Z")


class SwarmError(MixfastError, ValueError):
    """The runs of a swarm, or the files that should hold them, are malformed; the message names the file, runs and columns."""


def checked_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of metrics as a tuple of plain strings; raise unless they are unique non-empty strings, and not too many."""
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise SwarmError(f"metric names must be a sequence of names, got {shown(names)}")
    found = tuple(names)
    wrong = [ascii(name) for name in found if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise SwarmError(f"metric names must be non-empty strings, got {listing(wrong)}")
    if not found:
        raise SwarmError("there are no metrics; at least one is needed")
    refuse_repeated(found, "metric names")
    refuse_many(found)
    return tuple(map(str, found))


def refuse_many(metrics: Sequence[str], what: str = "metrics") -> None:
    """Raise if there are more metrics than laws can be fitted to in minutes; `what` is the word for them."""
    if len(metrics) > _MOST_METRICS:
        raise SwarmError(
            f"there are {len(metrics)} {what}, expected at most {_MOST_METRICS}, because a law is fitted to each: choose metrics with "
            f"{either('metric_names=', '--metric NAME (repeatable; * matches several)')}, or average groups of them first. They begin with {listing(metrics[:_SHOWN])}"
        )


def refuse_repeated(names: Sequence[str], what: str, advice: str = "") -> None:
    """Raise, with the names that occur more than once."""
    if len(set(names)) < len(names):
        repeated = [f"{shown(name)} ({count} times)" for name, count in Counter(names).items() if count > 1]
        raise SwarmError(f"{what} must be unique, repeated: {listing(repeated)}{advice}")


def run_id(cell: object) -> str:
    """Return the id of a run as text; whole numbers lose the ``.0`` that a column of floats adds."""
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    text = str(cell).strip()
    whole = _WHOLE.match(text) if text.endswith("0") else None
    return whole[1] if whole else text


def run_ids(cells: Iterable[object], where: str = "runs") -> tuple[str, ...]:
    """Return unique, non-empty ids of runs."""
    if isinstance(cells, (str, bytes)) or not isinstance(cells, Iterable):
        raise SwarmError(f"{where}: ids must be a sequence, one for each run, got {shown(cells)}")
    found = tuple(["" if cell is None or cell != cell else run_id(cell) for cell in cells])
    if "" in found:
        rows = [str(index + 1) for index, name in enumerate(found) if not name]
        raise SwarmError(f"{where}: every run needs an id, missing in row {listing(rows)} below the header")
    refuse_repeated(
        found,
        f"{where}: ids of runs",
        "; keep one row for each run (if it has rows for several training steps, the one to compare)",
    )
    return found


def positions(index: ArrayLike, runs: int) -> NDArray[np.int64]:
    """Return positions of runs, at least one, from positions or from a mask (R,); positions below 0 count from the end."""
    found = np.asarray(index)
    if found.dtype == np.bool_ and found.shape == (runs,):
        found = np.flatnonzero(found)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.size == 0:
        raise SwarmError(
            f"subset takes positions of runs, at least one, or a mask of {runs} truth values, "
            f"got an array of {found.dtype} of shape {found.shape}"
        )
    rows = found.astype(np.int64)
    if (rows < -runs).any() or (rows >= runs).any():
        raise SwarmError(f"positions must be below {runs}, the number of runs, got {listing(found.tolist())}")
    return rows % runs


def shares(given: ArrayLike, domains: tuple[str, ...], runs: tuple[str, ...] | None) -> tuple[Matrix, Matrix]:
    """Return mixtures (R, K) with rows that sum to 1, and how far each sum was from 1, (R,)."""
    ratios = _numbers("ratios", given)
    if ratios.ndim != 2 or ratios.shape[1] != len(domains) or ratios.shape[0] == 0:
        turned = ratios.ndim == 2 and ratios.shape[0] == len(domains)
        hint = "; it looks transposed: runs are rows, domains are columns" if turned else ""
        raise SwarmError(
            f"ratios must have shape (runs, {len(domains)}), one column for each domain, got {ratios.shape}{hint}"
        )
    names = _names(runs, len(ratios))
    if not np.isfinite(ratios).all():
        raise SwarmError(
            f"shares must be finite numbers, got {_cells(~np.isfinite(ratios), ratios, names, domains)}; "
            "write 0 for a domain a run does not use"
        )
    if (ratios < -NEGATIVE_ROUNDING).any():
        raise SwarmError(f"shares must not be negative, got {_cells(ratios < 0.0, ratios, names, domains)}")
    ratios = np.maximum(ratios, 0.0)
    _refuse_setting(ratios, domains)
    with np.errstate(over="ignore"):
        sums = ratios.sum(axis=1)
        missed = np.abs(sums - 1.0)
        if not (fine := sum_to_one(sums)).all():
            shown = [f"{names(row)} sums to {sums[row]:.6g}" for row in np.flatnonzero(~fine).tolist()]
            raise SwarmError(
                f"the shares of a run must sum to 1 (within {SUM_TOLERANCE}), but run {listing(shown, limit=_SHOWN)}{_why(ratios, domains)}"
            )
    rows = missed > _SUM_EXACT
    ratios[rows] /= sums[rows, None]
    return ratios, np.where(rows, missed, 0.0)


def _refuse_setting(ratios: Matrix, domains: tuple[str, ...]) -> None:
    """Raise if all rows would sum to 1 without a column, and none does with it: it is a setting of the runs, not a domain."""
    # A single run does not tell.
    if len(ratios) < 2 or ratios.shape[1] < 2:
        return
    over = ratios.sum(axis=1) - 1.0
    least = np.abs(over).min()
    missed = np.abs(over[:, None] - ratios).max(axis=0)
    settings = (ratios > 0.0).all(axis=0) & (missed < least)
    # If the sums are wrong, the message on the sums says more than that a varying column may be a setting.
    settings &= (np.ptp(ratios, axis=0) == 0.0) | bool(sum_to_one(over + 1.0).all())
    if not settings.any():
        return
    decimals = _decimals(ratios)
    second, most = np.sort(decimals)[-2:].tolist()
    for column in np.flatnonzero(settings).tolist():
        # Half a unit of the last decimal of the other columns is the largest rounding of each.
        of_rest = second if decimals[column] == most else most
        rounded = (len(domains) - 1) * (0.5 * 10.0**-of_rest if of_rest < _MOST_DECIMALS else _SUM_EXACT)
        if missed[column] <= rounded < least:
            constant = np.ptp(ratios[:, column]) == 0.0
            raise SwarmError(
                f"{shown(domains[column])} is {ratios[0, column]:g} in every run, and without it all rows sum to 1: it looks like a setting of "
                f"the runs, not a domain; leave the column out: {_ignore(domains[column])}"
                if constant
                else f"without {shown(domains[column])} all rows sum to 1, and with it none: it looks like a setting of the runs, not a domain; "
                f"leave the column out: {_ignore(domains[column])}"
            )


def _decimals(numbers: Matrix) -> NDArray[np.int64]:
    """Return the number of decimals of each column of numbers (R, C), (C,), at most `_MOST_DECIMALS`."""
    found = np.full(numbers.shape[1], _MOST_DECIMALS)
    for decimals in range(_MOST_DECIMALS - 1, 0, -1):
        counts = numbers * 10.0**decimals
        found[(np.abs(counts - np.rint(counts)) <= 1e-15 * 10.0**decimals).all(axis=0)] = decimals
    return found


def _why(ratios: Matrix, domains: tuple[str, ...]) -> str:
    """Return the likely reason why rows do not sum to 1, and what to do."""
    sums = ratios.sum(axis=1)
    if sum_to_one(ratios.sum(axis=0)).all():
        return "; the columns sum to 1, so the table looks transposed: runs are rows, domains are columns"
    found = mixtures_within(domains, ratios)
    if len(found) > 1:
        patterns = [one.pattern for one in found]
        last = patterns[-1]
        return (
            f"; the columns hold {len(found)} mixtures for each run, {listing(patterns)}, as for training in phases, but a swarm has one: take the "
            f"columns of one phase, {_domains(last)}, if the others hardly vary, or write the mean of the phases, weighted by their tokens"
        )
    if found:
        return f"; the columns {found[0].pattern} alone sum to 1: name them, {_domains(found[0].pattern)}"
    alone = [name for name, column in zip(domains, ratios.T, strict=True) if sum_to_one(sums - column).all()]
    if alone and len(domains) > 1:
        return f"; without {shown(alone[0])} all sum to 1: leave it out, {_ignore(alone[0])}"
    if total := total_column(domains, ratios):
        return f"; {shown(total)} is the sum of the other columns: leave it out, {_ignore(total)}"
    divides = f"{either('normalise=True of from_csv and from_frames', '--normalise')} divides each run by its sum"
    kind = kind_of_amounts(ratios)
    if kind == COUNTS and (doubt := doubt_of_counts(domains, ratios)[0]):
        return f"; these look like {COUNTS}, but {doubt}: leave columns out that are no domains, {_ignore('NAME')}; {divides}"
    if kind is None and (told := disagreement(ratios)):
        return f"; {told}: use one unit for all runs, or, if every column is a domain, {divides}"
    if kind or _are_counts(ratios, sums):
        return f"; these look like {kind or COUNTS}: {divides}"
    return f"; one of the columns may not be a domain: leave it out, {_ignore('NAME')}, or name the domains, {_domains('NAME')}; {divides}"


def _ignore(name: str) -> str:
    return either(f"ignore={shown(name)}", f"--ignore {quote(name)}")


def _domains(pattern: str) -> str:
    return either(f"domains={shown(pattern)}", f"--domains {quote(pattern)}")


def _are_counts(ratios: Matrix, sums: NDArray[np.float64]) -> bool:
    """Return whether rows are counts: their sums are above 1.5, and over 90 % of the numbers above 0 are at least 1."""
    return bool(sums.min() > 1.5 and (ratios[ratios > 0.0] >= 1.0).mean() > 0.9)


def values(given: ArrayLike, metrics: tuple[str, ...], runs: tuple[str, ...], *, whole: bool = True) -> Matrix:
    """Return metrics (R, J), NaN for missing values; with ``whole``, every metric must have at least one value."""
    found = _numbers("metrics", given)
    if found.ndim == 1 and len(metrics) == 1:
        found = found[:, None]
    if found.shape != (len(runs), len(metrics)):
        turned = found.shape == (len(metrics), len(runs))
        hint = "; it looks transposed: runs are rows, metrics are columns" if turned else ""
        raise SwarmError(
            f"metrics must have shape ({len(runs)}, {len(metrics)}), one row for each run of ratios and one column "
            f"for each metric, got {found.shape}{hint}"
        )
    if np.isinf(found).any():
        raise SwarmError(
            f"metrics must be finite, or NaN for a missing value, got "
            f"{_cells(np.isinf(found), found, _names(runs, len(runs)), metrics)}; leave diverged runs empty"
        )
    if whole and (empty := np.isnan(found).all(axis=0)).any():
        named = [metrics[index] for index in np.flatnonzero(empty).tolist()]
        raise SwarmError(f"no run has a value of {listing(named)}; leave such metrics out")
    return found


def chosen_mask(given: object, runs: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return a mask (R,) from None, a mask, or the ids of the chosen runs."""
    if given is None:
        return np.zeros(len(runs), dtype=np.bool_)
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise SwarmError(
            f"chosen must be a mask, one truth value for each run, or a list of run ids, got {shown(given)}"
        )
    cells = list(given)
    if cells and all(isinstance(cell, (bool, np.bool_)) for cell in cells):
        if len(cells) != len(runs):
            raise SwarmError(f"chosen must have {len(runs)} truth values, one for each run, got {len(cells)}")
        return np.array(cells, dtype=np.bool_)
    named = {run_id(cell) for cell in cells}
    if unknown := sorted(named - set(runs)):
        raise SwarmError(f"chosen names unknown runs: {misspelt(unknown, runs)}; the runs are: {listing(runs)}")
    return np.array([run in named for run in runs], dtype=np.bool_)


def directions(given: PerMetric, metrics: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return "min" or "max" for each metric, the metrics with a direction told by the name, and those for which "min" was assumed."""
    found, guessed, assumed = _per_metric("direction", given, metrics, told_direction, default="min")
    if wrong := [f"{name}={shown(way)}" for name, way in zip(metrics, found, strict=True) if way not in ("min", "max")]:
        raise SwarmError(f'direction must be "min" (lower is better) or "max", got {listing(wrong)}')
    return found, guessed, assumed


def units(given: PerMetric, metrics: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the unit of each metric, and the metrics with a unit told by the name."""
    return _per_metric("unit", given, metrics, told_unit, default="nats")[:2]


def _per_metric(
    what: str, given: PerMetric, metrics: tuple[str, ...], told: Callable[[str], str | None], default: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return one word for each metric from None, one word, a mapping by name or a sequence; the metrics told by name; and those assumed."""
    if isinstance(given, str):
        given = dict.fromkeys(metrics, given)
    elif given is None:
        given = {}
    elif not isinstance(given, Mapping):
        words = tuple(given)
        if len(words) != len(metrics):
            raise SwarmError(f"{what} must have one word for each of the {len(metrics)} metrics, got {len(words)}")
        given = dict(zip(metrics, words, strict=True))
    known = set(metrics)
    if unknown := [str(name) for name in given if name not in known]:
        raise SwarmError(
            f"{what} names unknown metrics: {misspelt(unknown, metrics)}; the metrics are: {listing(metrics)}"
        )
    if wrong := [f"{name}={shown(word)}" for name, word in given.items() if not isinstance(word, str)]:
        raise SwarmError(f"{what} must be a word for each metric, got {listing(wrong)}")
    found: list[str] = []
    guessed: list[str] = []
    assumed: list[str] = []
    for name in metrics:
        word = given.get(name) or told(name)
        found.append(default if word is None else word)
        if name not in given:
            (assumed if word is None else guessed).append(name)
    return tuple(found), tuple(guessed), tuple(assumed)


def _numbers(what: str, given: ArrayLike) -> Matrix:
    try:
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise SwarmError(f"{what} must be a matrix of numbers, one row for each run: {problem}") from problem


def _names(runs: tuple[str, ...] | None, count: int) -> Callable[[int], str]:
    if runs is not None and len(runs) != count:
        raise SwarmError(f"there are {count} rows of ratios, but {len(runs)} ids of runs")
    return lambda row: repr(str(row) if runs is None else runs[row])


def _cells(where: NDArray[np.bool_], table: Matrix, run: Callable[[int], str], columns: tuple[str, ...]) -> str:
    """Return the marked cells for a message: the first of each run."""
    rows = np.flatnonzero(where.any(axis=1)).tolist()
    first = where[rows].argmax(axis=1).tolist()
    return listing(
        (
            f"run {run(row)}: {columns[column]}={table[row, column]:.6g}"
            for row, column in zip(rows, first, strict=True)
        ),
        limit=_SHOWN,
    )
