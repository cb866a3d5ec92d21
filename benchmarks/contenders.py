"""Who runs: ours and the peers, each with a reason to skip where it cannot.

A solver gives a `Trace`: points (seconds, shares) it passed, of one run or of several runs with ever tighter
tolerances. Whether and when a gap was reached is judged by the runner from the shares alone, never by the
contender's own word.
Peers start from ready probabilities; ours starts from the array of log-likelihoods.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import Problem

# Steps of exponentiated gradient, in units of 1 / sum of the row weights; the fastest of them counts.
EG_STEPS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


@dataclass(frozen=True)
class Trace:
    """Points a solver passed: seconds since its start (T,), shares (T, K), and what it says of itself."""

    seconds: np.ndarray
    weights: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Solver:
    """A contender of the set `solve`; `family` is the peer a target names."""

    name: str
    family: str
    skip: Callable[[Problem], str | None]
    run: Callable[[Problem, int, float], Trace]


def _lacks(*modules: str) -> str | None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


# ------------------------------------------------------------------------------------------------------------- ours


def skip_ours(problem: Problem | None = None) -> str | None:
    try:
        from mixfast import ExpertTable, solve
    except ImportError as error:
        return f"mixfast is not built: {error.msg.split(' (')[0]}"
    return None if ExpertTable and solve else "mixfast is not built"


def _skip_core() -> str | None:
    try:
        from mixfast._engine.backend import rows
    except ImportError as error:
        return f"mixfast is not built: {error.msg.split(' (')[0]}"
    return None if rows.Rows else "mixfast is not built"


def ours(problem: Problem, threads: int, limit: float, *, tol: float = 1e-8) -> Trace:
    """From the array in memory to the certified answer, validation of the table included."""
    from mixfast import ExpertTable, solve

    began = time.perf_counter()
    table = ExpertTable.from_loglik(problem.loglik, length=problem.length)
    solution = solve(table, tol=tol, threads=threads)
    seconds = time.perf_counter() - began
    note = f"{solution.status}, gap {solution.gap:.1e}"
    return Trace(np.array([seconds]), np.asarray(solution.mixture.weights)[None, :], note)


def replicates_one_by_one(table: Any, solution: Any, count: int, threads: int) -> tuple[np.ndarray, float]:
    """Shares (count, K) of the first replicates of seed 0, each solved closely on its own, and seconds for one at tolerance 1e-8."""
    from mixfast import ExpertTable, solve
    from mixfast.solver import _bootstrap

    unit, group = _bootstrap._units(table)
    counts = _bootstrap._draw(np.random.default_rng(0), unit, group, table, 200)[:count]
    shares, seconds = [], []
    for row in counts:
        weight = table.row_weight * row[unit]
        # A weight of 0 would be 0 / 0 where no share is left for the row.
        again = ExpertTable.from_loglik(
            table.loglik, weight=np.maximum(weight, 1e-12 * weight.max()), domains=table.domains
        )
        began = time.perf_counter()
        solve(again, start=solution.mixture, threads=threads)
        seconds.append(time.perf_counter() - began)
        shares.append(solve(again, tol=1e-10, threads=threads).mixture.weights)
    return np.array(shares), float(np.median(seconds))


# -------------------------------------------------------------------------------------------------------- iterations


class _OutOfTime(Exception):
    pass


def slsqp(problem: Problem, threads: int, limit: float, *, single: bool = False) -> Trace:
    """scipy's sequential quadratic programming with a numpy gradient; one point an iteration."""
    from scipy.optimize import minimize

    prob = problem.prob32 if single else problem.prob
    weight = problem.weight.astype(prob.dtype)
    k = prob.shape[1]
    seconds: list[float] = []
    points: list[np.ndarray] = []

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(prob @ w.astype(prob.dtype), np.finfo(prob.dtype).tiny)
        slope = -((weight / mixed) @ prob)
        return -float(problem.weight @ np.log(mixed)), slope.astype(np.float64)

    def record(w: np.ndarray) -> None:
        seconds.append(time.perf_counter() - began)
        points.append(w.copy())
        if seconds[-1] > limit:
            raise _OutOfTime

    began = time.perf_counter()
    try:
        result = minimize(
            loss,
            np.full(k, 1.0 / k),
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * k,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(k)},
            callback=record,
            options={"ftol": 1e-16, "maxiter": 1000},
        )
        note = result.message
        seconds.append(time.perf_counter() - began)
        points.append(result.x)
    except _OutOfTime:
        note = f"stopped after {limit:g} s"
    return Trace(np.array(seconds), np.array(points), note)


