"""The tables of the study with few labelled rows, made of its result file; `docs/explanation/assays.md` has them between markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.assays.few_rows import METHODS, ROWS
from benchmarks.assays.intervals import Paired, paired
from benchmarks.assays.store import read
from benchmarks.studies.scale_model import table

# First minus second; both are compared on the same test rows.
COMPARED = (
    ("target only", "mean of the target"), ("exact", "mean of the target"), ("exact", "best single source"), ("exact with KL 0.1", "exact"),
    ("exact", "target only"), ("exact with KL 0.1", "target only"), ("target and sources", "target only"), ("target and sources with KL", "target only"),
)  # fmt: skip
HEADS = [f"{rows} rows" if rows != "all" else "all rows" for rows in ROWS]


class Results:
    """The lines of the file."""

    def __init__(self, folder: Path) -> None:
        self.lines = read(folder / "assays_few_rows.csv")

    def values(self, rows: str, offset: str, column: str) -> dict[tuple[str, int], float]:
        """Return a column by target and split."""
        return {
            (line["target"], int(line["split"])): float(line[column])
            for line in self.lines
            if (line["rows"], line["offset"]) == (rows, offset)
        }

    def mean(self, rows: str, offset: str, column: str) -> float:
        """Return the mean over targets; each has the same splits."""
        return float(np.mean(list(self.values(rows, offset, column).values())))

    def difference(self, rows: str, offset: str, one: str, other: str) -> Paired:
        return paired(self.values(rows, offset, f"rmse {one}"), self.values(rows, offset, f"rmse {other}"))


def errors(found: Results) -> str:
    """Return the root mean squared errors with raw predictions by the number of labelled rows."""
    return _means(found, "raw", "rmse", METHODS, "RMSE, raw")


def deviations(found: Results) -> str:
    """Return the same for deviations."""
    return _means(found, "deviations", "rmse", METHODS, "RMSE, deviations")


def ranks(found: Results) -> str:
    """Return the rank correlations with raw predictions; the mean of the target has none."""
    return _means(found, "raw", "rho", METHODS[1:], "rank correlation, raw")


def _means(found: Results, offset: str, figure: str, methods: tuple[str, ...], head: str) -> str:
    rows = [[one, *(f"{found.mean(n, offset, figure + ' ' + one):.3f}" for n in ROWS)] for one in methods]
    return table([head, *HEADS], rows)


def differences(found: Results) -> str:
    """Return the paired differences of root mean squared errors with raw predictions."""
    rows = [
        [f"{one} - {other}", *(str(found.difference(n, "raw", one, other)) for n in ROWS)] for one, other in COMPARED
    ]
    return table(["difference of RMSE, raw", *HEADS], rows)


def seen(found: Results) -> str:
    """Return in how many of the subsets a sign of a worthless mixture is there, and in how many the mixture is worthless."""

    def of(column: str) -> list[float]:
        return [found.mean(n, "raw", column) for n in ROWS]

    def percent(values: list[float]) -> list[str]:
        return [f"{100.0 * value:.0f} %" for value in values]

    def worse(than: str) -> list[float]:
        out = []
        for n in ROWS:
            mixed, other = found.values(n, "raw", "rmse exact"), found.values(n, "raw", f"rmse {than}")
            out.append(float(np.mean([mixed[key] > other[key] for key in mixed])))
        return out

    rows = [
        ["exact is worse than the mean of the target", *percent(worse("mean of the target"))],
        ["exact is worse than the model of the target", *percent(worse("target only"))],
        ["`bootstrap` warns of few rows", *percent(of("warned"))],
        ["sources with a share; mean", *(f"{value:.1f}" for value in of("active"))],
        ["of these, with a 90 % interval above 0; mean", *(f"{value:.1f}" for value in of("firm"))],
        ["`holdout` has the mixture below equal shares", *percent(of("below_equal"))],
        ["`holdout` has the mixture below every source", *percent(of("lowest"))],
        ["share of the target's mean, as one more expert", *percent(of("mean_share"))],
        ["share of the target's model, as one more expert", *percent(of("own_share"))],
    ]
    return table(["raw predictions", *HEADS], rows)


TABLES = (errors, deviations, ranks, differences, seen)
