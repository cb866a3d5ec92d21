"""R's mixsqp without its low-rank step, timed inside R; the largest of some tolerances that reaches the gap counts."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.facts import threads
from benchmarks.peers import Unable, reported

name, job, timer = "mixsqp", "solve", reported

SCRIPT = Path(__file__).with_suffix(".R")
# Twice as fast as R's own BLAS.
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


def reason():
    """Return why this peer cannot run here, or None."""
    if shutil.which("Rscript") is None:
        return "R is not installed"
    command = ["Rscript", "-e", "cat(as.character(packageVersion('mixsqp')))"]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else "the R package mixsqp is not installed"


def run(task):
    """Shares (K,)."""
    problem = task.problem
    n, k = problem.shape
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads())}
    if OPENBLAS.exists():
        environment["LD_PRELOAD"] = str(OPENBLAS)
    with tempfile.TemporaryDirectory() as folder:
        matrix, weights = Path(folder, "matrix"), Path(folder, "weights")
        np.asfortranarray(problem.prob).T.tofile(matrix)
        problem.weight.tofile(weights)
        ladder = [f"{level / problem.scale:.3g}" for level in (1e-6, 1e-7, 1e-8, 1e-9)]
        command = [
            "Rscript",
            str(SCRIPT),
            str(matrix),
            str(weights),
            str(n),
            str(k),
            "3",
            f"{task.patience:g}",
            *ladder,
        ]
        patience = 2 * task.patience + 60
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=patience
            )
        except subprocess.TimeoutExpired:
            raise Unable(f"no answer within {patience:g} s") from None
    rows = [[float(x) for x in line.split()] for line in done.stdout.splitlines() if line.strip()]
    for _, seconds, *shares in rows:
        if problem.gap(np.array(shares)) <= task.gap:
            reported.add(seconds)
            return np.array(shares)
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    raise Unable(f"gap {problem.gap(np.array(rows[-1][2:])):.0e} at its tightest tolerance" if rows else last)