def em(problem: Problem, threads: int, limit: float) -> Trace:
    """``w <- w * (P' (c / P w))``; a point where the gap, known for free, falls by a tenth."""
    return _fixed_point(problem, limit, lambda w, slope: w * -slope)


def eg(problem: Problem, threads: int, limit: float) -> Trace:
    """Exponentiated gradient with every step size of `EG_STEPS`, an even part of the time each."""
    runs = [
        _fixed_point(problem, limit / len(EG_STEPS), lambda w, slope, step=step: w * np.exp(-step * (slope + 1.0)))
        for step in EG_STEPS
    ]
    return Trace(np.concatenate([run.seconds for run in runs]), np.concatenate([run.weights for run in runs]))


def eg_paper(problem: Problem, threads: int, limit: float) -> Trace:
    """The published MixMin loop: step 1 on the unscaled loss, 100 steps, last iterate."""
    prob, weight = problem.prob, problem.row_weight
    w = np.full(prob.shape[1], 1.0 / prob.shape[1])
    began = time.perf_counter()
    for _ in range(100):
        slope = -((weight / (prob @ w)) @ prob)
        w = w * np.exp(slope.min() - slope)  # the same ratios as exp(-slope), without overflow
        w = w / w.sum()
    return Trace(np.array([time.perf_counter() - began]), w[None, :], "100 steps")


def _fixed_point(problem: Problem, limit: float, step: Callable[..., np.ndarray]) -> Trace:
    prob, weight = problem.prob, problem.weight
    w = np.full(prob.shape[1], 1.0 / prob.shape[1])
    seconds, points, least = [], [], np.inf
    began = time.perf_counter()
    while True:
        slope = -((weight / (prob @ w)) @ prob)
        gap = (w @ slope - slope.min()) * problem.scale
        now = time.perf_counter() - began
        if not np.isfinite(gap) or now > limit or gap <= 1e-8:
            seconds.append(now)
            points.append(w)
            break
        if gap < 0.9 * least:
            least = gap
            seconds.append(now)
            points.append(w)
        w = step(w, slope)
        w = w / w.sum()
    return Trace(np.array(seconds), np.nan_to_num(np.array(points)))


# --------------------------------------------------------------------------------------------------- conic solvers


def _skip_cvxpy(problem: Problem, solver: str) -> str | None:
    n, k = problem.shape
    if n * k > 1_000_000:
        return f"{n} x {k}: conic solvers take minutes or fail above a million elements"
    return _lacks("cvxpy", solver.lower())


def _cvxpy_child(queue: Any, path: str, solver: str) -> None:
    import cvxpy as cp

    arrays = np.load(path)
    prob, weight = arrays["prob"], arrays["weight"]
    w = cp.Variable(prob.shape[1])
    problem = cp.Problem(cp.Minimize(-(weight @ cp.log(prob @ w))), [cp.sum(w) == 1, w >= 0])
    began = time.perf_counter()
    try:
        problem.solve(solver=solver)
    except cp.error.SolverError as error:
        queue.put((None, str(error).split(". ")[0]))
        return
    if w.value is None:
        queue.put((None, problem.status))
        return
    queue.put(((time.perf_counter() - began, w.value), f"{problem.status}, {problem.solver_stats.solve_time} s inside"))


