"""The questions that were fixed beforehand (README.md), each with its figures, their 95 % intervals and a verdict."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import mixfast
from benchmarks.lab.claims import rank
from benchmarks.lab.evidence import OBJECTIVES, Evidence
from benchmarks.lab.judge import Verdict
from benchmarks.lab.laboratory import VALIDATION
from benchmarks.lab.methods import Choice, about_repetition
from benchmarks.lab.stages import SEEDS, final_run
from benchmarks.lab.store import Store
from mixfast.laws.epochs import Epochs

RESAMPLES = 2000
COMPARABLE = 5.0
"""Rows further behind natural than this, in percent, vary more between seeds; they do not count for the spread of differences."""
GUARDED = 2.0
"""Percent that a guarded validation loss may be above that of natural."""
ALL = "all"

EPOCHS = "mixfast, epochs, matched"
Entry = tuple[str, bool]
"""A method, and whether the caps hold."""
PAIRS: dict[str, tuple[tuple[Entry, Entry], ...]] = {
    "caps and KL are unnecessary": (
        ((EPOCHS, False), (EPOCHS, True)),
        ((EPOCHS, False), (f"{EPOCHS}, KL", False)),
        ((EPOCHS, False), (f"{EPOCHS}, KL", True)),
    ),
    "the convex form does not lose": (((EPOCHS, False), (f"{EPOCHS}, searched", False)),),
    "32 matched runs are worth 64 unmatched": (
        (("mixfast, epochs, 32 matched", False), ("mixfast, epochs, unmatched", False)),
        (("mixfast, epochs, 32 matched", False), ("mixfast, auto, KL", True)),
    ),
    "fitted wear beats 15.4": (
        (("mixfast, tokens, fitted wear", False), ("mixfast, tokens, wear", False)),
        (("mixfast, tokens, fitted wear, KL", False), ("mixfast, tokens, wear, KL", False)),
    ),
}


@dataclass(frozen=True)
class Answer:
    """One figure of a question, with its 95 % interval (NaN where there is none) and what it says."""

    question: str
    case: str
    objective: str
    value: float
    low: float
    high: float
    count: int
    """Seeds, or mixtures."""
    verdict: str


def save(found: Sequence[Answer], path: Path) -> None:
    """Write questions.csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["question", "case", "objective", "value", "low", "high", "count", "verdict"])
        for one in found:
            numbers = (f"{number:.3f}" for number in (one.value, one.low, one.high))
            writer.writerow([one.question, one.case, one.objective, *numbers, one.count, one.verdict])


def ranks(evidence: Evidence) -> list[Answer]:
    """Compare matched and unmatched proxies, and laws fitted to the other half of them, by how they rank large runs that repeat."""
    store = evidence.lab.store
    runs = [run for run in evidence.swarm.runs if f"large-{run}" in store and f"matched-{run}" in store]
    question, found = "matching raises the rank correlation", []
    for objective, metrics in OBJECTIVES.items() if runs else ():
        large, small, again = (_losses(store, runs, metrics, prefix) for prefix in ("large-", "", "matched-"))
        for case, losses in (("unmatched", small), ("matched", again)):
            found.append(Answer(question, case, objective, rank(losses, large), math.nan, math.nan, len(runs), ""))
        half = large <= np.median(large)
        for case, losses in (("unmatched, best half", small), ("matched, best half", again)):
            value = rank(losses[half], large[half])
            found.append(Answer(question, case, objective, value, math.nan, math.nan, int(half.sum()), ""))
        low, high = _resampled(large, small, again)
        value = rank(again, large) - rank(small, large)
        verdict = "yes" if low > 0 else "no" if high < 0 else "undecided"
        found.append(Answer(question, "matched minus unmatched", objective, value, low, high, len(runs), verdict))
        for case, guess in _laws(evidence, metrics, runs).items():
            found.append(Answer(question, case, objective, rank(guess, large), math.nan, math.nan, len(runs), ""))
    return found


def _losses(store: Store, runs: Sequence[str], metrics: Sequence[str], prefix: str) -> NDArray[np.float64]:
    return np.array([np.mean([store.metric(prefix + run, name) for name in metrics]) for run in runs])


