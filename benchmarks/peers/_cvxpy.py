"""Shared by the conic solvers: the problem in cvxpy, timed from the built problem to the answer."""

import warnings

import numpy as np

from benchmarks.peers import Unable, lacks

# Elements of a table that a conic solver is expected to process in a second: 8e5 take about ten seconds.
ELEMENTS_A_SECOND = 20_000


def reason(solver):
    """Return why this peer cannot run here, or None."""
    return lacks("cvxpy", solver.lower())


def prepare(case, solver, **options):
    """The problem of a case of `solve`, `wide` or `proposal`, its variable and the options of the solver."""
    import cvxpy as cp

    if hasattr(case, "law"):
        x = cp.Variable(case.region.n_domains)
        exponents = _in_epochs(case.law, x) if hasattr(case.law, "rate") else case.law.a @ x
        loss = cp.sum(cp.exp(exponents)) / len(case.law.a) + case.kl * cp.sum(cp.rel_entr(x, case.region.prior))
        return cp.Problem(cp.Minimize(loss), [x >= 0, x <= case.region.cap, cp.sum(x) == 1]), x, solver, options
    n, k = case.problem.shape
    if n * k > ELEMENTS_A_SECOND * case.patience:
        raise Unable(f"{n} x {k}: conic solvers take far more than {case.patience:g} s, or fail")
    w = cp.Variable(k)
    if hasattr(case, "worst"):
        return cp.Problem(cp.Minimize(_wide(case, w)), [cp.sum(w) == 1, w >= 0, w <= case.cap]), w, solver, options
    loss = -(case.problem.weight @ cp.log(case.problem.prob @ w))
    return cp.Problem(cp.Minimize(loss), [cp.sum(w) == 1, w >= 0]), w, solver, options


def _in_epochs(law, x):
    """The exponents of laws in epochs."""
    import cvxpy as cp

    out = []
    for a, h, rho, p, tau, b0 in zip(law.a, law.h, law.rho, law.p, law.tau, law.b0, strict=True):
        good, bad, width = np.flatnonzero(a), np.flatnonzero(h), np.exp(tau)
        scaled = cp.multiply(rho * law.rate[good], x[good])
        powers = scaled if p == 1.0 else cp.power(scaled, p)
        late = (cp.multiply(law.rate[bad], x[bad]) - (width - 1.0)) / width
        out.append(b0 - a[good].sum() + a[good] @ cp.exp(-powers) + h[bad] @ cp.logistic(late))
    return cp.hstack(out)


def _wide(case, w):
    """The objective of a case of `wide`: the largest loss of its groups, and a KL term."""
    import cvxpy as cp

    logs = cp.log(case.problem.prob @ w) + case.problem.offset
    losses = [-cp.sum(logs[rows]) / len(rows) for g in range(case.worst) for rows in [np.flatnonzero(case.group == g)]]
    loss = cp.max(cp.hstack(losses)) if case.worst > 1 else losses[0]
    return loss + case.kl * cp.sum(cp.rel_entr(w, 1.0 / w.size)) if case.kl else loss


def run(ready):
    """Return the shares (K,); cvxpy compiles the problem again, as in a first call."""
    import cvxpy as cp

    problem, w, solver, options = ready
    fresh = cp.Problem(problem.objective, problem.constraints)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fresh.solve(solver=solver, **options)
    except cp.error.SolverError as error:
        raise Unable(str(error).split(". ")[0]) from None
    if w.value is None:
        raise Unable(f"its status is {fresh.status}")
    return np.asarray(w.value)
