"""Boosted trees at many mixtures: our evaluation beside LightGBM's own, same trees, same bits.

    python -m benchmarks.boosted_predict [--data FOLDER] [--candidates 100000] [--share 1.0] [--threads 1]

FOLDER holds RegMix's `train_mixture_1m.csv` and `train_pile_loss_1m.csv`; without it runs are made up, of the same size.
LightGBM predicts `--share` of the candidates, and its time is scaled up by rows, to which it is proportional.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import lightgbm
import numpy as np

from mixfast.designs import _candidates
from mixfast.laws._trees import Forest


def main() -> None:
    """Fit 1000 trees for each metric, predict by both, print seconds and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    x, y = _runs(options.data)
    params = {
        "objective": "regression", "learning_rate": 1e-2, "seed": 42, "num_threads": options.threads, "verbosity": -1,
    }  # fmt: skip
    began = time.perf_counter()
    boosters = [lightgbm.train(params, lightgbm.Dataset(x, column), 1000) for column in y.T]
    print(f"{platform.machine()}, lightgbm {lightgbm.__version__}, {options.threads} thread(s)")
    print(f"{x.shape[0]} runs x {x.shape[1]} domains, {y.shape[1]} metrics x 1000 trees: LightGBM fits in", end=" ")
    print(f"{time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    forest = Forest.of([booster.model_to_string() for booster in boosters], x.shape[1])
    print(f"trees to flat arrays: {time.perf_counter() - began:.2f} s")
    candidates = _candidates.dirichlet(x.mean(axis=0) / x.mean(axis=0).sum(), options.candidates)
    forest.predict(candidates[:1])  # compiled before it is timed
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        ours = forest.predict(candidates, threads=options.threads)
        seconds.append(time.perf_counter() - began)
    part = max(1, int(options.share * options.candidates))
    began = time.perf_counter()
    theirs = np.column_stack([booster.predict(candidates[:part]) for booster in boosters])
    lightgbm_seconds = (time.perf_counter() - began) * options.candidates / part
    evaluations = options.candidates * (forest.leaf_start.size - 1)
    median = float(np.median(seconds))
    print(f"{options.candidates} candidates, seconds")
    print(f"  mixfast   {median:8.2f}   {median / evaluations * 1e9:6.2f} ns for a tree and a candidate")
    print(f"  lightgbm  {lightgbm_seconds:8.2f}   {lightgbm_seconds / evaluations * 1e9:6.2f} ns")
    print(f"  ratio     {lightgbm_seconds / median:8.1f}   largest difference {np.abs(ours[:part] - theirs).max():.1e}")


def _runs(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures (R, K) and losses (R, J)."""
    if folder is None:
        rng = np.random.default_rng(0)
        x = np.round(rng.dirichlet(np.full(17, 0.2), 512), 3)
        return x, 3.0 + np.exp(-2.0 * x @ rng.random((17, 13))) + 0.01 * rng.normal(size=(512, 13))
    files = ("train_mixture_1m.csv", "train_pile_loss_1m.csv")
    x, y = (np.loadtxt(folder / file, delimiter=",", skiprows=1)[:, 1:] for file in files)
    return x, y


if __name__ == "__main__":
    main()
