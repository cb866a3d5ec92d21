"""solve(): seconds to a certified gap, from the array of log-likelihoods; peers start from ready probabilities.

The gap of every answer is recomputed by `mixfast.reference`. Ours stops at 1e-8, peers at 1e-6; for a peer that stops earlier, its gap is
printed. Further: ready tables, regions and objectives, many domains, few rows, replicates, memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from benchmarks import facts, limits, problems
from benchmarks.peers import Contender
from benchmarks.problems import Problem
from benchmarks.suite import Wrong, contenders
from mixfast import ExpertTable, Region, reference, solve, solver

LARGE = ("1e6x64", "2e5x256", "faq_perl-token", "fortunes-token", "faq_perl-sequence", "fortunes-sequence")
PROBLEMS = ("small-0", "small-1", "foldoc-sequence", "1e5x8", "1e5x32", "foldoc-token", "1e6x16", *LARGE)


@dataclass(frozen=True)
class Task:
    """Input of a contender of the job `solve`: the gap to reach, and the seconds it may take."""

    problem: Problem
    gap: float
    patience: float


def named(name: str) -> Problem:
    """A problem, or a skip with its reason."""
    if reason := problems.missing(name):
        pytest.skip(reason)
    return problems.build(name)


def cases(*names: str) -> Any:
    """Parametrize a test with problems; the large ones are marked."""
    marks = {name: [pytest.mark.large] if name in LARGE else [] for name in names}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in names])


def table_of(problem: Problem) -> ExpertTable:
    """Return the table of a problem."""
    return ExpertTable.from_loglik(problem.loglik, length=problem.length, sequence=problem.sequence)


def ours(task: Task) -> np.ndarray:
    """Solve from the array in memory to the certified answer, including the validation of the table."""
    table = ExpertTable.from_loglik(task.problem.loglik, length=task.problem.length)
    return solve(table, tol=task.gap, threads=facts.threads()).mixture.weights


MIXFAST = Contender("mixfast", ours)


def size(problem: Problem) -> dict[str, Any]:
    """Return the facts of a problem for the result files."""
    return {"problem": problem.name, "rows": problem.shape[0], "domains": problem.shape[1]}


@cases(*PROBLEMS)
@contenders("solve", MIXFAST)
def test_to_gap(measure: Any, name: str, contender: Contender) -> None:
    """Time to the gap, compared with one read of the float32 table and numpy's exp over it."""
    problem = named(name)
    level = 1e-8 if contender.ours else 1e-6

    def check(weights: np.ndarray) -> dict[str, Any]:
        gap = problem.gap(weights)
        if contender.ours and gap > 1.01 * level:
            raise Wrong(f"the reference finds a gap of {gap:.1e}, expected {level:g}")
        return {"gap": gap} | ({} if gap <= 1.01 * level else {"short": f"asked for {level:g}"})

    measure(
        contender,
        Task(problem, level, measure.patience),
        group=f"solve {name}",
        check=check,
        limits=lambda: {
            "one read of the table": limits.stream(problem.loglik),
            "numpy exp of it": limits.exponential(problem.loglik),
        },
        quantity=f"to gap {level:g}",
        **size(problem),
    )


@cases("small-0", "foldoc-sequence", "1e5x8", "1e5x32")
def test_table_ready(measure: Any, name: str) -> None:
    """The solve of a ready table, as in a loop over regions."""
    problem = named(name)
    table = table_of(problem)
    contender = Contender("mixfast, table ready", lambda it: solve(it, threads=facts.threads()))
    measure(
        contender,
        table,
        group=f"solve {name}, table ready",
        check=lambda found: {"gap": problem.gap(found.mixture.weights)},
        quantity="to gap 1e-08",
        **size(problem),
    )


def _regions(table: ExpertTable) -> dict[str, dict[str, Any]]:
    k = len(table.domains)
    return {
        "caps": {"region": Region(table.domains, cap=4.0 / k)},
        "floors and caps": {"region": Region(table.domains, cap=6.0 / k, floor=0.1 / k)},
        "kl": {"region": Region(table.domains), "kl": 0.05},
        "caps and kl": {"region": Region(table.domains, cap=4.0 / k), "kl": 0.05},
        "worst": {"objective": "worst"},
    }


