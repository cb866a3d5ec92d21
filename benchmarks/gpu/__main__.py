"""``python -m benchmarks.gpu [--set NAME ...] [--quick] [--out FOLDER]``: time the GPU kernels; ``benchmarks/gpu.sh`` tests them first.

Medians of CUDA-event times with the L2 cache flushed before each run. Each row is written to ``results/gpu_<set>.csv`` when it
is measured, so that an interrupted run keeps its rows. On a machine without a GPU it prints one line and ends with status 0.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.facts import RESULTS, commit
from benchmarks.gpu.sets import SETS, Record

PACKAGES = ("mixfast", "torch", "triton", "numpy", "cut-cross-entropy", "liger-kernel")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _device() -> dict[str, str]:
    import torch

    facts = torch.cuda.get_device_properties(0)
    return {
        "device": f"{facts.name}, {facts.multi_processor_count} multiprocessors, {facts.total_memory >> 30} GiB",
        "cuda": str(torch.version.cuda),
    }


def main() -> int:
    """Run the chosen sets and append their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--set", nargs="+", choices=SETS, default=[name for name in SETS if name != "tune"], dest="sets"
    )
    parser.add_argument("--quick", action="store_true", help="one or two shapes of each set")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result files")
    options = parser.parse_args()
    try:
        import torch
    except ImportError as problem:
        print(f"no timings: {problem}")
        return 0
    if not torch.cuda.is_available():
        print(f"no timings: torch {torch.__version__} finds no CUDA device")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = False
    where = {"when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": commit(), **_device()}
    where["versions"] = json.dumps(_versions())
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{where['device']}, CUDA {where['cuda']}, commit {where['commit']}")
    status = 0
    for name in options.sets:
        path = options.out / f"gpu_{name}.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [*where, *(field.name for field in fields(Record))])
            if new:
                writer.writeheader()
            try:
                for line in SETS[name](options.quick):
                    writer.writerow(where | asdict(line))
                    file.flush()
                    print(
                        f"{name:6s} {line.case:34s} {line.contender:34s} {line.ms:9.3f} ms {line.rate:8.1f} {line.unit:10s} "
                        f"{100 * line.share_of_limit:5.1f} % of limit  {line.peak_mb:8.1f} MB  error {line.error:.1e}  {line.note}",
                        flush=True,
                    )
            except Exception as problem:  # the next sets can still run
                print(f"{name}: stopped by {type(problem).__name__}: {problem}", file=sys.stderr)
                status = 1
        torch.cuda.empty_cache()
    return status


if __name__ == "__main__":
    sys.exit(main())
