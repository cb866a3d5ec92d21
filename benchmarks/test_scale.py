"""Folders of shards: seconds to a certified gap, in one process and in ranks, compared with one read of the files and with peers.

The folders are written for the run and removed at its end (``MIXFAST_BENCH_FOLDER`` says where; by default the folder for temporary files). Each
contender runs in processes of its own, which report their seconds from opening the folder to the answer; the import of packages is
not counted. The gap of each answer is recomputed by `mixfast.reference` in float64 from the files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import facts, limits, scale, shards, wire
from benchmarks.peers import Contender, reported
from benchmarks.shards import Shards
from benchmarks.suite import Wrong, contenders

CASES = {
    "2e7x16": Shards(20_000_000, 16, parts=16),
    "5e6x64": Shards(5_000_000, 64, parts=16),
    "2e8x16": Shards(200_000_000, 16),
    "2.5e7x64": Shards(25_000_000, 64),
}
LARGE = ("2e8x16", "2.5e7x64")
# Anonymous memory of a rank, MB, and sweeps of all rows if there are many: more is a wrong answer.
MOST_MEMORY, MOST_SWEEPS, MANY_ROWS = 300.0, 3, 10_000_000
# Peers get this many times our seconds, so that one that is slower than ten times is seen to be.
PEER_PATIENCE = 12.0


@dataclass(frozen=True)
class Folder:
    """Input of a contender: the folder, the gap to reach, and for peers the processes and the seconds that they may take."""

    folder: Path
    shards: Shards
    gap: float
    processes: int = 2
    patience: float = 0.0


class Folders:
    """Write folders when they are needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str) -> Path:
        """Return the folder of a case."""
        folder, wanted = self.root / name, CASES[name]
        if not folder.exists():
            free = shutil.disk_usage(self.root).free
            if free < 1.1 * wanted.nbytes:
                pytest.skip(
                    f"{wanted.nbytes / 1e9:.1f} GB of shards do not fit in {self.root}: {free / 1e9:.1f} GB are free"
                )
            wanted.write(folder)
        return folder


@pytest.fixture(scope="module")
def folders() -> Iterator[Folders]:
    """Return the folders, which are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="mixfast-scale-", dir=os.environ.get("MIXFAST_BENCH_FOLDER")) as root:
        yield Folders(Path(root))


def cases(*names: str) -> Any:
    """Parametrize a test with folders; the large ones are marked."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.large] if name in LARGE else []) for name in names]
    )


def solved(case: Folder, **options: Any) -> dict[str, Any]:
    """Solve twice in new processes, so that the second finds the files in the page cache, and count the faster."""
    report = scale.run(case.folder, tol=case.gap, repeats=2, **options)
    reported.add(min(report["seconds"]))
    return report


def checked(case: Folder, report: dict[str, Any]) -> dict[str, Any]:
    """Return the gap by the reference and a note; raise `Wrong` if our answer is not what it must be."""
    gap = shards.gap(case.folder, np.array(report["weights"]))
    if report["status"] != "optimal" or gap > 1.01 * case.gap:
        raise Wrong(f"the status is {report['status']}, the gap by the reference {gap:.1e}, expected {case.gap:g}")
    if report["sweeps"] > MOST_SWEEPS and report["rows"] >= MANY_ROWS:
        raise Wrong(f"{report['sweeps']} sweeps of all rows, expected at most {MOST_SWEEPS}")
    if report["megabytes"] > MOST_MEMORY:
        raise Wrong(f"{report['megabytes']:.0f} MB of anonymous memory, expected at most {MOST_MEMORY:.0f}")
    note = f"{report['sweeps']} sweeps, {report['megabytes']:.0f} MB anonymous"
    if report["ranks"] > 1:
        note += f", {report['steps']:.0f} steps, {report['sent'] / max(report['steps'], 1):.0f} bytes a step"
    return {"gap": gap, "note": note, "sweeps": report["sweeps"]}


