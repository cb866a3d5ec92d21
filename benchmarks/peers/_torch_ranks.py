"""First-order loops over shards in torch.distributed: ``torchrun --nproc-per-node 2 -m benchmarks.peers._torch_ranks em FOLDER ...``.

Each process owns every `size`-th part. A step is two products over its rows and one all_reduce of K + 1 numbers, which also give the gap.
Probabilities are computed once and kept in float32 if they fit into half of the free memory; otherwise in each step, in pieces that stay in
the cache. The clock starts with the first read of the parts: neither the start of the processes nor the import of torch counts. It stops when the gap, recomputed in
each step at no cost, is reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import facts, limits, shards
from benchmarks.peers import Unable, reported

# Rows of a piece: its probabilities are 4 MB in all.
ELEMENTS = 1 << 20
# Step sizes of exponentiated gradient. The one that is fastest on the first rows of a table is used; this search is not timed.
STEPS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SEARCHED_ROWS, SEARCHED_STEPS = 50_000, 2000


class Rows:
    """The rows of one process as pieces of probabilities."""

    def __init__(self, parts: list[np.ndarray], *, kept: bool) -> None:
        import torch

        self.torch = torch
        step = max(1, ELEMENTS // parts[0].shape[1])
        self.raw = [part[start : start + step] for part in parts for start in range(0, len(part), step)]
        self.count = sum(map(len, parts))
        self.kept = [self._exp(piece) for piece in self.raw] if kept else None

    def _exp(self, piece: np.ndarray) -> object:
        # Rows of these tables need no shift: no log-likelihood is so low that exp underflows for all experts.
        return self.torch.from_numpy(np.asarray(piece, dtype=np.float32)).exp_()

    def slope(self, w: np.ndarray) -> np.ndarray:
        """Return the sum over the rows of p / (p.w)."""
        mixture = self.torch.from_numpy(w.astype(np.float32))
        total = self.torch.zeros(len(w), dtype=self.torch.float64)
        for piece in self.kept or map(self._exp, self.raw):
            total += ((piece @ mixture).reciprocal_() @ piece).double()
        return total.numpy()


def em(w: np.ndarray, slope: np.ndarray, step: float) -> np.ndarray:
    """Return the shares after a step of expectation maximisation; `slope` is the mean of p / (p.w)."""
    return w * slope


def eg(w: np.ndarray, slope: np.ndarray, step: float) -> np.ndarray:
    """Return the shares after a step of exponentiated gradient."""
    with np.errstate(over="ignore", invalid="ignore"):
        return w * np.exp(step * (slope - 1.0))


def iterate(mean_slope, update, k: int, gap: float, end: float, most: int, step: float):
    """Return shares, gap and number of steps once the gap or the end of the time is reached."""
    w, count = np.full(k, 1.0 / k), 0
    while True:
        count += 1
        slope, late = mean_slope(w, time.perf_counter() > end)
        now = float(slope.max() - w @ slope)
        if now <= gap or late or count == most or not np.isfinite(now):
            return w, now, count
        w = update(w, slope, step)
        w /= w.sum()


def best_step(part: np.ndarray, gap: float) -> float:
    """Return the step that reaches the gap in the fewest steps on the first rows."""
    rows = Rows([part[:SEARCHED_ROWS]], kept=True)

    def alone(w: np.ndarray, late: bool) -> tuple[np.ndarray, bool]:
        return rows.slope(w) / rows.count, late

    best, fewest = STEPS[0], SEARCHED_STEPS
    for step in STEPS:
        _, now, count = iterate(alone, eg, part.shape[1], gap, np.inf, fewest, step)
        if now <= gap and count < fewest:
            best, fewest = step, count
    return best


def work(method: str, folder: Path, gap: float, patience: float) -> dict[str, object]:
    """Run the loop in this process of the group, and return its answer."""
    import torch
    import torch.distributed as dist

    rank, size = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(max(1, facts.processors() // size))
    paths = shards.paths(folder)
    first = shards.loglik(paths[0])
    k = first.shape[1]
    step = best_step(first, gap) if method == "eg" else 1.0
    dist.barrier()
    began = time.perf_counter()
    parts = [shards.loglik(path) for path in paths[rank::size]]
    elements = sum(part.size for part in parts)
    kept = elements * 4 * size <= limits.available_gigabytes() * 1e9 / 2
    rows = Rows(parts, kept=kept)
    counts = torch.tensor([rows.count], dtype=torch.int64)
    dist.all_reduce(counts)
    n = int(counts)

    def mean_slope(w: np.ndarray, late: bool) -> tuple[np.ndarray, bool]:
        both = torch.from_numpy(np.append(rows.slope(w) / n, float(late)))
        dist.all_reduce(both)
        return both.numpy()[:-1], bool(both[-1])

    w, reached, steps = iterate(mean_slope, {"em": em, "eg": eg}[method], k, gap, began + patience, sys.maxsize, step)
    return {
        "weights": w.tolist(),
        "gap": reached,
        "steps": steps,
        "seconds": time.perf_counter() - began,
        "kept": kept,
        "step": step,
    }


def run(method: str, case) -> tuple[np.ndarray, str]:
    """Start the processes, and return the shares and a note; the clock `reported` advances by the seconds of the loop."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "answer.json")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.processes),
            "-m", "benchmarks.peers._torch_ranks", method, str(case.folder), str(case.gap), str(case.patience), str(out),
        ]  # fmt: skip
        threads = str(max(1, facts.processors() // case.processes))
        environment = os.environ | dict.fromkeys(facts.POOLS, threads)
        done = subprocess.run(command, cwd=facts.ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unable((done.stderr.strip().splitlines() or ["no output"])[-1])
        found = json.loads(out.read_text(encoding="utf-8"))
    reported.add(found["seconds"])
    where = "probabilities in memory" if found["kept"] else "probabilities computed in each step"
    size = f", step size {found['step']:g}" if method == "eg" else ""
    return np.array(found["weights"]), f"{found['steps']} steps of all rows, {where}{size}"


def main(arguments: list[str] | None = None) -> None:
    """Run one process of the group."""
    import torch.distributed as dist

    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=["em", "eg"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("gap", type=float)
    parser.add_argument("patience", type=float)
    parser.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    dist.init_process_group("gloo")
    found = work(given.method, given.folder, given.gap, given.patience)
    if dist.get_rank() == 0:
        given.out.write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
