"""The exact proposal against general conic solvers: 52 log-linear metrics, caps, KL 0.05. Run: python -m benchmarks.exact_proposal

Ours is the whole of `propose`, checks and the Proposal included. A peer has two times: in all, as its users wait (cvxpy's
compilation included), and inside the solver alone. Every answer is put into the region and judged by the same float64
function: objective, and Frank-Wolfe gap from its shares.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import warnings
from dataclasses import dataclass

import numpy as np

from mixfast import Region
from mixfast.proposers import propose

METRICS, KL = 52, 0.05
PEERS = ("ECOS", "CLARABEL")


class Law:
    """Log-linear metrics, as a fitted law shows them."""

    name = "log_linear"

    def __init__(self, gamma: np.ndarray, a: np.ndarray) -> None:
        self.gamma, self.a = gamma, a
        self.metrics = tuple(f"metric {j}" for j in range(gamma.size))
        self.domains = tuple(f"domain {k}" for k in range(a.shape[1]))

    def law_of(self, metric: str) -> tuple[Law, int]:
        return self, self.metrics.index(metric)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self.gamma) + np.exp(x @ self.a.T)


@dataclass(frozen=True)
class Case:
    law: Law
    region: Region

    @classmethod
    def of(cls, domains: int, seed: int, steep: float) -> Case:
        """Token counts over three orders of magnitude, a target that four epochs of all tokens feed twice over."""
        rng = np.random.default_rng(seed)
        law = Law(rng.normal(-1.0, 0.3, METRICS), rng.normal(-0.5, steep, (METRICS, domains)))
        tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
        available = dict(zip(law.domains, tokens.tolist(), strict=True))
        return cls(law, Region.from_tokens(available, 2 * int(tokens.sum())))

    def judge(self, shares: np.ndarray) -> tuple[float, float]:
        """Objective without the constants, and gap, at the mixture of the region nearest to the shares, none of them 0."""
        w = self.region.project(shares)
        w = np.maximum(w, 1e-300)
        e = np.exp(self.law.a @ w) / METRICS
        log = np.log(w / self.region.prior)
        gradient = e @ self.law.a + KL * (log + 1.0)
        gap = float(gradient @ w) - self.region.lower_bound(gradient)
        return float(e.sum() + KL * (w @ log)), gap


def ours(case: Case) -> tuple[float, float, np.ndarray]:
    began = time.perf_counter()
    proposal = propose(case.law, case.region, kl=KL)
    seconds = time.perf_counter() - began
    return seconds, seconds, proposal.mixture.weights


def peer(case: Case, solver: str) -> tuple[float, float, np.ndarray]:
    import cvxpy as cp

    began = time.perf_counter()
    x = cp.Variable(case.region.n_domains)
    loss = cp.sum(cp.exp(case.law.a @ x)) / METRICS + KL * cp.sum(cp.rel_entr(x, case.region.prior))
    problem = cp.Problem(cp.Minimize(loss), [x >= 0, x <= case.region.cap, cp.sum(x) == 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver=solver)
    return time.perf_counter() - began, float(problem.solver_stats.solve_time), np.asarray(x.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domains", type=int, nargs="+", default=[24, 64, 256, 1024])
    parser.add_argument("--steep", type=float, nargs="+", default=[1.0, 3.0], help="spread of the coefficients")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    has = importlib.util.find_spec("cvxpy") is not None
    print("domains  steep  contender   in all ms   solver ms   times ours   above ours       gap  at caps")
    for steep in options.steep:
        for domains in options.domains:
            case = Case.of(domains, 0, steep)
            runs = {"mixfast": [ours(case) for _ in range(10 * options.repeats)]}
            for solver in PEERS if has else ():
                count = options.repeats if domains < 1000 else 2
                try:
                    peer(case, solver)  # warm
                    runs[solver] = [peer(case, solver) for _ in range(count)]
                except Exception as error:
                    print(f"{domains:7}  {steep:5.1f}  {solver:9}  {type(error).__name__}: {str(error)[:60]}")
            base = statistics.median(run[0] for run in runs["mixfast"])
            least = case.judge(runs["mixfast"][-1][2])[0]
            for name, found in runs.items():
                total, inside = (statistics.median(run[i] for run in found) for i in (0, 1))
                value, gap = case.judge(found[-1][2])
                held = int((case.region.cap - found[-1][2] < 1e-9).sum())
                print(
                    f"{domains:7}  {steep:5.1f}  {name:9}  {total * 1e3:10.3f}  {inside * 1e3:10.3f}  {total / base:11.1f}"
                    f"  {value - least:11.1e}  {gap:8.1e}  {held:7}"
                )


if __name__ == "__main__":
    main()