@pytest.mark.parametrize("what", ["caps", "floors and caps", "kl", "caps and kl", "worst"])
@cases("small-0", "1e5x8", "1e5x32")
def test_regions(measure: Any, name: str, what: str) -> None:
    """Limits, a KL term, the worst of four groups; the gap is the solver's own, of the constrained problem."""
    problem = named(name)
    n = problem.shape[0]
    table = ExpertTable.from_loglik(problem.loglik, group=np.arange(n) * 4 // n if what == "worst" else None)
    options = _regions(table)[what]
    contender = Contender("mixfast", lambda it: solve(it, threads=facts.threads(), **options))

    def check(found: Any) -> dict[str, Any]:
        if found.status != "optimal":
            raise Wrong(f"the status is {found.status}")
        return {"gap": found.gap}

    measure(contender, table, group=f"solve {name}, {what}", check=check, quantity="to gap 1e-08", **size(problem))


@pytest.mark.parametrize("name", ["assays", "many-quick", pytest.param("many", marks=pytest.mark.large)])
def test_many_domains(measure: Any, name: str) -> None:
    """Hundreds or thousands of domains, few of which are used, to a gap of 1e-6."""
    problem = named(name)

    def check(weights: np.ndarray) -> dict[str, Any]:
        gap = problem.gap(weights)
        if gap > 1.01e-6:
            raise Wrong(f"the reference finds a gap of {gap:.1e}, expected 1e-6")
        return {"gap": gap, "note": f"{int((weights > 1e-6).sum())} domains in use"}

    measure(
        MIXFAST,
        Task(problem, 1e-6, 60.0),
        group=f"solve {name}",
        check=check,
        limits=lambda: {"one read of the table": limits.stream(problem.loglik)},
        quantity="to gap 1e-06",
        **size(problem),
    )


@dataclass(frozen=True)
class Wide:
    """Hold the input of a contender of the job `wide`: `caps` is in even shares, `worst` is the number of groups of rows."""

    problem: Problem
    patience: float
    caps: float | None = None
    kl: float = 0.0
    worst: int = 1

    @property
    def cap(self) -> float:
        return 1.0 if self.caps is None else self.caps / self.problem.shape[1]

    @property
    def group(self) -> np.ndarray:
        n = self.problem.shape[0]
        return np.arange(n) * self.worst // n

    def value(self, weights: np.ndarray) -> float:
        """Return the objective, computed by the reference; infinite for weights that are not a mixture within the caps, to 1e-6."""
        w = np.asarray(weights, dtype=np.float64)
        if not (
            np.isfinite(w).all() and abs(w.sum() - 1.0) <= 1e-6 and w.min() >= -1e-6 and w.max() <= self.cap + 1e-6
        ):
            return np.inf
        w = np.maximum(w, 0.0) / np.maximum(w, 0.0).sum()
        table = ExpertTable.from_loglik(self.problem.loglik, group=self.group)
        losses, _ = reference.group_pass(table, w)
        even = np.full(w.size, 1.0 / w.size)
        return float(losses.max()) + (self.kl * reference.kl_divergence(w, even) if self.kl else 0.0)


def _wide(task: Wide) -> Any:
    table = ExpertTable.from_loglik(task.problem.loglik, group=task.group)
    region = Region(table.domains, cap=task.cap) if task.caps else None
    return solve(table, region, kl=task.kl, objective="worst" if task.worst > 1 else None, threads=facts.threads())


WIDE = {
    "10x2000, caps": ("10x2000", {"caps": 4.0}),
    "200x2000, caps": ("200x2000", {"caps": 4.0}),
    "10x5000, kl": ("10x5000", {"kl": 0.01}),
    "10x5000, worst": ("10x5000", {"worst": 3}),
}


@pytest.mark.filterwarnings("ignore:.* rows and .* domains")
@pytest.mark.parametrize("name", WIDE)
@contenders("wide", Contender("mixfast", _wide))
def test_few_rows(measure: Any, name: str, contender: Contender) -> None:
    """Far more domains than rows. A gap is the value of the shares, computed by the reference, minus the lower bound that ours proves."""
    problem, options = WIDE[name]
    task = Wide(named(problem), measure.patience, **options)
    best = _wide(task)
    level = 1e-8 if contender.ours else 1e-6

    def check(found: Any) -> dict[str, Any]:
        gap = task.value(found.mixture.weights if contender.ours else found) - (best.value - best.gap)
        if contender.ours and (found.status != "optimal" or gap > 3.0 * level):
            raise Wrong(f"the status is {found.status}, the gap by the reference {gap:.1e}, expected {level:g}")
        return {"gap": gap} | ({} if gap <= level or contender.ours else {"short": f"asked for {level:g}"})

    measure(contender, task, group=f"solve {name}", check=check, quantity=f"to gap {level:g}", **size(task.problem))


PROBLEMS_IN_ONE_CALL = 10_000


def _one_by_one(case: Any) -> Any:
    table, weights = case
    return [
        solve(ExpertTable.from_loglik(table.loglik, weight=row), threads=facts.threads()).mixture.weights
        for row in weights[: len(weights) // 20]
    ]


@cases("small-0")
@pytest.mark.parametrize("how", ["in one call", "one by one, a twentieth of them"])
def test_many_problems(measure: Any, name: str, how: str) -> None:
    """Ten thousand problems with weights of the rows of one small table, each to a certified gap of 1e-8."""
    problem = named(name)
    n = problem.shape[0]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=PROBLEMS_IN_ONE_CALL) / n
    table = ExpertTable.from_loglik(problem.loglik, weight=np.ones(n))

    def together(case: Any) -> Any:
        return solver.solve_many(case[0], weights=case[1], threads=facts.threads())

    def check(found: Any) -> dict[str, Any]:
        if how != "in one call":
            return {}
        if set(found.statuses) != {"optimal"}:
            raise Wrong(f"the statuses are {sorted(set(found.statuses))}")
        prob = np.exp(problem.loglik.astype(np.float64))
        for w, row in zip(found.shares[:100], weights, strict=False):
            slope = -(row / (prob @ w)) @ prob
            if w @ slope - slope.min() > 1.01e-8:
                raise Wrong(f"a gap is {w @ slope - slope.min():.1e}, expected 1e-8")
        return {"gap": float(found.gaps.max())}

    measure(
        Contender(f"mixfast, {how}", together if how == "in one call" else _one_by_one),
        (table, weights),
        group=f"solve {name} many times",
        check=check,
        quantity=f"{PROBLEMS_IN_ONE_CALL} problems",
        **size(problem),
    )


REPLICATES = 200


def _bootstrap(case: Any) -> Any:
    table, solution = case
    return solver.bootstrap(table, replicates=REPLICATES, solution=solution)


@cases("small-0", "1e5x8", "foldoc-sequence")
@contenders("bootstrap", Contender("mixfast", _bootstrap))
def test_bootstrap(measure: Any, name: str, contender: Contender) -> None:
    """Two hundred replicates of a solution, compared with solving resampled tables one by one; the limit is one solve."""
    problem = named(name)
    table = table_of(problem)
    solution = solve(table, threads=facts.threads())
    measure(
        contender,
        (table, solution),
        group=f"bootstrap {name}",
        limits=lambda: {"one solve": limits.median_seconds(lambda: solve(table, threads=facts.threads()))},
        quantity=f"{REPLICATES} replicates",
        **size(problem),
    )


@cases("1e6x16", "1e6x64")
def test_memory(measure: Any, name: str) -> None:
    """Peak memory of building the table and solving, without the array itself."""
    problem = named(name)
    peak = limits.peak_megabytes(lambda: ours(Task(problem, 1e-8, 60.0)))
    if peak is None:
        pytest.skip("the system does not let the peak of a process be reset")
    note = f"adds {peak:.0f} MB to a table of {problem.loglik.nbytes / 1e6:.0f} MB"
    measure(
        Contender("mixfast", ours),
        Task(problem, 1e-8, 60.0),
        group=f"memory {name}",
        check=lambda weights: {"gap": problem.gap(weights), "note": note, "peak_mb": peak},
        quantity="to gap 1e-08",
        **size(problem),
    )
