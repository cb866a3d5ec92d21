"""Measures: every set gives rows (`Record`) and verdicts (`Verdict`); nothing is printed or stored here.

A gap is judged from the shares alone: `mixfast.reference` recomputes it in float64 from the raw log-likelihoods. Of
the points a peer passed, the first (fastest) that has the gap counts, which is to its favour: it is spared its own
stop rule.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from benchmarks import contenders, limits
from benchmarks.contenders import SOLVERS, Solver, Trace
from benchmarks.problems import QUICK, SETS, Problem, build, missing
from mixfast import reference

LEVELS = (1e-4, 1e-6, 1e-8)
CANDIDATES = 1000
REPLICATES = 200


@dataclass(frozen=True)
class Record:
    """One measured number."""

    problem: str
    rows: int
    domains: int
    contender: str
    quantity: str
    value: float
    unit: str
    gap: float = math.nan
    repeats: int = 1
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """A figure beside its target; `passed` None where there is nothing to compare with."""

    problem: str
    target: str
    figure: str
    passed: bool | None


@dataclass(frozen=True)
class Options:
    threads: int
    limit: float
    quick: bool
    problems: tuple[str, ...]
    contenders: tuple[str, ...]

    def chosen(self, name: str) -> bool:
        return not self.contenders or any(word.lower() in name.lower() for word in self.contenders)


Found = Iterator[Record | Verdict]


def run(which: str, options: Options) -> Found:
    """All records and verdicts of one set, as they are measured."""
    names = options.problems or (QUICK if options.quick else SETS).get(which, ())
    yield from RUNNERS[which](options, names)


# -------------------------------------------------------------------------------------------------------------- gaps


def true_gap(problem: Problem, weights: np.ndarray) -> float:
    """Frank-Wolfe gap over the simplex, nats, float64, from the raw log-likelihoods; shares are made to sum to 1."""
    w = np.maximum(weights, 0.0)
    if not np.isfinite(w).all() or w.sum() <= 0:
        return math.inf
    w = w / w.sum()
    slope = reference.gradient(problem.loglik, problem.row_weight, w)
    return float(w[w > 0] @ slope[w > 0] - slope.min())


def quick_gap(problem: Problem, weights: np.ndarray) -> float:
    """The same from the ready probabilities: what sorts the points of a trace before the reference sees them."""
    w = np.maximum(weights, 0.0)
    if not np.isfinite(w).all() or w.sum() <= 0:
        return math.inf
    w = w / w.sum()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = -((problem.weight / (problem.prob @ w)) @ problem.prob)
    gap = float(w @ slope - slope.min()) * problem.scale
    return gap if np.isfinite(gap) else math.inf


@dataclass(frozen=True)
class Judged:
    """Seconds to each level (inf where it was not reached), the index that reached it, and the least true gap."""

    seconds: dict[float, float]
    index: dict[float, int]
    gap: float


def judge(problem: Problem, trace: Trace) -> Judged:
    """When a trace first had each gap, confirmed by the reference."""
    gaps = np.array([quick_gap(problem, w) for w in trace.weights]) if len(trace.seconds) else np.zeros(0)
    confirmed: dict[int, float] = {}

    def true(i: int) -> float:
        if i not in confirmed:
            confirmed[i] = true_gap(problem, trace.weights[i])
        return confirmed[i]

    seconds, index = dict.fromkeys(LEVELS, math.inf), {}
    for level in LEVELS:
        for i in sorted(np.flatnonzero(gaps <= 1.5 * level), key=lambda i: trace.seconds[i]):
            if true(int(i)) <= level:
                seconds[level], index[level] = float(trace.seconds[i]), int(i)
                break
    least = true(int(np.argmin(gaps))) if len(gaps) else math.inf
    return Judged(seconds, index, min([least, *confirmed.values()]))


# ------------------------------------------------------------------------------------------------------------- solve


def _solve(options: Options, names: tuple[str, ...]) -> Found:
    for name in names:
        if reason := missing(name):
            yield Record(name, 0, 0, "-", "skipped", math.nan, "", note=reason)
            continue
        yield from _solve_one(options, build(name))


def _solve_one(options: Options, problem: Problem) -> Found:
    def record(contender: str, quantity: str, value: float, unit: str = "s", **more: object) -> Record:
        return Record(problem.name, *problem.shape, contender, quantity, value, unit, **more)  # type: ignore[arg-type]

    stream, exponential = (limit(problem.loglik, options.threads) for limit in (limits.stream, limits.exponential))
    yield record("limit S", "one read of the float32 table", stream)
    yield record("limit X", "numpy float32 exp over it", exponential)
    best: dict[str, float] = {}  # family -> seconds to gap 1e-6
    ours: dict[float, float] = {}
    for solver in SOLVERS:
        if not options.chosen(solver.name):
            continue
        if reason := solver.skip(problem):
            yield record(solver.name, "skipped", math.nan, "", note=reason)
            continue
        seconds, judged, repeats, note = _repeat(solver, problem, options)
        for level in LEVELS:
            yield record(solver.name, f"to gap {level:g}", seconds[level], gap=judged.gap, repeats=repeats, note=note)
        if solver.family == "ours":
            ours = seconds
        elif solver.family == "cvxpy" and not math.isfinite(seconds[1e-6]) and note.startswith("optimal,"):
            # It calls this optimal; its time counts, at the gap it has.
            own = float(judged.seconds[1e-4])
            best["cvxpy"] = min(best.get("cvxpy", math.inf), own)
        else:
            best[solver.family] = min(best.get(solver.family, math.inf), seconds[1e-6])
    if ours:
        yield from _solve_verdicts(problem, options, ours, best, stream, exponential)


def _repeat(solver: Solver, problem: Problem, options: Options) -> tuple[dict[float, float], Judged, int, str]:
    """Median seconds to each level over repeats; slow contenders run once."""
    began = time.perf_counter()
    trace = solver.run(problem, options.threads, options.limit)
    first = time.perf_counter() - began
    judged = judge(problem, trace)
    own_repeats = solver.family in ("mixsqp", "cvxpy", "eg", "em")
    more = 0 if own_repeats or first > 5.0 or not judged.index else min(15, max(3, int(3.0 / max(first, 1e-3))))
    if solver.family == "ours":
        more = max(more, 5)
    runs = [] if more and first < 1.0 else [trace]  # the first of many short runs is the warm-up
    runs += [solver.run(problem, options.threads, options.limit) for _ in range(more)]
    seconds = dict(judged.seconds)
    for level, i in judged.index.items():
        # A point that another run does not have (a stop at the time limit) does not count.
        found = [run.seconds[i] for run in runs if i < len(run.seconds)]
        seconds[level] = float(np.median(found))
    return seconds, judged, len(runs), trace.note


def _solve_verdicts(
    problem: Problem,
    options: Options,
    ours: dict[float, float],
    best: dict[str, float],
    stream: float,
    exponential: float,
) -> Found:
    mine = ours[1e-8]
    if not math.isfinite(mine):
        yield Verdict(problem.name, "certified gap 1e-8", "not reached", False)
        return
    reached = {family: t for family, t in best.items() if math.isfinite(t)}
    if reached:
        peer = min(reached, key=lambda family: reached[family])
        yield _ratio(problem.name, f"10 x the fastest peer ({peer})", reached[peer] / mine, 10)
    for family, times in (("mixsqp", 50), ("cvxpy", 500)):
        if family in reached:
            yield _ratio(problem.name, f"{times} x {family}", reached[family] / mine, times)
        elif family in best:
            yield Verdict(problem.name, f"{times} x {family}", f"{family} does not reach gap 1e-6", None)
    n, k = problem.shape
    if n >= 1_000_000 and k <= 64:
        allowed = exponential / 2 + 12 * stream
        figure = f"{1e3 * mine:.1f} ms of {1e3 * allowed:.1f} ms"
        yield Verdict(problem.name, "at most X/2 + 12 S", figure, mine <= allowed)
    yield Verdict(problem.name, "in streaming reads", f"{mine / stream:.1f} S", None)


def _ratio(problem: str, target: str, ratio: float, least: float) -> Verdict:
    return Verdict(problem, target, f"{ratio:.1f} x", ratio >= least)


# --------------------------------------------------------------------------------------------------------------- nll


def _nll(options: Options, names: tuple[str, ...]) -> Found:
    shapes = [(100_000, 16)] if options.quick else [(1_000_000, 16), (1_000_000, 64)]
    for n, k in shapes:
        name = f"nll-{n:.0e}x{k}".replace("e+0", "e")
        if options.problems and name not in options.problems:
            continue
        yield from _nll_one(options, name, n, k)


def _nll_one(options: Options, name: str, n: int, k: int) -> Found:
    from benchmarks.problems import gaussians

    problem = gaussians(name, n, k, seed=7)
    mixtures = np.random.default_rng(7).dirichlet(np.ones(k), size=CANDIDATES)
    checked = [0, CANDIDATES // 2, CANDIDATES - 1]
    exact = [reference.ensemble_loss(problem.loglik, problem.row_weight, mixtures[m]) for m in checked]
    yield Record(
        name, n, k, "limit S", "one read of the float32 table", limits.stream(problem.loglik, options.threads), "s"
    )
    seconds: dict[str, float] = {}
    for one in contenders.EVALUATORS:
        if not options.chosen(one.name):
            continue
        reason = one.skip()
        if reason is None and one.gigabytes(n, k, CANDIDATES) > 0.8 * _available_gigabytes():
            reason = f"needs {one.gigabytes(n, k, CANDIDATES):.1f} GB, {_available_gigabytes():.1f} are free"
        if reason:
            yield Record(name, n, k, one.name, "skipped", math.nan, "", note=reason)
            continue
        call = one.prepare(problem, mixtures, options.threads)
        losses = call()
        error = math.nan if losses is None else float(np.max(np.abs(np.asarray(losses)[checked] - exact)))
        if error > 1e-3:
            yield Record(name, n, k, one.name, "skipped", math.nan, "", note=f"wrong by {error:.1e} nats")
            continue
        times = limits.median_seconds(call, budget=4.0, least=3, most=7)
        value = float(np.median(times))
        seconds[one.family] = min(seconds.get(one.family, math.inf), value)
        rate = 2e-9 * n * k * CANDIDATES / value
        note = f"{rate:.0f} GFLOP/s" + ("" if math.isnan(error) else f", error {error:.0e} nats")
        yield Record(name, n, k, one.name, f"{CANDIDATES} losses", value, "s", repeats=len(times), note=note)
        del call
    if "ours" not in seconds:
        return
    for family, least in (("jax", 1.6), ("numpy", 4.0), ("gemm", 1.0)):
        if family in seconds:
            yield _ratio(name, f"{least:g} x {family}", seconds[family] / seconds["ours"], least)


def _available_gigabytes() -> float:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1e-6 for line in file if line.startswith("MemAvailable"))


# -------------------------------------------------------------------------------------------------------------- many


def _many(options: Options, names: tuple[str, ...]) -> Found:
    for name in names:
        problem = build(name)
        n, k = problem.shape
        stream = limits.stream(problem.loglik, options.threads)
        yield Record(name, n, k, "limit S", "one read of the float32 table", stream, "s")
        if reason := contenders.skip_ours():
            yield Record(name, n, k, "mixfast", "skipped", math.nan, "", note=reason)
            continue
        runs = [
            contenders.ours(problem, options.threads, options.limit, tol=1e-6) for _ in range(1 if options.quick else 3)
        ]
        seconds = float(np.median([run.seconds[0] for run in runs]))
        gap = true_gap(problem, runs[0].weights[0])
        support = int((runs[0].weights[0] > 1e-6).sum())
        note = f"{runs[0].note}, {support} domains in use"
        yield Record(name, n, k, "mixfast", "to gap 1e-06", seconds, "s", gap=gap, repeats=len(runs), note=note)
        yield Verdict(name, "certified gap 1e-6", f"{gap:.1e}", gap <= 1e-6)
        yield Verdict(name, "at most 60 S", f"{seconds / stream:.1f} S", seconds <= 60 * stream)


# ------------------------------------------------------------------------------------------------------------- small


def _small(options: Options, names: tuple[str, ...]) -> Found:
    problems = [build(name) for name in names]
    n, k = problems[0].shape
    label = f"small ({len(problems)} problems)"
    for solver in SOLVERS:
        if not options.chosen(solver.name) or solver.family not in ("ours", "scipy", "mixsqp"):
            continue
        if reason := solver.skip(problems[0]):
            yield Record(label, n, k, solver.name, "skipped", math.nan, "", note=reason)
            continue
        level = 1e-8 if solver.family == "ours" else 1e-6
        medians = []
        for problem in problems:
            trace = solver.run(problem, options.threads, options.limit)
            judged = judge(problem, trace)
            if not math.isfinite(judged.seconds[level]):
                medians.append(math.inf)
            elif solver.family == "mixsqp":
                medians.append(judged.seconds[level])
            else:
                i, count = judged.index[level], 5 if options.quick else 50
                found = (solver.run(problem, options.threads, options.limit).seconds for _ in range(count))
                medians.append(float(np.median([seconds[i] for seconds in found if i < len(seconds)])))
        for quantity, value in (
            (f"median to gap {level:g}", np.median(medians)),
            (f"slowest to gap {level:g}", max(medians)),
        ):
            yield Record(label, n, k, solver.name, quantity, float(value), "s", repeats=len(problems))
        if solver.family == "ours":
            figure = f"{1e6 * float(np.median(medians)):.0f} us (slowest problem {1e6 * max(medians):.0f} us)"
            yield Verdict(label, "under 300 us a solve, table included", figure, float(np.median(medians)) < 3e-4)
            yield from _small_solve_alone(options, problems, label)


def _small_solve_alone(options: Options, problems: list[Problem], label: str) -> Found:
    """The solve of tables that are made already, as in a loop over regions."""
    from mixfast import ExpertTable, solve

    medians = []
    for problem in problems:
        table = ExpertTable.from_loglik(problem.loglik)
        found = limits.median_seconds(
            lambda table=table: solve(table, threads=options.threads),  # type: ignore[misc]
            budget=0.05,
            least=5,
            most=100,
        )
        medians.append(float(np.median(found)))
    value = float(np.median(medians))
    yield Record(label, *problems[0].shape, "mixfast, table ready", "median", value, "s", repeats=len(problems))
    yield Verdict(label, "under 300 us a solve, table ready", f"{1e6 * value:.0f} us", value < 3e-4)


# --------------------------------------------------------------------------------------------------------- bootstrap


def _bootstrap(options: Options, names: tuple[str, ...]) -> Found:
    """Replicates against the solve they start from; the peer solves some of them one by one, from the same solution."""
    from mixfast import ExpertTable, solve, solver

    for name in names:
        if reason := missing(name) or contenders.skip_ours():
            yield Record(name, 0, 0, "mixfast", "skipped", math.nan, "", note=reason)
            continue
        problem = build(name)
        n, k = problem.shape
        table = ExpertTable.from_loglik(problem.loglik, length=problem.length, sequence=problem.sequence)
        solution = solve(table, threads=options.threads)
        one = limits.median_seconds(lambda: solve(table, threads=options.threads), budget=2.0, least=5, most=100)  # noqa: B023
        solving = float(np.median(one))
        yield Record(name, n, k, "mixfast", "solve", solving, "s", gap=solution.gap, repeats=len(one))
        many = limits.median_seconds(
            lambda: solver.bootstrap(table, replicates=REPLICATES, solution=solution),  # noqa: B023
            budget=3.0,
            least=5,
            most=50,
        )
        seconds = float(np.median(many))
        found = solver.bootstrap(table, replicates=REPLICATES, solution=solution)
        few = 3 if options.quick else 20
        shares, each = contenders.replicates_one_by_one(table, solution, few, options.threads)
        spread = found.shares.std(axis=0, ddof=1)
        error = np.abs(found.shares[:few] - shares) / np.maximum(spread, max(0.01 * float(spread.max()), 1e-12))
        off = float(np.sqrt(np.mean(error**2, axis=0)).max())
        note = f"{found.units} units, error {off:.1e} standard errors, its own word {found.error:.1e}"
        yield Record(
            name, n, k, "mixfast", f"{REPLICATES} replicates", seconds, "s", gap=found.gap, repeats=len(many), note=note
        )
        note = f"{few} of them measured"
        yield Record(name, n, k, "one by one", f"{REPLICATES} replicates", REPLICATES * each, "s", note=note)
        figure = f"{seconds / solving:.1f} solves ({1e3 * seconds:.1f} ms, a solve {1e3 * solving:.2f} ms)"
        yield Verdict(name, f"{REPLICATES} replicates in 20 solves", figure, seconds < 20 * solving)
        yield Verdict(name, "within 2 % of a standard error", f"{100 * off:.2f} %", off <= 0.02)
        yield Verdict(name, "times faster than one by one", f"{REPLICATES * each / seconds:.0f} x", None)


# ------------------------------------------------------------------------------------------------------------ memory

_MEMORY = """
import sys, numpy as np
from mixfast import ExpertTable, solve
def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
before = status("VmRSS")
loglik = np.load(sys.argv[1])
solution = solve(ExpertTable.from_loglik(loglik), threads=int(sys.argv[2]))
print(loglik.nbytes, before, status("VmHWM"), solution.gap)
"""


def _memory(options: Options, names: tuple[str, ...]) -> Found:
    """Peak resident memory of a fresh process that loads a float32 array and solves; nothing else runs in it."""
    import tempfile

    for name in names:
        problem = build(name)
        if reason := contenders.skip_ours():
            yield Record(name, *problem.shape, "mixfast", "skipped", math.nan, "", note=reason)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "loglik.npy")
            np.save(path, problem.loglik)
            command = [sys.executable, "-c", _MEMORY, path, str(options.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        table, before, peak, gap = (float(x) for x in done.stdout.split())
        allowed = 1.1 * table + 50e6
        for quantity, value in (
            ("table", table),
            ("process before the table", before),
            ("peak of the process", peak),
            ("peak less the process before", peak - before),
        ):
            yield Record(name, *problem.shape, "mixfast", quantity, value / 1e6, "MB", gap=gap)
        figure = f"{(peak - before) / 1e6:.0f} MB of {allowed / 1e6:.0f} MB (whole process {peak / 1e6:.0f} MB)"
        yield Verdict(name, "table + 10 % + 50 MB", figure, peak - before <= allowed)


RUNNERS: dict[str, Callable[[Options, tuple[str, ...]], Found]] = {
    "solve": _solve,
    "nll": _nll,
    "many": _many,
    "small": _small,
    "bootstrap": _bootstrap,
    "memory": _memory,
}


def machine() -> SimpleNamespace:
    """Where this runs: processor, cores, thread pools seen, commit."""
    with open("/proc/cpuinfo") as file:
        lines = [line.split(":", 1) for line in file if ":" in line]
    facts = {key.strip(): value.strip() for key, value in lines}
    widest = next((isa for isa in ("avx512f", "avx2") if isa in facts.get("flags", "").split()), "baseline")
    name = (
        f"{facts.get('model name', '?')} family {facts.get('cpu family', '?')} model {facts.get('model', '?')} {widest}"
    )
    pools = "unknown (threadpoolctl is not installed)"
    try:
        from threadpoolctl import threadpool_info

        pools = ", ".join(f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info())
    except ImportError:
        pass

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short", "HEAD") or "none"
    return SimpleNamespace(
        machine=name,
        cores=os.cpu_count(),
        pools=pools,
        commit=commit + ("-dirty" if git("status", "--porcelain") else ""),
    )
