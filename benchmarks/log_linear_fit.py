"""Fit the log-linear law to RegMix's runs: objective and time beside scipy's from 40 starts and beside Olmix's own code.

``python -m benchmarks.log_linear_fit DATA [--starts 40] [--metrics pile_cc github]``, where DATA holds RegMix's
``train_mixture_1m.csv`` and ``train_pile_loss_1m.csv``; without ``--starts 0`` scipy takes a minute or two a metric at worst.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixfast.laws.log_linear import LogLinear

Matrix = NDArray[np.float64]

DELTA = 0.02
# Olmix's code on 2 cores of the same kind of machine: 39 s for 60 of its 300 starts of one metric.
OLMIX_SECONDS = 196.0
# Summed Huber, where known: of Olmix's code on its own starts.
OLMIX_OBJECTIVE = {"pile_cc": 0.643129, "github": 2.868343}


def table(path: Path) -> tuple[list[str], Matrix]:
    """Columns and rows of a file of numbers, in order of its first column, which is left out."""
    with path.open(encoding="utf-8") as file:
        lines = csv.reader(file)
        header = next(lines)
        rows = np.array([[float(cell) for cell in line] for line in lines])
    return header[1:], rows[np.argsort(rows[:, 0]), 1:]


def regmix(folder: Path, part: str = "train") -> tuple[Matrix, Matrix, list[str]]:
    """Mixtures (R, 17), losses (R, 13) and short names of the losses."""
    _, x = table(folder / f"{part}_mixture_1m.csv")
    names, y = table(folder / f"{part}_pile_loss_1m.csv")
    return x, y, [name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in names]


def scipy_fit(x: Matrix, y: NDArray[np.float64], starts: int, seed: int = 0) -> float:
    """Least summed Huber loss that scipy's trust region finds from Olmix's starts: a grid of gamma, random coefficients."""
    from scipy.optimize import least_squares

    rng = np.random.default_rng(seed)
    best = np.inf
    for start in range(starts):
        gamma = np.linspace(-2.0, 1.5, 10)[start % 10]
        coefficients = rng.uniform(0.0, 0.1, x.shape[1])
        coefficients[rng.integers(x.shape[1])] = -rng.uniform()

        def residual(theta: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.exp(theta[0]) + np.exp(np.minimum(x @ theta[1:], 50.0)) - y

        def jacobian(theta: NDArray[np.float64]) -> Matrix:
            m = np.exp(np.minimum(x @ theta[1:], 50.0))
            return np.column_stack([np.full(len(y), np.exp(theta[0])), m[:, None] * x])

        found = least_squares(
            residual, np.r_[gamma, coefficients], jac=jacobian, loss="huber", f_scale=DELTA, max_nfev=2000,
            xtol=1e-12, ftol=1e-12, gtol=1e-12,
        )  # fmt: skip
        best = min(best, float(found.cost))
    return best


def main() -> None:
    """Print one line for each metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of RegMix's tables")
    parser.add_argument("--starts", type=int, default=40, help="of scipy; 0 leaves it out")
    parser.add_argument("--metrics", nargs="*", help="short names; all by default")
    options = parser.parse_args()
    x, y, names = regmix(options.folder)
    LogLinear().fit(x, y[:, :1])  # compiles
    seconds, busy = [], []
    for _ in range(7):
        begin, begin_busy = time.perf_counter(), time.process_time()
        law = LogLinear().fit(x, y)
        seconds.append(time.perf_counter() - begin)
        busy.append(time.process_time() - begin_busy)
    print(
        f"mixfast: {1e3 * np.median(seconds):.1f} ms for {y.shape[1]} metrics, {x.shape[0]} runs, {x.shape[1]} domains "
        f"({1e3 * np.median(busy):.1f} ms of processor time)"
    )
    print(f"Olmix's code: about {OLMIX_SECONDS:.0f} s a metric, {OLMIX_SECONDS * y.shape[1]:.0f} s in all")
    print(f"{'metric':20} {'mixfast':>12} {'scipy':>12} {'relative':>10} {'scipy s':>8} {'Olmix':>10}")
    for j, name in enumerate(names):
        if options.metrics and name not in options.metrics:
            continue
        other, took = np.nan, 0.0
        if options.starts:
            begin = time.perf_counter()
            other = scipy_fit(x, y[:, j], options.starts)
            took = time.perf_counter() - begin
        olmix = OLMIX_OBJECTIVE.get(name, np.nan)
        own = law.objective[j]
        print(f"{name:20} {own:12.8f} {other:12.8f} {own / other - 1:10.1e} {took:8.1f} {olmix:10.6f}", flush=True)


if __name__ == "__main__":
    main()