def _cvxpy(problem: Problem, threads: int, limit: float, solver: str) -> Trace:
    """cvxpy's own time from the built problem to the answer, in a process that can be stopped."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "problem.npz")
        np.savez(path, prob=problem.prob, weight=problem.weight)
        queue = context.Queue()
        child = context.Process(target=_cvxpy_child, args=(queue, path, solver))
        child.start()
        deadline = time.monotonic() + limit + 10.0
        answer, note = None, f"no answer within {limit:g} s"
        while time.monotonic() < deadline:
            try:
                answer, note = queue.get(timeout=0.2)
                break
            except Exception:
                if not child.is_alive() and queue.empty():
                    note = f"its process ended with {child.exitcode}"
                    break
        child.kill()
        child.join()
    if answer is None:
        return Trace(np.zeros(0), np.zeros((0, problem.shape[1])), note)
    return Trace(np.array([answer[0]]), answer[1][None, :], note)


# ---------------------------------------------------------------------------------------------------------- mixsqp


def _skip_mixsqp(problem: Problem) -> str | None:
    if shutil.which("Rscript") is None:
        return "R is not installed"
    probe = subprocess.run(
        ["Rscript", "-e", "cat(as.character(packageVersion('mixsqp')))"], capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else "the R package mixsqp is not installed"


def mixsqp(problem: Problem, threads: int, limit: float) -> Trace:
    """R's mixsqp without its low-rank step, timed inside R; a point for each of a ladder of tolerances."""
    n, k = problem.shape
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
    if OPENBLAS.exists():
        environment["LD_PRELOAD"] = str(OPENBLAS)
    with tempfile.TemporaryDirectory() as folder:
        matrix, weights = os.path.join(folder, "matrix"), os.path.join(folder, "weights")
        np.asfortranarray(problem.prob).T.tofile(matrix)
        problem.weight.tofile(weights)
        script = str(Path(__file__).parent / "peers" / "mixsqp.R")
        ladder = [f"{level / problem.scale:.3g}" for level in (1e-6, 1e-7, 1e-8, 1e-9)]
        command = ["Rscript", script, matrix, weights, str(n), str(k), "3", f"{limit:g}", *ladder]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=2 * limit + 60
            )
        except subprocess.TimeoutExpired:
            return Trace(np.zeros(0), np.zeros((0, k)), f"no answer within {2 * limit + 60:g} s")
    rows = [[float(x) for x in line.split()] for line in done.stdout.splitlines() if line.strip()]
    blas = "OpenBLAS preloaded" if OPENBLAS.exists() else "R's own BLAS"
    if not rows:
        return Trace(
            np.zeros(0), np.zeros((0, k)), done.stderr.strip().splitlines()[-1] if done.stderr else "no output"
        )
    found = np.array(rows)
    return Trace(found[:, 1], found[:, 2:], f"no low-rank step, {blas}")


def _solver_cvxpy(solver: str) -> Solver:
    return Solver(
        f"cvxpy {solver}",
        "cvxpy",
        lambda problem: _skip_cvxpy(problem, solver),
        lambda problem, threads, limit: _cvxpy(problem, threads, limit, solver),
    )


SOLVERS = (
    Solver("mixfast", "ours", skip_ours, ours),
    Solver("scipy SLSQP", "scipy", lambda problem: _lacks("scipy"), slsqp),
    Solver("scipy SLSQP f32", "scipy", lambda problem: _lacks("scipy"), lambda *a: slsqp(*a, single=True)),
    Solver("mixsqp", "mixsqp", _skip_mixsqp, mixsqp),
    Solver("EM", "em", lambda problem: None, em),
    Solver("EG best step", "eg", lambda problem: None, eg),
    Solver("EG of the paper", "eg-paper", lambda problem: None, eg_paper),
    *(_solver_cvxpy(solver) for solver in ("CLARABEL", "ECOS", "SCS")),
)


# ----------------------------------------------------------------------------------------- losses of many candidates


@dataclass(frozen=True)
class Evaluator:
    """A contender of the set `nll`: `prepare` gives a call without arguments that returns losses (M,) in nats."""

    name: str
    family: str
    skip: Callable[[], str | None]
    prepare: Callable[[Problem, np.ndarray, int], Callable[[], Any]]
    gigabytes: Callable[[int, int, int], float] = lambda n, k, m: 0.0


# Rows of one block of the chunked peers, near the fastest for each of them among 128 .. 8192 (4 MB of results in all).
ROWS = 1024