def _resampled(
    large: NDArray[np.float64], small: NDArray[np.float64], again: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the 95 % interval of the difference of both rank correlations, over resampled mixtures."""
    rng, differences = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        kept = rng.integers(len(large), size=len(large))
        differences.append(rank(again[kept], large[kept]) - rank(small[kept], large[kept]))
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def _laws(evidence: Evidence, metrics: Sequence[str], runs: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return what laws predict for large runs, fitted to the proxies of all other mixtures."""
    rows = dict(zip(evidence.swarm.runs, evidence.swarm.ratios, strict=True))
    ratios = np.array([rows[run] for run in runs])
    supply = {name: evidence.lab.supply[name] for name in evidence.swarm.domains}
    guesses = {}
    for case, matched in (("unmatched", False), ("matched", True)):
        swarm = evidence.counted(matched).select(metrics)
        other = swarm.subset([i for i, run in enumerate(swarm.runs) if run.removeprefix("matched-") not in runs])
        for shown, law in (
            ("log-linear", "log_linear"),
            ("epochs", Epochs()),
            ("epochs, searched", Epochs(convex=False)),
        ):
            fitted = mixfast.fit(other, law, folds=0)
            if isinstance(law, Epochs):
                fitted = fitted.for_run(supply, sum(supply.values()))
            guesses[f"{shown}, other {len(other)} {case}"] = fitted.predict(ratios).mean(axis=1)
    return guesses


def _changes(rows: Sequence[Verdict]) -> dict[tuple[Entry, str], NDArray[np.float64]]:
    """Return the changes of each row by entry and objective, one for each seed, and their mean over the objectives."""
    found = {((row.method, row.capped), row.objective): np.array(row.changes) for row in rows}
    for entry in {entry for entry, _ in found}:
        parts = [found.get((entry, name)) for name in OBJECTIVES]
        have = [part for part in parts if part is not None]
        if len(have) == len(OBJECTIVES):
            seeds = min(map(len, have))
            found[entry, ALL] = np.mean([part[:seeds] for part in have], axis=0)
    return found


def spread(rows: Sequence[Verdict]) -> dict[str, tuple[float, int]]:
    """Return the standard deviation over seeds of the difference of two rows, pooled over all pairs, and its degrees of freedom.

    Rows count that have all seeds and are not more than COMPARABLE percent behind natural; rows that share a final model count once.
    """
    changes, result = _changes(rows), {}
    for objective in (*OBJECTIVES, ALL):
        kept = {
            tuple(own.tolist())
            for (_, name), own in changes.items()
            if name == objective and len(own) == SEEDS and own.mean() < COMPARABLE
        }
        values = np.array(sorted(kept)).reshape(-1, SEEDS)
        freedom = (len(values) - 1) * (SEEDS - 1)
        left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        result[objective] = (
            math.sqrt(2 * float(np.square(left).sum()) / freedom) if freedom > 0 else math.nan,
            freedom,
        )
    return result


def difference(rows: Sequence[Verdict], ours: Entry, theirs: Entry, objective: str) -> tuple[float, float, int] | None:
    """Return the mean over common seeds of ours minus theirs, points of percent, half of its 95 % interval, and the seeds."""
    changes = _changes(rows)
    pair = [changes.get((entry, objective)) for entry in (ours, theirs)]
    if pair[0] is None or pair[1] is None:
        return None
    seeds = min(len(pair[0]), len(pair[1]))
    sd, freedom = spread(rows)[objective]
    half = float(stats.t.ppf(0.975, freedom)) * sd / math.sqrt(seeds) if freedom > 0 else math.nan
    return float((pair[0][:seeds] - pair[1][:seeds]).mean()), half, seeds


def table(rows: Sequence[Verdict]) -> str:
    """Return a Markdown table of the rows that were fixed beforehand: change against natural, with intervals from the pooled spread."""
    changes, spreads = _changes(rows), spread(rows)
    proxies = {(row.method, row.capped): row.proxies for row in rows}
    epochs = {entry: max(row.epochs for row in rows if (row.method, row.capped) == entry) for entry in proxies}
    columns = (*OBJECTIVES, ALL)
    kept = [
        entry for entry in proxies if about_repetition(entry[0]) and all((entry, name) in changes for name in columns)
    ]
    lines = [
        "| row | caps | proxies | seeds | most epochs | " + " | ".join(columns) + " |",
        "|---|---|---:|---:|---:|" + "---:|" * len(columns),
    ]
    for entry in sorted(kept, key=lambda entry: changes[entry, ALL].mean()):
        seeds = len(changes[entry, ALL])
        cells = []
        for name in columns:
            sd, freedom = spreads[name]
            half = float(stats.t.ppf(0.975, freedom)) * sd / math.sqrt(seeds) if freedom else math.nan
            cells.append(f"{changes[entry, name][:seeds].mean():+.1f} ± {half:.1f}")
        shown = ("4 epochs" if entry[1] else "no", proxies[entry], seeds, f"{epochs[entry]:.1f}", *cells)
        lines.append(f"| {entry[0]} | " + " | ".join(map(str, shown)) + " |")
    return "\n".join(lines)


def compared(rows: Sequence[Verdict]) -> list[Answer]:
    """Answer the questions that compare two rows; below 0 means that the first row is better."""
    found = []
    for question, pairs in PAIRS.items():
        for ours, theirs in pairs:
            for objective in (*OBJECTIVES, ALL):
                if (one := difference(rows, ours, theirs, objective)) is not None:
                    value, half, seeds = one
                    verdict = "better" if value < -half else "worse" if value > half else "within noise"
                    case = f"{_named(ours)} minus {_named(theirs)}"
                    found.append(Answer(question, case, objective, value, value - half, value + half, seeds, verdict))
    return found


def differences(found: Sequence[Answer]) -> str:
    """Return a Markdown table of the answers of `compared`, points of percent."""
    columns = (*OBJECTIVES, ALL)
    lines = [
        "| difference | seeds | " + " | ".join(columns) + " | over all |",
        "|---|---:|" + "---:|" * len(columns) + "---|",
    ]
    cases: dict[str, dict[str, Answer]] = {}
    for one in found:
        cases.setdefault(one.case, {})[one.objective] = one
    for case, by_objective in cases.items():
        if ALL in by_objective:
            cells = [
                f"{one.value:+.1f} ± {(one.high - one.low) / 2:.1f}" for one in (by_objective[name] for name in columns)
            ]
            whole = by_objective[ALL]
            lines.append(f"| {case} | {whole.count} | " + " | ".join(cells) + f" | {whole.verdict} |")
    return "\n".join(lines)


def target(rows: Sequence[Verdict]) -> list[Answer]:
    """Compare the law in epochs without cap or KL with the best row of each objective."""
    changes, found = _changes(rows), []
    for objective in (*OBJECTIVES, ALL):
        means = {entry: float(own.mean()) for (entry, name), own in changes.items() if name == objective}
        if (EPOCHS, False) in means:
            best = min(means, key=lambda entry: means[entry])
            one = difference(rows, (EPOCHS, False), best, objective)
            if one is not None:
                value, half, seeds = one
                case = f"{_named((EPOCHS, False))} minus the best row, {_named(best)}"
                verdict = "within noise" if value <= half or best == (EPOCHS, False) else "worse"
                found.append(
                    Answer(
                        "best on every objective", case, objective, value, value - half, value + half, seeds, verdict
                    )
                )
    return found


def guards(choices: Sequence[Choice], store: Store) -> list[Answer]:
    """Count the domains whose validation loss in the trained model is more than GUARDED percent above that of natural."""
    natural = next(one.mixture for one in choices if one.method == "natural")
    found = []
    for method in (f"{EPOCHS}, guard", EPOCHS):
        for one in choices:
            seeds = [
                seed
                for seed in range(SEEDS)
                if final_run(one.mixture, seed) in store and final_run(natural, seed) in store
            ]
            if one.method == method and not one.capped and seeds:
                ratios = [
                    [
                        store.metric(final_run(one.mixture, seed), name) / store.metric(final_run(natural, seed), name)
                        for name in VALIDATION
                    ]
                    for seed in seeds
                ]
                worse = 100 * (np.mean(ratios, axis=0) - 1)
                broken = int((worse > GUARDED).sum())
                case = (
                    f"{method}: domains of {len(VALIDATION)} above {GUARDED:g} %; the largest is {worse.max():+.1f} %"
                )
                verdict = "holds" if broken == 0 else "broken"
                found.append(
                    Answer("a guardrail holds", case, one.objective, broken, math.nan, math.nan, len(seeds), verdict)
                )
    return found


def _named(entry: Entry) -> str:
    return f"{entry[0]} ({'capped' if entry[1] else 'no caps'})"
