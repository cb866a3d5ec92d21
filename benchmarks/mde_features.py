"""Ensemble features: seconds for the losses of R mixtures at each level, beside plain numpy and one reading of the table.

    python -m benchmarks.mde_features [--rows 400000] [--domains 16] [--runs 25 500] [--threads 1]

Values are compared with numpy's before a time is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.limits import median_seconds, stream
from mixfast import ExpertTable, mde

_LENGTH = 256  # tokens of a sequence
_SAME = 1e-5


def plain(loglik: np.ndarray, mixtures: np.ndarray, group: int) -> np.ndarray:
    """The same at token level in numpy, float32 in blocks, as one would write it; groups of equal size."""
    out = np.zeros((mixtures.shape[0], loglik.shape[0] // group))
    shares = mixtures.T.astype(np.float32)
    for start in range(0, loglik.shape[0], 20_000):
        block = np.exp(loglik[start : start + 20_000]) @ shares
        np.log(block, out=block)
        index = np.arange(start, start + block.shape[0]) // group
        for g in np.unique(index):
            out[:, g] -= block[index == g].sum(axis=0, dtype=np.float64) / group
    return out


def seconds(call: Callable[[], object]) -> float:
    """Median seconds of repeated calls."""
    return float(np.median(median_seconds(call, budget=2.0)))


def measure(table: ExpertTable, mixtures: np.ndarray, per_group: int, threads: int) -> bool:
    """Print the line of these mixtures; False where the values are wrong."""
    found = mde.features(table, mixtures, threads=threads)
    apart = float(np.abs(found.values - plain(table.loglik, mixtures, per_group)).max())
    if apart > _SAME:
        print(f"{len(mixtures)} runs: numpy and mde.features differ by {apart:.3g} nats, no times")
        return False
    by_numpy = seconds(lambda: plain(table.loglik, mixtures, per_group))
    token = seconds(lambda: mde.features(table, mixtures, threads=threads))
    again = seconds(lambda: found.at(mixtures))
    part = mde.features(table, mixtures, rows=20_000, threads=threads)
    sampled = seconds(lambda: mde.features(table, mixtures, rows=20_000, threads=threads))
    posterior = seconds(lambda: mde.features(table, mixtures, levels=("posterior",), threads=threads))
    rate = 2e-9 * table.n_rows * mixtures.size / again
    print(
        f"{len(mixtures):4d} | {by_numpy:8.3f} | {token:7.3f} | {sampled:7.3f} ({part.errors.mean():.4f}) | {posterior:7.3f} | "
        f"{again:7.3f} | {rate:6.1f} | {apart:.1e}"
    )
    return True


def main() -> int:
    """Print one line for each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--domains", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--runs", type=int, nargs="*", default=[25, 500])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    per_group = given.rows // given.groups // _LENGTH * _LENGTH
    n = per_group * given.groups
    loglik = -rng.gamma(2.0, 1.5, (n, given.domains)).astype(np.float32)
    table = ExpertTable.from_loglik(loglik, group=np.arange(n) // per_group, sequence=np.arange(n) // _LENGTH)
    print(f"{table!r}; {given.threads} thread(s); one reading {1e3 * stream(loglik, given.threads):.1f} ms")
    print(
        "runs |  numpy s | token s | 20000 rows s (error) | posterior s | at(), again s | GFLOP/s | largest difference"
    )
    for runs in given.runs:
        if not measure(table, rng.dirichlet(np.ones(given.domains), runs), per_group, given.threads):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