def size(case: Folder) -> dict[str, Any]:
    """Return the facts of a folder for the result files."""
    return {"rows": case.shards.rows, "domains": case.shards.domains, "quantity": f"to gap {case.gap:g}"}


def several_processors() -> None:
    """Skip a test of two processes that are held to one processor."""
    if facts.processors() < 2:
        pytest.skip("two processes need two processors: --threads 2")


@cases(*CASES)
def test_folder(measure: Any, folders: Folders, name: str) -> None:
    """One process, compared with as many reads of the files by numpy, and as many of our sweeps of rows in memory, as it makes sweeps."""
    case = Folder(folders.get(name), CASES[name], 1e-8)
    sweeps: list[int] = []

    def check(report: dict[str, Any]) -> dict[str, Any]:
        sweeps.append(report["sweeps"])
        return checked(case, report)

    def least() -> dict[str, float]:
        paths = shards.paths(case.folder)
        few = paths[: max(1, min(len(paths), 400_000_000 // (case.shards.nbytes // len(paths))))]
        rows = np.concatenate([shards.loglik(path) for path in few])
        return {
            "numpy reads and sums the files, for each sweep": sweeps[-1] * limits.read_and_sum(paths),
            "our sweep of rows in memory, for each sweep": sweeps[-1]
            * limits.sweep(rows)
            * case.shards.rows
            / len(rows),
        }

    contender = Contender("mixfast", lambda it: solved(it, threads=facts.threads()), timer=reported)
    measure(contender, case, group=f"folder {name}", check=check, limits=least, problem=name, **size(case))


@pytest.mark.benchmark(timer=reported)
@pytest.mark.parametrize("how", ["1 rank", "2 ranks", "2 ranks, no delay", "2 ranks, 1 ms delay"])
@cases("2e7x16", "2e8x16")
def test_ranks(measure: Any, folders: Folders, name: str, how: str) -> None:
    """One rank and two ranks of one thread each; two ranks in two network namespaces whose packets take 0 or 1 ms."""
    several_processors()
    case = Folder(folders.get(name), CASES[name], 1e-8)

    def run(case: Folder) -> dict[str, Any]:
        if "delay" not in how:
            return solved(case, ranks=int(how[0]))
        with wire.wire(1e-3 if "1 ms" in how else 0.0) as nodes:
            return solved(case, nodes=nodes)

    contender = Contender(
        f"mixfast, {how}", run, reason=wire.reason if "delay" in how else lambda: None, timer=reported
    )
    measure(contender, case, group=f"ranks {name}", check=partial(checked, case), problem=name, **size(case))


OURS: dict[str, float] = {}


def _two_ranks(case: Folder) -> dict[str, Any]:
    report = solved(case, ranks=case.processes)
    OURS[case.folder.name] = min(report["seconds"])
    return report


@contenders("scale", Contender("mixfast, two processes", _two_ranks, timer=reported))
@cases("2e7x16", "2e8x16")
def test_peers(measure: Any, folders: Folders, name: str, contender: Contender) -> None:
    """Two processes each. Peers stop at a gap of 1e-6, or after twelve times our seconds; the gap that they have reached is then printed."""
    several_processors()
    if not contender.ours and name not in OURS:
        pytest.skip("the time of mixfast, on which the patience with peers depends, was not measured")
    patience = 0.0 if contender.ours else max(measure.patience, PEER_PATIENCE * OURS[name])
    case = Folder(folders.get(name), CASES[name], 1e-8 if contender.ours else 1e-6, patience=patience)

    def check(answer: Any) -> dict[str, Any]:
        if contender.ours:
            return checked(case, answer)
        weights, note = answer
        gap = shards.gap(case.folder, weights)
        return {"gap": gap, "note": note} | ({} if gap <= 1.01 * case.gap else {"short": f"asked for {case.gap:g}"})

    measure(contender, case, group=f"peers {name}", check=check, problem=name, **size(case))
