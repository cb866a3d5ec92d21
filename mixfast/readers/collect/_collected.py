"""Collected: the metrics of runs from the files of evaluations, with a report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing, places
from mixfast.errors import BackendError
from mixfast.readers._read import format_of, token_counts
from mixfast.readers.collect._mixture_files import mixture_files
from mixfast.readers.collect._report import CollectReport
from mixfast.readers.results._contents import ResultsError
from mixfast.swarm import Swarm, write_csv

LONG = ("run", "metric", "value", "stderr", "n", "unit", "direction", "step", "source", "mark")
"""The columns of the long table."""


@dataclass(frozen=True, eq=False, repr=False)
class Collected(Frozen):
    """Hold metrics of runs as a long table: one entry for each run and metric.

    Attributes
    ----------
    run, metric : tuple of str
        One entry for each measure.
    value : ndarray of float64
        NaN if the file gives no value or an infinite one.
    stderr : ndarray of float64
        Standard errors, NaN if the file has none.
    n, step : tuple of int or None
        Number of examples, and training step.
    unit, direction : tuple of str
        Empty if unknown. A direction is "min" or "max".
    source : tuple of str
        The file that holds each value.
    mark : tuple of str
        "diverged" for runs far from the others, otherwise empty.
    runs, metrics : tuple of str
        Names of all runs and metrics, in the order in which they were found.
    directions, units : dict of str to str
        By metric, where they are known.
    mixtures : dict of str to dict of str to float
        Shares by run and domain, for the runs whose files hold them.
    folders : dict of str to str
        The innermost folder that holds all files of each run.
    report : CollectReport
        What was kept, what was left out and why. Print it to read it.
    """

    run: tuple[str, ...]
    metric: tuple[str, ...]
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]
    n: tuple[int | None, ...]
    unit: tuple[str, ...]
    direction: tuple[str, ...]
    step: tuple[int | None, ...]
    source: tuple[str, ...]
    mark: tuple[str, ...]
    runs: tuple[str, ...]
    metrics: tuple[str, ...]
    directions: Mapping[str, str]
    units: Mapping[str, str]
    mixtures: Mapping[str, Mapping[str, float]]
    folders: Mapping[str, str]
    report: CollectReport

    def __len__(self) -> int:
        return len(self.run)

    def __repr__(self) -> str:
        return (
            f"Collected({counted(len(self.runs), 'run')}: {listing(self.runs, limit=4)}; "
            f"{counted(len(self.metrics), 'metric')}: {listing(self.metrics, limit=4)})"
        )

    def wide(self) -> dict[str, list[Any]]:
        """Return a column "run" and a column for each metric, as `Swarm.from_frames` takes them; missing values are NaN."""
        return {
            "run": list(self.runs),
            **{name: column.tolist() for name, column in zip(self.metrics, self._values.T, strict=True)},
        }

    def swarm(self, ratios: Any = None, **options: Any) -> Swarm:
        """Return the swarm of these metrics and of mixtures, joined on the runs.

        Parameters
        ----------
        ratios : path or data frame, optional
            Mixtures of the runs, as for `Swarm.from_csv` or `Swarm.from_frames`. Default: the mixtures that the files hold.
        **options
            Passed to `Swarm.from_frames`, such as ``id``, ``domains``, ``direction``, ``tokens``, ``budget``. Known directions and units are passed
            by default. ``tokens`` may also be a file that `token_counts` reads.

        Raises
        ------
        ResultsError
            If no mixtures are given and the files hold none.
        SwarmError
            As for `Swarm.from_frames`.
        """
        if ratios is None:
            ratios = self._mixture_columns()
        elif isinstance(ratios, (str, os.PathLike)):
            ratios = _frame_of(ratios)
        names = options.setdefault(
            "metric_names",
            [name for name, column in zip(self.metrics, self._values.T, strict=True) if not np.isnan(column).all()],
        )
        for what, known in (("direction", self.directions), ("unit", self.units)):
            if options.get(what) is None:
                options[what] = {name: word for name, word in known.items() if name in set(names)}
        tokens = options.get("tokens")
        if isinstance(tokens, (str, os.PathLike)) and format_of(tokens) is not None:
            options["tokens"] = token_counts(tokens)
        return Swarm.from_frames(ratios, self.wide(), **options)

    def with_mixtures(self, name: str, *, paths: str | Mapping[str, str] | None = None) -> Collected:
        """Return a copy with the mixtures from the mixture files of the runs, which all have this name.

        Parameters
        ----------
        name : str
            Name of the file. It is looked for in the folder of the results of each run, and in the folders above it that hold no other run. It
            may be in any format that `read` knows.
        paths : str or mapping of str to str, optional
            Names of the domains in files that have paths, as for `read`.

        Raises
        ------
        ResultsError
            If no run has such a file that can be read.
        """
        found = mixture_files({run: self.folders[run] for run in self.runs}, name, paths)
        report = replace(
            self.report,
            skipped=(*self.report.skipped, *((f"mixture of {run}", why) for run, why in found.skipped)),
            notes=(*self.report.notes, *found.notes),
        )
        return replace(self, mixtures={**self.mixtures, **found.mixtures}, report=report)

    def to_csv(self, path: Any, *, force: bool = False) -> None:
        """Write the wide table as csv: a column "run" and a column for each metric, with empty cells for missing values.

        Directions and units are not written; `to_long_csv` keeps them.

        Parameters
        ----------
        path : path or open file
        force : bool, default False
            Whether a file of another kind is replaced as well.

        Raises
        ------
        SwarmError
            If a name is one that a spreadsheet would compute, such as "=1+1"; or if, without ``force``, a file of another kind would be overwritten.
        OSError
            If the file cannot be written. The old file is then unchanged.
        """
        rows = (
            [run, *("" if value != value else value for value in values)]
            for run, values in zip(self.runs, self._values.tolist(), strict=True)
        )
        write_csv(path, ["run", *self.metrics], rows, force=force)

    def to_long_csv(self, path: Any, *, force: bool = False) -> None:
        """Write the long table as csv: a row for each run and metric, as `Swarm.from_csv` takes it in place of a table of metrics.

        The columns are those of the arrays of this class: run, metric, value, stderr, n, unit, direction, step, source and mark.

        Parameters
        ----------
        path : path or open file
        force : bool, default False
            Whether a file of another kind is replaced as well.

        Raises
        ------
        SwarmError, OSError
            As for `to_csv`.
        """
        columns = [[_cell(value) for value in _listed(getattr(self, name))] for name in LONG]
        write_csv(path, LONG, zip(*columns, strict=True), force=force)

    def ratios_to_csv(self, path: Any, *, force: bool = False) -> None:
        """Write the mixtures that the files hold as csv: a row for each run, a column with shares for each domain.

        Parameters
        ----------
        path : path or open file
        force : bool, default False
            Whether a file of another kind is replaced as well.

        Raises
        ------
        ResultsError
            If the files hold no mixtures.
        SwarmError, OSError
            As for `to_csv`.
        """
        columns = self._mixture_columns()
        write_csv(path, list(columns), zip(*columns.values(), strict=True), force=force)

    def to_pandas(self) -> Any:
        """Return the long table as a pandas DataFrame.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        from mixfast._text.optional import needed

        with needed("to_pandas", "pandas", "mixfast[pandas]", BackendError):
            import pandas
        return pandas.DataFrame({name: _listed(getattr(self, name)) for name in LONG})

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        """Values (R, J), NaN for missing ones."""
        rows = places(self.runs)
        columns = places(self.metrics)
        out = np.full((len(rows), len(columns)), np.nan)
        for run, metric, value in zip(self.run, self.metric, self.value.tolist(), strict=True):
            out[rows[run], columns[metric]] = value
        return out

    def _mixture_columns(self) -> dict[str, list[Any]]:
        if not self.mixtures:
            raise ResultsError("the files hold no mixtures; pass ratios, the mixtures of the runs")
        domains = list(dict.fromkeys(name for shares in self.mixtures.values() for name in shares))
        return {
            "run": list(self.mixtures),
            **{name: [shares.get(name, 0.0) for shares in self.mixtures.values()] for name in domains},
        }


def _frame_of(path: str | os.PathLike[str]) -> dict[str, Sequence[object]]:
    from mixfast.swarm import read_columns

    return read_columns(path, "ratios")


def _listed(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _cell(value: object) -> object:
    return "" if value is None or value != value else value
