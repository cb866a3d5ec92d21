"""scipy's sequential quadratic programming with a numpy gradient; stopped once the gap is reached."""

import time

import numpy as np

from benchmarks.peers import Unable, lacks

name, job = "scipy SLSQP", "solve"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("scipy")


def prepare(task):
    """Ready probabilities, float64."""
    return task, task.problem.prob, task.problem.weight


class Reached(Exception):
    pass


def on_simplex(loss, iteration, k):
    """Run SLSQP from equal shares; `loss` returns value and slope, and `iteration` raises `Reached` when it is enough."""
    from scipy.optimize import minimize

    return minimize(
        loss,
        np.full(k, 1.0 / k),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * k,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(k)},
        callback=iteration,
        options={"ftol": 1e-16, "maxiter": 1000},
    )


def run(ready):
    """Shares (K,)."""
    task, prob, weight = ready
    k = prob.shape[1]
    last, least = {}, np.inf

    def loss(w):
        mixed = np.maximum(prob @ w, np.finfo(prob.dtype).tiny)
        last["w"], last["slope"] = w.copy(), -((weight / mixed) @ prob)
        return -float(weight @ np.log(mixed)), last["slope"]

    def iteration(w):
        nonlocal least
        if not np.array_equal(w, last["w"]):
            loss(w)
        # Its points leave the simplex only by rounding; the gap is that of the nearest mixture.
        shares = np.maximum(w, 0.0) / np.maximum(w, 0.0).sum()
        least = float(shares @ last["slope"] - last["slope"].min()) * task.problem.scale
        last["shares"] = shares
        if least <= task.gap or time.perf_counter() - began > task.patience:
            raise Reached

    began = time.perf_counter()
    try:
        found = on_simplex(loss, iteration, k)
    except Reached:
        if least <= task.gap:
            return last["shares"]
        raise Unable(f"gap {least:.1e} after {task.patience:g} s, asked for {task.gap:g}") from None
    if "shares" not in last:
        raise Unable(f"it gives up: {found.message}")
    return last["shares"]
