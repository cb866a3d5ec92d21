"""The tables of the ChEMBL part, made of its result file; `docs/explanation/assays.md` has them between markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.assays.chembl import ENSEMBLES, FEWER, RETRAINED
from benchmarks.assays.intervals import Paired, paired
from benchmarks.assays.store import read
from benchmarks.studies.scale_model import table

Setting = tuple[str, str, str]
MAIN: tuple[tuple[str, Setting], ...] = (
    ("40 sources, raw", ("molecule", "random", "raw")),
    ("40 sources, deviations", ("molecule", "random", "deviations")),
    ("all sources, raw", ("molecule", "all", "raw")),
    ("by assay, all sources, raw", ("assay", "all", "raw")),
)
WAYS = (*(("ensemble", name) for name in ENSEMBLES), *(("retrained", name) for name in RETRAINED))
COMPARED = (
    ("ensemble exact", "ensemble natural"), ("ensemble exact", "ensemble best single source"), ("ensemble exact", "ensemble MixMin's loop"),
    ("retrained exact", "retrained natural"), ("retrained exact", "retrained random search"), ("retrained exact", "retrained RegMix"),
    ("retrained exact", "ensemble exact"), ("ensemble exact", "ensemble target only"),
    ("ensemble target and sources", "ensemble target only"), ("ensemble target and sources with KL", "ensemble target only"),
    ("ensemble target and sources without doubtful", "ensemble target only"), ("retrained target and sources", "ensemble target only"),
)  # fmt: skip


class Results:
    """The lines of the file."""

    def __init__(self, folder: Path) -> None:
        self.lines = read(folder / "assays_chembl.csv")
        self.targets = len({line["target"] for line in self.lines})

    def values(self, setting: Setting, column: str) -> dict[tuple[str, int], float]:
        """Return a column by target and split; empty if the method was not tried in this setting."""
        return {
            (line["target"], int(line["split"])): float(line[column])
            for line in self.lines
            if (line["by"], line["sources"], line["offset"]) == setting and line[column]
        }

    def mean(self, setting: Setting, column: str) -> float | None:
        """Return the mean over targets of the means over their splits."""
        by_target: dict[str, list[float]] = {}
        for (target, _), value in self.values(setting, column).items():
            by_target.setdefault(target, []).append(value)
        return float(np.mean([np.mean(own) for own in by_target.values()])) if by_target else None

    def difference(self, setting: Setting, one: str, other: str) -> Paired | None:
        """Return the difference of two root mean squared errors."""
        first, second = self.values(setting, f"rmse {one}"), self.values(setting, f"rmse {other}")
        return paired(first, second) if first and second else None


def recorded(found: Results) -> str:
    """Return how many targets and splits the file has."""
    by_molecule = found.values(MAIN[0][1], "rmse ensemble exact")
    splits = [sum(target == name for name, _ in by_molecule) for target in {name for name, _ in by_molecule}]
    least, most = min(splits), max(splits)
    count = f"{most}" if least == most else f"{least} to {most}"
    return f"Recorded: {len(splits)} targets with {count} splits each by molecule, and at most {FEWER} by assay.\n"


def methods(found: Results) -> str:
    """Return the root mean squared errors of all methods, and the rank correlations of the first setting."""
    rows = []
    for way, method in WAYS:
        errors = [found.mean(setting, f"rmse {way} {method}") for _, setting in MAIN]
        rho = found.mean(MAIN[0][1], f"rho {way} {method}")
        rows.append([f"{method}, {way}", *(_number(error) for error in (*errors, rho))])
    constant = [found.mean(setting, "constant") for _, setting in MAIN]
    rows.append(["mean of the target", *(_number(error) for error in constant), ""])
    return table(["method", *(name for name, _ in MAIN), "rank correlation, 40 sources, raw"], rows)


def differences(found: Results) -> str:
    """Return the paired differences of root mean squared errors; below 0, the first method is better."""
    rows = []
    for one, other in COMPARED:
        cells = [found.difference(setting, one, other) for _, setting in MAIN]
        rows.append([f"{one} - {other}", *("" if cell is None else str(cell) for cell in cells)])
    return table(["difference of RMSE", *(name for name, _ in MAIN)], rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


TABLES = (recorded, methods, differences)
