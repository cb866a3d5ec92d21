"""The ends of ranges against a conic solver: attained, and not further inside the true ends than the search proves."""

import warnings

import numpy as np
import pytest

from mixfast import ExpertTable, Region, solve
from mixfast._engine.optimise import flat
from mixfast.errors import MixfastWarning

TABLES = ["random", "corner", "sparse", "weighted", "squared"]


def problem(kind, seed, cp):
    """A table of a kind and its objective as an expression of cvxpy."""
    rng = np.random.default_rng(seed)
    n, k = 80, 6
    names = [f"d{i}" for i in range(k)]
    w = cp.Variable(k, nonneg=True)
    if kind == "squared":
        prediction = rng.normal(size=(n, k))
        table = ExpertTable.from_predictions(prediction, rng.normal(size=n) * 0.3 + prediction[:, 0], domains=names)
        return table, w, 0.5 * cp.sum_squares((table.prediction - table.target[:, None]) @ w) / n
    prob = rng.dirichlet(np.full(20, 0.4), size=(n, k))[:, :, 0] + 1e-5
    if kind == "corner":
        prob[:, 0] = prob.max(axis=1) * 1.05
    if kind == "sparse":
        prob[: n // 2, 1] = 1e-12
        prob[n // 2 :, 2] = 1e-12
    groups = (np.arange(n) % 2 if kind == "weighted" else np.zeros(n)).astype(np.int32)
    share = [0.8, 0.2] if kind == "weighted" else [1.0]
    table = ExpertTable.from_loglik(np.log(prob), domains=names, group=groups)
    weight = np.array(share)[groups] / np.bincount(groups)[groups]
    return table, w, -weight @ cp.log(prob @ w)


@pytest.mark.parametrize("eps", [1e-3, 0.1])
@pytest.mark.parametrize("kl", [0.0, 0.03])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("kind", TABLES)
def test_ends_are_attained_and_proved(kind, limited, kl, eps):
    cp = pytest.importorskip("cvxpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        table, w, loss = problem(kind, 5 * TABLES.index(kind) + limited, cp)
    names = table.domains
    region = Region(names, cap=0.55, bounds={"pair": (names[:2], 0.1, 0.6)}) if limited else Region(names)
    weights = {"objective": dict(zip(table.group_names, [0.8, 0.2], strict=True))} if kind == "weighted" else {}
    solution = solve(table, region, kl=kl, tol=1e-10, **weights)
    limits = [cp.sum(w) == 1] + ([w <= 0.55, w[0] + w[1] >= 0.1, w[0] + w[1] <= 0.6] if limited else [])
    risen = loss + (kl * cp.sum(cp.rel_entr(w, region.prior)) if kl else 0.0)
    within = [*limits, (risen - solution.value) / eps <= 1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixfastWarning)
        found = solution.ranges(eps)
    for k in (0, 2):
        for end, sign in zip(found[names[k]], (-1.0, 1.0), strict=True):
            task = cp.Problem(cp.Maximize(sign * w[k]), within)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                exact = task.solve(solver="CLARABEL")
            assert task.status in ("optimal", "optimal_inaccurate")
            assert exact - flat.CLOSE - 1e-5 <= sign * end <= exact + 1e-5


def test_ends_of_a_table_in_float32_are_proved():
    loglik = np.random.default_rng(7).normal(-4, 1, (6000, 12)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixfastWarning)
        table = ExpertTable.from_loglik(np.minimum(loglik, 0))
        solution, double = solve(table), solve(ExpertTable.from_loglik(table.loglik.astype(np.float64)))
        for eps in (1e-5, 1e-3, 0.1):
            single, exact = solution.ranges(eps), double.ranges(eps)
            for name in table.domains:
                assert single[name] == pytest.approx(exact[name], abs=2 * flat.CLOSE)


def test_ends_with_many_more_domains_than_exchange_share_at_first():
    rng = np.random.default_rng(3)
    loglik = -rng.gamma(2.0, 1.0, (150, 400))
    solution = solve(ExpertTable.from_loglik(loglik))
    some = [*solution.table.domains[:2], max(solution.mixture, key=solution.mixture.get)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixfastWarning)
        found = solution.ranges(0.05, some)
    for name in some:
        assert found[name][0] <= solution.mixture[name] <= found[name][1]


def test_a_search_that_ends_early_names_the_domains(monkeypatch):
    rng = np.random.default_rng(1)
    solution = solve(ExpertTable.from_loglik(-rng.gamma(2.0, 1.0, (200, 5)), domains=list("abcde")))
    exact = solution.ranges(0.1, ["b"])["b"]
    monkeypatch.setattr(flat, "_ROUNDS", 1)
    with pytest.warns(MixfastWarning, match="the range of b .* may be wider") as caught:
        inner = solution.ranges(0.1, ["b"])["b"]
    assert caught[0].filename == __file__
    assert exact[0] <= inner[0] <= solution.mixture["b"] <= inner[1] <= exact[1]
