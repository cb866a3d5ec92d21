"""LightGBM's own evaluation of the same trees."""

import numpy as np

from benchmarks.facts import threads
from benchmarks.peers import lacks

name, job = "LightGBM", "trees"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("lightgbm")


def prepare(case):
    """Boosters with the settings of the law, fitted to the same runs, and the candidates."""
    import lightgbm

    settings = {
        "objective": "regression", "metric": "l2", "learning_rate": case.law.rate, "num_leaves": case.law.leaves,
        "min_data_in_leaf": case.law.min_leaf, "seed": case.law.seed, "num_threads": 1, "deterministic": True,
        "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    return [lightgbm.train(settings, lightgbm.Dataset(case.x, y), case.law.rounds) for y in case.y.T], case.candidates


def run(ready):
    """Predictions (M, J)."""
    boosters, candidates = ready
    return np.column_stack([booster.predict(candidates, num_threads=threads()) for booster in boosters])
