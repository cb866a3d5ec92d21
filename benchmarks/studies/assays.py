"""Compare mixtures of bioassays: python -m benchmarks.studies assays. Domains are assays, experts are models of one assay each.

Each part (toxcast: classification, XGBoost; chembl: squared error; few_rows: the same with few labelled rows) appends to its files in benchmarks/results and leaves out what stands there, so a run that was
stopped can be started again. `--write` puts the tables and the figure into docs/explanation/assays.md. Needs RDKit and XGBoost, and the data beside the checkout.
"""

from __future__ import annotations

import importlib
import resource
import time
from pathlib import Path

from benchmarks.assays import page
from benchmarks.facts import RESULTS

PARTS = ("toxcast", "chembl", "few_rows")


def run(
    folder: Path = RESULTS,
    part: str = "all",
    processes: int = 2,
    targets: int | None = None,
    sources: int | None = None,
    splits: int = 5,
    write: bool = False,
) -> None:
    """Run one part, or all; print the wall-clock and processor time of each."""
    if part not in (*PARTS, "all"):
        raise SystemExit(f"--part {part}: expected one of {', '.join(PARTS)}, all")
    for name in PARTS if part == "all" else (part,):
        start, before = time.perf_counter(), _processor_seconds()
        # Only the part that was asked for is imported.
        module = importlib.import_module(f"benchmarks.assays.{name}")
        # Each part has its own numbers of targets and sources.
        given = {key: count for key, count in (("targets", targets), ("sources", sources)) if count is not None}
        module.run(folder, processes=processes, splits=splits, **given)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {_processor_seconds() - before:.0f} s of processor time")
        if write:
            page.write(name, folder)


def _processor_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
