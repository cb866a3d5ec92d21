"""scipy's sequential quadratic programming over dask sums of the shards; stopped once the gap is reached.

dask's threads are as many as the processes of the other contenders: they share memory, so they are at least as fast as its processes. The
probabilities are kept in memory (float32) if they fit into half of the free memory.
"""

import time

import numpy as np

from benchmarks import limits, shards
from benchmarks.peers import Unable, lacks, reported
from benchmarks.peers.slsqp import Reached, on_simplex

name, job, timer = "scipy SLSQP, dask", "scale", reported

# Rows of a chunk: its probabilities are 16 MB, because dask spends about a millisecond on each.
ELEMENTS = 1 << 22


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("dask", "scipy")


def run(case):
    """Shares (K,) and a note."""
    import dask
    import dask.array as da

    began = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=case.processes):
        tables = [shards.loglik(path) for path in shards.paths(case.folder)]
        k = tables[0].shape[1]
        rows = da.concatenate([da.from_array(table, chunks=(ELEMENTS // k, k), asarray=False) for table in tables])
        prob = da.exp(rows.astype(np.float32))
        kept = rows.size * 4 <= limits.available_gigabytes() * 1e9 / 2
        if kept:
            prob = prob.persist()
        n, state = rows.shape[0], {"count": 0}

        def loss(w):
            mixed = da.maximum(prob @ w.astype(np.float32), np.finfo(np.float32).tiny)
            value, slope = dask.compute(da.log(mixed).sum(dtype=np.float64), da.reciprocal(mixed) @ prob)
            state.update(w=w.copy(), slope=-slope.astype(np.float64) / n, count=state["count"] + 1)
            return -float(value) / n, state["slope"]

        def iteration(w):
            if not np.array_equal(w, state["w"]):
                loss(w)
            shares = np.maximum(w, 0.0) / np.maximum(w, 0.0).sum()
            state.update(shares=shares, gap=float(shares @ state["slope"] - state["slope"].min()))
            if state["gap"] <= case.gap or time.perf_counter() - began > case.patience:
                raise Reached

        try:
            found = on_simplex(loss, iteration, k)
        except Reached:
            pass
        else:
            if "shares" not in state:
                raise Unable(f"it gives up: {found.message}")
    reported.add(time.perf_counter() - began)
    where = "probabilities in memory" if kept else "probabilities computed in each step"
    return state["shares"], f"{state['count']} evaluations of all rows, {where}"
