"""How well the laws predict: python -m benchmarks.swarm_laws REGMIX [--laws ...] [--runs ...] [--draws 5] [--far] [--million].

REGMIX is the folder with RegMix's published csv files. Prints the mean rank correlation (times 100) and the mean squared error on the test runs
of laws fitted to random parts of the training runs, and how often their 90 % intervals hold. --far: laws fitted near the mean mixture, tested
on the mixtures farthest from it. --million: time to draw a million capped candidates and to predict them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import mixfast
from mixfast.designs import _candidates
from mixfast.laws import _report

LAWS = ("auto", "gp", "log_linear", "linear", "lightgbm")


def read(folder: Path, part: str) -> mixfast.Swarm:
    """The training or the test runs."""
    return mixfast.Swarm.from_csv(folder / f"{part}_mixture_1m.csv", folder / f"{part}_pile_loss_1m.csv")


def score(law: str, runs: mixfast.Swarm, test: mixfast.Swarm) -> tuple[float, float, float, float]:
    """Mean Spearman times 100, mean squared error, share of 90 % intervals that hold, seconds of the fit."""
    began = time.perf_counter()
    fitted = mixfast.fit(runs, law, folds=5 if law == "auto" else 0)
    seconds = time.perf_counter() - began
    guess, spread = fitted.predict(test.ratios), fitted.sd(test.ratios)
    ranks = [_report.spearman(truth, found) for truth, found in zip(test.values.T, guess.T, strict=True)]
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


def far(train: mixfast.Swarm, test: mixfast.Swarm, laws: list[str]) -> None:
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


def million(train: mixfast.Swarm, laws: list[str]) -> None:
    """A tenth of the candidates, counted tenfold, for laws other than the log-linear one."""
    region = mixfast.Region(train.domains, cap=0.3)
    _candidates.sample(region, 100)
    began = time.perf_counter()
    candidates = _candidates.sample(region, 1_000_000)
    print(f"1 000 000 capped candidates: {time.perf_counter() - began:.2f} s")
    for law in laws:
        if law not in ("gp", "log_linear"):
            continue
        fitted = mixfast.fit(train, law, folds=0)
        shown = candidates if law == "log_linear" else candidates[:100_000]
        predict = fitted.predict if law == "log_linear" else fitted.parts[0].law.screen  # type: ignore[attr-defined]
        predict(candidates[:100])
        began = time.perf_counter()
        predict(shown)
        seconds = (time.perf_counter() - began) * len(candidates) / len(shown)
        print(f"{law}: {seconds:.2f} s for {len(train.metrics)} metrics{'' if law == 'log_linear' else ', float32'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    parser.add_argument("--runs", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--far", action="store_true")
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    train, test = read(options.folder, "train"), read(options.folder, "test")
    if options.far:
        far(train, test, options.laws)
    elif options.million:
        million(train, options.laws)
    else:
        efficiency(train, test, options.laws, options.runs, options.draws)


if __name__ == "__main__":
    main()
