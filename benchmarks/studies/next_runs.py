"""Count the runs that a search for the best mixture needs: python -m benchmarks.studies next_runs.

RegMix's 768 published runs of 1M parameters are the pool of candidates. A search begins with 16 random runs
whose loss is more than 1 % above the best one. It then names further runs, whose losses are looked up, until one is within 1 % of the best. All runs of a
batch count, and so do the first 16. Every contender begins with the same runs. Appends to benchmarks/results/next_runs.csv.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mixfast
from benchmarks.facts import RESULTS, append, shared
from benchmarks.peers import botorch as peer
from benchmarks.runs import REGMIX, swarm
from mixfast import designs

# Some of the published metrics, and the mean of all 13.
METRICS = ("pile_cc", "github", "wikipedia_en", "ubuntu_irc", "mean")
FIRST = 16
GOOD = 1.01  # times the best loss
MOST = 256

Choose = Callable[[mixfast.Swarm, mixfast.Swarm, int], list[int]]


def ours(law: str, way: str, q: int, tried: mixfast.Swarm, everything: mixfast.Swarm, seed: int) -> list[int]:
    """The next runs by mixfast; ids are positions."""
    region = mixfast.Region(tried.domains)
    fitted = mixfast.fit(tried, law, folds=0)
    return [
        int(run)
        for run in designs.next_runs(tried, fitted, region, q, way=way, among=everything, seed=seed).design.runs
    ]


def botorch(q: int, tried: mixfast.Swarm, everything: mixfast.Swarm, seed: int) -> list[int]:
    """The next runs by BoTorch."""
    return peer.choose(tried, everything, q, seed)


CONTENDERS: dict[str, Choose | None] = {
    "random": None,
    "improvement gp q=1": functools.partial(ours, "gp", "improvement", 1),
    "improvement gp q=8": functools.partial(ours, "gp", "improvement", 8),
    "thompson gp q=8": functools.partial(ours, "gp", "thompson", 8),
    "improvement log_linear q=8": functools.partial(ours, "log_linear", "improvement", 8),
    "information log_linear q=8": functools.partial(ours, "log_linear", "information", 8),
    "BoTorch LogEI q=1": functools.partial(botorch, 1),
    "BoTorch qLogEI q=8": functools.partial(botorch, 8),
}


def search(choose: Choose | None, everything: mixfast.Swarm, seed: int, most: int) -> list[int]:
    """Return the runs used until one is within 1 % of the best, and until the best one is found."""
    loss = everything.values.mean(axis=1)
    goals = [loss <= GOOD * loss.min(), loss <= loss.min()]
    order = np.random.default_rng(seed).permutation(len(loss))
    have = order[~goals[0][order]][:FIRST].tolist()
    spent = [most, most]
    if choose is None:
        rest = order[~np.isin(order, have)]
        return [FIRST + 1 + int(goal[rest].argmax()) for goal in goals]
    while len(have) < most and not goals[1][have].any():
        before = goals[0][have].any()
        have += choose(everything.subset(have), everything, seed)
        for place, goal in enumerate(goals):
            if goal[have].any() and (place or not before):
                spent[place] = len(have)
    return spent


def measure(name: str, everything: mixfast.Swarm, seeds: int, most: int) -> tuple[np.ndarray, float]:
    """Return the runs used (seeds, 2), and the mean seconds for one choice of the next runs."""
    choose, calls, took = CONTENDERS[name], 0, 0.0

    def timed(tried: mixfast.Swarm, everything: mixfast.Swarm, seed: int) -> list[int]:
        nonlocal calls, took
        start = time.perf_counter()
        found = choose(tried, everything, seed)  # type: ignore[misc]
        calls, took = calls + 1, took + time.perf_counter() - start
        return found

    spent = np.array([search(timed if choose else None, everything, seed, most) for seed in range(seeds)])
    return spent, took / max(calls, 1)


def pooled(folder: Path, metrics: list[str] | None) -> mixfast.Swarm:
    """Return all published runs as one swarm; the ids are positions."""
    train = swarm(folder, "train")
    train = train.select(train.metrics if metrics is None else metrics)
    test = swarm(folder, "test").select(train.metrics).align(train.domains)
    return mixfast.Swarm(
        np.vstack([train.ratios, test.ratios]), np.vstack([train.values, test.values]), domains=train.domains,
        metric_names=train.metrics, runs=[str(place) for place in range(len(train) + len(test))],
    )  # fmt: skip


def run(
    folder: Path = REGMIX,
    seeds: int = 20,
    metrics: list[str] = list(METRICS),  # noqa: B006  it is only read
    contenders: list[str] = [],  # noqa: B006
    most: int = MOST,
    dry: bool = False,
) -> int:
    """Print and append one line for each metric and contender whose name contains one of `contenders`.

    A search stops at `most` runs; `dry` appends nothing.
    """
    warnings.simplefilter("ignore")
    common = {**shared(), "quick": int(seeds < 20), "checked": 0}
    print(
        f"{'':44s}runs until within 1 %: mean, 90 % of seeds, times random | until the best: mean, 90 %, times random | s per choice"
    )
    for metric in metrics:
        everything = pooled(folder, None if metric == "mean" else [metric])
        rows: list[dict[str, object]] = []
        chance = None
        for name in CONTENDERS:
            if name != "random" and contenders and not any(word in name for word in contenders):
                continue
            try:
                spent, seconds = measure(name, everything, seeds, most)
            except ImportError as problem:
                print(f"{metric:<14} {name:<28} cannot run: {problem}")
                continue
            chance = spent.mean(axis=0) if chance is None else chance
            line = f"{metric:<14} {name:<28}"
            for column, goal in enumerate(("within 1 % of the best", "the best")):
                mean, part = float(spent[:, column].mean()), float(spent[:, column].mean() / chance[column])
                low, high = np.quantile(spent[:, column], [0.05, 0.95])
                given_up = int((spent[:, column] >= most).sum()) if name != "random" else 0
                lost = f", {given_up} stopped at {most}" if given_up else ""
                line += f" | {mean:6.1f}  {low:3.0f} to {high:3.0f}  {part:4.2f}{lost}"
                rows.append(
                    {
                        **common, "problem": metric, "rows": len(everything), "domains": len(everything.domains),
                        "contender": name, "quantity": f"mean runs until {goal}", "value": mean, "unit": "runs", "gap": "nan",
                        "repeats": seeds, "passed": "",
                        "note": f"90 % of seeds {low:.0f} to {high:.0f}, {part:.2f} times random{lost}; {seconds:.2f} s per choice",
                    }
                )  # fmt: skip
            print(f"{line} | {seconds:.2f}", flush=True)
        if not dry:
            append(RESULTS / "next_runs.csv", rows)
    return 0