def _ours_nll(problem: Problem, mixtures: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """As a user calls it: from the log-likelihoods; a large table is exponentiated anew in the sweep, in cache."""
    from mixfast import ExpertTable, solver

    table = ExpertTable.from_loglik(problem.loglik)
    return lambda: solver.losses(table, mixtures, threads=threads)


def _constant(problem: Problem) -> float:
    return float(problem.row_weight @ problem.offset)


def _numpy_nll(problem: Problem, mixtures: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    prob, weight, flat = problem.prob32, problem.row_weight.astype(np.float32), mixtures.T.astype(np.float32)
    constant, n = _constant(problem), problem.shape[0]
    buffer = np.empty((ROWS, mixtures.shape[0]), dtype=np.float32)

    def call() -> np.ndarray:
        total = np.zeros(mixtures.shape[0])
        for start in range(0, n, ROWS):
            block = prob[start : start + ROWS]
            mixed = np.matmul(block, flat, out=buffer[: len(block)])
            total -= weight[start : start + ROWS] @ np.log(mixed, out=mixed)
        return total - constant

    return call


def _numexpr_nll(problem: Problem, mixtures: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    import numexpr

    numexpr.set_num_threads(threads)
    prob, weight, flat = problem.prob32, problem.row_weight.astype(np.float32), mixtures.T.astype(np.float32)
    constant, n = _constant(problem), problem.shape[0]
    buffer = np.empty((ROWS, mixtures.shape[0]), dtype=np.float32)

    def call() -> np.ndarray:
        total = np.zeros(mixtures.shape[0])
        for start in range(0, n, ROWS):
            block = prob[start : start + ROWS]
            mixed = np.matmul(block, flat, out=buffer[: len(block)])
            numexpr.evaluate("log(mixed)", local_dict={"mixed": mixed}, out=mixed)
            total -= weight[start : start + ROWS] @ mixed
        return total - constant

    return call


def _torch_nll(problem: Problem, mixtures: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    import torch

    torch.set_num_threads(threads)
    prob = torch.from_numpy(problem.prob32)
    weight = torch.from_numpy(problem.row_weight.astype(np.float32))
    flat = torch.from_numpy(np.ascontiguousarray(mixtures.T.astype(np.float32)))
    constant, n = _constant(problem), problem.shape[0]

    def call() -> np.ndarray:
        total = torch.zeros(mixtures.shape[0], dtype=torch.float64)
        for start in range(0, n, ROWS):
            mixed = (prob[start : start + ROWS] @ flat).log_()
            total -= (weight[start : start + ROWS] @ mixed).double()
        return total.numpy() - constant

    return call


def _jax_nll(problem: Problem, mixtures: np.ndarray, threads: int, *, rows: int | None) -> Callable[[], np.ndarray]:
    """The plain expression, jitted, on all rows at once or on blocks of rows inside one jitted scan."""
    import jax
    import jax.numpy as jnp

    prob, flat = jnp.asarray(problem.prob32), jnp.asarray(mixtures.T.astype(np.float32))
    weight, constant = jnp.asarray(problem.row_weight.astype(np.float32)), _constant(problem)
    if rows is not None:
        whole = problem.shape[0] // rows * rows
        prob_blocks = prob[:whole].reshape(-1, rows, prob.shape[1])
        weight_blocks = weight[:whole].reshape(-1, rows)
        rest = prob[whole:], weight[whole:]

    @jax.jit
    def all_rows(p: Any, c: Any, w: Any) -> Any:
        return -(c @ jnp.log(p @ w))

    @jax.jit
    def blocks(p: Any, c: Any, rest_p: Any, rest_c: Any, w: Any) -> Any:
        def add(total: Any, block: Any) -> tuple[Any, None]:
            return total - block[1] @ jnp.log(block[0] @ w), None

        total, _ = jax.lax.scan(add, jnp.zeros(w.shape[1], dtype=jnp.float32), (p, c))
        return total - rest_c @ jnp.log(rest_p @ w)

    def call() -> np.ndarray:
        if rows is None:
            return np.asarray(all_rows(prob, weight, flat), dtype=np.float64) - constant
        return np.asarray(blocks(prob_blocks, weight_blocks, *rest, flat), dtype=np.float64) - constant

    return call


def _gemm(problem: Problem, mixtures: np.ndarray, threads: int) -> Callable[[], None]:
    """The limit: one float32 matrix product that stores its (n, M) result in memory already touched, no logs."""
    prob, flat = problem.prob32, np.ascontiguousarray(mixtures.T.astype(np.float32))
    out = np.zeros((problem.shape[0], mixtures.shape[0]), dtype=np.float32)

    def call() -> None:
        np.matmul(prob, flat, out=out)

    return call


def _stored(n: int, k: int, m: int) -> float:
    return 4e-9 * n * m


EVALUATORS = (
    Evaluator("mixfast", "ours", _skip_core, _ours_nll),
    Evaluator("bare GEMM f32, stored", "gemm", lambda: None, _gemm, _stored),
    Evaluator(
        "jax jit f32",
        "jax",
        lambda: _lacks("jax"),
        lambda *a: _jax_nll(*a, rows=None),
        lambda n, k, m: 2.1 * _stored(n, k, m),
    ),
    Evaluator("jax jit f32, blocks", "jax", lambda: _lacks("jax"), lambda *a: _jax_nll(*a, rows=ROWS)),
    Evaluator("torch f32, blocks", "torch", lambda: _lacks("torch"), _torch_nll),
    Evaluator("numpy f32, blocks", "numpy", lambda: None, _numpy_nll),
    Evaluator("numpy + numexpr", "numexpr", lambda: _lacks("numexpr"), _numexpr_nll),
)


def versions() -> str:
    """Versions of what runs, as one line of JSON for the results."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("mixfast", "numpy", "scipy", "cvxpy", "clarabel", "ecos", "scs", "jax", "torch", "numexpr", "botorch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return json.dumps(found)
