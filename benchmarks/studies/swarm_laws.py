"""Measure how well the laws predict RegMix's published runs: python -m benchmarks.studies swarm_laws.

Prints the mean rank correlation (times 100) and the mean squared error on the test runs of laws fitted to random parts of the training runs,
and the fraction of their 90 % intervals that contain the measured value. --far: laws fitted near the mean mixture, tested on the mixtures farthest from it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import mixfast
from benchmarks.runs import REGMIX, swarm

LAWS = ("auto", "gp", "log_linear", "linear", "lightgbm")


def score(law: str, runs: mixfast.Swarm, test: mixfast.Swarm) -> tuple[float, float, float, float]:
    """Mean Spearman times 100, mean squared error, share of 90 % intervals that hold, seconds of the fit."""
    from scipy import stats

    began = time.perf_counter()
    fitted = mixfast.fit(runs, law, folds=5 if law == "auto" else 0)
    seconds = time.perf_counter() - began
    guess, spread = fitted.predict(test.ratios), fitted.sd(test.ratios)
    ranks = [stats.spearmanr(truth, found)[0] for truth, found in zip(test.values.T, guess.T, strict=True)]
    error = guess - test.values
    return (
        100.0 * float(np.mean(ranks)),
        float(np.mean(error**2)),
        float(np.mean(np.abs(error) <= 1.645 * spread)),
        seconds,
    )


def efficiency(train: mixfast.Swarm, test: mixfast.Swarm, laws: list[str], sizes: list[int], draws: int) -> None:
    print(" runs  law         Spearman      MSE  90 % hit  seconds")
    for size in sizes:
        for law in laws:
            found = []
            for seed in range(draws if size < len(train) else 1):
                some = np.sort(np.random.default_rng(seed).choice(len(train), size, replace=False))
                found.append(score(law, train.subset(some), test))
            rank, mse, hit, seconds = np.mean(found, axis=0)
            print(f"{size:>5}  {law:<10}  {rank:8.2f}  {mse:7.4f}  {hit:8.3f}  {seconds:7.2f}", flush=True)


def extrapolation(train: mixfast.Swarm, test: mixfast.Swarm, laws: list[str]) -> None:
    """Fitted to some of the 60 % nearest the mean mixture, tested on the farthest 15 %, by two measures of distance."""
    ratios, values = np.vstack([train.ratios, test.ratios]), np.vstack([train.values, test.values])
    print(" runs  far by         law         Spearman      MSE")
    for name, distance in (
        ("largest share", ratios.max(axis=1)),
        ("L1 distance", np.abs(ratios - ratios.mean(axis=0)).sum(axis=1)),
    ):
        inner, outer = np.quantile(distance, [0.6, 0.85])
        rng = np.random.default_rng(0)
        away = np.flatnonzero(distance >= outer)
        beyond = mixfast.Swarm(ratios[away], values[away], domains=train.domains, metric_names=train.metrics)
        for size in (128, 256):
            near = rng.choice(np.flatnonzero(distance < inner), size, replace=False)
            runs = mixfast.Swarm(ratios[near], values[near], domains=train.domains, metric_names=train.metrics)
            for law in laws:
                rank, mse, _, _ = score(law, runs, beyond)
                print(f"{size:>5}  {name:<13}  {law:<10}  {rank:8.2f}  {mse:7.4f}", flush=True)


def run(
    folder: Path = REGMIX,
    laws: list[str] = list(LAWS),  # noqa: B006  it is only read
    runs: list[int] = [64, 128, 256, 512],  # noqa: B006
    draws: int = 5,
    far: bool = False,
) -> None:
    """Print one line for each number of runs and law; `far` prints the extrapolation instead."""
    train, test = swarm(folder, "train"), swarm(folder, "test")
    if far:
        extrapolation(train, test, laws)
    else:
        efficiency(train, test, laws, runs, draws)
