"""Solve a folder as large as a disk holds, once: write it, solve it cold and warm, check the certificate, remove it, and record the figures.

``python -m benchmarks.studies largest --rows 1e9 --domains 16`` needs 32 GB of disk and about half an hour on two cores. The lines go to ``results/scale.csv``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import facts, scale, shards


def forget(paths: list[Path]) -> None:
    """Have the system drop the pages of these files from its cache, so that the next read comes from the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _write(one: shards.Shards, folder: Path, copies: int) -> None:
    """Write the parts of one copy, and copy them."""
    paths = one.write(folder)
    for number in range(len(paths), copies * len(paths)):
        path = paths[number % len(paths)]
        shutil.copyfile(path, folder / f"part-{number:05d}{path.suffix}")


def run(
    rows: float = 1e9,
    domains: int = 16,
    parts: int = 320,
    copies: int = 5,
    folder: str = "",
    table: str = "",
    threads: int = 0,
    ranks: int = 1,
) -> int:
    """Write the shards into a new folder inside `folder` (default: the folder for temporary files), and solve them.

    The rows are `copies` copies of a smaller table, which are quicker to write and have the same optimum; the certificate is recomputed from
    the first copy. `table` is a folder with these parts that is used as it is.
    """
    threads = threads or max(1, facts.processors() // ranks)
    made = shards.Shards(int(rows), domains, parts)
    one = shards.Shards(int(rows) // copies, domains, parts // copies)
    root = Path(tempfile.mkdtemp(prefix="mixfast-largest-", dir=folder or None))
    try:
        free = shutil.disk_usage(root).free
        if not table and free < 1.05 * made.nbytes:
            print(f"{made.nbytes / 1e9:.1f} GB of shards do not fit in {root}: {free / 1e9:.1f} GB are free")
            return 1
        began = time.perf_counter()
        where = Path(table) if table else root / "table"
        if not table:
            _write(one, where, copies)
        print(
            f"{made.rows} x {domains} float16, {made.nbytes / 1e9:.1f} GB in {parts} parts, {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        forget(shards.paths(where))
        report = scale.run(where, ranks=ranks, threads=threads, repeats=2)
        first, second = report["seconds"]
        note = f"{copies} copies of {one.rows:g} rows, {report['sweeps']} sweeps, {report['megabytes']:.0f} MB anonymous, {report['status']}"
        print(
            f"solved in {first:.1f} s from the disk, again in {second:.1f} s: {note}, gap {report['gap']:.1e}",
            flush=True,
        )
        began = time.perf_counter()
        gap = shards.gap(where, np.array(report["weights"]), parts=one.parts)
        print(f"gap by the reference {gap:.1e} nats, {time.perf_counter() - began:.0f} s")
    finally:
        shutil.rmtree(root)
    shared = facts.shared() | {
        "quick": 0,
        "checked": 1,
        "problem": f"{made.rows:g}x{domains}",
        "rows": made.rows,
        "domains": domains,
    }
    facts.append(
        facts.RESULTS / "scale.csv",
        [
            shared
            | {
                "contender": f"mixfast, {how}",
                "quantity": "to gap 1e-08",
                "value": value,
                "unit": "s",
                "gap": gap,
                "repeats": 1,
                "note": note,
            }
            for how, value in (("from the disk", first), ("again", second))
        ],
    )
    return 0 if report["status"] == "optimal" and gap <= 1.01e-8 else 1
