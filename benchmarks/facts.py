"""Record where a figure comes from (machine, threads, commit, versions), and append it to the result files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Real data next to the checkout; suites and studies that need it say so if it is missing.
DATA = ROOT.parent / "shared" / "data"
# Every thread pool gets the same number before numpy is imported.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "MIXFAST_NUM_THREADS",
         "NUMBA_NUM_THREADS")  # fmt: skip
PACKAGES = (
    "mixfast", "numpy", "scipy", "cvxpy", "clarabel", "ecos", "scs", "jax", "torch", "numexpr", "scikit-learn", "lightgbm",
    "numba", "torchdata", "grain", "datasets", "transformers", "botorch",
    "dask",
)  # fmt: skip
# The columns never change, so that files of different machines and dates can be joined.
COLUMNS = (
    "when", "commit", "machine", "cores", "threads", "pools", "quick", "checked", "problem", "rows", "domains", "contender",
    "quantity", "value", "unit", "gap", "repeats", "note", "passed", "versions",
)  # fmt: skip


def threads() -> int:
    """Return the threads that this run may use: from the environment, otherwise all processors that it may run on."""
    return int(os.environ.get(POOLS[0]) or processors())


def processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(count: int) -> None:
    """Restrict this process and its thread pools to that many processors; call it before numpy is imported."""
    os.environ |= dict.fromkeys(POOLS, str(count))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def processor() -> str:
    """Name, family and widest vectors of the processor."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        import platform

        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in pairs}
    widest = next((isa for isa in ("avx512f", "avx2") if isa in facts.get("flags", "").split()), "baseline")
    return (
        f"{facts.get('model name', '?')} family {facts.get('cpu family', '?')} model {facts.get('model', '?')} {widest}"
    )


def pools() -> str:
    """Return the thread pools of this process, with their sizes."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown (threadpoolctl is not installed)"
    return ", ".join(f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info())


def commit() -> str:
    """Return the commit of the checkout, with "-dirty" if files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    return (git("rev-parse", "--short", "HEAD") or "none") + ("-dirty" if git("status", "--porcelain") else "")


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that the suites run."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def shared() -> dict[str, Any]:
    """The columns that all lines of one run have in common."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit(), "machine": processor(),
        "cores": os.cpu_count(), "threads": threads(), "pools": pools(), "versions": json.dumps(versions()),
    }  # fmt: skip


def append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append lines to a result file; a new file gets the header."""
    rows = list(rows)
    if not rows:
        return
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)
